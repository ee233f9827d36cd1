/*
** cross_entropy and nll: losses of class scores against labels.
**
**   l_n = lse(x_n) - (1 - s) x_n,t - s mean(x_n)      dx = r_n (softmax(x_n) - q_n)
**   nll: l_n = -x_n,t                                 dx = -r_n at t
**   q_n,c = (1 - s) [c = t_n] + s / C, r_n = d loss / d l_n (loss_reduce.h)
**
** spread_labels is r q as an op, so that the gradient itself can be differentiated.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/loss.h"
#include "loss_reduce.h"
#include "network.h"

enum {
  SAVED_X,
  SAVED_TARGET,
  SAVED_SKIP,
  SAVED_LSE,
  SAVED_LOSS,
  SAVED_FACTOR,
  SAVED_W,
  WORK = 4096
};

static const uint8_t *skip_saved(const qn_host *h, qn_call *c) {
  const qn_view *v = h->saved(c, SAVED_SKIP);
  return v ? v->data : NULL;
}

/* What both losses keep beside their rows. */
static qn_status keep_common(const qn_host *h, qn_call *c, const qni_loss_rows *r, const void *loss,
                             int32_t dtype) {
  qn_view *v;
  qn_status st = h->save(c, SAVED_X, h->in(c, 0));
  if (!st) st = h->save(c, SAVED_TARGET, h->in(c, 1));
  if (!st && r->w) st = h->save(c, SAVED_W, r->w);
  if (!st && h->needs_grad(c, 0)) {
    if (!(st = h->save_new(c, SAVED_FACTOR, dtype, 1, &r->n, &v)))
      qni_loss_factors(r, dtype, v->data);
  }
  if (!st && h->needs_grad(c, 2)) {
    if (!(st = h->save_new(c, SAVED_LOSS, dtype, 1, &r->n, &v)) && r->n > 0)
      memcpy(v->data, loss, (size_t)(r->n * (dtype == QN_F64 ? 8 : 4)));
  }
  return st;
}

static qni_loss_rows rows_of(const qn_host *h, qn_call *c, int64_t n, const qn_view *w,
                             const uint8_t *skip) {
  return (qni_loss_rows){
      .n = n, .reduction = (int32_t)h->arg_int(c, "reduction"), .w = w, .skip = skip};
}

static qn_status class_losses(const qn_host *h, qn_call *c, const uint8_t *skip, void *loss) {
  const qn_view *x = h->in(c, 0);
  qn_view *lse;
  qn_status st = h->save_new(c, SAVED_LSE, x->dtype, 1, x->shape, &lse);
  if (st) return st;
  qni_class_job j = {.math = qni_net_math(h),
                     .cols = x->shape[1],
                     .smoothing = h->arg_num(c, "label_smoothing"),
                     .x = x->data,
                     .target = h->in(c, 1)->data,
                     .skip = skip,
                     .loss = loss,
                     .lse = lse->data};
  return h->parallel(c, x->shape[0], qni_net_grain(j.cols, WORK),
                     qni_loss()->class_forward[qni_net_is64(x)], &j);
}

static void picked_losses(const qn_view *x, const int64_t *target, const uint8_t *skip,
                          void *loss) {
  for (int64_t r = 0; r < x->shape[0]; r++) {
    const int64_t at = skip && skip[r] ? -1 : r * x->shape[1] + target[r];
    if (qni_net_is64(x))
      ((double *)loss)[r] = at < 0 ? 0 : -((const double *)x->data)[at];
    else
      ((float *)loss)[r] = at < 0 ? 0 : -((const float *)x->data)[at];
  }
}

static qn_status forward(const qn_host *h, qn_call *c, int of_logits) {
  const qn_view *x = h->in(c, 0), *target = h->in(c, 1);
  const uint8_t *skip;
  void *loss;
  qn_status st = qni_loss_skip(h, c, target, SAVED_SKIP, &skip);
  if (!st) st = qni_loss_check_labels(h, c, "target", target, x->shape[1], skip);
  if (!st) st = h->scratch(c, x->shape[0] * qni_net_size(x), &loss);
  if (!st && of_logits) st = class_losses(h, c, skip, loss);
  if (st) return st;
  if (!of_logits) picked_losses(x, target->data, skip, loss);
  const qni_loss_rows r = rows_of(h, c, x->shape[0], h->in(c, 2), skip);
  qni_loss_reduce(&r, x->dtype, loss, h->out(c, 0));
  return keep_common(h, c, &r, loss, x->dtype);
}

