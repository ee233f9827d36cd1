/*
** Putting tensors together and apart: concat stack repeat flip pad tril triu.
** Each is one or a few strided copies; gradients are copies the other way.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

/* The part of v at positions start .. start+length-1 of dimension dim. */
static qn_view slice(const qn_view *v, int32_t dim, int64_t start, int64_t length) {
  qn_view s = *v;
  s.shape[dim] = length;
  if (length > 0) s.data = (char *)v->data + start * v->stride[dim] * qni_map_size(v->dtype);
  return s;
}

/* ---- concat ---- */

static qn_status concat_infer(const qn_host *h, qn_call *c) {
  int32_t n = h->n_in(c), dim = 0;
  if (n == 0) return h->fail(c, QN_E_ARG, "there is nothing to join: the list is empty");
  const qn_view *first = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qn_status st = qni_fold_dim(h, c, first->ndim, "dim", &dim);
  if (st) return st;
  y->ndim = first->ndim;
  for (int32_t d = 0; d < y->ndim; d++) y->shape[d] = d == dim ? 0 : first->shape[d];
  for (int32_t i = 0; i < n; i++) {
    const qn_view *x = h->in(c, i);
    if (x->ndim != y->ndim)
      return h->fail(c, QN_E_SHAPE, "tensor %d has %d dimensions and tensor 1 has %d", (int)i + 1,
                     (int)x->ndim, (int)y->ndim);
    for (int32_t d = 0; d < y->ndim; d++)
      if (d != dim && x->shape[d] != y->shape[d])
        return h->fail(
            c, QN_E_SHAPE,
            "dimension %d is %lld in tensor %d and %lld in tensor 1; only dimension %d may differ",
            (int)d + 1, (long long)x->shape[d], (int)i + 1, (long long)y->shape[d], (int)dim + 1);
    if (__builtin_add_overflow(y->shape[dim], x->shape[dim], &y->shape[dim]))
      return h->fail(c, QN_E_SHAPE, "the result is too large");
  }
  return QN_OK;
}

static qn_status concat_forward(const qn_host *h, qn_call *c) {
  int32_t dim = 0;
  int64_t at = 0;
  qn_status st = qni_fold_dim(h, c, h->out(c, 0)->ndim, "dim", &dim);
  for (int32_t i = 0; i < h->n_in(c) && !st; i++) {
    const qn_view *x = h->in(c, i);
    qn_view part = slice(h->out(c, 0), dim, at, x->shape[dim]);
    st = qni_fold_copy(h, c, &part, x);
    at += x->shape[dim];
  }
  return st;
}

static qn_status concat_backward(const qn_host *h, qn_call *c) {
  const qn_view *g = h->in(c, 0);
  int32_t dim = 0;
  int64_t at = 0;
  qn_status st = qni_fold_dim(h, c, g->ndim, "dim", &dim);
  for (int32_t i = 0; i < h->n_out(c) && !st; i++) {
    int64_t length = h->like(c, i)->shape[dim];
    qn_view *dx = h->needs_grad(c, i) ? h->out(c, i) : NULL, part = slice(g, dim, at, length);
    if (dx) st = qni_fold_copy(h, c, dx, &part);
    at += length;
  }
  return st;
}

static qn_status concat_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  int32_t dim = 0;
  int64_t at = 0;
  qn_status st = qni_fold_dim(h, c, h->like(c, 0)->ndim, "dim", &dim);
  if (st) return st;
  for (int32_t i = 0; i < h->n_out(c); i++) {
    int64_t length = h->like(c, i)->shape[dim];
    qn_arg args[] = {qni_arg_tensor(qni_build_flow(&b)), qni_arg_int("dim", dim + 1),
                     qni_arg_int("start", at + 1), qni_arg_int("length", length)};
    if (h->needs_grad(c, i)) qni_build_set(&b, i, qni_build_op(&b, "narrow", 4, args));
    at += length;
  }
  return b.status;
}

/* ---- stack ---- */

static qn_status stack_infer(const qn_host *h, qn_call *c) {
  int32_t n = h->n_in(c), dim = 0;
  if (n == 0) return h->fail(c, QN_E_ARG, "there is nothing to stack: the list is empty");
  const qn_view *first = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  if (first->ndim == QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "the tensors have %d dimensions already, the most there can be",
                   QN_MAX_DIMS);
  qn_status st = qni_fold_dim(h, c, first->ndim + 1, "dim", &dim);
  for (int32_t i = 1; i < n && !st; i++)
    if (!qni_map_same_shape(first, h->in(c, i)))
      st = h->fail(c, QN_E_SHAPE, "tensor %d has another shape than tensor 1", (int)i + 1);
  if (st) return st;
  y->ndim = first->ndim + 1;
  for (int32_t d = 0, e = 0; d < y->ndim; d++) y->shape[d] = d == dim ? n : first->shape[e++];
  return QN_OK;
}

