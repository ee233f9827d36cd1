/*
** From lanes to the gradients of leaves, at the end of a captured step.
**
** dense:  g = scale * (lane_0 + lane_1 + ...), elements shared out over the workers
** rows:   all listed rows in order of slices, sorted by id (stable); each id has one owner
**         that adds its rows in that order
** A leaf that has a gradient already gets the sum of both. Tensors made here are used again
** when the leaf has let go of them, so that steady steps allocate nothing.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "exec/pool.h"
#include "graph/lanes.h"
#include "graph/rows.h"

enum { ELEMENTS_PER_CHUNK = 8192, ROWS_PER_CHUNK = 256, LANE_SHIFT = 48 };

/* ---- Dense ---- */

struct dense {
  const void *lane[QNI_LANES];
  int32_t n_lanes;
  bool add; /* to what `to` holds */
  void *to;
  double scale;
};

#define SUM_LANES(REAL)                                                                            \
  static void sum_##REAL(const struct dense *d, int64_t begin, int64_t end) {                      \
    REAL *to = d->to, scale = (REAL)d->scale;                                                      \
    for (int64_t i = begin; i < end; i++) {                                                        \
      REAL sum = 0;                                                                                \
      for (int32_t k = 0; k < d->n_lanes; k++) sum += ((const REAL *)d->lane[k])[i];               \
      to[i] = d->add ? to[i] + sum * scale : sum * scale;                                          \
    }                                                                                              \
  }
SUM_LANES(float)
SUM_LANES(double)

static qn_status sum_f32(void *ctx, int64_t begin, int64_t end) {
  return sum_float(ctx, begin, end), QN_OK;
}
static qn_status sum_f64(void *ctx, int64_t begin, int64_t end) {
  return sum_double(ctx, begin, end), QN_OK;
}

static bool ours_alone(const qn_tensor *t) {
  return t && atomic_load(&t->refs) == 1 && atomic_load(&t->storage->refs) == 1;
}

/* May the leaf's gradient be written in place? Others may hold it. */
static bool in_place(const qni_leaf_sum *s, const qn_tensor *grad) {
  int32_t holders = grad == s->grad ? 2 : 1;
  return atomic_load(&grad->refs) == holders && atomic_load(&grad->storage->refs) == 1 &&
         qni_view_contiguous(&grad->view);
}

/* Gives the leaf a copy of its gradient when somebody else holds it. */
static qn_status own_grad(const qni_leaf_sum *s) {
  qn_tensor *copy;
  qn_tensor *grad = s->leaf->grad;
  if (!grad || in_place(s, grad)) return QN_OK;
  qn_status st = qni_tensor_empty(grad->view.dtype, grad->view.ndim, grad->view.shape, &copy);
  if (st) return st;
  qni_view_copy(&grad->view, &copy->view);
  qn_tensor_free(grad);
  s->leaf->grad = copy;
  return QN_OK;
}

/* The tensor that takes the sum: the leaf's gradient, or one of ours that becomes it. */
static qn_status dense_target(qni_leaf_sum *s, struct dense *d) {
  qn_tensor *leaf = s->leaf;
  const qn_view *v = &s->like;
  qn_status st = QN_OK;
  if (leaf->grad_ids && !leaf->grad) {
    st = qni_rows_dense(v, leaf->grad_ids, leaf->grad_rows, &leaf->grad);
    qn_tensor_free(leaf->grad_ids);
    qn_tensor_free(leaf->grad_rows);
    leaf->grad_ids = leaf->grad_rows = NULL;
  }
  d->add = leaf->grad != NULL;
  if (!st) st = own_grad(s);
  if (!st && !leaf->grad) {
    if (!ours_alone(s->grad)) {
      qn_tensor_free(s->grad);
      s->grad = NULL;
      st = qni_tensor_empty(v->dtype, v->ndim, v->shape, &s->grad);
    }
    if (!st) leaf->grad = qn_tensor_retain(s->grad);
  }
  if (st) return st;
  d->to = leaf->grad->view.data;
  qni_tensor_touch(leaf->grad);
  return QN_OK;
}

