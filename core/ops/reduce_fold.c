/* Reductions over any set of dimensions. SPDX-License-Identifier: MIT */
#include "reduce_fold.h"

#include <math.h>
#include <string.h>

enum { PIECE = 65536, COLUMNS = 512, LEAST_ROWS = 128 };

/* ---- Which dimensions ---- */

qn_status qni_fold_one_dim(const qn_host *h, qn_call *c, int32_t ndim, const char *name,
                           int64_t dim, int32_t *result) {
  int64_t d = dim < 0 ? dim + ndim : dim - 1;
  if (dim == 0 || d < 0 || d >= ndim)
    return h->fail(
        c, QN_E_ARG,
        "%s is %lld, but there are %d dimensions; they count from 1, or from -1 backwards", name,
        (long long)dim, (int)ndim);
  *result = (int32_t)d;
  return QN_OK;
}

qn_status qni_fold_dim(const qn_host *h, qn_call *c, int32_t ndim, const char *name, int32_t *dim) {
  return qni_fold_one_dim(h, c, ndim, name, h->arg_int(c, name), dim);
}

qn_status qni_fold_dims(const qn_host *h, qn_call *c, const qn_view *x, bool *reduced) {
  int32_t n = 0, d = 0;
  bool all = !h->has_arg(c, "dim");
  const int64_t *dims = h->arg_ints(c, "dim", &n);
  for (int32_t i = 0; i < QN_MAX_DIMS; i++) reduced[i] = all;
  for (int32_t i = 0; i < n; i++) {
    qn_status st = qni_fold_one_dim(h, c, x->ndim, "dim", dims[i], &d);
    if (st) return st;
    if (reduced[d]) return h->fail(c, QN_E_ARG, "dim names dimension %d twice", (int)d + 1);
    reduced[d] = true;
  }
  return QN_OK;
}

void qni_fold_shape(const qn_view *x, const bool *reduced, bool keep, qn_view *y) {
  int32_t n = 0;
  for (int32_t d = 0; d < x->ndim; d++) {
    if (!reduced[d])
      y->shape[n++] = x->shape[d];
    else if (keep)
      y->shape[n++] = 1;
  }
  y->ndim = n;
}

qn_view qni_fold_spread(const qn_view *g, const qn_view *x, const bool *reduced) {
  qn_view v = *x;
  bool keep = g->ndim == x->ndim;
  v.data = g->data;
  v.dtype = g->dtype;
  for (int32_t d = 0, e = 0; d < x->ndim; d++) {
    v.stride[d] = reduced[d] ? 0 : g->stride[e];
    if (keep || !reduced[d]) e++;
  }
  return v;
}

/* ---- The [A,R,B] form ---- */

static void byte_copy(const void *param, int64_t n, void *const *p, const int64_t *step) {
  (void)param;
  (void)step;
  memcpy(p[0], p[1], (size_t)n);
}

qn_status qni_fold_copy(const qn_host *h, qn_call *c, const qn_view *dst, const qn_view *src) {
  int32_t type = dst->dtype == QN_BOOL ? QN_BOOL : qni_map_type(dst->dtype);
  qni_map m = {.fn = type == QN_BOOL ? byte_copy : qni_map_kernel(QNI_PW_COPY, dst->dtype),
               .n = 2,
               .view = {dst, src},
               .type = {type, type}};
  return qni_map_run(h, c, &m);
}

static bool together(const qn_view *x, const bool *reduced, qni_fold *f) {
  int32_t stage = 0; /* before, inside, after the reduced dimensions */
  f->A = f->R = f->B = 1;
  for (int32_t d = 0; d < x->ndim; d++) {
    if (x->shape[d] == 1) continue;
    if (reduced[d] && stage == 2) return false;
    if (reduced[d])
      stage = 1;
    else if (stage == 1)
      stage = 2;
    *(stage == 0 ? &f->A : stage == 1 ? &f->R : &f->B) *= x->shape[d];
  }
  return true;
}

