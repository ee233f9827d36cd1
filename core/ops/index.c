/*
** Picking and adding by ids: gather scatter_add index_select index_add take.
** Ids are data, i64, and count from 0. One outside its dimension is an error that names
** its place and value; nothing is written then. Repeated ids are added in their order, so
** sums have the same bits for any number of workers.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"
#include "reduce_line.h"

static qn_status check_ids(const qn_host *h, qn_call *c, const qn_view *ids, int64_t n,
                           const char *name) {
  const int64_t *id = ids->data;
  int64_t count = qni_map_count(ids);
  for (int64_t i = 0; i < count; i++)
    if (id[i] < 0 || id[i] >= n)
      return h->fail(c, QN_E_ARG, "element %lld of %s is %lld; ids run from 0 to %lld here",
                     (long long)i + 1, name, (long long)id[i], (long long)n - 1);
  return QN_OK;
}

static const char *const dtype_names[] = {"f32", "f64", "bf16", "i64", "i32", "u8", "bool"};

/* Zeros of the shape and type of forward input i. */
static qn_tensor *zeros_like(qni_build *b, int32_t i) {
  const qn_view *x = b->h->like(b->c, i);
  return qni_build_op(b, "full", 3,
                      (qn_arg[]){qni_arg_ints("shape", x->ndim, x->shape),
                                 qni_arg_named("value", 0),
                                 qni_arg_str("dtype", dtype_names[x->dtype - 1])});
}

/* op(x, ids, [src,] dim = dim), the argument dim being the call's own */
static qn_tensor *with_dim(qni_build *b, const char *op, qn_tensor *x, qn_tensor *ids,
                           qn_tensor *src) {
  qn_arg dim = qni_arg_int("dim", b->h->arg_int(b->c, "dim"));
  if (!src) return qni_build_op(b, op, 3, (qn_arg[]){qni_arg_tensor(x), qni_arg_tensor(ids), dim});
  return qni_build_op(b, op, 4,
                      (qn_arg[]){qni_arg_tensor(x), qni_arg_tensor(ids), qni_arg_tensor(src), dim});
}

/* ---- Adding elements of any type ---- */

static void add_element(int32_t dtype, void *data, int64_t i, const void *src, int64_t j) {
  switch (dtype) {
  case QN_F32: ((float *)data)[i] += ((const float *)src)[j]; break;
  case QN_F64: ((double *)data)[i] += ((const double *)src)[j]; break;
  case QN_I64: ((uint64_t *)data)[i] += ((const uint64_t *)src)[j]; break;
  case QN_I32: ((uint32_t *)data)[i] += ((const uint32_t *)src)[j]; break;
  case QN_U8:
    ((uint8_t *)data)[i] = (uint8_t)(((uint8_t *)data)[i] + ((const uint8_t *)src)[j]);
    break;
  case QN_BOOL: ((uint8_t *)data)[i] |= ((const uint8_t *)src)[j]; break;
  default: {
    float a, b;
    qni_map_load(QN_BF16, (uint16_t *)data + i, 1, 1, QN_F32, &a);
    qni_map_load(QN_BF16, (const uint16_t *)src + j, 1, 1, QN_F32, &b);
    a += b;
    qni_map_store(QN_F32, &a, 1, QN_BF16, (uint16_t *)data + i, 1);
  }
  }
}

static void add_run(int32_t dtype, void *data, int64_t i, const void *src, int64_t j, int64_t n) {
  if (dtype == QN_F32) {
    float *y = (float *)data + i;
    const float *x = (const float *)src + j;
    for (int64_t k = 0; k < n; k++) y[k] += x[k];
    return;
  }
  for (int64_t k = 0; k < n; k++) add_element(dtype, data, i + k, src, j + k);
}

/* ---- gather, scatter_add: one id for each element, along lines of dimension dim ---- */

struct lines_job {
  const qn_view *x; /* the tensor that ids point into */
  const qn_view *ids;
  const void *src;
  void *out;
  int32_t dim, dtype;
  qni_lines l; /* of ids */
};