static qn_status deliver_dense(qni_leaf_sum *s, double scale) {
  struct dense d = {.scale = scale};
  for (int32_t k = 0; k < QNI_LANES; k++)
    if (s->touched[k]) d.lane[d.n_lanes++] = s->lane[k];
  if (!d.n_lanes) return QN_OK;
  qn_status st = dense_target(s, &d);
  if (st) return st;
  return qni_pool_run(qni_view_count(&s->leaf->view), ELEMENTS_PER_CHUNK,
                      s->like.dtype == QN_F32 ? sum_f32 : sum_f64, &d);
}

/* ---- Rows ---- */

static const char *row_at(const qni_row_groups *g, int64_t at) {
  const qni_row_list *r = &g->s->rows[at >> LANE_SHIFT];
  return r->rows + (size_t)(at & (((int64_t)1 << LANE_SHIFT) - 1)) * g->row;
}

#define ADD_ROWS(REAL)                                                                             \
  static void add_rows_##REAL(const qni_row_groups *g, int64_t k, REAL *to) {                      \
    const REAL scale = (REAL)g->scale;                                                             \
    for (int64_t i = g->first[k]; i < g->first[k + 1]; i++) {                                      \
      const REAL *x = (const void *)row_at(g, g->sorted[i].at);                                    \
      for (int64_t c = 0; c < g->width; c++) to[c] += x[c] * scale;                                \
    }                                                                                              \
  }
ADD_ROWS(float)
ADD_ROWS(double)

int64_t qni_row_groups_add(const qni_row_groups *g, int64_t k, void *to) {
  if (g->s->like.dtype == QN_F32)
    add_rows_float(g, k, to);
  else
    add_rows_double(g, k, to);
  return g->sorted[g->first[k]].id;
}

struct gathering {
  const qni_row_groups *g;
  int64_t *ids; /* NULL: rows are added to `to` at their ids */
  char *to;
};

static qn_status sum_groups(void *ctx, int64_t begin, int64_t end) {
  const struct gathering *x = ctx;
  const qni_row_groups *g = x->g;
  for (int64_t k = begin; k < end; k++) {
    int64_t id = g->sorted[g->first[k]].id;
    char *to = x->to + (size_t)(x->ids ? k : id) * g->row;
    if (x->ids) x->ids[k] = id;
    if (x->ids) memset(to, 0, g->row);
    qni_row_groups_add(g, k, to);
  }
  return QN_OK;
}

/* All listed rows in order of segments, and of slices in each. */
static int64_t list_pairs(const qni_leaf_sum *s, int64_t n_slices, int32_t n_segments,
                          qni_row_pair *pair) {
  int64_t n = 0, next[QNI_LANES] = {0};
  for (int64_t slice = 0; slice < n_slices * n_segments; slice++) {
    int64_t lane = slice % n_slices % QNI_LANES;
    const qni_row_list *r = &s->rows[lane];
    for (int64_t *k = &next[lane]; *k < r->n_parts && r->part[*k].slice == slice; ++*k)
      for (int64_t i = r->part[*k].first; i < r->part[*k].first + r->part[*k].n; i++)
        pair[n++] = (qni_row_pair){r->ids[i], lane << LANE_SHIFT | i};
  }
  return n;
}

/* A tensor of n rows on our memory, made anew when that is too small or held by others. */
static qn_status row_tensor(qn_tensor **t, int32_t dtype, int32_t ndim, const int64_t *shape,
                            int64_t n) {
  int64_t room[QN_MAX_DIMS];
  memcpy(room, shape, sizeof room);
  room[0] = n;
  size_t bytes;
  qn_status st = qni_shape_bytes(dtype, ndim, room, &bytes);
  if (st) return st;
  if (!ours_alone(*t) || (*t)->storage->bytes < bytes) {
    qn_tensor_free(*t);
    *t = NULL;
    room[0] = n + n / 4;
    st = qni_tensor_empty(dtype, ndim, room, t);
    if (st) return st;
  }
  (*t)->view.shape[0] = n;
  qni_tensor_touch(*t);
  return QN_OK;
}