/* Layer i of v along dim, without that dimension. */
static qn_view layer(const qn_view *v, int32_t dim, int64_t i) {
  qn_view s = slice(v, dim, i, 1);
  s.ndim--;
  for (int32_t d = dim; d < s.ndim; d++) {
    s.shape[d] = v->shape[d + 1];
    s.stride[d] = v->stride[d + 1];
  }
  return s;
}

static qn_status stack_forward(const qn_host *h, qn_call *c) {
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, h->out(c, 0)->ndim, "dim", &dim);
  for (int32_t i = 0; i < h->n_in(c) && !st; i++) {
    qn_view part = layer(h->out(c, 0), dim, i);
    st = qni_fold_copy(h, c, &part, h->in(c, i));
  }
  return st;
}

static qn_status stack_backward(const qn_host *h, qn_call *c) {
  const qn_view *g = h->in(c, 0);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, g->ndim, "dim", &dim);
  for (int32_t i = 0; i < h->n_out(c) && !st; i++) {
    qn_view *dx = h->needs_grad(c, i) ? h->out(c, i) : NULL, part = layer(g, dim, i);
    if (dx) st = qni_fold_copy(h, c, dx, &part);
  }
  return st;
}

static qn_status stack_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, h->like(c, 0)->ndim + 1, "dim", &dim);
  for (int32_t i = 0; i < h->n_out(c) && !st; i++) {
    qn_arg args[] = {qni_arg_tensor(qni_build_flow(&b)), qni_arg_int("dim", dim + 1),
                     qni_arg_int("index", i + 1)};
    if (h->needs_grad(c, i)) qni_build_set(&b, i, qni_build_op(&b, "select", 3, args));
  }
  return st ? st : b.status;
}

/* ---- repeat: dimension by dimension, [A,R] to [A,t,R] ---- */

static const int64_t *repeat_times(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y,
                                   qn_status *st) {
  int32_t n = 0;
  const int64_t *times = h->arg_ints(c, "times", &n);
  *st = QN_OK;
  if (n < x->ndim || n > QN_MAX_DIMS) {
    *st = h->fail(c, QN_E_ARG,
                  "times has %d entries; it needs one for each of the %d dimensions, and may have "
                  "more in front",
                  (int)n, (int)x->ndim);
    return NULL;
  }
  y->ndim = n;
  for (int32_t d = 0; d < n && !*st; d++) {
    int32_t e = d - (n - x->ndim);
    if (times[d] < 0)
      *st = h->fail(c, QN_E_ARG, "entry %d of times is %lld; it must not be negative", (int)d + 1,
                    (long long)times[d]);
    else if (__builtin_mul_overflow(e < 0 ? 1 : x->shape[e], times[d], &y->shape[d]))
      *st = h->fail(c, QN_E_SHAPE, "the result is too large");
  }
  /* cppcheck-suppress returnDanglingLifetime ; the list is the call's, only its length is in n */
  return times;
}

static qn_status repeat_infer(const qn_host *h, qn_call *c) {
  qn_status st;
  repeat_times(h, c, h->in(c, 0), h->out(c, 0), &st);
  return st;
}

/* A view [A,t,R] of contiguous data; with t 0 its middle dimension repeats. */
static qn_view triple(int32_t dtype, void *data, int64_t A, int64_t t, int64_t R, bool repeated) {
  qn_view v = {.data = data,
               .shape = {A, t, R},
               .stride = {repeated ? R : t * R, repeated ? 0 : R, 1},
               .ndim = 3,
               .dtype = dtype};
  return v;
}

