/*
** batch_norm: normalisation of each channel over batch and space (Ioffe and Szegedy 2015).
**
**   y = w (x - mean) / sqrt(var + eps) + b
**   training:    mean, var of this batch;  dx = w rstd (dy - mean(dy) - xhat mean(dy xhat))
**   evaluation:  mean, var are given;      dx = w rstd dy,
**                dmean = -w rstd sum dy,   dvar = -1/2 w rstd^2 sum dy xhat
**   dw = sum dy xhat,  db = sum dy
**
** The mean and the (biased) variance that were used come out too, so that the caller keeps
** running averages; gradients dm, dv that reach them go on to x (training: dm / n,
** 2 dv (x - mean) / n) or to mean and var (evaluation).
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "ops/batch_norm_compose.h"
#include "ops/network.h"

struct channel {
  int64_t N, P, step;
};

struct slopes {
  double mean, rstd, scale, u, v, m, q;
};

#define QNI_TYPED "ops/batch_norm_typed.h"
#include "ops/both_typed.h"

enum { X, W, B, MEAN, VAR }; /* inputs; saved slots are numbered alike */

struct work {
  struct channel k;
  bool is64, training;
  double eps;
  const qn_view *x, *w, *b, *mean,
      *var; /* mean, var: used by forward in evaluation, by backward always */
  const qn_view *dy, *dm, *dv;
  qn_view *y, *out_mean, *out_var, *dw, *db, *d_mean, *d_var;
};

static double load(const qn_view *v, int64_t i, double absent) {
  if (!v) return absent;
  return v->dtype == QN_F64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

static void store(const qn_view *v, int64_t i, double value) {
  if (!v) return;
  if (v->dtype == QN_F64)
    ((double *)v->data)[i] = value;
  else
    ((float *)v->data)[i] = (float)value;
}

static const void *plane(const struct work *s, const qn_view *v, int64_t c) {
  return qni_net_at(v->data, c * s->k.P, s->is64 ? 8 : 4);
}

static void layout(struct work *s, const qn_view *x) {
  s->is64 = qni_net_is64(x);
  s->k = (struct channel){.N = x->shape[0], .P = 1};
  for (int32_t d = 2; d < x->ndim; d++) s->k.P *= x->shape[d];
  s->k.step = s->k.P * x->shape[1];
}

static qn_status forward_channels(void *ctx, int64_t begin, int64_t end) {
  const struct work *s = ctx;
  for (int64_t c = begin; c < end; c++) {
    double mean = load(s->mean, c, 0), var = load(s->var, c, 1);
    if (s->training && s->is64)
      channel_stats_f64(&s->k, plane(s, s->x, c), &mean, &var);
    else if (s->training)
      channel_stats_f32(&s->k, plane(s, s->x, c), &mean, &var);
    double rstd = 1 / sqrt(var + s->eps), w = load(s->w, c, 1), b = load(s->b, c, 0);
    if (s->is64)
      channel_apply_f64(&s->k, plane(s, s->x, c), mean, rstd, w, b,
                        (void *)(uintptr_t)plane(s, s->y, c));
    else
      channel_apply_f32(&s->k, plane(s, s->x, c), mean, rstd, w, b,
                        (void *)(uintptr_t)plane(s, s->y, c));
    store(s->out_mean, c, mean);
    store(s->out_var, c, var);
  }
  return QN_OK;
}

static void channel_gradients(const struct work *s, int64_t c) {
  double n = (double)(s->k.N * s->k.P), w = load(s->w, c, 1), db, dw, dm = load(s->dm, c, 0),
         dv = load(s->dv, c, 0);
  struct slopes t = {.mean = load(s->mean, c, 0), .rstd = 1 / sqrt(load(s->var, c, 1) + s->eps)};
  const void *x = plane(s, s->x, c), *dy = plane(s, s->dy, c);
  if (s->is64)
    channel_sums_f64(&s->k, x, dy, t.mean, t.rstd, &db, &dw);
  else
    channel_sums_f32(&s->k, x, dy, t.mean, t.rstd, &db, &dw);
  store(s->db, c, db);
  store(s->dw, c, dw);
  store(s->d_mean, c, dm - w * t.rstd * db);
  store(s->d_var, c, dv - w * t.rstd * t.rstd * dw / 2);
  t.scale = w * t.rstd;
  if (s->training) t.u = db / n, t.v = dw / n, t.m = dm / n, t.q = 2 * dv / n;
  if (s->y && s->is64)
    channel_back_f64(&s->k, &t, x, dy, (void *)(uintptr_t)plane(s, s->y, c));
  else if (s->y)
    channel_back_f32(&s->k, &t, x, dy, (void *)(uintptr_t)plane(s, s->y, c));
}

static qn_status backward_channels(void *ctx, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; c++) channel_gradients(ctx, c);
  return QN_OK;
}