static qn_status dense_copy(const qn_host *h, qn_call *c, const qn_view *from, qni_fold *f) {
  void *memory = NULL;
  qn_status st = h->scratch(c, qni_map_count(from) * qni_map_size(f->type), &memory);
  if (st) return st;
  qn_view to = qni_map_dense(from, f->type, memory);
  f->x = memory;
  return qni_fold_copy(h, c, &to, from);
}

/* A contiguous copy in kernel type, reduced dimensions last. */
static qn_status reorder(const qn_host *h, qn_call *c, const qn_view *x, const bool *reduced,
                         qni_fold *f) {
  qn_view from = *x;
  int32_t n = 0;
  f->A = f->R = f->B = 1;
  for (int32_t pass = 0; pass < 2; pass++)
    for (int32_t d = 0; d < x->ndim; d++) {
      if (reduced[d] != (pass == 1)) continue;
      from.shape[n] = x->shape[d];
      from.stride[n++] = x->stride[d];
      *(pass ? &f->R : &f->A) *= x->shape[d];
    }
  return dense_copy(h, c, &from, f);
}

/* The form, and so the order of additions, depends on the shape alone, not on the strides. */
qn_status qni_fold_start(const qn_host *h, qn_call *c, const qn_view *x, const bool *reduced,
                         qni_fold *f) {
  f->type = qni_map_type(x->dtype);
  f->x = x->data;
  if (!together(x, reduced, f)) return reorder(h, c, x, reduced, f);
  return x->dtype == f->type && qni_map_contiguous(x) ? QN_OK : dense_copy(h, c, x, f);
}

qn_status qni_fold_start_rows(const qn_host *h, qn_call *c, const qn_view *x, const bool *reduced,
                              qni_fold *f) {
  f->type = qni_map_type(x->dtype);
  f->x = x->data;
  if (together(x, reduced, f) && f->B == 1 && x->dtype == f->type && qni_map_contiguous(x))
    return QN_OK;
  return reorder(h, c, x, reduced, f);
}

/* ---- Folding ---- */

struct job {
  const qni_fold *f;
  const qni_reduce_kernels *k;
  int32_t fold;
  int64_t rows, pieces, width, tiles; /* R in pieces of `rows`, B in tiles of `width` */
  char *acc;                          /* [A,pieces,B] */
  const double *center;               /* [A,B] */
};

static void neutral(int32_t fold, int32_t type, void *acc, int64_t n) {
  double value = fold == QNI_FOLD_PROD  ? 1
                 : fold == QNI_FOLD_MAX ? -INFINITY
                 : fold == QNI_FOLD_MIN ? INFINITY
                                        : 0;
  int64_t whole = fold == QNI_FOLD_PROD  ? 1
                  : fold == QNI_FOLD_MAX ? INT64_MIN
                  : fold == QNI_FOLD_MIN ? INT64_MAX
                                         : 0;
  for (int64_t i = 0; i < n; i++) {
    if (type == QN_I64)
      ((int64_t *)acc)[i] = whole;
    else
      ((double *)acc)[i] = value;
  }
}

static qn_status fold_range(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const qni_fold *f = j->f;
  const int64_t size = qni_map_size(f->type);
  for (int64_t i = begin; i < end; i++) {
    int64_t t = i % j->tiles, p = i / j->tiles % j->pieces, a = i / j->tiles / j->pieces;
    int64_t b = t * j->width, cols = f->B - b < j->width ? f->B - b : j->width;
    int64_t r = p * j->rows, rows = f->R - r < j->rows ? f->R - r : j->rows;
    const char *x = (const char *)f->x + ((a * f->R + r) * f->B + b) * size;
    char *acc = j->acc + ((a * j->pieces + p) * f->B + b) * 8;
    const double *center = j->center ? j->center + a * f->B + b : NULL;
    neutral(j->fold, f->type, acc, cols);
    if (f->B == 1)
      j->k->rows[j->fold](rows, x, acc, center);
    else
      j->k->cols[j->fold](rows, cols, x, f->B, acc, center);
  }
  return QN_OK;
}