static qn_status repeat_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0), shape = *y;
  qn_status st;
  const int64_t *times = repeat_times(h, c, x, &shape, &st);
  int64_t R = 1;
  void *from = x->data, *to = NULL;
  if (!st && qni_map_count(y) == 0) return QN_OK;
  /* The last dimension first: what is behind is repeated already. */
  for (int32_t d = y->ndim - 1; d >= 0 && !st; d--) {
    int32_t e = d - (y->ndim - x->ndim);
    int64_t A = 1;
    for (int32_t k = 0; k < e; k++) A *= x->shape[k];
    R *= e < 0 ? 1 : x->shape[e];
    if (times[d] == 1 && d > 0) continue;
    to = y->data;
    if (d > 0) st = h->scratch(c, A * times[d] * R * qni_map_size(x->dtype), &to);
    qn_view dst = triple(x->dtype, to, A, times[d], R, false),
            src = triple(x->dtype, from, A, times[d], R, true);
    if (!st) st = qni_fold_copy(h, c, &dst, &src);
    from = to;
    R *= times[d];
  }
  if (!st && y->ndim == 0) st = qni_fold_copy(h, c, y, x);
  return st;
}

static qn_status repeat_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  qn_view y = *x;
  qn_status st;
  const int64_t *times = repeat_times(h, c, x, &y, &st);
  qn_tensor *g = qni_build_flow(&b);
  if (st) return st;
  int64_t A = 1, two = 2;
  for (int32_t d = 0; d < y.ndim; d++) { /* [A,t,rest] summed over t, from the front */
    int32_t e = d - (y.ndim - x->ndim);
    int64_t rest = e < 0 ? 1 : x->shape[e];
    for (int32_t k = d + 1; k < y.ndim; k++) rest *= y.shape[k];
    int64_t shape[] = {A, times[d], rest};
    g = qni_build_op(&b, "reshape", 2,
                     (qn_arg[]){qni_arg_tensor(g), qni_arg_ints("shape", 3, shape)});
    g = qni_build_op(&b, "sum", 2, (qn_arg[]){qni_arg_tensor(g), qni_arg_ints("dim", 1, &two)});
    A *= e < 0 ? 1 : x->shape[e];
  }
  qni_build_set(
      &b, 0,
      qni_build_op(&b, "reshape", 2,
                   (qn_arg[]){qni_arg_tensor(g), qni_arg_ints("shape", x->ndim, x->shape)}));
  return b.status;
}

/* ---- flip ---- */

static qn_status flip_forward(const qn_host *h, qn_call *c) {
  qn_view x = *h->in(c, 0);
  int32_t n = 0, d = 0;
  const int64_t *dims = h->arg_ints(c, "dims", &n);
  for (int32_t i = 0; i < n; i++) {
    qn_status st = qni_fold_one_dim(h, c, x.ndim, "dims", dims[i], &d);
    if (st) return st;
    if (x.shape[d] > 0)
      x.data = (char *)x.data + (x.shape[d] - 1) * x.stride[d] * qni_map_size(x.dtype);
    x.stride[d] = -x.stride[d];
  }
  return qni_fold_copy(h, c, h->out(c, 0), &x);
}

static qn_status flip_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  int32_t n = 0;
  const int64_t *dims = h->arg_ints(c, "dims", &n);
  qni_build_set(
      &b, 0,
      qni_build_op(&b, "flip", 2,
                   (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)), qni_arg_ints("dims", n, dims)}));
  return b.status;
}

/* ---- pad ---- */

static qn_status pad_pairs(const qn_host *h, qn_call *c, int32_t ndim, int64_t *before,
                           int64_t *after) {
  int32_t n = 0;
  const int64_t *pad = h->arg_ints(c, "pad", &n);
  if (n % 2 || n > 2 * ndim)
    return h->fail(c, QN_E_ARG,
                   "pad has %d entries; it needs a pair (before, after) for each padded dimension, "
                   "the last dimension first",
                   (int)n);
  for (int32_t d = 0; d < ndim; d++) before[d] = after[d] = 0;
  for (int32_t i = 0; i < n; i++) {
    if (pad[i] < 0)
      return h->fail(c, QN_E_ARG, "entry %d of pad is %lld; it must not be negative", (int)i + 1,
                     (long long)pad[i]);
    (i % 2 ? after : before)[ndim - 1 - i / 2] = pad[i];
  }
  return QN_OK;
}

