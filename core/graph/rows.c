/*
** Row-sparse gradients of tables.
**
** Ids are sorted with their order of arrival (radix sort, stable), equal ids are
** summed in that order by one owner each: the bits depend on the ids alone.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <string.h>

#include "exec/pool.h"
#include "graph/rows.h"

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS, ROWS_PER_CHUNK = 256 };

qni_row_pair *qni_rows_sort(qni_row_pair *a, qni_row_pair *b, int64_t n, int64_t top) {
  for (int32_t shift = 0; shift == 0 || top >> shift; shift += RADIX_BITS) {
    int64_t start[RADIX] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) start[a[i].id >> shift & (RADIX - 1)]++;
    for (int32_t d = 0; d < RADIX; d++) {
      int64_t count = start[d];
      start[d] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; i++) b[start[a[i].id >> shift & (RADIX - 1)]++] = a[i];
    qni_row_pair *swap = a;
    a = b;
    b = swap;
  }
  return a;
}

/* The rows of two gradients in a row: the leaf's own first. */
struct source {
  const qn_tensor *ids[2], *rows[2];
  int64_t n[2];
};

static int64_t source_id(const struct source *s, int64_t i) {
  return i < s->n[0] ? ((const int64_t *)s->ids[0]->view.data)[i]
                     : ((const int64_t *)s->ids[1]->view.data)[i - s->n[0]];
}

static const void *source_row(const struct source *s, int64_t i, size_t bytes) {
  return i < s->n[0] ? (const char *)s->rows[0]->view.data + (size_t)i * bytes
                     : (const char *)s->rows[1]->view.data + (size_t)(i - s->n[0]) * bytes;
}

struct summing {
  const struct source *source;
  const qni_row_pair *sorted;
  const int64_t *first; /* [groups + 1] positions in sorted */
  int64_t width;
  int32_t dtype;
  int64_t *ids;
  char *rows;
};

static void add_row(int32_t dtype, int64_t width, const void *row, void *sum) {
  if (dtype == QN_F32)
    for (int64_t i = 0; i < width; i++) ((float *)sum)[i] += ((const float *)row)[i];
  else
    for (int64_t i = 0; i < width; i++) ((double *)sum)[i] += ((const double *)row)[i];
}

static qn_status sum_groups(void *ctx, int64_t begin, int64_t end) {
  const struct summing *s = ctx;
  size_t bytes = (size_t)s->width * qni_dtype_size(s->dtype);
  for (int64_t g = begin; g < end; g++) {
    void *sum = s->rows + (size_t)g * bytes;
    s->ids[g] = s->sorted[s->first[g]].id;
    memcpy(sum, source_row(s->source, s->sorted[s->first[g]].at, bytes), bytes);
    for (int64_t i = s->first[g] + 1; i < s->first[g + 1]; i++)
      add_row(s->dtype, s->width, source_row(s->source, s->sorted[i].at, bytes), sum);
  }
  return QN_OK;
}

static qn_status check_ids(const struct source *s, int64_t n, int64_t V, qni_row_pair *pairs) {
  for (int64_t i = 0; i < n; i++) {
    pairs[i] = (qni_row_pair){source_id(s, i), i};
    if (pairs[i].id < 0 || pairs[i].id >= V)
      return qni_fail(QN_E_PLUGIN,
                      "a row gradient names row %" PRId64 " of a table of %" PRId64 " rows",
                      pairs[i].id, V);
  }
  return QN_OK;
}

/* One gradient of sorted distinct ids out of a source. */
static qn_status coalesce(const struct source *s, const qn_view *table, qni_grad *out) {
  int64_t n = s->n[0] + s->n[1], groups = 0, shape[QN_MAX_DIMS];
  qni_arena arena = {0};
  qni_row_pair *a = qni_arena_alloc(&arena, (size_t)n * sizeof *a),
               *b = qni_arena_alloc(&arena, (size_t)n * sizeof *b);
  int64_t *first = qni_arena_alloc(&arena, (size_t)(n + 1) * sizeof *first);
  qn_status st = a && b && first ? check_ids(s, n, table->shape[0], a) : QN_E_NOMEM;
  if (st) goto done;
  qni_row_pair *sorted = qni_rows_sort(a, b, n, table->shape[0] > 0 ? table->shape[0] - 1 : 0);
  for (int64_t i = 0; i < n; i++)
    if (i == 0 || sorted[i].id != sorted[i - 1].id) first[groups++] = i;
  first[groups] = n;
  memcpy(shape, table->shape, sizeof shape);
  shape[0] = groups;
  st = qni_tensor_empty(QN_I64, 1, &groups, &out->ids);
  if (!st) st = qni_tensor_empty(table->dtype, table->ndim, shape, &out->rows);
  if (st) goto done;
  struct summing sum = {.source = s,
                        .sorted = sorted,
                        .first = first,
                        .dtype = table->dtype,
                        .width = qni_shape_count(table->ndim - 1, table->shape + 1),
                        .ids = out->ids->view.data,
                        .rows = out->rows->view.data};
  st = qni_pool_run(groups, ROWS_PER_CHUNK, sum_groups, &sum);
done:
  if (st) qni_grad_free(out);
  qni_arena_free(&arena);
  return st;
}

qn_status qni_rows_dense(const qn_view *like, const qn_tensor *ids, const qn_tensor *rows,
                         qn_tensor **dense) {
  qn_status st = qni_tensor_zeros(like->dtype, like->ndim, like->shape, dense);
  if (st) return st;
  int64_t width = qni_shape_count(like->ndim - 1, like->shape + 1), n = ids->view.shape[0];
  size_t bytes = (size_t)width * qni_dtype_size(like->dtype);
  for (int64_t i = 0; i < n; i++) {
    int64_t id = ((const int64_t *)ids->view.data)[i];
    if (id < 0 || id >= like->shape[0]) {
      qn_tensor_free(*dense);
      *dense = NULL;
      return qni_fail(QN_E_PLUGIN,
                      "a row gradient names row %" PRId64 " of a table of %" PRId64 " rows", id,
                      like->shape[0]);
    }
    add_row(like->dtype, width, (const char *)rows->view.data + (size_t)i * bytes,
            (char *)(*dense)->view.data + (size_t)id * bytes);
  }
  return QN_OK;
}

/* Onto a dense gradient that is there already. */
static qn_status add_to_dense(qn_tensor *leaf, const qni_grad *grad) {
  qn_tensor *dense;
  const qn_view like = qni_gradient_like(leaf);
  qn_status st = qni_rows_dense(&like, grad->ids, grad->rows, &dense);
  if (st) return st;
  add_row(like.dtype, qni_view_count(&like), dense->view.data, leaf->grad->view.data);
  qni_tensor_touch(leaf->grad);
  qn_tensor_free(dense);
  return QN_OK;
}

qn_status qni_rows_accumulate(qn_tensor *leaf, const qni_grad *grad) {
  if (leaf->grad) return add_to_dense(leaf, grad);
  struct source s = {.ids = {leaf->grad_ids, grad->ids}, .rows = {leaf->grad_rows, grad->rows}};
  s.n[0] = leaf->grad_ids ? leaf->grad_ids->view.shape[0] : 0;
  s.n[1] = grad->ids->view.shape[0];
  qni_grad sum = {0};
  const qn_view like = qni_gradient_like(leaf);
  qn_status st = coalesce(&s, &like, &sum);
  if (st) return st;
  qn_tensor_clear_grad(leaf);
  leaf->grad_ids = sum.ids;
  leaf->grad_rows = sum.rows;
  return QN_OK;
}
