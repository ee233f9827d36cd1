/*
** Arithmetic that writes its first argument: add_ sub_ mul_ div_ fill_ zero_ copy_.
** They cannot run while a gradient is being recorded; the host sees to that. A second
** operand that shares memory with the first in another order is copied before use.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_map.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

/* First and last byte that a view can touch. */
static void extent(const qn_view *v, const char **low, const char **high) {
  int64_t from = 0, to = 0;
  for (int32_t d = 0; d < v->ndim; d++) {
    int64_t reach = (v->shape[d] - 1) * v->stride[d];
    *(reach < 0 ? &from : &to) += reach;
  }
  *low = (const char *)v->data + from * qni_map_size(v->dtype);
  *high = (const char *)v->data + (to + 1) * qni_map_size(v->dtype);
}

static bool same_places(const qn_view *a, const qn_view *b) {
  if (a->data != b->data || a->dtype != b->dtype || !qni_map_same_shape(a, b)) return false;
  for (int32_t d = 0; d < a->ndim; d++)
    if (a->shape[d] != 1 && a->stride[d] != b->stride[d]) return false;
  return true;
}

/* `y` itself, or a copy of it if writing x would change it on the way. */
static qn_status apart(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *y,
                       qn_view *safe) {
  const char *x0, *x1, *y0, *y1;
  void *memory = NULL;
  *safe = *y;
  if (qni_map_count(x) == 0 || qni_map_count(y) == 0) return QN_OK;
  extent(x, &x0, &x1);
  extent(y, &y0, &y1);
  if (x1 <= y0 || y1 <= x0 || same_places(x, y)) return QN_OK;
  qn_status st = h->scratch(c, qni_map_count(y) * qni_map_size(y->dtype), &memory);
  if (st) return st;
  *safe = qni_map_dense(y, y->dtype, memory);
  return qni_fold_copy(h, c, safe, y);
}

static qn_status update(const qn_host *h, qn_call *c, int32_t pw) {
  qn_view *x = h->out(c, 0), y;
  qn_status st = apart(h, c, x, h->in(c, 1), &y);
  return st ? st : qni_map_pw(h, c, pw, NULL, x, x, &y, NULL);
}

static qn_status add_forward(const qn_host *h, qn_call *c) { return update(h, c, QNI_PW_ADD); }
static qn_status sub_forward(const qn_host *h, qn_call *c) { return update(h, c, QNI_PW_SUB); }
static qn_status mul_forward(const qn_host *h, qn_call *c) { return update(h, c, QNI_PW_MUL); }
static qn_status div_forward(const qn_host *h, qn_call *c) { return update(h, c, QNI_PW_DIV); }

static qn_status fill_with(const qn_host *h, qn_call *c, double value) {
  return qni_map_pw(h, c, QNI_PW_FILL, &value, h->out(c, 0), NULL, NULL, NULL);
}
static qn_status fill_forward(const qn_host *h, qn_call *c) {
  return fill_with(h, c, h->arg_num(c, "value"));
}
static qn_status zero_forward(const qn_host *h, qn_call *c) { return fill_with(h, c, 0); }

static qn_status copy_forward(const qn_host *h, qn_call *c) {
  qn_view *x = h->out(c, 0), y;
  qn_status st = apart(h, c, x, h->in(c, 1), &y);
  return st ? st : qni_fold_copy(h, c, x, &y);
}

QNI_OP(add_op, QN_BATCH_ROWS, "add_(x!: t[...] strided, y: t[~...] strided) -> x",
       "Adds y to x in place.", "x <- x + y; y is broadcast to x.",
       "print(quern.add_(quern.tensor{1,2}, 1))", .forward = add_forward, .flags = QN_OP_POINTWISE);
QNI_OP(sub_op, QN_BATCH_ROWS, "sub_(x!: t[...] strided, y: t[~...] strided) -> x",
       "Subtracts y from x in place.", "x <- x - y; y is broadcast to x.",
       "print(quern.sub_(quern.tensor{1,2}, 1))", .forward = sub_forward, .flags = QN_OP_POINTWISE);
QNI_OP(mul_op, QN_BATCH_ROWS, "mul_(x!: t[...] strided, y: t[~...] strided) -> x",
       "Multiplies x by y in place.", "x <- x y; y is broadcast to x.",
       "print(quern.mul_(quern.tensor{1,2}, 3))", .forward = mul_forward, .flags = QN_OP_POINTWISE);
QNI_OP(div_op, QN_BATCH_ROWS, "div_(x!: f[...] strided, y: f[~...] strided) -> x",
       "Divides x by y in place.", "x <- x / y; y is broadcast to x.",
       "print(quern.div_(quern.tensor{1,2}, 2))", .forward = div_forward, .flags = QN_OP_POINTWISE);
QNI_OP(fill_op, QN_BATCH_ROWS, "fill_(x!: t[...] strided, value: num) -> x",
       "Sets every element to a number.", "x <- value.", "print(quern.fill_(quern.tensor{1,2}, 7))",
       .flags = QN_OP_NAN_STOPS, .forward = fill_forward);
QNI_OP(zero_op, QN_BATCH_ROWS, "zero_(x!: t[...] strided) -> x", "Sets every element to 0.",
       "x <- 0.", "print(quern.zero_(quern.tensor{1,2}))", .flags = QN_OP_NAN_STOPS,
       .forward = zero_forward);
QNI_OP(copy_op, QN_BATCH_ROWS, "copy_(x!: any[...] strided, y: any[~...] strided) -> x",
       "Copies y into x, converting the element type.", "x <- y; y is broadcast to x.",
       "print(quern.copy_(quern.tensor{1,2}, quern.tensor{3,4}))",
       .flags = QN_OP_POINTWISE | QN_OP_NAN_STOPS, .forward = copy_forward);

const qn_op *const qni_ops_elementwise_inplace[] = {&add_op,  &sub_op,  &mul_op,  &div_op,
                                                    &fill_op, &zero_op, &copy_op, NULL};