/* Offset in contiguous x of the line that line i of ids names. */
static int64_t line_in_x(const struct lines_job *j, int64_t i) {
  int64_t offset = 0, step = 1, rest = i;
  for (int32_t d = j->x->ndim - 1; d >= 0; d--) {
    if (d != j->dim) {
      offset += rest % j->ids->shape[d] * step;
      rest /= j->ids->shape[d];
    }
    step *= j->x->shape[d];
  }
  return offset;
}

static int64_t step_in_x(const struct lines_job *j) {
  int64_t step = 1;
  for (int32_t d = j->x->ndim - 1; d > j->dim; d--) step *= j->x->shape[d];
  return step;
}

static qn_status gather_range(void *ctx, int64_t begin, int64_t end) {
  const struct lines_job *j = ctx;
  const int64_t step = step_in_x(j), size = qni_map_size(j->dtype);
  const int64_t *id = j->ids->data;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = line_in_x(j, i), at = qni_lines_start(&j->l, i);
    for (int64_t r = 0; r < j->l.R; r++, at += j->l.B)
      memcpy((char *)j->out + at * size, (const char *)j->src + (from + id[at] * step) * size,
             (size_t)size);
  }
  return QN_OK;
}

static qn_status scatter_range(void *ctx, int64_t begin, int64_t end) {
  const struct lines_job *j = ctx;
  const int64_t step = step_in_x(j);
  const int64_t *id = j->ids->data;
  for (int64_t i = begin; i < end; i++) {
    int64_t to = line_in_x(j, i), at = qni_lines_start(&j->l, i);
    for (int64_t r = 0; r < j->l.R; r++, at += j->l.B)
      add_element(j->dtype, j->out, to + id[at] * step, j->src, at);
  }
  return QN_OK;
}

/* ids must have x's dimensions and, but along dim, be no larger. */
static qn_status lines_shape(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *ids,
                             int32_t *dim) {
  if (x->ndim != ids->ndim)
    return h->fail(c, QN_E_SHAPE, "x has %d dimensions and ids has %d; they must agree",
                   (int)x->ndim, (int)ids->ndim);
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", dim);
  for (int32_t d = 0; d < x->ndim && !st; d++)
    if (d != *dim && ids->shape[d] > x->shape[d])
      st = h->fail(c, QN_E_SHAPE, "dimension %d is %lld in ids and only %lld in x", (int)d + 1,
                   (long long)ids->shape[d], (long long)x->shape[d]);
  return st;
}

static qn_status run_lines(const qn_host *h, qn_call *c, struct lines_job *j, qn_range_fn fn) {
  j->l = qni_lines_of(j->ids, j->dim);
  j->dtype = j->x->dtype;
  return h->parallel(c, j->l.R ? j->l.A * j->l.B : 0, qni_lines_grain(&j->l), fn, j);
}

static qn_status gather_infer(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  y->ndim = ids->ndim;
  memcpy(y->shape, ids->shape, sizeof y->shape);
  return lines_shape(h, c, h->in(c, 0), ids, &dim);
}

static qn_status gather_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  struct lines_job j = {.x = x, .ids = ids, .src = x->data, .out = h->out(c, 0)->data};
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &j.dim);
  if (!st) st = check_ids(h, c, ids, x->shape[j.dim], "ids");
  if (!st) st = run_lines(h, c, &j, gather_range);
  return st ? st : h->save(c, 0, ids);
}

/* A contiguous view of v: itself or a copy. */
static qn_status packed(const qn_host *h, qn_call *c, const qn_view *v, qn_view *out) {
  void *memory = NULL;
  *out = *v;
  if (qni_map_contiguous(v)) return QN_OK;
  qn_status st = h->scratch(c, qni_map_count(v) * qni_map_size(v->dtype), &memory);
  if (st) return st;
  *out = qni_map_dense(v, v->dtype, memory);
  return qni_fold_copy(h, c, out, v);
}

static qn_status zero(const qn_host *h, qn_call *c, qn_view *v) {
  double nothing = 0;
  return qni_map_pw(h, c, QNI_PW_FILL, &nothing, v, NULL, NULL, NULL);
}

