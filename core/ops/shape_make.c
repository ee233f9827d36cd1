/*
** Making tensors from shapes and ids: full, one_hot; and triangles: tril triu.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"
#include "shape_make.h"

/* ---- full ---- */

qn_status qni_shape_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t n = 0;
  const int64_t *shape = h->arg_ints(c, "shape", &n);
  if (n > QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "shape has %d dimensions; at most %d are possible", (int)n,
                   QN_MAX_DIMS);
  y->ndim = n;
  for (int32_t d = 0; d < n; d++) {
    if (shape[d] < 0)
      return h->fail(c, QN_E_SHAPE, "size %d is %lld; it must not be negative", (int)d + 1,
                     (long long)shape[d]);
    y->shape[d] = shape[d];
  }
  return QN_OK;
}

static qn_status full_forward(const qn_host *h, qn_call *c) {
  double value = h->arg_num(c, "value");
  return qni_map_pw(h, c, QNI_PW_FILL, &value, h->out(c, 0), NULL, NULL, NULL);
}

/* ---- one_hot ---- */

static qn_status one_hot_infer(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  if (ids->ndim == QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "ids has %d dimensions already, the most there can be",
                   QN_MAX_DIMS);
  y->ndim = ids->ndim + 1;
  memcpy(y->shape, ids->shape, sizeof y->shape);
  y->shape[ids->ndim] = h->arg_int(c, "n");
  return QN_OK;
}

static qn_status one_hot_forward(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int64_t n = h->arg_int(c, "n"), count = qni_map_count(ids), size = qni_map_size(y->dtype);
  const int64_t *id = ids->data;
  double zero = 0, one = 1;
  qn_status st = qni_map_pw(h, c, QNI_PW_FILL, &zero, y, NULL, NULL, NULL);
  for (int64_t i = 0; i < count && !st; i++) {
    if (id[i] < 0 || id[i] >= n)
      return h->fail(c, QN_E_ARG, "element %lld of ids is %lld; ids run from 0 to %lld",
                     (long long)i + 1, (long long)id[i], (long long)n - 1);
    qn_view place = {.data = (char *)y->data + (i * n + id[i]) * size, .dtype = y->dtype};
    int64_t whole = 1;
    int32_t type = qni_map_type(y->dtype);
    float narrow = 1;
    qni_map_store(type,
                  type == QN_F32   ? (void *)&narrow
                  : type == QN_F64 ? (void *)&one
                                   : (void *)&whole,
                  1, y->dtype, place.data, 1);
  }
  return st;
}

/* ---- tril, triu ---- */

struct triangle {
  const qn_view *x;
  qn_view *y;
  int64_t rows, cols, diagonal;
  bool lower;
};

/* Row r keeps columns 0 .. r + diagonal (lower) or from r + diagonal on (upper). */
static qn_status triangle_range(void *ctx, int64_t begin, int64_t end) {
  const struct triangle *t = ctx;
  const int64_t size = qni_map_size(t->x->dtype);
  for (int64_t i = begin; i < end; i++) {
    int64_t at = i % t->rows + t->diagonal + (t->lower ? 1 : 0);
    at = at < 0 ? 0 : at > t->cols ? t->cols : at;
    const char *x = (const char *)t->x->data + i * t->cols * size;
    char *y = (char *)t->y->data + i * t->cols * size;
    int64_t from = t->lower ? 0 : at, to = t->lower ? at : t->cols;
    memset(y, 0, (size_t)(t->cols * size));
    memcpy(y + from * size, x + from * size, (size_t)((to - from) * size));
  }
  return QN_OK;
}

static qn_status triangle(const qn_host *h, qn_call *c, bool lower) {
  const qn_view *x = h->in(c, 0);
  struct triangle t = {
      x,    h->out(c, 0), x->shape[x->ndim - 2], x->shape[x->ndim - 1], h->arg_int(c, "diagonal"),
      lower};
  int64_t n = qni_map_count(x);
  if (n == 0) return QN_OK;
  t.diagonal = t.diagonal < -t.rows ? -t.rows : t.diagonal > t.cols ? t.cols : t.diagonal;
  return h->parallel(c, n / t.cols, 1 + QNI_MAP_GRAIN / t.cols, triangle_range, &t);
}
static qn_status tril_forward(const qn_host *h, qn_call *c) { return triangle(h, c, true); }
static qn_status triu_forward(const qn_host *h, qn_call *c) { return triangle(h, c, false); }

static qn_status triangle_compose(const qn_host *h, qn_call *c, const char *op) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0,
                qni_build_op(&b, op, 2,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_int("diagonal", h->arg_int(c, "diagonal"))}));
  return b.status;
}
static qn_status tril_compose(const qn_host *h, qn_call *c) {
  return triangle_compose(h, c, "tril");
}
static qn_status triu_compose(const qn_host *h, qn_call *c) {
  return triangle_compose(h, c, "triu");
}

/* ---- Tables ---- */

QNI_OP(full_op, QN_BATCH_COUPLED,
       "full(shape: [int], value: num = 0, dtype: enum{f32|f64|bf16|i64|i32|u8|bool} = f32) -> y: "
       "any[?]",
       "A new tensor filled with a number.", "y = value everywhere.",
       "print(quern.full({2, 2}, 7))", .infer = qni_shape_infer, .forward = full_forward);
QNI_OP(one_hot_op, QN_BATCH_ROWS,
       "one_hot(ids: i64[?], n: int{1..}, dtype: enum{f32|f64|bf16|i64|i32|u8|bool} = f32) -> y: "
       "any[?]",
       "Ids as rows with a single 1.",
       "y[.., k] = 1 if k is the id, else 0; ids run from 0 to n-1. No gradient.",
       "print(quern.one_hot(quern.i64{0, 2}, 3))", .flags = QN_OP_NO_GRAD, .infer = one_hot_infer,
       .forward = one_hot_forward);
QNI_OP(tril_op, QN_BATCH_COUPLED, "tril(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]",
       "The lower triangle of matrices; 0 above it.",
       "y[m,n] = x[m,n] where n <= m + diagonal, else 0. Gradient: dx = tril(dy).",
       "print(quern.tril(quern.tensor{{1,2},{3,4}}))", .flags = QN_OP_NAN_STOPS,
       .forward = tril_forward, .compose = tril_compose);
QNI_OP(triu_op, QN_BATCH_COUPLED, "triu(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]",
       "The upper triangle of matrices; 0 below it.",
       "y[m,n] = x[m,n] where n >= m + diagonal, else 0. Gradient: dx = triu(dy).",
       "print(quern.triu(quern.tensor{{1,2},{3,4}}))", .flags = QN_OP_NAN_STOPS,
       .forward = triu_forward, .compose = triu_compose);

const qn_op *const qni_ops_shape_make[] = {&full_op, &one_hot_op, &tril_op, &triu_op, NULL};
