/*
** Shapes: overflow-checked sizes and their printed form.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <inttypes.h>

#include "tensor/tensor.h"

qn_status qni_shape_bytes(int32_t dtype, int32_t ndim, const int64_t *shape, size_t *bytes) {
  size_t size = qni_dtype_size(dtype), count = 1;
  if (!size) return qni_fail(QN_E_DTYPE, "unknown element type %d", (int)dtype);
  if (ndim < 0 || ndim > QN_MAX_DIMS) {
    qni_fail(QN_E_SHAPE, "a tensor of %d dimensions was asked for", (int)ndim);
    qni_error_detail("allowed: 0 to %d", QN_MAX_DIMS);
    return QN_E_SHAPE;
  }
  bool empty = false;
  for (int32_t i = 0; i < ndim; i++) {
    if (shape[i] < 0)
      return qni_fail(QN_E_SHAPE, "size %" PRId64 " of dimension %d is negative", shape[i],
                      (int)i + 1);
    if (shape[i] == 0)
      empty = true;
    else if (!qni_size_mul_add(count, (size_t)shape[i], 0, &count))
      count = SIZE_MAX;
  }
  *bytes = 0;
  if (empty) return QN_OK;
  if (!qni_size_mul_add(count, size, 0, bytes) || *bytes > PTRDIFF_MAX) {
    char text[160];
    qni_fail(QN_E_SHAPE, "the sizes multiply to more bytes than this machine can address");
    qni_error_detail("shape: %s", qni_shape_text(text, sizeof text, dtype, ndim, shape));
    return QN_E_SHAPE;
  }
  return QN_OK;
}

int64_t qni_shape_count(int32_t ndim, const int64_t *shape) {
  int64_t count = 1;
  for (int32_t i = 0; i < ndim; i++) count *= shape[i];
  return count;
}

char *qni_shape_text(char *buf, size_t size, int32_t dtype, int32_t ndim, const int64_t *shape) {
  int used = snprintf(buf, size, "%s[", dtype ? qni_dtype_name(dtype) : "");
  for (int32_t i = 0; i < ndim && used > 0 && (size_t)used < size; i++)
    used += snprintf(buf + used, size - (size_t)used, i ? ",%" PRId64 : "%" PRId64, shape[i]);
  if (used > 0 && (size_t)used < size) snprintf(buf + used, size - (size_t)used, "]");
  return buf;
}
