/*
** Losses of elements: mse, l1, smooth_l1, bce_with_logits, bpr (formulas in kernels/loss.h).
**
** Sums are taken by chunk of elements, then over the chunks in order, in double
** precision. The mean divides by the number of elements, weights or not.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/loss.h"
#include "loss_reduce.h"
#include "network.h"

enum { SAVED_X, SAVED_T, SAVED_W };

static double scale_of(const qn_host *h, qn_call *c, int64_t n) {
  return h->arg_int(c, "reduction") == QNI_REDUCE_MEAN ? 1 / (double)(n > 0 ? n : 1) : 1;
}

static qni_loss_job job_of(const qn_host *h, qn_call *c, int32_t kind, const qn_view *x,
                           const qn_view *t, const qn_view *w) {
  return (qni_loss_job){.math = qni_net_math(h),
                        .kind = kind,
                        .n = qni_net_count(x),
                        .x = x->data,
                        .t = t->data,
                        .w = w ? w->data : NULL,
                        .beta = kind == QNI_LOSS_SMOOTH ? h->arg_num(c, "beta") : 0};
}

static qn_status keep(const qn_host *h, qn_call *c, const qn_view *w) {
  qn_status st = h->save(c, SAVED_X, h->in(c, 0));
  if (!st) st = h->save(c, SAVED_T, h->in(c, 1));
  return !st && w ? h->save(c, SAVED_W, w) : st;
}

static int weighted(int32_t kind) { return kind == QNI_LOSS_LOGISTIC || kind == QNI_LOSS_PAIR; }

static qn_status forward(const qn_host *h, qn_call *c, int32_t kind) {
  const qn_view *x = h->in(c, 0), *w = weighted(kind) ? h->in(c, 2) : NULL;
  qn_view *y = h->out(c, 0);
  qni_loss_job j = job_of(h, c, kind, x, h->in(c, 1), w);
  const int64_t chunks = (j.n + QNI_LOSS_CHUNK - 1) / QNI_LOSS_CHUNK;
  const int none = h->arg_int(c, "reduction") == QNI_REDUCE_NONE;
  void *sums;
  qn_status st = h->scratch(c, chunks * 8, &sums);
  if (st) return st;
  if (none)
    j.out = y->data;
  else
    j.sums = sums;
  if ((st = h->parallel(c, chunks, 1, qni_loss()->forward[qni_net_is64(x)], &j))) return st;
  double sum = 0;
  for (int64_t i = 0; i < chunks && !none; i++) sum += j.sums[i];
  if (!none) qni_net_set_scalar(y, sum * scale_of(h, c, j.n));
  return keep(h, c, w);
}

static qn_status backward(const qn_host *h, qn_call *c, int32_t kind) {
  const qn_view *x = h->saved(c, SAVED_X), *dy = h->in(c, 0);
  qn_view *dx = h->out(c, 0), *dt = h->out(c, 1), *dw = weighted(kind) ? h->out(c, 2) : NULL;
  qni_loss_job j = job_of(h, c, kind, x, h->saved(c, SAVED_T), h->saved(c, SAVED_W));
  const int none = h->arg_int(c, "reduction") == QNI_REDUCE_NONE;
  j.scale = none ? 1 : scale_of(h, c, j.n) * qni_net_scalar(dy);
  j.dy = none ? dy->data : NULL;
  j.dx = dx ? dx->data : NULL;
  j.dt = dt ? dt->data : NULL;
  j.dw = dw ? dw->data : NULL;
  return h->parallel(c, (j.n + QNI_LOSS_CHUNK - 1) / QNI_LOSS_CHUNK, 1,
                     qni_loss()->backward[qni_net_is64(x)], &j);
}

/* ---- Second order ---- */

/* The flow times weights and 1 / n. */
static qn_tensor *flow(qni_build *b, int64_t n) {
  const qn_host *h = b->h;
  qn_tensor *g = qni_build_num(b, "mul", qni_build_flow(b), scale_of(h, b->c, n));
  const int has = h->has_arg(b->c, "weights");
  return has ? qni_build_op2(b, "mul", g, qni_build_saved(b, SAVED_W)) : g;
}

static qn_status no_weight_grad(const qn_host *h, qn_call *c) {
  if (!h->has_arg(c, "weights") || !h->needs_grad(c, 2)) return QN_OK;
  return h->fail(c, QN_E_UNSUPPORTED, "weights that carry a gradient have no second order");
}

static qn_status mse_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *d =
      qni_build_op2(&b, "sub", qni_build_saved(&b, SAVED_X), qni_build_saved(&b, SAVED_T));
  qn_tensor *g = qni_build_num(&b, "mul", flow(&b, qni_net_count(h->like(c, 0))), 2);
  qn_tensor *dx = qni_build_op2(&b, "mul", d, g);
  qni_build_set(&b, 0, dx);
  if (h->needs_grad(c, 1)) qni_build_set(&b, 1, qni_build_op1(&b, "neg", dx));
  return b.status;
}

static qn_status bce_compose(const qn_host *h, qn_call *c) {
  qn_status st = no_weight_grad(h, c);
  if (st) return st;
  qni_build b = qni_build_start(h, c);
  qn_tensor *x = qni_build_saved(&b, SAVED_X), *g = flow(&b, qni_net_count(h->like(c, 0)));
  qn_tensor *slope =
      qni_build_op2(&b, "sub", qni_build_op1(&b, "sigmoid", x), qni_build_saved(&b, SAVED_T));
  qni_build_set(&b, 0, qni_build_op2(&b, "mul", slope, g));
  if (h->needs_grad(c, 1))
    qni_build_set(&b, 1, qni_build_op1(&b, "neg", qni_build_op2(&b, "mul", x, g)));
  return b.status;
}