static void weight_grad(const qn_host *h, qn_call *c) {
  qn_view *dw = h->out(c, 2);
  if (!dw) return;
  const qni_loss_rows r = rows_of(h, c, dw->shape[0], h->saved(c, SAVED_W), skip_saved(h, c));
  qni_loss_weight_grad(&r, h->saved(c, SAVED_LOSS)->data, h->in(c, 0), dw);
}

/* r_n in new memory */
static qn_status row_factors(const qn_host *h, qn_call *c, void **coef) {
  const qn_view *factor = h->saved(c, SAVED_FACTOR);
  const int64_t bytes = factor->shape[0] * qni_net_size(factor);
  qn_status st = h->scratch(c, bytes, coef);
  if (st) return st;
  if (bytes > 0) memcpy(*coef, factor->data, (size_t)bytes);
  const qni_loss_rows r = rows_of(h, c, factor->shape[0], NULL, NULL);
  qni_loss_flow(&r, h->in(c, 0), factor->dtype, *coef);
  return QN_OK;
}

static qn_status cross_entropy_backward(const qn_host *h, qn_call *c) {
  weight_grad(h, c);
  qn_view *dx = h->out(c, 0);
  void *coef;
  qn_status st = dx ? row_factors(h, c, &coef) : QN_OK;
  if (st || !dx) return st;
  const qn_view *x = h->saved(c, SAVED_X);
  qni_class_job j = {.math = qni_net_math(h),
                     .cols = x->shape[1],
                     .smoothing = h->arg_num(c, "label_smoothing"),
                     .x = x->data,
                     .target = h->saved(c, SAVED_TARGET)->data,
                     .skip = skip_saved(h, c),
                     .lse = h->saved(c, SAVED_LSE)->data,
                     .coef = coef,
                     .dx = dx->data};
  return h->parallel(c, x->shape[0], qni_net_grain(j.cols, WORK),
                     qni_loss()->class_backward[qni_net_is64(x)], &j);
}

static qn_status nll_backward(const qn_host *h, qn_call *c) {
  weight_grad(h, c);
  qn_view *dx = h->out(c, 0);
  void *coef;
  qn_status st = dx ? row_factors(h, c, &coef) : QN_OK;
  if (st || !dx) return st;
  const int64_t *target = h->saved(c, SAVED_TARGET)->data, C = dx->shape[1];
  const uint8_t *skip = skip_saved(h, c);
  qni_net_fill_zero(dx);
  for (int64_t r = 0; r < dx->shape[0]; r++) {
    if (skip && skip[r]) continue;
    if (qni_net_is64(dx))
      ((double *)dx->data)[r * C + target[r]] = -((const double *)coef)[r];
    else
      ((float *)dx->data)[r * C + target[r]] = -((const float *)coef)[r];
  }
  return QN_OK;
}

static qn_status cross_entropy_forward(const qn_host *h, qn_call *c) { return forward(h, c, 1); }
static qn_status nll_forward(const qn_host *h, qn_call *c) { return forward(h, c, 0); }

/* ---- Second order ---- */

static qn_tensor *spread(qni_build *b, qn_tensor *r, int64_t classes, double smoothing) {
  return qni_build_op(
      b, "spread_labels", 4,
      (qn_arg[]){qni_arg_tensor(r), qni_arg_tensor(qni_build_saved(b, SAVED_TARGET)),
                 qni_arg_int("classes", classes), qni_arg_named("smoothing", smoothing)});
}

static qn_status compose(const qn_host *h, qn_call *c, int of_logits) {
  if (h->like(c, 2) && h->needs_grad(c, 2))
    return h->fail(c, QN_E_UNSUPPORTED, "weights that carry a gradient have no second order");
  const qn_view *x = h->like(c, 0);
  qni_build b = qni_build_start(h, c);
  qn_tensor *r = qni_build_op2(&b, "mul", qni_build_saved(&b, SAVED_FACTOR), qni_build_flow(&b));
  qn_tensor *q = spread(&b, r, x->shape[1], of_logits ? h->arg_num(c, "label_smoothing") : 0);
  if (of_logits) {
    qn_tensor *p = qni_build_op1(&b, "softmax", qni_build_saved(&b, SAVED_X));
    r = qni_build_op(
        &b, "reshape", 2,
        (qn_arg[]){qni_arg_tensor(r), qni_arg_ints("shape", 2, (int64_t[]){x->shape[0], 1})});
    qni_build_set(&b, 0, qni_build_op2(&b, "sub", qni_build_op2(&b, "mul", p, r), q));
  } else {
    qni_build_set(&b, 0, qni_build_op1(&b, "neg", q));
  }
  return b.status;
}

static qn_status cross_entropy_compose(const qn_host *h, qn_call *c) { return compose(h, c, 1); }
static qn_status nll_compose(const qn_host *h, qn_call *c) { return compose(h, c, 0); }