static bool has_none(const qn_tensor *leaf) { return !leaf->grad && !leaf->grad_ids; }

static qn_status run_groups(qni_leaf_sum *s, const qni_row_groups *groups) {
  qn_tensor *leaf = s->leaf;
  struct gathering g = {.g = groups};
  int64_t n = groups->n;
  int64_t one[QN_MAX_DIMS] = {0};
  if (leaf->grad && !leaf->grad_ids) {
    qn_status owned = own_grad(s);
    if (owned) return owned;
    g.to = leaf->grad->view.data;
    qni_tensor_touch(leaf->grad);
    return qni_pool_run(n, ROWS_PER_CHUNK, sum_groups, &g);
  }
  qn_status st = row_tensor(&s->grad_ids, QN_I64, 1, one, n);
  if (!st) st = row_tensor(&s->grad_rows, s->like.dtype, s->like.ndim, s->like.shape, n);
  if (st) return st;
  g.ids = s->grad_ids->view.data;
  g.to = s->grad_rows->view.data;
  st = qni_pool_run(n, ROWS_PER_CHUNK, sum_groups, &g);
  if (st) return st;
  if (!has_none(leaf))
    return qni_rows_accumulate(leaf, &(qni_grad){.ids = s->grad_ids, .rows = s->grad_rows});
  leaf->grad_ids = qn_tensor_retain(s->grad_ids);
  leaf->grad_rows = qn_tensor_retain(s->grad_rows);
  return QN_OK;
}

qn_status qni_row_groups_make(qni_lanes *l, qni_leaf_sum *s, int64_t n_slices, double scale,
                              qni_row_groups *g) {
  int64_t n = 0, groups = 0;
  for (int32_t k = 0; k < QNI_LANES; k++) n += s->rows[k].n;
  qni_arena_reset(&l->sorting);
  size_t bytes = (size_t)(n + 1) * sizeof(qni_row_pair);
  qni_row_pair *a = qni_arena_alloc(&l->sorting, bytes), *b = qni_arena_alloc(&l->sorting, bytes);
  int64_t *first = qni_arena_alloc(&l->sorting, (size_t)(n + 1) * sizeof *first);
  if (!a || !b || !first) return QN_E_NOMEM;
  const qn_view *v = &s->like;
  list_pairs(s, n_slices, l->n_segments, a);
  const qni_row_pair *sorted = qni_rows_sort(a, b, n, v->shape[0] > 0 ? v->shape[0] - 1 : 0);
  for (int64_t i = 0; i < n; i++)
    if (i == 0 || sorted[i].id != sorted[i - 1].id) first[groups++] = i;
  first[groups] = n;
  *g = (qni_row_groups){.s = s,
                        .sorted = sorted,
                        .first = first,
                        .n = groups,
                        .scale = scale,
                        .width = qni_shape_count(v->ndim - 1, v->shape + 1)};
  g->row = (size_t)g->width * qni_dtype_size(v->dtype);
  return QN_OK;
}

static qn_status deliver_rows(qni_lanes *l, qni_leaf_sum *s, int64_t n_slices, double scale) {
  int64_t parts = 0;
  for (int32_t k = 0; k < QNI_LANES; k++) parts += s->rows[k].n_parts;
  if (!parts) return QN_OK;
  qni_row_groups g;
  qn_status st = qni_row_groups_make(l, s, n_slices, scale, &g);
  return st ? st : run_groups(s, &g);
}

/* ---- All ---- */

qn_status qni_lanes_deliver(qni_lanes *l, int64_t n_slices, double scale) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < l->n; i++) {
    st = deliver_dense(&l->leaf[i], scale);
    if (!st) st = deliver_rows(l, &l->leaf[i], n_slices, scale);
  }
  return st;
}
