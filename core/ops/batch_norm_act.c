/*
** batch_norm_act: batch normalisation with channels last, the sum with a residual and relu in
** the same passes (Ioffe and Szegedy 2015; residual form: He et al. 2015).
**
**   y = act(w (x - mean) rstd + b + residual),  rstd = 1 / sqrt(var + eps)
**   g = dy act'(y):  dresidual = g,  dw = sum g xhat,  db = sum g
**   training:    dx = w rstd (g - mean(g) - xhat mean(g xhat)) + dm / n + 2 dv (x - mean) / n
**   evaluation:  dx = w rstd g,  dmean = dm - w rstd sum g,  dvar = dv - w rstd^2 sum g xhat / 2
**
** dm and dv are gradients of the second and third output. Forward reads x twice (statistics,
** result), backward x and dy twice (sums, result); nothing between is stored.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <stdbool.h>

#include "kernels/batch_norm.h"
#include "ops/batch_norm_compose.h"
#include "ops/network.h"

enum { X = QNI_BN_X, W, B, MEAN, VAR, RESIDUAL };

struct norm {
  const qn_host *h;
  qn_call *c;
  bool is64, training;
  int64_t C, chunks;
  double eps;
  const qn_view *w, *b;
  const double *mean, *var; /* in use, [C] */
  qni_batch_norm_job job;
};

/* ---- Channels' numbers ---- */

static double load(const qn_view *v, int64_t i, double absent) {
  if (!v) return absent;
  return v->dtype == QN_F64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

static void store(bool is64, void *to, int64_t i, double value) {
  if (is64)
    ((double *)to)[i] = value;
  else
    ((float *)to)[i] = (float)value;
}

static void store_in(const qn_view *v, int64_t i, double value) {
  if (v) store(v->dtype == QN_F64, v->data, i, value);
}

static qn_status channel_memory(struct norm *s, int32_t n, void **vectors) {
  void *memory;
  const int64_t bytes = s->C * (s->is64 ? 8 : 4);
  qn_status st = s->h->scratch(s->c, n * bytes, &memory);
  for (int32_t i = 0; !st && i < n; i++) vectors[i] = (char *)memory + i * bytes;
  return st;
}

static qn_status set_up(struct norm *s, const qn_view *x) {
  s->is64 = qni_net_is64(x);
  s->C = qni_net_cols(x);
  s->eps = s->h->arg_num(s->c, "eps");
  s->job = (qni_batch_norm_job){
      .rows = qni_net_rows(x), .cols = s->C, .relu = s->h->arg_int(s->c, "act") == 1, .x = x->data};
  s->job.chunk = qni_net_grain(s->C, QNI_BATCH_NORM_CHUNK);
  s->chunks = (s->job.rows + s->job.chunk - 1) / s->job.chunk;
  void *partial;
  qn_status st = s->h->scratch(s->c, 2 * s->chunks * s->C * (int64_t)sizeof(double), &partial);
  s->job.first = partial;
  s->job.second = s->job.first + s->chunks * s->C;
  return st;
}

/* y = scale x + shift: scale = w rstd, shift = b - mean scale. */
static qn_status affine(struct norm *s) {
  void *v[3] = {0};
  qn_status st = channel_memory(s, 3, v);
  for (int64_t c = 0; !st && c < s->C; c++) {
    const double scale = load(s->w, c, 1) / sqrt(s->var[c] + s->eps);
    store(s->is64, v[0], c, scale);
    store(s->is64, v[1], c, load(s->b, c, 0) - s->mean[c] * scale);
    store(s->is64, v[2], c, s->mean[c]);
  }
  s->job.scale = v[0], s->job.shift = v[1], s->job.mean = v[2];
  return st;
}

/* The chunks' (mean, square) joined in their order (Chan et al. 1979): mean and biased var. */
static void join_stats(const struct norm *s, double *mean, double *var) {
  for (int64_t c = 0; c < s->C; c++) mean[c] = var[c] = 0;
  for (int64_t i = 0; i < s->chunks; i++) {
    const double before = (double)(i * s->job.chunk), left = (double)s->job.rows - before,
                 n = left < (double)s->job.chunk ? left : (double)s->job.chunk,
                 share = n / (before + n);
    const double *m = s->job.first + i * s->C, *q = s->job.second + i * s->C;
    for (int64_t c = 0; c < s->C; c++) {
      const double off = m[c] - mean[c];
      mean[c] += off * share;
      var[c] += q[c] + off * off * before * share;
    }
  }
  for (int64_t c = 0; c < s->C; c++) var[c] /= (double)s->job.rows;
}

/* ---- Forward ---- */

static qn_status statistics(struct norm *s, const qn_view *mean, const qn_view *var) {
  void *memory;
  qn_status st = s->h->scratch(s->c, 2 * s->C * (int64_t)sizeof(double), &memory);
  if (st) return st;
  double *m = memory, *v = m + s->C;
  s->mean = m, s->var = v;
  for (int64_t c = 0; mean && c < s->C; c++) m[c] = load(mean, c, 0), v[c] = load(var, c, 1);
  if (mean) return QN_OK;
  st = s->h->parallel(s->c, s->chunks, 1, qni_batch_norm()->stats[s->is64], &s->job);
  if (!st) join_stats(s, m, v);
  return st;
}

static qn_status check(const qn_host *h, qn_call *c) {
  if (!h->in(c, MEAN) != !h->in(c, VAR))
    return h->fail(c, QN_E_ARG,
                   "mean and var are given together (evaluation) or not at all (training)");
  if (!h->in(c, MEAN) && qni_net_rows(h->in(c, X)) < 1)
    return h->fail(c, QN_E_SHAPE,
                   "the batch is empty: there is no mean to take; give mean and var");
  return QN_OK;
}

static qn_status keep(const qn_host *h, qn_call *c, bool by_y) {
  const qn_view *views[] = {h->in(c, X), h->in(c, W), h->in(c, B), h->out(c, 1), h->out(c, 2)};
  qn_status st = by_y ? h->save(c, RESIDUAL, h->out(c, 0)) : QN_OK;
  for (int32_t i = 0; !st && i < 5; i++) st = h->save(c, i, views[i]);
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, X), *residual = h->in(c, RESIDUAL);
  struct norm s = {.h = h, .c = c, .training = !h->in(c, MEAN), .w = h->in(c, W), .b = h->in(c, B)};
  qn_status st = check(h, c);
  if (!st) st = keep(h, c, h->arg_int(c, "act") == 1);
  if (!st) st = set_up(&s, x);
  if (!st) st = statistics(&s, h->in(c, MEAN), h->in(c, VAR));
  if (!st) st = affine(&s);
  if (st) return st;
  s.job.residual = residual ? residual->data : NULL;
  s.job.y = h->out(c, 0)->data;
  for (int64_t i = 0; i < s.C; i++) {
    store_in(h->out(c, 1), i, s.mean[i]);
    store_in(h->out(c, 2), i, s.var[i]);
  }
  if (!s.C) return QN_OK;
  return h->parallel(c, s.chunks, 1, qni_batch_norm()->apply[s.is64], &s.job);
}

