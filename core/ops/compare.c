/*
** Comparisons, logic on truth values, and choosing by them: eq ne lt le gt ge
** logical_not logical_and logical_or where masked_fill. Comparisons with NaN are
** false, except ne. Integers and numbers other than 0 count as true.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_map.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

static qn_status compare(const qn_host *h, qn_call *c, int32_t pw) {
  return qni_map_pw(h, c, pw, NULL, h->out(c, 0), h->in(c, 0), h->in(c, 1), NULL);
}
static qn_status eq_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_EQ); }
static qn_status ne_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_NE); }
static qn_status lt_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_LT); }
static qn_status le_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_LE); }
static qn_status gt_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_GT); }
static qn_status ge_forward(const qn_host *h, qn_call *c) { return compare(h, c, QNI_PW_GE); }

static void truth_not(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const uint8_t *a = p[1];
  uint8_t *y = p[0];
  (void)param;
  (void)step;
  for (int64_t i = 0; i < n; i++) y[i] = !a[i];
}
static void truth_and(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const uint8_t *a = p[1], *b = p[2];
  uint8_t *y = p[0];
  (void)param;
  for (int64_t i = 0; i < n; i++) y[i] = a[i * step[1]] && b[i * step[2]];
}
static void truth_or(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const uint8_t *a = p[1], *b = p[2];
  uint8_t *y = p[0];
  (void)param;
  for (int64_t i = 0; i < n; i++) y[i] = a[i * step[1]] || b[i * step[2]];
}

static qn_status logic(const qn_host *h, qn_call *c, qni_map_fn fn, int32_t n) {
  qni_map m = {.fn = fn,
               .n = n,
               .scalars = n == 3,
               .view = {h->out(c, 0), h->in(c, 0), n == 3 ? h->in(c, 1) : NULL},
               .type = {QN_BOOL, QN_BOOL, QN_BOOL}};
  return qni_map_run(h, c, &m);
}
static qn_status not_forward(const qn_host *h, qn_call *c) { return logic(h, c, truth_not, 2); }
static qn_status and_forward(const qn_host *h, qn_call *c) { return logic(h, c, truth_and, 3); }
static qn_status or_forward(const qn_host *h, qn_call *c) { return logic(h, c, truth_or, 3); }

/* ---- where ---- */

static qn_status where_forward(const qn_host *h, qn_call *c) {
  qn_status st =
      qni_map_pw(h, c, QNI_PW_WHERE, NULL, h->out(c, 0), h->in(c, 0), h->in(c, 1), h->in(c, 2));
  return st ? st : h->save(c, 0, h->in(c, 0));
}

/* Gradient of an operand: dy where cond is `pw`'s side, summed to the operand's shape. */
static qn_status side(const qn_host *h, qn_call *c, int32_t input, int32_t pw) {
  const qn_view *g = h->in(c, 0), *cond = h->saved(c, 0);
  qn_view *out = h->needs_grad(c, input) ? h->out(c, input) : NULL;
  void *memory = NULL;
  if (!out) return QN_OK;
  if (qni_map_same_shape(out, g)) return qni_map_pw(h, c, pw, NULL, out, cond, g, NULL);
  qn_status st = h->scratch(c, qni_map_count(g) * qni_map_size(g->dtype), &memory);
  qn_view full = qni_map_dense(g, g->dtype, memory);
  if (!st) st = qni_map_pw(h, c, pw, NULL, &full, cond, g, NULL);
  return st ? st : qni_fold_sum_to(h, c, &full, out);
}

static qn_status where_backward(const qn_host *h, qn_call *c) {
  qn_status st = side(h, c, 1, QNI_PW_KEEP);
  return st ? st : side(h, c, 2, QNI_PW_DROP);
}

static qn_status where_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *cond = qni_build_saved(&b, 0), *g = qni_build_flow(&b);
  if (h->needs_grad(c, 1)) qni_build_grad(&b, 1, qni_build_where(&b, cond, g, NULL));
  if (h->needs_grad(c, 2)) qni_build_grad(&b, 2, qni_build_where(&b, cond, NULL, g));
  return b.status;
}

