/*
** Broadcasting arithmetic: add sub mul div floor_divide remainder maximum minimum.
**
** Shapes are aligned at their last dimensions; a dimension of size 1 is repeated.
** The gradient of a repeated operand is the sum over its repetitions.
** bool operands count as 0 and 1; a bool result is "not 0".
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_map.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

static qn_status binary(const qn_host *h, qn_call *c, int32_t pw, bool keep) {
  const qn_view *a = h->in(c, 0), *b = h->in(c, 1);
  qn_status st = qni_map_pw(h, c, pw, NULL, h->out(c, 0), a, b, NULL);
  if (!st && keep) st = h->save(c, 0, a);
  return !st && keep ? h->save(c, 1, b) : st;
}

/* Gradient of input i = kernel pw (g, a, b), summed to the input's shape. */
static qn_status binary_grad(const qn_host *h, qn_call *c, int32_t i, int32_t pw, const qn_view *a,
                             const qn_view *b) {
  const qn_view *g = h->in(c, 0);
  qn_view *out = h->needs_grad(c, i) ? h->out(c, i) : NULL;
  void *memory = NULL;
  if (!out) return QN_OK;
  if (qni_map_same_shape(out, g)) return qni_map_pw(h, c, pw, NULL, out, g, a, b);
  if (pw == QNI_PW_COPY) return qni_fold_sum_to(h, c, g, out);
  qn_status st = h->scratch(c, qni_map_count(g) * qni_map_size(g->dtype), &memory);
  qn_view full = qni_map_dense(g, g->dtype, memory);
  if (!st) st = qni_map_pw(h, c, pw, NULL, &full, g, a, b);
  return st ? st : qni_fold_sum_to(h, c, &full, out);
}

static qn_status add_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_ADD, false);
}
static qn_status sub_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_SUB, false);
}
static qn_status mul_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_MUL, true);
}
static qn_status div_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_DIV, true);
}
static qn_status maximum_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_MAX, true);
}
static qn_status minimum_forward(const qn_host *h, qn_call *c) {
  return binary(h, c, QNI_PW_MIN, true);
}

static qn_status add_backward(const qn_host *h, qn_call *c) {
  qn_status st = binary_grad(h, c, 0, QNI_PW_COPY, NULL, NULL);
  return st ? st : binary_grad(h, c, 1, QNI_PW_COPY, NULL, NULL);
}
static qn_status sub_backward(const qn_host *h, qn_call *c) {
  qn_status st = binary_grad(h, c, 0, QNI_PW_COPY, NULL, NULL);
  return st ? st : binary_grad(h, c, 1, QNI_PW_NEG, NULL, NULL);
}
static qn_status mul_backward(const qn_host *h, qn_call *c) {
  qn_status st = binary_grad(h, c, 0, QNI_PW_MUL, h->saved(c, 1), NULL);
  return st ? st : binary_grad(h, c, 1, QNI_PW_MUL, h->saved(c, 0), NULL);
}
static qn_status div_backward(const qn_host *h, qn_call *c) {
  qn_status st = binary_grad(h, c, 0, QNI_PW_DIV, h->saved(c, 1), NULL);
  return st ? st : binary_grad(h, c, 1, QNI_PW_DIV_GRAD, h->saved(c, 0), h->saved(c, 1));
}
static qn_status extreme_backward(const qn_host *h, qn_call *c, int32_t pw) {
  qn_status st = binary_grad(h, c, 0, pw, h->saved(c, 0), h->saved(c, 1));
  return st ? st : binary_grad(h, c, 1, pw, h->saved(c, 1), h->saved(c, 0));
}
static qn_status maximum_backward(const qn_host *h, qn_call *c) {
  return extreme_backward(h, c, QNI_PW_MAX_GRAD);
}
static qn_status minimum_backward(const qn_host *h, qn_call *c) {
  return extreme_backward(h, c, QNI_PW_MIN_GRAD);
}

/* ---- Second order ---- */

static qn_status add_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qni_build_grad(&b, 0, g);
  qni_build_grad(&b, 1, g);
  return b.status;
}

static qn_status sub_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qni_build_grad(&b, 0, g);
  if (h->needs_grad(c, 1)) qni_build_grad(&b, 1, qni_build_op1(&b, "neg", g));
  return b.status;
}

static qn_status mul_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  if (h->needs_grad(c, 0))
    qni_build_grad(&b, 0, qni_build_op2(&b, "mul", g, qni_build_saved(&b, 1)));
  if (h->needs_grad(c, 1))
    qni_build_grad(&b, 1, qni_build_op2(&b, "mul", g, qni_build_saved(&b, 0)));
  return b.status;
}

