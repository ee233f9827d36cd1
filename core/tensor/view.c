/*
** Views: shape and stride arithmetic on shared memory, and strided copies.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <string.h>

#include "tensor/tensor.h"

int64_t qni_view_count(const qn_view *v) { return qni_shape_count(v->ndim, v->shape); }

bool qni_view_contiguous(const qn_view *v) {
  int64_t expected = 1;
  for (int32_t i = v->ndim - 1; i >= 0; i--) {
    if (v->shape[i] == 0) return true;
    if (v->shape[i] != 1 && v->stride[i] != expected) return false;
    expected *= v->shape[i];
  }
  return true;
}

void qni_view_dense(qn_view *v, void *data, int32_t dtype, int32_t ndim, const int64_t *shape) {
  int64_t stride = 1;
  *v = (qn_view){.data = data, .ndim = ndim, .dtype = dtype};
  for (int32_t i = ndim - 1; i >= 0; i--) {
    v->shape[i] = shape[i];
    v->stride[i] = stride;
    if (shape[i] > 0 && __builtin_mul_overflow(stride, shape[i], &stride)) stride = 0; /* only where some size is 0 */
  }
}

static qn_status bad_dim(const qn_view *v, int32_t dim) {
  char text[160];
  qni_fail(QN_E_ARG, "dimension %d does not exist", (int)dim + 1);
  qni_error_detail("tensor: %s", qni_shape_text(text, sizeof text, v->dtype, v->ndim, v->shape));
  return QN_E_ARG;
}

static void *element(const qn_view *v, int64_t offset) {
  return v->data ? (char *)v->data + offset * (int64_t)qni_dtype_size(v->dtype) : NULL;
}

/* Replaces a -1 by what makes the count fit; checks the count. */
static qn_status resolve_shape(const qn_view *v, int32_t ndim, const int64_t *wanted, int64_t *shape) {
  int64_t count = qni_view_count(v), known = 1;
  int32_t unknown = -1;
  for (int32_t i = 0; i < ndim; i++) {
    shape[i] = wanted[i];
    if (wanted[i] == -1 && unknown < 0) unknown = i;
    else if (wanted[i] < 0 || __builtin_mul_overflow(known, wanted[i], &known)) known = -1;
    if (known < 0) break;
  }
  if (unknown >= 0 && known > 0 && count % known == 0) shape[unknown] = count / known, known = count;
  if (known == count && (unknown < 0 || shape[unknown] >= 0)) return QN_OK;
  char from[160], to[160];
  qni_fail(QN_E_SHAPE, "cannot reshape %s to %s",
           qni_shape_text(from, sizeof from, v->dtype, v->ndim, v->shape),
           qni_shape_text(to, sizeof to, 0, ndim, wanted));
  qni_error_detail("elements: %" PRId64, count);
  qni_error_hint("the sizes must multiply to the number of elements; one of them may be -1");
  return QN_E_SHAPE;
}

/*
** Strides for a new shape: old dimensions are merged into runs that lie evenly,
** and each run is cut into new dimensions. Returns false when a new dimension
** would span two runs.
*/
static bool reshape_strides(const qn_view *v, qn_view *out) {
  int32_t i = v->ndim - 1, j = out->ndim - 1;
  while (j >= 0) {
    while (i >= 0 && v->shape[i] == 1) i--;
    if (out->shape[j] == 1) {
      out->stride[j--] = 1;
      continue;
    }
    if (i < 0) return false;
    int64_t run = v->shape[i], stride = v->stride[i], used = 1;
    while (i > 0 && (v->shape[i - 1] == 1 || v->stride[i - 1] == run * stride)) run *= v->shape[--i];
    i--;
    while (j >= 0 && used < run) {
      out->stride[j] = stride * used;
      used *= out->shape[j--];
    }
    if (used != run) return false;
  }
  return true;
}

qn_status qni_view_reshape(const qn_view *v, int32_t ndim, const int64_t *shape, qn_view *out) {
  int64_t sizes[QN_MAX_DIMS] = {0};
  if (ndim < 0 || ndim > QN_MAX_DIMS)
    return qni_fail(QN_E_SHAPE, "cannot reshape to %d dimensions; the most is %d", (int)ndim, QN_MAX_DIMS);
  qn_status st = resolve_shape(v, ndim, shape, sizes);
  if (st) return st;
  qni_view_dense(out, v->data, v->dtype, ndim, sizes);
  out->flags = v->flags;
  if (qni_view_contiguous(v) || reshape_strides(v, out)) return QN_OK;
  qni_fail(QN_E_SHAPE, "this reshape needs a copy, because the tensor does not lie in one piece");
  qni_error_hint("call contiguous() first");
  return QN_E_SHAPE;
}