/* ---- Backward ---- */

/* Sums over all rows of g and of g (x - mean), in the chunks' order, into those of chunk 0. */
static void join_sums(const struct norm *s) {
  for (int64_t i = 1; i < s->chunks; i++)
    for (int64_t c = 0; c < s->C; c++) {
      s->job.first[c] += s->job.first[i * s->C + c];
      s->job.second[c] += s->job.second[i * s->C + c];
    }
}

/* Gradients of w, b, mean and var, and the constants of dx = a (g - u) + q (x - mean) + m. */
static qn_status slopes(struct norm *s, const qn_view *dm, const qn_view *dv) {
  void *v[4] = {0};
  const qn_host *h = s->h;
  const double n = (double)s->job.rows;
  qn_status st = channel_memory(s, 4, v);
  qn_view *dw = h->out(s->c, W), *db = h->out(s->c, B), *d_mean = h->out(s->c, MEAN),
          *d_var = h->out(s->c, VAR);
  for (int64_t c = 0; !st && c < s->C; c++) {
    const double rstd = 1 / sqrt(s->var[c] + s->eps), a = load(s->w, c, 1) * rstd;
    const double sum = s->chunks ? s->job.first[c] : 0,
                 with_hat = s->chunks ? s->job.second[c] * rstd : 0;
    store_in(dw, c, with_hat);
    store_in(db, c, sum);
    store_in(d_mean, c, load(dm, c, 0) - a * sum);
    store_in(d_var, c, load(dv, c, 0) - a * rstd * with_hat / 2);
    store(s->is64, v[0], c, a);
    store(s->is64, v[1], c, s->training ? sum / n : 0);
    store(s->is64, v[2], c, s->training ? (2 * load(dv, c, 0) - a * rstd * with_hat) / n : 0);
    store(s->is64, v[3], c, s->training ? load(dm, c, 0) / n : 0);
  }
  s->job.a = v[0], s->job.u = v[1], s->job.q = v[2], s->job.m = v[3];
  return st;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->saved(c, X), *y = h->saved(c, RESIDUAL), *dy = h->in(c, 0);
  qn_view *dx = h->out(c, X), *dr = h->out(c, RESIDUAL);
  struct norm s = {
      .h = h, .c = c, .training = !h->has_arg(c, "mean"), .w = h->saved(c, W), .b = h->saved(c, B)};
  qn_status st = set_up(&s, x);
  if (!st) st = statistics(&s, h->saved(c, MEAN), h->saved(c, VAR));
  if (!st) st = affine(&s);
  if (st) return st;
  s.job.dy = dy->data;
  s.job.y = y && h->like(c, RESIDUAL) ? y->data : NULL;
  s.job.g = dr ? dr->data : NULL;
  s.job.dx = dx ? dx->data : NULL;
  if (s.C) st = h->parallel(c, s.chunks, 1, qni_batch_norm()->sums[s.is64], &s.job);
  if (st) return st;
  join_sums(&s);
  st = slopes(&s, h->in(c, 1), h->in(c, 2));
  if (st || !dx || !s.C) return st;
  return h->parallel(c, s.chunks, 1, qni_batch_norm()->back[s.is64], &s.job);
}