static qn_status gather_backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0), g;
  if (!dx) return QN_OK;
  qn_status st = packed(h, c, h->in(c, 0), &g);
  struct lines_job j = {.x = dx, .ids = h->saved(c, 0), .src = g.data, .out = dx->data};
  if (!st) st = qni_fold_dim(h, c, dx->ndim, "dim", &j.dim);
  if (!st) st = zero(h, c, dx);
  return st ? st : run_lines(h, c, &j, scatter_range);
}

static qn_status gather_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  if (g)
    qni_build_set(&b, 0, with_dim(&b, "scatter_add", zeros_like(&b, 0), qni_build_saved(&b, 0), g));
  return b.status;
}

static qn_status scatter_add_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  y->ndim = x->ndim;
  memcpy(y->shape, x->shape, sizeof y->shape);
  if (!qni_map_same_shape(ids, h->in(c, 2)))
    return h->fail(c, QN_E_SHAPE, "src must have the shape of ids");
  return lines_shape(h, c, x, ids, &dim);
}

static qn_status scatter_add_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  struct lines_job j = {.x = x, .ids = ids, .src = h->in(c, 2)->data, .out = y->data};
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &j.dim);
  if (!st) st = check_ids(h, c, ids, x->shape[j.dim], "ids");
  if (!st) st = qni_fold_copy(h, c, y, x);
  if (!st) st = run_lines(h, c, &j, scatter_range);
  return st ? st : h->save(c, 0, ids);
}

static qn_status scatter_add_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qni_build_set(&b, 0, g);
  if (h->needs_grad(c, 2))
    qni_build_set(&b, 2, with_dim(&b, "gather", g, qni_build_saved(&b, 0), NULL));
  return b.status;
}

/* ---- index_select, index_add: whole slices along dim, [A,R,B] ---- */

struct slices_job {
  const char *src;
  char *out;
  const int64_t *id;
  int64_t n, A, R, B, size; /* n ids; R is the size they point into */
  int32_t dtype;
};

static qn_status select_range(void *ctx, int64_t begin, int64_t end) {
  const struct slices_job *j = ctx;
  const int64_t bytes = j->B * j->size;
  for (int64_t i = begin; i < end; i++)
    memcpy(j->out + i * bytes, j->src + (i / j->n * j->R + j->id[i % j->n]) * bytes, (size_t)bytes);
  return QN_OK;
}

/* Tiles of columns of each A: one owner adds all of a tile's rows, in order. */
enum { ADD_TILE = 64 };
static qn_status add_range(void *ctx, int64_t begin, int64_t end) {
  const struct slices_job *j = ctx;
  const int64_t tiles = (j->B + ADD_TILE - 1) / ADD_TILE;
  for (int64_t t = begin; t < end; t++) {
    int64_t a = t / tiles, b = t % tiles * ADD_TILE, n = j->B - b < ADD_TILE ? j->B - b : ADD_TILE;
    for (int64_t i = 0; i < j->n; i++)
      add_run(j->dtype, j->out, (a * j->R + j->id[i]) * j->B + b, j->src, (a * j->n + i) * j->B + b,
              n);
  }
  return QN_OK;
}

static struct slices_job slices(const qn_view *x, int32_t dim, const qn_view *ids, const void *src,
                                void *out) {
  qni_lines l = qni_lines_of(x, dim);
  return (struct slices_job){.src = src,
                             .out = out,
                             .id = ids->data,
                             .n = qni_map_count(ids),
                             .A = l.A,
                             .R = l.R,
                             .B = l.B,
                             .size = qni_map_size(x->dtype),
                             .dtype = x->dtype};
}

static qn_status run_select(const qn_host *h, qn_call *c, struct slices_job *j) {
  return h->parallel(c, j->B ? j->A * j->n : 0, 1 + QNI_MAP_GRAIN / (j->B + 1), select_range, j);
}

static qn_status run_add(const qn_host *h, qn_call *c, struct slices_job *j) {
  int64_t tiles = (j->B + ADD_TILE - 1) / ADD_TILE;
  return h->parallel(c, j->A * tiles, 1 + QNI_MAP_GRAIN / (ADD_TILE * (j->n + 1)), add_range, j);
}

