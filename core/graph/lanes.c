/*
** Collecting parts of gradients in lanes.
** SPDX-License-Identifier: MIT
*/
#include "graph/lanes.h"

#include <inttypes.h>
#include <string.h>

/* ---- Life ---- */

static bool has_sink(const qni_program *p, int32_t buffer) {
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->entry[i].leaf == buffer) return true;
  return false;
}

static qn_status check_leaf(const qn_tensor *leaf) {
  return qni_view_contiguous(&leaf->view)
             ? QN_OK
             : qni_program_refuse(NULL, NULL, "a parameter of a captured step is not contiguous");
}

qn_status qni_lanes_start(const qni_program *p, qni_lanes *l) {
  qn_status st = QN_OK;
  *l = (qni_lanes){.n_segments = p->n_segments};
  l->leaf = qni_arena_alloc(&l->memory, (size_t)(p->n_buffers + 1) * sizeof *l->leaf);
  l->of_buffer = qni_arena_alloc(&l->memory, (size_t)(p->n_buffers + 1) * sizeof *l->of_buffer);
  if (!l->leaf || !l->of_buffer) return QN_E_NOMEM;
  for (int32_t b = 0; !st && b < p->n_buffers; b++) {
    l->of_buffer[b] = -1;
    if (p->buffer[b].kind != QNI_BUFFER_LEAF || !has_sink(p, b)) continue;
    st = check_leaf(p->buffer[b].holder);
    l->of_buffer[b] = l->n;
    l->leaf[l->n++] = (qni_leaf_sum){
        .buffer = b, .leaf = p->buffer[b].holder, .like = qni_gradient_like(p->buffer[b].holder)};
  }
  return st;
}

static size_t leaf_bytes(const qni_leaf_sum *s) {
  return (size_t)qni_view_count(&s->like) * qni_dtype_size(s->like.dtype);
}

/* Of the two lists that clipping needs (update.c). */
static size_t flat_bytes(const qni_leaf_sum *s) {
  return (size_t)qni_view_count(&s->leaf->view) * 8;
}

static size_t part_bytes(const qni_leaf_sum *s) {
  return (size_t)(qni_view_count(&s->leaf->view) / QNI_SQUARES_CHUNK + 1) * sizeof(double);
}

void *qni_lanes_flat(qni_leaf_sum *s) {
  if (!s->flat) s->flat = qni_mem_buffer(flat_bytes(s));
  if (!s->part) s->part = qni_mem_buffer(part_bytes(s));
  return s->part ? s->flat : NULL;
}

void qni_lanes_stop(qni_lanes *l) {
  for (int32_t i = 0; i < l->n; i++) {
    qni_leaf_sum *s = &l->leaf[i];
    for (int32_t k = 0; k < QNI_LANES; k++) {
      qni_mem_buffer_free(s->lane[k], leaf_bytes(s));
      qni_mem_free(s->rows[k].ids);
      qni_mem_free(s->rows[k].rows);
      qni_mem_free(s->rows[k].part);
    }
    qn_tensor_free(s->grad);
    qni_mem_buffer_free(s->flat, flat_bytes(s));
    qni_mem_buffer_free(s->part, part_bytes(s));
    qn_tensor_free(s->grad_ids);
    qn_tensor_free(s->grad_rows);
  }
  qni_arena_free(&l->sorting);
  qni_arena_free(&l->memory);
}

void qni_lanes_open(qni_lanes *l) {
  for (int32_t i = 0; i < l->n; i++) {
    memset(l->leaf[i].touched, 0, sizeof l->leaf[i].touched);
    for (int32_t k = 0; k < QNI_LANES; k++) l->leaf[i].rows[k].n = l->leaf[i].rows[k].n_parts = 0;
  }
}

/* ---- Dense parts ---- */