static qn_status compose(const qn_host *h, qn_call *c) {
  const qni_batch_norm_slots s = {.channel = h->like(c, X)->ndim - 1,
                                  .relu = h->arg_int(c, "act") == 1,
                                  .residual = h->like(c, RESIDUAL) ? RESIDUAL : -1};
  return qni_batch_norm_compose(h, c, &s);
}

/* relu has a corner where what it is given is zero. */
static qn_status kink(const qn_host *h, qn_call *c) {
  if (h->arg_int(c, "act") != 1) return QN_OK;
  const qn_view *x = h->in(c, X), *residual = h->in(c, RESIDUAL);
  struct norm s = {.h = h, .c = c, .w = h->in(c, W), .b = h->in(c, B)};
  qn_status st = check(h, c);
  if (!st) st = set_up(&s, x);
  if (!st) st = statistics(&s, h->in(c, MEAN), h->in(c, VAR));
  if (!st) st = affine(&s);
  for (int64_t i = 0; !st && i < s.job.rows * s.C; i++) {
    const int64_t k = i % s.C;
    const double rstd = 1 / sqrt(s.var[k] + s.eps);
    const double z = load(s.w, k, 1) * (load(x, i, 0) - s.mean[k]) * rstd + load(s.b, k, 0) +
                     load(residual, i, 0);
    if (fabs(z) < 1e-3) return QN_E_NUMERIC;
  }
  return st;
}

static const qn_op batch_norm_act = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_DOMAIN,
    .schema = "batch_norm_act(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, "
              "var: f[C]? = nil, residual: like x? = nil, *, eps: num{0..} = 1e-5, act: "
              "enum{none|relu} = none) -> y: like x, batch_mean: f[C], batch_var: f[C]",
    .summary = "Batch normalisation with channels last, a residual and relu in the same passes.",
    .doc =
        "y = act(w (x - mean) / sqrt(var + eps) + b + residual). x: [N,C], [N,L,C] or [N,H,W,C]; "
        "each channel is normalised over all else. Without mean and var those of the batch are "
        "used (training), and returned: the variance is the biased one. batch_norm is the same "
        "for channels in the second place.",
    .cite = "Ioffe and Szegedy 2015, algorithm 1; He et al. 2015, equation 1",
    .example = "print(quern.batch_norm_act(quern.tensor{{1, 2}, {3, 4}}, {act = \"relu\"}))",
    .forward = forward,
    .backward = backward,
    .compose = compose,
    .kink = kink};

extern const qn_op *const qni_ops_batch_norm_act[];
const qn_op *const qni_ops_batch_norm_act[] = {&batch_norm_act, NULL};