static qn_status index_select_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  y->ndim = x->ndim;
  memcpy(y->shape, x->shape, sizeof y->shape);
  if (!st) y->shape[dim] = h->in(c, 1)->shape[0];
  return st;
}

static qn_status index_select_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (!st) st = check_ids(h, c, ids, x->shape[dim], "ids");
  if (st) return st;
  struct slices_job j = slices(x, dim, ids, x->data, h->out(c, 0)->data);
  st = run_select(h, c, &j);
  return st ? st : h->save(c, 0, ids);
}

static qn_status index_select_backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0), g;
  int32_t dim = 0;
  if (!dx) return QN_OK;
  qn_status st = qni_fold_dim(h, c, dx->ndim, "dim", &dim);
  if (!st) st = packed(h, c, h->in(c, 0), &g);
  if (!st) st = zero(h, c, dx);
  if (st) return st;
  struct slices_job j = slices(dx, dim, h->saved(c, 0), g.data, dx->data);
  return run_add(h, c, &j);
}

static qn_status index_select_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  if (g)
    qni_build_set(&b, 0, with_dim(&b, "index_add", zeros_like(&b, 0), qni_build_saved(&b, 0), g));
  return b.status;
}

static qn_status index_add_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1), *src = h->in(c, 2);
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (st) return st;
  y->ndim = x->ndim;
  memcpy(y->shape, x->shape, sizeof y->shape);
  bool fits = src->ndim == x->ndim;
  for (int32_t d = 0; d < x->ndim && fits; d++)
    fits = src->shape[d] == (d == dim ? ids->shape[0] : x->shape[d]);
  return fits ? QN_OK
              : h->fail(c, QN_E_SHAPE,
                        "src must have x's shape with as many positions along dim as there are ids "
                        "(%lld)",
                        (long long)ids->shape[0]);
}

static qn_status index_add_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (!st) st = check_ids(h, c, ids, x->shape[dim], "ids");
  if (!st) st = qni_fold_copy(h, c, y, x);
  if (st) return st;
  struct slices_job j = slices(x, dim, ids, h->in(c, 2)->data, y->data);
  st = run_add(h, c, &j);
  return st ? st : h->save(c, 0, ids);
}

static qn_status index_add_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *g = qni_build_flow(&b);
  qni_build_set(&b, 0, g);
  if (h->needs_grad(c, 2))
    qni_build_set(&b, 2, with_dim(&b, "index_select", g, qni_build_saved(&b, 0), NULL));
  return b.status;
}

/* ---- take: rows of a table, in the shape of the ids ---- */

static qn_status take_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  if (x->ndim == 0) return h->fail(c, QN_E_SHAPE, "x has no rows: it is a single number");
  if (ids->ndim + x->ndim - 1 > QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "the result would have more than %d dimensions", QN_MAX_DIMS);
  y->ndim = ids->ndim + x->ndim - 1;
  for (int32_t d = 0; d < y->ndim; d++)
    y->shape[d] = d < ids->ndim ? ids->shape[d] : x->shape[d - ids->ndim + 1];
  return QN_OK;
}

static qn_status take_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *ids = h->in(c, 1);
  qn_status st = check_ids(h, c, ids, x->shape[0], "ids");
  if (st) return st;
  struct slices_job j = slices(x, 0, ids, x->data, h->out(c, 0)->data);
  st = run_select(h, c, &j);
  return st ? st : h->save(c, 0, ids);
}

static qn_status take_backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0), g;
  if (!dx) return QN_OK;
  qn_status st = packed(h, c, h->in(c, 0), &g);
  if (!st) st = zero(h, c, dx);
  if (st) return st;
  struct slices_job j = slices(dx, 0, h->saved(c, 0), g.data, dx->data);
  return run_add(h, c, &j);
}

