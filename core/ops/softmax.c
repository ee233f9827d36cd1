/*
** softmax, log_softmax, masked_softmax (formulas in kernels/softmax.h).
**
** All keep their output alone: both gradients are functions of it.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/softmax.h"
#include "network.h"

enum { WORK = 4096 }; /* elements in a chunk */

static qn_status run(const qn_host *h, qn_call *c, const qn_view *v, qn_range_fn fn,
                     qni_softmax_job *j) {
  qni_net_axis a;
  qn_status st = qni_net_axis_of(h, c, v, h->has_arg(c, "dim") ? h->arg_int(c, "dim") : -1, &a);
  if (st) return st;
  j->math = qni_net_math(h);
  j->cols = a.size;
  j->inner = a.inner;
  if (a.size == 0 || a.inner == 0) return QN_OK;
  const int64_t blocks = a.inner == 1 ? 1 : (a.inner + QNI_SOFTMAX_BLOCK - 1) / QNI_SOFTMAX_BLOCK;
  const int64_t item = a.size * (a.inner == 1 ? 1 : QNI_SOFTMAX_BLOCK);
  return h->parallel(c, a.outer * blocks, qni_net_grain(item, WORK), fn, j);
}

static qn_status plain_forward(const qn_host *h, qn_call *c, int log) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qni_softmax_job j = {.x = x->data, .out = y->data, .log = log};
  qn_status st = run(h, c, x, qni_softmax()->forward[qni_net_is64(x)], &j);
  return st ? st : h->save(c, 0, y);
}

static qn_status plain_backward(const qn_host *h, qn_call *c, int log) {
  const qn_view *y = h->saved(c, 0), *dy = h->in(c, 0);
  qn_view *dx = h->out(c, 0);
  if (!dx) return QN_OK;
  qni_softmax_job j = {.x = y->data, .dy = dy->data, .out = dx->data, .log = log};
  return run(h, c, y, qni_softmax()->backward[qni_net_is64(y)], &j);
}

static qn_status softmax_forward(const qn_host *h, qn_call *c) { return plain_forward(h, c, 0); }
static qn_status softmax_backward(const qn_host *h, qn_call *c) { return plain_backward(h, c, 0); }
static qn_status log_softmax_forward(const qn_host *h, qn_call *c) {
  return plain_forward(h, c, 1);
}
static qn_status log_softmax_backward(const qn_host *h, qn_call *c) {
  return plain_backward(h, c, 1);
}

static qn_tensor *sum_kept(qni_build *b, qn_tensor *x, int64_t dim) {
  return qni_build_op(
      b, "sum", 3,
      (qn_arg[]){qni_arg_tensor(x), qni_arg_int("dim", dim), qni_arg_bool("keepdim", 1)});
}

/* dx = y (dy - sum dy y); a masked softmax's y is 0 where nothing is kept. */
static qn_status compose_plain(const qn_host *h, qn_call *c, int64_t dim) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *dy = qni_build_flow(&b), *y = qni_build_saved(&b, 0);
  qn_tensor *mean = sum_kept(&b, qni_build_op2(&b, "mul", dy, y), dim);
  qni_build_set(&b, 0, qni_build_op2(&b, "mul", y, qni_build_op2(&b, "sub", dy, mean)));
  return b.status;
}

static qn_status softmax_compose(const qn_host *h, qn_call *c) {
  return compose_plain(h, c, h->arg_int(c, "dim"));
}
static qn_status masked_compose(const qn_host *h, qn_call *c) { return compose_plain(h, c, -1); }

static qn_status log_softmax_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *dy = qni_build_flow(&b), *y = qni_build_saved(&b, 0);
  qn_tensor *sum = sum_kept(&b, dy, h->arg_int(c, "dim"));
  qn_tensor *spread = qni_build_op2(&b, "mul", qni_build_op1(&b, "exp", y), sum);
  qni_build_set(&b, 0, qni_build_op2(&b, "sub", dy, spread));
  return b.status;
}

/* ---- The masked form ---- */

static qn_status mask_of(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *keep,
                         qni_softmax_job *j) {
  if (keep->dtype != QN_BOOL && keep->dtype != QN_U8)
    return h->fail(c, QN_E_DTYPE,
                   "keep must be a tensor of type bool or u8, 1 where a place counts");
  j->keep = keep->data;
  j->n_lead = x->ndim - 1;
  int64_t step = qni_net_cols(keep);
  for (int32_t d = x->ndim - 2, k = keep->ndim - 2; d >= 0; d--, k--) {
    j->lead[d] = x->shape[d];
    j->keep_stride[d] = k < 0 || keep->shape[k] == 1 ? 0 : step;
    if (k >= 0) step *= keep->shape[k];
  }
  return QN_OK;
}

static qn_status masked_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qni_softmax_job j = {.x = x->data, .out = y->data};
  qn_status st = mask_of(h, c, x, h->in(c, 1), &j);
  if (!st) st = run(h, c, x, qni_softmax()->forward[qni_net_is64(x)], &j);
  return st ? st : h->save(c, 0, y);
}

static qn_status masked_backward(const qn_host *h, qn_call *c) { return plain_backward(h, c, 0); }

/* maximum, difference, exponential, sum, division */
static int64_t softmax_flops(const qn_host *h, qn_call *c) {
  return 5 * qni_net_count(h->like(c, 0));
}

QNI_OP(softmax_op, QN_BATCH_ROWS, "softmax(x: f[?], *, dim: int = -1) -> y: like x",
       "Softmax along one dimension.",
       "y_c = exp(x_c - max) / sum_c exp(x_c - max); dx_c = y_c (dy_c - sum_c dy_c y_c).\n"
       "dim counts from 1, negative from the end. x may not be a scalar.",
       "print(quern.softmax(quern.tensor{1,2,3}))", .cite = "Bridle 1990",
       .forward = softmax_forward, .backward = softmax_backward, .compose = softmax_compose,
       .flops = softmax_flops);

QNI_OP(log_softmax_op, QN_BATCH_ROWS, "log_softmax(x: f[?], *, dim: int = -1) -> y: like x",
       "Logarithm of the softmax along one dimension, without its rounding errors.",
       "y_c = x_c - max - log sum_c exp(x_c - max); dx_c = dy_c - exp(y_c) sum_c dy_c.",
       "print(quern.log_softmax(quern.tensor{1,2,3}))", .forward = log_softmax_forward,
       .backward = log_softmax_backward, .compose = log_softmax_compose, .flops = softmax_flops);

QNI_OP(masked_softmax_op, QN_BATCH_ROWS,
       "masked_softmax(x: f[...,C], keep: any[~...,C]) -> y: f[...,C]",
       "Softmax over the last dimension, leaving out masked places.",
       "The softmax over the places whose keep (bool or u8) is not 0; the others are 0.\n"
       "A row with nothing kept gives zeros, not NaN. keep may be broadcast over the leading "
       "dimensions.",
       "print(quern.masked_softmax(quern.tensor{{1,2,3}}, quern.tensor({{1,1,0}}, 'bool')))",
       .flags = QN_OP_NAN_STOPS, .forward = masked_forward, .backward = masked_backward,
       .compose = masked_compose, .flops = softmax_flops);

extern const qn_op *const qni_ops_softmax[];
const qn_op *const qni_ops_softmax[] = {&softmax_op, &log_softmax_op, &masked_softmax_op, NULL};