static qn_status check(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, X);
  if (!h->in(c, MEAN) != !h->in(c, VAR))
    return h->fail(c, QN_E_ARG,
                   "mean and var are given together (evaluation) or not at all (training)");
  if (!h->in(c, MEAN) && qni_net_count(x) / (x->shape[1] ? x->shape[1] : 1) < 1)
    return h->fail(c, QN_E_SHAPE,
                   "the batch is empty: there is no mean to take; give mean and var");
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct work s = {.eps = h->arg_num(c, "eps"),
                   .training = !h->in(c, MEAN),
                   .x = h->in(c, X),
                   .w = h->in(c, W),
                   .b = h->in(c, B),
                   .mean = h->in(c, MEAN),
                   .var = h->in(c, VAR),
                   .y = h->out(c, 0),
                   .out_mean = h->out(c, 1),
                   .out_var = h->out(c, 2)};
  qn_status st = check(h, c);
  if (!st) st = h->save(c, X, s.x);
  if (!st) st = h->save(c, W, s.w);
  if (!st) st = h->save(c, MEAN, s.out_mean);
  if (!st) st = h->save(c, VAR, s.out_var);
  if (st) return st;
  layout(&s, s.x);
  return h->parallel(c, s.x->shape[1], qni_net_grain(s.k.N * s.k.P, 16384), forward_channels, &s);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  struct work s = {.eps = h->arg_num(c, "eps"),
                   .training = !h->has_arg(c, "mean"),
                   .x = h->saved(c, X),
                   .w = h->saved(c, W),
                   .mean = h->saved(c, MEAN),
                   .var = h->saved(c, VAR),
                   .dy = h->in(c, 0),
                   .dm = h->in(c, 1),
                   .dv = h->in(c, 2),
                   .y = h->out(c, X),
                   .dw = h->out(c, W),
                   .db = h->out(c, B),
                   .d_mean = h->out(c, MEAN),
                   .d_var = h->out(c, VAR)};
  layout(&s, s.x);
  return h->parallel(c, s.x->shape[1], qni_net_grain(s.k.N * s.k.P, 16384), backward_channels, &s);
}

static qn_status compose(const qn_host *h, qn_call *c) {
  return qni_batch_norm_compose(h, c, &(qni_batch_norm_slots){.channel = 1, .residual = -1});
}

static const qn_op batch_norm = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_DOMAIN,
    .schema = "batch_norm(x: f[N,C,...], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, var: "
              "f[C]? = nil, *, eps: num{0..} = 1e-5) "
              "-> y: like x, batch_mean: f[C], batch_var: f[C]",
    .summary = "Normalises each channel over batch and space.",
    .doc = "y = w (x - mean) / sqrt(var + eps) + b. Without mean and var those of the batch are "
           "used (training), and returned: the "
           "variance is the biased one. x: [N,C], [N,C,L] or [N,C,H,W]. batch_mean and batch_var "
           "are the ones used.",
    .cite = "Ioffe and Szegedy 2015, algorithm 1",
    .example = "print(quern.batch_norm(quern.tensor{{1, 2}, {3, 4}}))",
    .forward = forward,
    .backward = backward,
    .compose = compose};

/* ---- Running statistics ---- */

static qn_status running(const qn_host *h, qn_call *c) {
  const qn_view *mean = h->in(c, 0), *var = h->in(c, 1);
  const double n = (double)h->arg_int(c, "n"), m = h->arg_num(c, "momentum");
  const double unbiased = n / (n > 1 ? n - 1 : 1);
  for (int64_t k = 0; k < mean->shape[0]; k++) {
    store(mean, k, (1 - m) * load(mean, k, 0) + m * load(h->in(c, 2), k, 0));
    store(var, k, (1 - m) * load(var, k, 0) + m * unbiased * load(h->in(c, 3), k, 0));
  }
  return QN_OK;
}

static const qn_op running_stats = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD,
    .schema = "running_stats_(mean!: f[C], var!: f[C], batch_mean: f[C], batch_var: f[C], *, "
              "n: int{1..}, momentum: num{0..1} = 0.1) -> mean",
    .summary = "Running averages of a batch norm's statistics, in place.",
    .doc = "mean = (1 - momentum) mean + momentum batch_mean, and the same for var with the "
           "unbiased variance n / (n - 1) batch_var of n values a channel (n = 1: as it is).",
    .cite = "Ioffe and Szegedy 2015, algorithm 2",
    .example = "print(quern.running_stats_(quern.zeros(2), quern.ones(2), quern.ones(2), "
               "quern.ones(2), {n = 8}))",
    .forward = running};

const qn_op *const qni_ops_batch_norm[] = {&batch_norm, &running_stats, NULL};