static qn_status take_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0), *ids = h->like(c, 1);
  int64_t n = qni_map_count(ids), shape[QN_MAX_DIMS];
  qn_tensor *g = qni_build_flow(&b);
  if (!g) return b.status;
  memcpy(shape, x->shape, sizeof shape);
  shape[0] = n;
  qn_tensor *id = qni_build_op(
      &b, "reshape", 2,
      (qn_arg[]){qni_arg_tensor(qni_build_saved(&b, 0)), qni_arg_ints("shape", 1, &n)});
  g = qni_build_op(&b, "reshape", 2,
                   (qn_arg[]){qni_arg_tensor(g), qni_arg_ints("shape", x->ndim, shape)});
  qni_build_set(&b, 0,
                qni_build_op(&b, "index_add", 4,
                             (qn_arg[]){qni_arg_tensor(zeros_like(&b, 0)), qni_arg_tensor(id),
                                        qni_arg_tensor(g), qni_arg_int("dim", 1)}));
  return b.status;
}

/* ---- Tables ---- */

QNI_OP(gather_op, QN_BATCH_COUPLED, "gather(x: t[?], ids: i64[?], dim: int) -> y: t[?]",
       "Picks one element for each id along a dimension.",
       "y[.., i, ..] = x[.., ids[.., i, ..], ..] along dim; y has the shape of ids; ids count from "
       "0. Gradient: "
       "scatter_add of dy.",
       "print(quern.gather(quern.tensor{{1,2},{3,4}}, quern.i64{{0},{1}}, 2))",
       .infer = gather_infer, .forward = gather_forward, .backward = gather_backward,
       .compose = gather_compose);
QNI_OP(scatter_add_op, QN_BATCH_COUPLED,
       "scatter_add(x: t[?], ids: i64[?], src: t[?], dim: int) -> y: t[?]",
       "Adds elements to the places that ids name along a dimension.",
       "y = x, with y[.., ids[.., i, ..], ..] += src[.., i, ..]; ids count from 0 and may repeat. "
       "Gradient: dx = dy, "
       "dsrc = gather of dy.",
       "print(quern.scatter_add(quern.tensor{0,0,0}, quern.i64{0,2,2}, quern.tensor{1,2,3}, 1))",
       .infer = scatter_add_infer, .forward = scatter_add_forward, .compose = scatter_add_compose);
QNI_OP(index_select_op, QN_BATCH_COUPLED, "index_select(x: t[?], ids: i64[K], dim: int) -> y: t[?]",
       "Picks whole slices along a dimension.",
       "y = the slices of x at ids along dim; ids count from 0 and may repeat. Gradient: index_add "
       "of dy.",
       "print(quern.index_select(quern.tensor{{1,2},{3,4}}, quern.i64{1,0}, 1))",
       .infer = index_select_infer, .forward = index_select_forward,
       .backward = index_select_backward, .compose = index_select_compose);
QNI_OP(index_add_op, QN_BATCH_COUPLED,
       "index_add(x: t[?], ids: i64[K], src: t[?], dim: int) -> y: t[?]",
       "Adds whole slices to the places that ids name along a dimension.",
       "y = x, with slice ids[k] += slice k of src; ids count from 0 and may repeat. Gradient: dx "
       "= dy, dsrc = "
       "index_select of dy.",
       "print(quern.index_add(quern.tensor{0,0,0}, quern.i64{0,2,2}, quern.tensor{1,2,3}, 1))",
       .infer = index_add_infer, .forward = index_add_forward, .compose = index_add_compose);
QNI_OP(take_op, QN_BATCH_COUPLED, "take(x: t[?], ids: i64[?]) -> y: t[?]",
       "Rows of a table, in the shape of the ids.",
       "y[i, ..] = x[ids[i], ..]; ids count from 0. Gradient: index_add of dy (dense; embedding "
       "has a row-sparse one).",
       "print(quern.take(quern.tensor{{1,2},{3,4}}, quern.i64{1,1,0}))", .infer = take_infer,
       .forward = take_forward, .backward = take_backward, .compose = take_compose);

const qn_op *const qni_ops_index[] = {&gather_op,    &scatter_add_op, &index_select_op,
                                      &index_add_op, &take_op,        NULL};