static void add_f32(int64_t n, const float *x, float *sum) {
  for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

static void add_f64(int64_t n, const double *x, double *sum) {
  for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

static void copy_part(const qni_leaf_sum *s, const qn_view *part, void *to) {
  qn_view whole = s->like;
  whole.data = to;
  if (qni_view_contiguous(part))
    memcpy(to, part->data, leaf_bytes(s));
  else
    qni_view_copy(part, &whole);
}

/* Parts that are broadcast or transposed are laid out first. */
static qn_status add_strided(const qni_leaf_sum *s, const qn_view *part, void *sum) {
  void *flat = qni_mem_buffer(leaf_bytes(s));
  if (!flat) return QN_E_NOMEM;
  copy_part(s, part, flat);
  int64_t n = qni_view_count(&s->leaf->view);
  if (part->dtype == QN_F32)
    add_f32(n, flat, sum);
  else
    add_f64(n, flat, sum);
  qni_mem_buffer_free(flat, leaf_bytes(s));
  return QN_OK;
}

qn_status qni_lanes_add(qni_lanes *l, int32_t lane, int32_t buffer, const qn_view *part) {
  qni_leaf_sum *s = &l->leaf[l->of_buffer[buffer]];
  if (!s->lane[lane]) s->lane[lane] = qni_mem_buffer(leaf_bytes(s));
  if (!s->lane[lane]) return QN_E_NOMEM;
  int64_t n = qni_view_count(part);
  if (!s->touched[lane])
    copy_part(s, part, s->lane[lane]);
  else if (!qni_view_contiguous(part))
    return add_strided(s, part, s->lane[lane]);
  else if (part->dtype == QN_F32)
    add_f32(n, part->data, s->lane[lane]);
  else
    add_f64(n, part->data, s->lane[lane]);
  s->touched[lane] = true;
  return QN_OK;
}

qn_status qni_lanes_reserve(const qni_program *p, qni_lanes *l) {
  for (int32_t b = 0; b < p->n_buffers; b++) {
    if (!p->buffer[b].direct) continue;
    qni_leaf_sum *s = &l->leaf[l->of_buffer[p->buffer[b].leaf]];
    for (int32_t k = 0; k < QNI_LANES; k++) {
      if (!s->lane[k]) s->lane[k] = qni_mem_buffer(leaf_bytes(s));
      if (!s->lane[k]) return QN_E_NOMEM;
    }
  }
  return QN_OK;
}

/* ---- Rows ---- */

static void *grown(void *list, int64_t n, size_t size) {
  size_t bytes;
  if (!qni_size_mul_add((size_t)n, size, 0, &bytes)) bytes = SIZE_MAX;
  return qni_mem_realloc(list, bytes);
}

static qn_status row_room(qni_row_list *r, int64_t more, size_t row) {
  if (r->n + more > r->max) {
    int64_t max = (r->n + more) * 3 / 2 + 64;
    int64_t *ids = grown(r->ids, max, sizeof *ids);
    if (ids) r->ids = ids;
    char *rows = ids ? grown(r->rows, max, row) : NULL;
    if (!rows) return QN_E_NOMEM;
    r->rows = rows;
    r->max = max;
  }
  if (r->n_parts < r->max_parts) return QN_OK;
  int64_t max = 2 * r->max_parts + 16;
  qni_row_part *part = grown(r->part, max, sizeof *part);
  if (!part) return QN_E_NOMEM;
  r->part = part;
  r->max_parts = max;
  return QN_OK;
}

qn_status qni_lanes_add_rows(qni_lanes *l, int32_t lane, int64_t slice, int32_t buffer,
                             const int64_t *ids, const qn_view *rows) {
  qni_leaf_sum *s = &l->leaf[l->of_buffer[buffer]];
  qni_row_list *r = &s->rows[lane];
  int64_t n = rows->shape[0], V = s->leaf->view.shape[0];
  size_t row =
      (size_t)qni_shape_count(rows->ndim - 1, rows->shape + 1) * qni_dtype_size(rows->dtype);
  if (!n) return QN_OK;
  qn_status st = row_room(r, n, row);
  if (st) return st;
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= V)
      return qni_fail(QN_E_PLUGIN,
                      "a row gradient names row %" PRId64 " of a table of %" PRId64 " rows", ids[i],
                      V);
  memcpy(r->ids + r->n, ids, (size_t)n * sizeof *ids);
  memcpy(r->rows + (size_t)r->n * row, rows->data, (size_t)n * row);
  r->part[r->n_parts++] = (qni_row_part){slice, r->n, n};
  r->n += n;
  return QN_OK;
}