/* d = pos - neg: the slope is sigmoid(d) - 1 */
static qn_status bpr_compose(const qn_host *h, qn_call *c) {
  qn_status st = no_weight_grad(h, c);
  if (st) return st;
  qni_build b = qni_build_start(h, c);
  qn_tensor *d =
      qni_build_op2(&b, "sub", qni_build_saved(&b, SAVED_X), qni_build_saved(&b, SAVED_T));
  qn_tensor *slope = qni_build_num(&b, "add", qni_build_op1(&b, "sigmoid", d), -1);
  qn_tensor *dp = qni_build_op2(&b, "mul", slope, flow(&b, qni_net_count(h->like(c, 0))));
  qni_build_set(&b, 0, dp);
  if (h->needs_grad(c, 1)) qni_build_set(&b, 1, qni_build_op1(&b, "neg", dp));
  return b.status;
}

/* ---- Corners ---- */

static qn_status corner(const qn_host *h, qn_call *c, double at) {
  const qn_view *x = h->in(c, 0), *t = h->in(c, 1);
  for (int64_t i = 0, n = qni_net_count(x); i < n; i++) {
    const double d =
        qni_net_is64(x) ? ((const double *)x->data)[i] - ((const double *)t->data)[i]
                        : (double)((const float *)x->data)[i] - (double)((const float *)t->data)[i];
    const double off = (d < 0 ? -d : d) - at;
    if (off < 1e-3 && off > -1e-3) return QN_E_NUMERIC;
  }
  return QN_OK;
}

static qn_status l1_kink(const qn_host *h, qn_call *c) { return corner(h, c, 0); }

#define FORMS(name, kind)                                                                          \
  static qn_status name##_forward(const qn_host *h, qn_call *c) { return forward(h, c, kind); }    \
  static qn_status name##_backward(const qn_host *h, qn_call *c) { return backward(h, c, kind); }
FORMS(mse, QNI_LOSS_SQUARE)
FORMS(l1, QNI_LOSS_ABSOLUTE)
FORMS(smooth, QNI_LOSS_SMOOTH)
FORMS(bce, QNI_LOSS_LOGISTIC)
FORMS(bpr, QNI_LOSS_PAIR)

#define REDUCTION "reduction: enum{mean|sum|none} = mean) -> l: f[?]"

QNI_OP(mse_op, QN_BATCH_SUM, "mse(x: f[...], t: f[...], *, " REDUCTION, "Squared error.",
       "l = (x - t)^2; dx = 2 (x - t) dl, dt = -dx. mean divides by the number of elements.",
       "print(quern.mse(quern.tensor{1,2}, quern.tensor{1,4}))", .infer = qni_loss_infer_like,
       .forward = mse_forward, .backward = mse_backward, .compose = mse_compose);

QNI_OP(l1_op, QN_BATCH_SUM, "l1(x: f[...], t: f[...], *, " REDUCTION, "Absolute error.",
       "l = |x - t|; dx = sign(x - t) dl, 0 where x = t; dt = -dx.",
       "print(quern.l1(quern.tensor{1,2}, quern.tensor{1,4}))", .infer = qni_loss_infer_like,
       .forward = l1_forward, .backward = l1_backward, .kink = l1_kink);

QNI_OP(smooth_l1_op, QN_BATCH_SUM,
       "smooth_l1(x: f[...], t: f[...], *, beta: num{0..} = 1, " REDUCTION,
       "Error that is squared near 0 and absolute beyond beta.",
       "d = x - t; l = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2; dx = d / beta or "
       "sign(d), times dl.",
       "print(quern.smooth_l1(quern.tensor{1,2}, quern.tensor{1,4}))",
       .cite = "Girshick 2015, eq. 3", .infer = qni_loss_infer_like, .forward = smooth_forward,
       .backward = smooth_backward);

QNI_OP(bce_op, QN_BATCH_SUM,
       "bce_with_logits(x: f[...], t: f[...], weights: f[...]? = nil, *, " REDUCTION,
       "Binary cross-entropy of scores (logits) against probabilities.",
       "l = max(x, 0) - x t + log(1 + exp(-|x|)), times its weight; dx = (sigmoid(x) - t) dl, dt = "
       "-x dl.\n"
       "mean divides by the number of elements, weights or not.",
       "print(quern.bce_with_logits(quern.tensor{0,2}, quern.tensor{1,1}))",
       .infer = qni_loss_infer_like, .forward = bce_forward, .backward = bce_backward,
       .compose = bce_compose);

QNI_OP(bpr_op, QN_BATCH_SUM, "bpr(pos: f[...], neg: f[...], weights: f[...]? = nil, *, " REDUCTION,
       "Bayesian personalised ranking: the positive's score above the negative's.",
       "l = -log sigmoid(pos - neg), times its weight; dpos = (sigmoid(pos - neg) - 1) dl, dneg = "
       "-dpos.\n"
       "mean divides by the number of elements, weights or not.",
       "print(quern.bpr(quern.tensor{2,1}, quern.tensor{1,1}))",
       .cite = "Rendle et al. 2009, section 4.1", .infer = qni_loss_infer_like,
       .forward = bpr_forward, .backward = bpr_backward, .compose = bpr_compose);

extern const qn_op *const qni_ops_loss_pointwise[];
const qn_op *const qni_ops_loss_pointwise[] = {&mse_op, &l1_op,  &smooth_l1_op,
                                               &bce_op, &bpr_op, NULL};