static qn_status div_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *x = qni_build_saved(&b, 0), *y = qni_build_saved(&b, 1);
  qn_tensor *g = qni_build_op2(&b, "div", qni_build_flow(&b), y);
  qni_build_grad(&b, 0, g);
  if (h->needs_grad(c, 1)) {
    qn_tensor *q = qni_build_op2(&b, "div", x, y);
    qni_build_grad(&b, 1, qni_build_op1(&b, "neg", qni_build_op2(&b, "mul", g, q)));
  }
  return b.status;
}

/* Weight of the winner: 1, and 1/2 at a tie. */
static qn_status extreme_compose(const qn_host *h, qn_call *c, const char *wins) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *x[2] = {qni_build_saved(&b, 0), qni_build_saved(&b, 1)}, *g = qni_build_flow(&b);
  qn_tensor *half = qni_build_num(&b, "mul", g, 0.5);
  for (int32_t i = 0; i < 2; i++) {
    if (!h->needs_grad(c, i)) continue;
    qn_tensor *tie = qni_build_where(&b, qni_build_op2(&b, "eq", x[0], x[1]), half, NULL);
    qni_build_grad(&b, i, qni_build_where(&b, qni_build_op2(&b, wins, x[i], x[1 - i]), g, tie));
  }
  return b.status;
}
static qn_status maximum_compose(const qn_host *h, qn_call *c) {
  return extreme_compose(h, c, "gt");
}
static qn_status minimum_compose(const qn_host *h, qn_call *c) {
  return extreme_compose(h, c, "lt");
}

/* Ties closer than a finite difference can tell. */
static void near_tie(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const double *a = p[1], *b = p[2];
  uint8_t *y = p[0];
  (void)param;
  for (int64_t i = 0; i < n; i++) {
    double d = a[i * step[1]] - b[i * step[2]];
    y[i] = d < 1e-3 && d > -1e-3;
  }
}

static qn_status tie_kink(const qn_host *h, qn_call *c) {
  const qn_view *a = h->in(c, 0), *b = h->in(c, 1), *shape = h->out(c, 0);
  void *memory = NULL;
  int64_t n = qni_map_count(shape);
  qn_status st = h->scratch(c, n, &memory);
  if (st) return st;
  qn_view y = qni_map_dense(shape, QN_BOOL, memory);
  qni_map m = {.fn = near_tie,
               .n = 3,
               .scalars = true,
               .view = {&y, a, b},
               .type = {QN_BOOL, QN_F64, QN_F64}};
  st = qni_map_run(h, c, &m);
  for (int64_t i = 0; !st && i < n; i++)
    if (((uint8_t *)memory)[i])
      st = h->fail(c, QN_E_NUMERIC, "two compared values are nearly equal");
  return st;
}

/* ---- Division of integers ---- */

/* An integer divisor must not be 0: finds the first that is. */
static qn_status check_divisor(const qn_host *h, qn_call *c, const qn_view *b) {
  int64_t n = qni_map_count(b), *values = NULL;
  void *memory = NULL;
  if (qni_map_floating(b->dtype)) return QN_OK;
  qn_status st = h->scratch(c, n * 8, &memory);
  if (st) return st;
  qn_view all = qni_map_dense(b, QN_I64, memory);
  st = qni_fold_copy(h, c, &all, b);
  values = memory;
  for (int64_t i = 0; !st && i < n; i++)
    if (values[i] == 0)
      st =
          h->fail(c, QN_E_ARG, "division of integers by zero: element %lld of b", (long long)i + 1);
  return st;
}

static qn_status floor_divide_forward(const qn_host *h, qn_call *c) {
  qn_status st = check_divisor(h, c, h->in(c, 1));
  return st ? st : binary(h, c, QNI_PW_FLOOR_DIV, false);
}

static qn_status remainder_forward(const qn_host *h, qn_call *c) {
  qn_status st = check_divisor(h, c, h->in(c, 1));
  return st ? st : binary(h, c, QNI_PW_REMAINDER, true);
}

static qn_status remainder_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qni_build_grad(&b, 0, g);
  if (h->needs_grad(c, 1)) {
    qn_tensor *q =
        qni_build_op2(&b, "floor_divide", qni_build_saved(&b, 0), qni_build_saved(&b, 1));
    qni_build_grad(&b, 1, qni_build_op1(&b, "neg", qni_build_op2(&b, "mul", g, q)));
  }
  return b.status;
}

/* ---- sum_to: what undoes broadcasting ---- */

static qn_status sum_to_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int32_t n = 0;
  const int64_t *shape = h->arg_ints(c, "shape", &n);
  bool fits = n <= x->ndim;
  for (int32_t d = 0; d < n && fits; d++)
    fits = shape[d] == x->shape[d + x->ndim - n] || shape[d] == 1;
  if (!fits) return h->fail(c, QN_E_SHAPE, "x is not a broadcast form of the asked shape");
  y->ndim = n;
  for (int32_t d = 0; d < n; d++) y->shape[d] = shape[d];
  return QN_OK;
}
static qn_status sum_to_forward(const qn_host *h, qn_call *c) {
  return qni_fold_sum_to(h, c, h->in(c, 0), h->out(c, 0));
}
static qn_status sum_to_backward(const qn_host *h, qn_call *c) {
  return qni_fold_copy(h, c, h->out(c, 0), h->in(c, 0));
}
static qn_status sum_to_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  qni_build_set(&b, 0,
                qni_build_op(&b, "expand", 2,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_ints("shape", x->ndim, x->shape)}));
  return b.status;
}

