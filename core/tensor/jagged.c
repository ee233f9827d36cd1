/*
** Jagged tensors: values [N,...] with offsets i64[B+1], and the padded form [B,L,...].
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <string.h>

#include "tensor/tensor.h"

/* Offsets must be i64[B+1], start at 0, never fall, and end at N. */
static qn_status check_offsets(const qn_tensor *values, const qn_tensor *offsets) {
  const qn_view *o = &offsets->view;
  char text[160];
  if (values->view.ndim < 1 || o->dtype != QN_I64 || o->ndim != 1 || o->shape[0] < 1 ||
      !qni_view_contiguous(o)) {
    qni_fail(QN_E_SHAPE,
             "offsets must be a contiguous i64[B+1] beside values of one dimension or more");
    qni_error_detail("offsets: %s", qni_shape_text(text, sizeof text, o->dtype, o->ndim, o->shape));
    return QN_E_SHAPE;
  }
  const int64_t *at = o->data;
  int64_t B = o->shape[0] - 1, N = values->view.shape[0];
  for (int64_t b = 0; b < B; b++)
    if (at[b + 1] < at[b])
      return qni_fail(QN_E_SHAPE,
                      "offsets fall from %" PRId64 " to %" PRId64 " at sequence %" PRId64, at[b],
                      at[b + 1], b + 1);
  if (at[0] != 0 || at[B] != N) {
    qni_fail(QN_E_SHAPE, "offsets must run from 0 to the number of rows, %" PRId64, N);
    qni_error_detail("they run from %" PRId64 " to %" PRId64, at[0], at[B]);
    return QN_E_SHAPE;
  }
  return QN_OK;
}

qn_status qn_tensor_jagged(qn_tensor *values, qn_tensor *offsets, qn_tensor **t) {
  qni_error_reset();
  *t = NULL;
  qn_status st = check_offsets(values, offsets);
  if (!st) st = qni_tensor_alias(values, &values->view, t);
  if (!st) (*t)->offsets = qn_tensor_retain(offsets);
  return st;
}

static qn_status need_jagged(const qn_tensor *t) {
  if (t->offsets && qni_view_contiguous(&t->view)) return QN_OK;
  qni_fail(QN_E_ARG, "a contiguous jagged tensor is needed");
  qni_error_hint("make one with jagged(values, offsets)");
  return QN_E_ARG;
}

static int64_t longest(const int64_t *at, int64_t B) {
  int64_t length = 0;
  for (int64_t b = 0; b < B; b++)
    if (at[b + 1] - at[b] > length) length = at[b + 1] - at[b];
  return length;
}

/* Shape with the first `old` dimensions replaced by `lead`. */
static int32_t replace_lead(const qn_view *v, int32_t old, int32_t n_lead, const int64_t *lead,
                            int64_t *shape) {
  memcpy(shape, lead, (size_t)n_lead * sizeof *lead);
  for (int32_t i = old; i < v->ndim; i++) shape[n_lead + i - old] = v->shape[i];
  return n_lead + v->ndim - old;
}

static size_t row_bytes(const qn_view *v, int32_t lead) {
  return (size_t)qni_shape_count(v->ndim - lead, v->shape + lead) * qni_dtype_size(v->dtype);
}

qn_status qni_tensor_to_padded(const qn_tensor *t, int64_t length, double fill, qn_tensor **out) {
  *out = NULL;
  qn_status st = need_jagged(t);
  if (st) return st;
  const int64_t *at = t->offsets->view.data;
  int64_t B = t->offsets->view.shape[0] - 1, L = length > 0 ? length : longest(at, B),
          shape[QN_MAX_DIMS + 1];
  int32_t ndim = replace_lead(&t->view, 1, 2, (int64_t[]){B, L}, shape);
  if ((st = qni_tensor_empty(t->view.dtype, ndim, shape, out))) return st;
  size_t row = row_bytes(&t->view, 1), size = qni_dtype_size(t->view.dtype);
  char *to = (*out)->view.data;
  for (int64_t b = 0; b < B; b++, to += (size_t)L * row) {
    int64_t n = at[b + 1] - at[b] < L ? at[b + 1] - at[b] : L;
    memcpy(to, (char *)t->view.data + (size_t)at[b] * row, (size_t)n * row);
    for (size_t i = (size_t)n * row; i < (size_t)L * row; i += size)
      qni_dtype_store(t->view.dtype, to + i, fill);
  }
  return QN_OK;
}

static qn_status offsets_from(const qn_tensor *lengths, int64_t L, qn_tensor **offsets) {
  const qn_view *v = &lengths->view;
  int64_t B = v->shape[0];
  qn_status st = qni_tensor_empty(QN_I64, 1, (int64_t[]){B + 1}, offsets);
  if (st) return st;
  int64_t *at = (*offsets)->view.data;
  at[0] = 0;
  for (int64_t b = 0; b < B; b++) {
    int64_t n = ((const int64_t *)v->data)[b];
    if (n < 0 || n > L) {
      qn_tensor_free(*offsets);
      *offsets = NULL;
      return qni_fail(QN_E_ARG,
                      "length %" PRId64 " of sequence %" PRId64 " is outside 0 to %" PRId64, n,
                      b + 1, L);
    }
    at[b + 1] = at[b] + n;
  }
  return QN_OK;
}

qn_status qni_tensor_from_padded(const qn_tensor *t, const qn_tensor *lengths, qn_tensor **out) {
  const qn_view *v = &t->view, *n = &lengths->view;
  *out = NULL;
  if (v->ndim < 2 || n->dtype != QN_I64 || n->ndim != 1 || n->shape[0] != v->shape[0] ||
      !qni_view_contiguous(v) || !qni_view_contiguous(n))
    return qni_fail(QN_E_SHAPE,
                    "a contiguous padded tensor [B,L,...] and lengths i64[B] are needed");
  qn_tensor *offsets;
  qn_status st = offsets_from(lengths, v->shape[1], &offsets);
  if (st) return st;
  int64_t B = v->shape[0], L = v->shape[1], shape[QN_MAX_DIMS], *at = offsets->view.data;
  int32_t ndim = replace_lead(v, 2, 1, &at[B], shape);
  if ((st = qni_tensor_empty(v->dtype, ndim, shape, out))) {
    qn_tensor_free(offsets);
    return st;
  }
  size_t row = row_bytes(v, 2);
  for (int64_t b = 0; b < B; b++)
    memcpy((char *)(*out)->view.data + (size_t)at[b] * row, (char *)v->data + (size_t)(b * L) * row,
           (size_t)(at[b + 1] - at[b]) * row);
  (*out)->offsets = offsets;
  return QN_OK;
}