qn_status qni_view_transpose(const qn_view *v, int32_t a, int32_t b, qn_view *out) {
  if (a < 0 || a >= v->ndim) return bad_dim(v, a);
  if (b < 0 || b >= v->ndim) return bad_dim(v, b);
  *out = *v;
  out->shape[a] = v->shape[b], out->stride[a] = v->stride[b];
  out->shape[b] = v->shape[a], out->stride[b] = v->stride[a];
  return QN_OK;
}

qn_status qni_view_permute(const qn_view *v, const int32_t *order, qn_view *out) {
  uint32_t seen = 0;
  *out = *v;
  for (int32_t i = 0; i < v->ndim; i++) {
    if (order[i] < 0 || order[i] >= v->ndim) return bad_dim(v, order[i]);
    if (seen & (1u << order[i])) return qni_fail(QN_E_ARG, "dimension %d is named twice", (int)order[i] + 1);
    seen |= 1u << order[i];
    out->shape[i] = v->shape[order[i]], out->stride[i] = v->stride[order[i]];
  }
  return QN_OK;
}

qn_status qni_view_narrow(const qn_view *v, int32_t dim, int64_t start, int64_t length, qn_view *out) {
  if (dim < 0 || dim >= v->ndim) return bad_dim(v, dim);
  if (start < 0 || length < 0 || start > v->shape[dim] || length > v->shape[dim] - start) {
    qni_fail(QN_E_ARG, "positions %" PRId64 " to %" PRId64 " are outside dimension %d", start + 1,
             start + length, (int)dim + 1);
    qni_error_detail("its size is %" PRId64, v->shape[dim]);
    return QN_E_ARG;
  }
  *out = *v;
  out->shape[dim] = length;
  out->data = element(v, start * v->stride[dim]);
  return QN_OK;
}

qn_status qni_view_select(const qn_view *v, int32_t dim, int64_t index, qn_view *out) {
  if (dim < 0 || dim >= v->ndim) return bad_dim(v, dim);
  if (index < 0 || index >= v->shape[dim]) {
    qni_fail(QN_E_ARG, "position %" PRId64 " is outside dimension %d", index + 1, (int)dim + 1);
    qni_error_detail("its size is %" PRId64, v->shape[dim]);
    return QN_E_ARG;
  }
  *out = *v;
  out->data = element(v, index * v->stride[dim]);
  out->ndim--;
  for (int32_t i = dim; i < out->ndim; i++) out->shape[i] = v->shape[i + 1], out->stride[i] = v->stride[i + 1];
  out->shape[out->ndim] = out->stride[out->ndim] = 0;
  return QN_OK;
}

qn_status qni_view_expand(const qn_view *v, int32_t ndim, const int64_t *shape, qn_view *out) {
  char from[160], to[160];
  if (ndim < v->ndim || ndim > QN_MAX_DIMS) goto refuse;
  *out = (qn_view){.data = v->data, .ndim = ndim, .dtype = v->dtype, .flags = v->flags};
  for (int32_t i = 0; i < ndim; i++) {
    int32_t j = i - (ndim - v->ndim);
    int64_t old = j < 0 ? 1 : v->shape[j], size = shape[i] == -1 && j >= 0 ? old : shape[i];
    if (size < 0 || (old != 1 && old != size)) goto refuse;
    out->shape[i] = size;
    out->stride[i] = old == size && j >= 0 ? v->stride[j] : 0;
  }
  return QN_OK;
refuse:
  qni_fail(QN_E_SHAPE, "cannot expand %s to %s", qni_shape_text(from, sizeof from, v->dtype, v->ndim, v->shape),
           qni_shape_text(to, sizeof to, 0, ndim, shape));
  qni_error_hint("only dimensions of size 1 grow, and new ones are added in front");
  return QN_E_SHAPE;
}

/* ---- Copies ---- */

static void copy_rows(const qn_view *from, qn_view *to, int32_t dim, const char *s, char *d) {
  size_t a = qni_dtype_size(from->dtype), b = qni_dtype_size(to->dtype);
  int64_t n = from->shape[dim], si = from->stride[dim] * (int64_t)a, di = to->stride[dim] * (int64_t)b;
  if (dim < from->ndim - 1) {
    for (int64_t i = 0; i < n; i++) copy_rows(from, to, dim + 1, s + i * si, d + i * di);
  } else if (from->stride[dim] == 1 && to->stride[dim] == 1) {
    qni_dtype_convert(n, from->dtype, s, to->dtype, d);
  } else {
    for (int64_t i = 0; i < n; i++) qni_dtype_convert(1, from->dtype, s + i * si, to->dtype, d + i * di);
  }
}

void qni_view_copy(const qn_view *from, qn_view *to) {
  int64_t count = qni_view_count(from);
  if (count == 0) return;
  if (qni_view_contiguous(from) && qni_view_contiguous(to))
    qni_dtype_convert(count, from->dtype, from->data, to->dtype, to->data);
  else copy_rows(from, to, 0, from->data, to->data);
}