static qn_status pad_infer(const qn_host *h, qn_call *c) {
  int64_t before[QN_MAX_DIMS], after[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qn_status st = pad_pairs(h, c, x->ndim, before, after);
  y->ndim = x->ndim;
  for (int32_t d = 0; d < x->ndim && !st; d++)
    if (__builtin_add_overflow(x->shape[d], before[d], &y->shape[d]) ||
        __builtin_add_overflow(y->shape[d], after[d], &y->shape[d]))
      st = h->fail(c, QN_E_SHAPE, "the result is too large");
  return st;
}

static qn_status pad_forward(const qn_host *h, qn_call *c) {
  int64_t before[QN_MAX_DIMS], after[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qn_view inner = *h->out(c, 0);
  double value = h->arg_num(c, "value");
  qn_status st = pad_pairs(h, c, x->ndim, before, after);
  if (!st) st = qni_map_pw(h, c, QNI_PW_FILL, &value, h->out(c, 0), NULL, NULL, NULL);
  for (int32_t d = 0; d < x->ndim && !st; d++) inner = slice(&inner, d, before[d], x->shape[d]);
  return st ? st : qni_fold_copy(h, c, &inner, x);
}

static qn_status pad_backward(const qn_host *h, qn_call *c) {
  int64_t before[QN_MAX_DIMS], after[QN_MAX_DIMS];
  qn_view *dx = h->out(c, 0), inner = *h->in(c, 0);
  if (!dx) return QN_OK;
  qn_status st = pad_pairs(h, c, dx->ndim, before, after);
  for (int32_t d = 0; d < dx->ndim && !st; d++) inner = slice(&inner, d, before[d], dx->shape[d]);
  return st ? st : qni_fold_copy(h, c, dx, &inner);
}

static qn_status pad_compose(const qn_host *h, qn_call *c) {
  int64_t before[QN_MAX_DIMS], after[QN_MAX_DIMS];
  const qn_view *x = h->like(c, 0);
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qn_status st = pad_pairs(h, c, x->ndim, before, after);
  for (int32_t d = 0; d < x->ndim && !st; d++)
    if (before[d] || after[d])
      g = qni_build_op(&b, "narrow", 4,
                       (qn_arg[]){qni_arg_tensor(g), qni_arg_int("dim", d + 1),
                                  qni_arg_int("start", before[d] + 1),
                                  qni_arg_int("length", x->shape[d])});
  qni_build_set(&b, 0, g);
  return st ? st : b.status;
}

/* ---- Tables ---- */

QNI_OP(concat_op, QN_BATCH_ROWS, "concat(xs: t[?]* strided, dim: int = 1) -> y: t[?]",
       "Joins tensors along a dimension.",
       "y = the tensors one after the other along dim; all other sizes are equal. Gradient: each "
       "gets its part of dy.",
       "print(quern.concat({quern.tensor{1,2}, quern.tensor{3}}))", .infer = concat_infer,
       .forward = concat_forward, .backward = concat_backward, .compose = concat_compose);
QNI_OP(stack_op, QN_BATCH_COUPLED, "stack(xs: t[?]* strided, dim: int = 1) -> y: t[?]",
       "Puts tensors of one shape side by side along a new dimension.",
       "y[.., i, ..] = tensor i, i being the place in the new dimension dim. Gradient: each gets "
       "its layer of dy.",
       "print(quern.stack({quern.tensor{1,2}, quern.tensor{3,4}}, 1))", .infer = stack_infer,
       .forward = stack_forward, .backward = stack_backward, .compose = stack_compose);
QNI_OP(repeat_op, QN_BATCH_COUPLED, "repeat(x: t[?], times: [int]) -> y: t[?]",
       "Lays copies of a tensor side by side along each dimension.",
       "dimension d of y is x's, times[d] times over; more entries than dimensions add dimensions "
       "in front. "
       "Gradient: dx = sum of dy over the copies.",
       "print(quern[\"repeat\"](quern.tensor{1,2}, {2}))", .infer = repeat_infer,
       .forward = repeat_forward, .compose = repeat_compose);
QNI_OP(flip_op, QN_BATCH_COUPLED, "flip(x: t[...] strided, dims: [int]) -> y: t[...]",
       "Reverses the order along dimensions.",
       "y = x, last position first along each of dims. Gradient: dx = dy, flipped.",
       "print(quern.flip(quern.tensor{1,2,3}, {1}))", .forward = flip_forward,
       .compose = flip_compose);
QNI_OP(pad_op, QN_BATCH_ROWS, "pad(x: t[?] strided, pad: [int], value: num = 0) -> y: t[?]",
       "Surrounds a tensor with a constant.",
       "pad = (before, after) of the last dimension, then of the one before it, and so on. "
       "Gradient: dx = the inner "
       "part of dy.",
       "print(quern.pad(quern.tensor{1,2}, {1, 2}))", .flags = QN_OP_NAN_STOPS, .infer = pad_infer,
       .forward = pad_forward, .backward = pad_backward, .compose = pad_compose);

const qn_op *const qni_ops_shape_join[] = {&concat_op, &stack_op, &repeat_op,
                                           &flip_op,   &pad_op,   NULL};