/* ---- Tables ---- */

QNI_OP(add_op, QN_BATCH_ROWS, "add(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "Sum of two tensors, with broadcasting.",
       "y = a + b. Gradient: da = dy, db = dy, each summed over its broadcast dimensions. Both "
       "have one "
       "element type; a number takes the tensor's.",
       "print(quern.add(quern.tensor{1,2}, quern.tensor{3,4}))", .forward = add_forward,
       .backward = add_backward, .compose = add_compose, .flags = QN_OP_POINTWISE);
QNI_OP(sub_op, QN_BATCH_ROWS, "sub(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "Difference of two tensors, with broadcasting.", "y = a - b. Gradient: da = dy, db = -dy.",
       "print(quern.sub(quern.tensor{3,4}, quern.tensor{1,2}))", .forward = sub_forward,
       .backward = sub_backward, .compose = sub_compose, .flags = QN_OP_POINTWISE);
QNI_OP(mul_op, QN_BATCH_ROWS, "mul(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "Product of two tensors element by element, with broadcasting.",
       "y = a b. Gradient: da = b dy, db = a dy.",
       "print(quern.mul(quern.tensor{1,2}, quern.tensor{3,4}))", .forward = mul_forward,
       .backward = mul_backward, .compose = mul_compose, .flags = QN_OP_POINTWISE);
QNI_OP(div_op, QN_BATCH_ROWS, "div(a: f[~...] strided, b: f[~...] strided) -> y: f[...]",
       "Quotient of two floating tensors, with broadcasting.",
       "y = a / b. Gradient: da = dy / b, db = -dy a / b^2. For integers see floor_divide.",
       "print(quern.div(quern.tensor{1,2}, quern.tensor{4,4}))", .forward = div_forward,
       .backward = div_backward, .compose = div_compose, .flags = QN_OP_POINTWISE);
QNI_OP(floor_divide_op, QN_BATCH_ROWS,
       "floor_divide(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "Quotient rounded down, with broadcasting; for integers too.",
       "y = floor(a / b). No gradient. An integer divisor of 0 is an error.",
       "print(quern.floor_divide(quern.tensor{7,-7}, quern.tensor{2,2}))",
       .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD, .forward = floor_divide_forward);
QNI_OP(remainder_op, QN_BATCH_ROWS,
       "remainder(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "What floor_divide leaves over; it has the divisor's sign.",
       "y = a - b floor(a / b). Gradient: da = dy, db = -dy floor(a / b). An integer divisor of 0 "
       "is an error.",
       "print(quern.remainder(quern.tensor{7,-7}, quern.tensor{3,3}))",
       .forward = remainder_forward, .compose = remainder_compose, .flags = QN_OP_POINTWISE);
QNI_OP(maximum_op, QN_BATCH_ROWS, "maximum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "The larger of two elements, with broadcasting.",
       "y = max(a, b); NaN wins. The gradient goes to the larger, half to each at a tie.",
       "print(quern.maximum(quern.tensor{1,5}, quern.tensor{3,4}))", .forward = maximum_forward,
       .backward = maximum_backward, .compose = maximum_compose, .kink = tie_kink,
       .flags = QN_OP_POINTWISE);
QNI_OP(minimum_op, QN_BATCH_ROWS, "minimum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
       "The smaller of two elements, with broadcasting.",
       "y = min(a, b); NaN wins. The gradient goes to the smaller, half to each at a tie.",
       "print(quern.minimum(quern.tensor{1,5}, quern.tensor{3,4}))", .forward = minimum_forward,
       .backward = minimum_backward, .compose = minimum_compose, .kink = tie_kink,
       .flags = QN_OP_POINTWISE);
QNI_OP(sum_to_op, QN_BATCH_COUPLED, "sum_to(x: t[?] strided, shape: [int]) -> y: t[?]",
       "Sums over dimensions so that the shape becomes a given one; undoes broadcasting.",
       "y = sum of x over every leading dimension that `shape` lacks and every dimension that is 1 "
       "in it. "
       "Gradient: dx = dy, repeated.",
       "print(quern.sum_to(quern.tensor{{1,2},{3,4}}, {2}))", .infer = sum_to_infer,
       .forward = sum_to_forward, .backward = sum_to_backward, .compose = sum_to_compose);

const qn_op *const qni_ops_elementwise[] = {
    &add_op,       &sub_op,     &mul_op,     &div_op,    &floor_divide_op,
    &remainder_op, &maximum_op, &minimum_op, &sum_to_op, NULL};