static double get(const qn_view *v, int64_t i) {
  return qni_net_is64(v) ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

static void put(qn_view *v, int64_t i, double x) {
  if (qni_net_is64(v))
    ((double *)v->data)[i] = x;
  else
    ((float *)v->data)[i] = (float)x;
}

static qn_status spread_forward(const qn_host *h, qn_call *c) {
  const qn_view *r = h->in(c, 0), *target = h->in(c, 1);
  qn_view *q = h->out(c, 0);
  const int64_t C = q->shape[1], *t = target->data;
  const double s = h->arg_num(c, "smoothing");
  for (int64_t n = 0; n < q->shape[0]; n++) {
    const double v = get(r, n);
    for (int64_t k = 0; k < C; k++) put(q, n * C + k, v * s / (double)C);
    if (v != 0 && (t[n] < 0 || t[n] >= C))
      return qni_loss_check_labels(h, c, "target", target, C, NULL);
    if (v != 0) put(q, n * C + t[n], v * (1 - s) + v * s / (double)C);
  }
  return h->save(c, 0, target);
}

static qn_status spread_backward(const qn_host *h, qn_call *c) {
  const qn_view *dq = h->in(c, 0);
  qn_view *dr = h->out(c, 0);
  if (!dr) return QN_OK;
  const int64_t C = dq->shape[1], *t = h->saved(c, 0)->data;
  const double s = h->arg_num(c, "smoothing");
  for (int64_t n = 0; n < dq->shape[0]; n++) {
    double sum = 0;
    for (int64_t k = 0; k < C && s > 0; k++) sum += get(dq, n * C + k);
    const double own = t[n] >= 0 && t[n] < C ? get(dq, n * C + t[n]) : 0;
    put(dr, n, (1 - s) * own + s * sum / (double)C);
  }
  return QN_OK;
}

/* maximum, difference, exponential, sum */
static int64_t flops(const qn_host *h, qn_call *c) { return 4 * qni_net_count(h->like(c, 0)); }

QNI_OP(cross_entropy_op, QN_BATCH_SUM,
       "cross_entropy(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: "
       "int? = nil, "
       "label_smoothing: num{0..1} = 0, reduction: enum{mean|sum|none} = mean) -> l: f[?]",
       "Cross-entropy of class scores (logits) against labels.",
       "l_n = lse(x_n) - (1 - s) x_n,t - s mean(x_n), s = label_smoothing; dx = r_n (softmax(x_n) "
       "- q_n).\n"
       "mean divides by the sum of the weights (of rows) that count; it is 0 when none does. Rows "
       "whose label is\n"
       "ignore_index do not count. A label outside 0 .. C-1 is an error that names its position.",
       "print(quern.cross_entropy(quern.tensor{{1,2,3}}, quern.tensor({2}, 'i64')))",
       .cite = "label smoothing: Szegedy et al. 2016, section 7", .flags = QN_OP_NAN_STOPS,
       .infer = qni_loss_infer_rows, .forward = cross_entropy_forward, .backward = cross_entropy_backward,
       .compose = cross_entropy_compose, .flops = flops);

QNI_OP(
    nll_op, QN_BATCH_SUM,
    "nll(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: int? = nil, "
    "reduction: enum{mean|sum|none} = mean) -> l: f[?]",
    "Negative log-likelihood of labels under given log-probabilities.",
    "l_n = -x_n,t; dx = -r_n at t, 0 elsewhere. Reductions and ignore_index as in cross_entropy.",
    "print(quern.nll(quern.log_softmax(quern.tensor{{1,2,3}}), quern.tensor({2}, 'i64')))",
    .flags = QN_OP_NAN_STOPS, .infer = qni_loss_infer_rows, .forward = nll_forward,
    .backward = nll_backward, .compose = nll_compose);

QNI_OP(spread_labels_op, QN_BATCH_ROWS,
       "spread_labels(r: f[N], target: i64[N]{0..classes-1}, *, classes: int{1..}, smoothing: "
       "num{0..1} = 0)"
       " -> q: f[N,classes]",
       "Rows of smoothed one-hot labels times a number each.",
       "q_n,c = r_n ((1 - s) [c = t_n] + s / C); dr_n = (1 - s) dq_n,t + s mean(dq_n).\n"
       "Rows with r_n = 0 may have any label.",
       "print(quern.spread_labels(quern.tensor{1,1}, quern.tensor({0,2}, 'i64'), {classes = 3}))",
       .forward = spread_forward, .backward = spread_backward);

extern const qn_op *const qni_ops_loss[];
const qn_op *const qni_ops_loss[] = {&cross_entropy_op, &nll_op, &spread_labels_op, NULL};