/* ---- masked_fill ---- */

static qn_status masked_fill_forward(const qn_host *h, qn_call *c) {
  double value = h->arg_num(c, "value");
  qn_status st =
      qni_map_pw(h, c, QNI_PW_MASK, &value, h->out(c, 0), h->in(c, 1), h->in(c, 0), NULL);
  return st ? st : h->save(c, 0, h->in(c, 1));
}

static qn_status masked_fill_backward(const qn_host *h, qn_call *c) {
  return side(h, c, 0, QNI_PW_DROP);
}

static qn_status masked_fill_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0, qni_build_where(&b, qni_build_saved(&b, 0), NULL, qni_build_flow(&b)));
  return b.status;
}

#define COMPARE(word, sign, says)                                                                  \
  QNI_OP(word##_op, QN_BATCH_ROWS,                                                                 \
         #word "(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]",                         \
         "Whether a is " says " b, element by element, with broadcasting.",                        \
         "y = (a " sign " b), as bool. A number takes the tensor's element type. No gradient.",    \
         "print(quern." #word "(quern.tensor{1,2,3}, 2))",                                         \
         .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = word##_forward)
COMPARE(eq, "==", "equal to");
COMPARE(ne, "~=", "different from");
COMPARE(lt, "<", "less than");
COMPARE(le, "<=", "at most");
COMPARE(gt, ">", "greater than");
COMPARE(ge, ">=", "at least");

QNI_OP(not_op, QN_BATCH_ROWS, "logical_not(a: any[...] strided) -> y: bool[...]",
       "True where a is 0 or false.", "y = not a. No gradient.",
       "print(quern.logical_not(quern.tensor{0,1,2}))",
       .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = not_forward);
QNI_OP(and_op, QN_BATCH_ROWS,
       "logical_and(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]",
       "True where both are.", "y = a and b; all but 0 is true. No gradient.",
       "print(quern.logical_and(quern.tensor{0,1,2}, quern.tensor{1,1,0}))",
       .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = and_forward);
QNI_OP(or_op, QN_BATCH_ROWS,
       "logical_or(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]",
       "True where at least one is.", "y = a or b; all but 0 is true. No gradient.",
       "print(quern.logical_or(quern.tensor{0,1,0}, quern.tensor{1,1,0}))",
       .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = or_forward);
QNI_OP(
    where_op, QN_BATCH_ROWS,
    "where(cond: bool[~...] strided, a: t[~...] strided, b: t[~...] strided) -> y: t[...]",
    "Picks from a where cond is true, else from b, with broadcasting.",
    "y = cond ? a : b. Gradient: da = dy where cond, db = dy elsewhere; what is not picked gets 0.",
    "print(quern.where(quern.gt(quern.tensor{1,2,3}, 2), quern.tensor{1,2,3}, 0))",
    .flags = QN_OP_POINTWISE | QN_OP_NAN_STOPS, .forward = where_forward,
    .backward = where_backward, .compose = where_compose);
QNI_OP(
    masked_fill_op, QN_BATCH_ROWS,
    "masked_fill(x: t[...] strided, mask: bool[~...] strided, value: num) -> y: t[...]",
    "Replaces the elements where mask is true by a number.",
    "y = mask ? value : x; the mask is broadcast to x. Gradient: dx = dy where the mask is false.",
    "print(quern.masked_fill(quern.tensor{1,2,3}, quern.gt(quern.tensor{1,2,3}, 2), -1))",
    .flags = QN_OP_POINTWISE | QN_OP_NAN_STOPS, .forward = masked_fill_forward,
    .backward = masked_fill_backward, .compose = masked_fill_compose);

const qn_op *const qni_ops_compare[] = {&eq_op, &ne_op,    &lt_op,          &le_op,
                                        &gt_op, &ge_op,    &not_op,         &and_op,
                                        &or_op, &where_op, &masked_fill_op, NULL};