/* Folds the pieces' accumulators [A,pieces,B] in order into out[A,B]. */
static void combine(const struct job *j, int32_t type, char *out) {
  const qni_reduce_table *table = qni_reduce();
  const qni_reduce_kernels *k = type == QN_I64 ? &table->i64 : &table->f64;
  int32_t fold = j->fold == QNI_FOLD_SQUARES ? QNI_FOLD_SUM : j->fold;
  neutral(j->fold, type, out, j->f->A * j->f->B);
  for (int64_t a = 0; a < j->f->A; a++)
    k->cols[fold](j->pieces, j->f->B, j->acc + a * j->pieces * j->f->B * 8, j->f->B,
                  out + a * j->f->B * 8, NULL);
}

qn_status qni_fold_run(const qn_host *h, qn_call *c, const qni_fold *f, int32_t fold, void *acc,
                       const double *center) {
  const qni_reduce_table *table = qni_reduce();
  struct job j = {.f = f, .fold = fold, .acc = acc, .center = center};
  if (f->A == 0 || f->B == 0) return QN_OK;
  j.k = f->type == QN_F32 ? &table->f32 : f->type == QN_F64 ? &table->f64 : &table->i64;
  j.width = f->B < COLUMNS ? f->B : COLUMNS;
  j.tiles = (f->B + j.width - 1) / j.width;
  j.rows = PIECE / j.width > LEAST_ROWS ? PIECE / j.width : LEAST_ROWS;
  j.pieces = f->R > j.rows ? (f->R + j.rows - 1) / j.rows : 1;
  if (j.pieces > 1) {
    void *memory = NULL;
    qn_status st = h->scratch(c, f->A * j.pieces * f->B * 8, &memory);
    if (st) return st;
    j.acc = memory;
  }
  int64_t cost = j.width * (f->R < j.rows ? f->R : j.rows) + 1, grain = QNI_MAP_GRAIN / cost;
  qn_status st = h->parallel(c, f->A * j.pieces * j.tiles, grain < 1 ? 1 : grain, fold_range, &j);
  if (!st && j.pieces > 1) combine(&j, f->type, acc);
  return st;
}

qn_status qni_fold_finish(const qn_host *h, qn_call *c, int32_t type, void *acc, double scale,
                          qn_view *y) {
  qn_view from = qni_map_dense(y, type == QN_I64 ? QN_I64 : QN_F64, acc);
  if (type != QN_I64 && scale != 1) {
    int64_t n = qni_map_count(y);
    for (int64_t i = 0; i < n; i++) ((double *)acc)[i] *= scale;
  }
  return qni_fold_copy(h, c, y, &from);
}

qn_status qni_fold_sum_to(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y) {
  bool reduced[QN_MAX_DIMS] = {false};
  qni_fold f;
  void *acc = NULL;
  int32_t extra = x->ndim - y->ndim;
  if (qni_map_count(x) == qni_map_count(y)) { /* nothing is summed: dimensions of 1 go */
    qn_view from = *x;
    from.ndim = y->ndim;
    for (int32_t d = 0; d < y->ndim; d++) {
      from.shape[d] = y->shape[d];
      from.stride[d] = x->stride[d + extra];
    }
    return qni_fold_copy(h, c, y, &from);
  }
  for (int32_t d = 0; d < x->ndim; d++)
    reduced[d] = d < extra || (y->shape[d - extra] == 1 && x->shape[d] != 1);
  qn_status st = qni_fold_start(h, c, x, reduced, &f);
  if (!st) st = h->scratch(c, qni_map_count(y) * 8, &acc);
  if (!st) st = qni_fold_run(h, c, &f, QNI_FOLD_SUM, acc, NULL);
  return st ? st : qni_fold_finish(h, c, f.type, acc, 1, y);
}
