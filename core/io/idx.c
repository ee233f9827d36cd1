/*
** Image sets in the formats they are published in: idx and the records of CIFAR.
** SPDX-License-Identifier: MIT
*/
#include "io/idx.h"

#include <string.h>

#include "base/file.h"

enum { UBYTE = 8, MOST_DIMS = 4 };

static const char LFS[] = "version https://git-lfs";

static uint32_t big32(const uint8_t *b) {
  return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static qn_status check_pointer(const void *data, size_t n, const char *origin) {
  if (n < sizeof LFS - 1 || memcmp(data, LFS, sizeof LFS - 1)) return QN_OK;
  qni_fail(QN_E_FORMAT, "%s is a Git LFS pointer, not the data", origin);
  qni_error_hint("fetch the file itself, as with git lfs pull");
  return QN_E_FORMAT;
}

static qn_status not_idx(const char *origin, const uint8_t *b, size_t n) {
  qni_fail(QN_E_FORMAT, "%s is no idx file of bytes", origin);
  if (n >= 4)
    qni_error_detail("it begins with %02x %02x %02x %02x; expected 00 00 08 and 1 to %d dimensions",
                     b[0], b[1], b[2], b[3], MOST_DIMS);
  else
    qni_error_detail("it has %zu bytes", n);
  qni_error_hint("idx files hold MNIST, Fashion-MNIST and their kin; other types are not read");
  return QN_E_FORMAT;
}

qn_status qni_idx_parse(const void *data, size_t n_bytes, const char *origin, qn_tensor **t) {
  const uint8_t *b = data;
  int64_t shape[MOST_DIMS];
  *t = NULL;
  qn_status st = check_pointer(data, n_bytes, origin);
  if (st) return st;
  if (n_bytes < 4 || b[0] || b[1] || b[2] != UBYTE || b[3] < 1 || b[3] > MOST_DIMS)
    return not_idx(origin, b, n_bytes);
  int32_t ndim = b[3];
  size_t head = 4 + 4 * (size_t)ndim, need = 1;
  if (n_bytes < head)
    return qni_fail(QN_E_FORMAT, "%s: unexpected end of file in its header", origin);
  for (int32_t i = 0; i < ndim; i++) {
    shape[i] = big32(b + 4 + 4 * i);
    if (!qni_size_mul_add(need, (size_t)shape[i], 0, &need))
      return qni_fail(QN_E_FORMAT, "%s: its sizes are too large", origin);
  }
  if (need != n_bytes - head) {
    qni_fail(QN_E_FORMAT, "%s: %zu bytes follow the header, its sizes say %zu", origin,
             n_bytes - head, need);
    qni_error_hint("get the file again");
    return QN_E_FORMAT;
  }
  if ((st = qni_tensor_empty(QN_U8, ndim, shape, t))) return st;
  if (need) memcpy((*t)->view.data, b + head, need);
  return QN_OK;
}

/* ---- CIFAR ---- */

static qn_status bad_label(const char *origin, int64_t record, int32_t found, int32_t classes) {
  qni_fail(QN_E_FORMAT, "%s: record %lld has label %d, the classes are 0 to %d", origin,
           (long long)record + 1, (int)found, (int)classes - 1);
  qni_error_hint("CIFAR-10 has one label byte per record, CIFAR-100 two: is it the other one?");
  return QN_E_FORMAT;
}

static qn_status fill_records(const uint8_t *b, int64_t n, const char *origin, int32_t n_labels,
                              const int32_t *classes, qn_tensor *images, qn_tensor **labels) {
  uint8_t *pixels = images->view.data;
  for (int64_t i = 0; i < n; i++) {
    for (int32_t j = 0; j < n_labels; j++, b++) {
      if (*b >= classes[j]) return bad_label(origin, i, *b, classes[j]);
      ((int64_t *)labels[j]->view.data)[i] = *b;
    }
    memcpy(pixels + i * QNI_CIFAR_PIXELS, b, QNI_CIFAR_PIXELS);
    b += QNI_CIFAR_PIXELS;
  }
  return QN_OK;
}

qn_status qni_cifar_parse(const void *data, size_t n_bytes, const char *origin, int32_t n_labels,
                          const int32_t *classes, qn_tensor **images, qn_tensor **labels) {
  size_t record = (size_t)n_labels + QNI_CIFAR_PIXELS;
  *images = NULL;
  for (int32_t j = 0; j < n_labels; j++) labels[j] = NULL;
  qn_status st = check_pointer(data, n_bytes, origin);
  if (st) return st;
  if (n_bytes == 0 || n_bytes % record) {
    qni_fail(QN_E_FORMAT, "%s has %zu bytes, no multiple of the record's %zu", origin, n_bytes,
             record);
    qni_error_hint("the binary version of CIFAR is read, not the one for Python or Matlab");
    return QN_E_FORMAT;
  }
  int64_t n = (int64_t)(n_bytes / record), shape[4] = {n, 3, 32, 32};
  st = qni_tensor_empty(QN_U8, 4, shape, images);
  for (int32_t j = 0; j < n_labels && !st; j++) st = qni_tensor_empty(QN_I64, 1, shape, &labels[j]);
  if (!st) st = fill_records(data, n, origin, n_labels, classes, *images, labels);
  if (!st) return QN_OK;
  qn_tensor_free(*images);
  *images = NULL;
  for (int32_t j = 0; j < n_labels; j++) qn_tensor_free(labels[j]), labels[j] = NULL;
  return st;
}

/* ---- Writing ---- */

static qn_status check_records(const qn_tensor *images, int32_t n_labels,
                               qn_tensor *const *labels) {
  const qn_view *v = &images->view;
  if (v->dtype != QN_U8 || v->ndim != 4 || v->shape[1] != 3 || v->shape[2] != 32 ||
      v->shape[3] != 32 || !qni_view_contiguous(v))
    return qni_fail(QN_E_SHAPE, "CIFAR records hold a contiguous u8[N,3,32,32]");
  for (int32_t j = 0; j < n_labels; j++) {
    const qn_view *y = &labels[j]->view;
    if (y->dtype != QN_I64 || y->ndim != 1 || y->shape[0] != v->shape[0] || !qni_view_contiguous(y))
      return qni_fail(QN_E_SHAPE, "CIFAR records need one i64 label for each image");
    for (int64_t i = 0; i < y->shape[0]; i++)
      if (((const int64_t *)y->data)[i] < 0 || ((const int64_t *)y->data)[i] > 255)
        return qni_fail(QN_E_ARG, "label %lld does not fit into a byte",
                        (long long)((const int64_t *)y->data)[i]);
  }
  return QN_OK;
}

static qn_status write_records(qni_file_writer *w, const qn_tensor *images, int32_t n_labels,
                               qn_tensor *const *labels) {
  const uint8_t *pixels = images->view.data;
  qn_status st = QN_OK;
  for (int64_t i = 0; i < images->view.shape[0] && !st; i++) {
    uint8_t head[2];
    for (int32_t j = 0; j < n_labels; j++)
      head[j] = (uint8_t)((const int64_t *)labels[j]->view.data)[i];
    st = qni_file_writer_write(w, head, (size_t)n_labels);
    if (!st) st = qni_file_writer_write(w, pixels + i * QNI_CIFAR_PIXELS, QNI_CIFAR_PIXELS);
  }
  return st;
}

qn_status qni_cifar_write(const char *path, const qn_tensor *images, int32_t n_labels,
                          qn_tensor *const *labels) {
  qni_file_writer *w;
  qn_status st = check_records(images, n_labels, labels);
  if (!st) st = qni_file_writer_open(path, &w);
  if (st) return st;
  st = write_records(w, images, n_labels, labels);
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}

qn_status qni_idx_write(const char *path, const qn_tensor *t) {
  const qn_view *v = &t->view;
  uint8_t head[4 + 4 * MOST_DIMS] = {0, 0, UBYTE, (uint8_t)v->ndim};
  if (v->dtype != QN_U8 || v->ndim < 1 || v->ndim > MOST_DIMS || !qni_view_contiguous(v))
    return qni_fail(QN_E_SHAPE, "idx files hold a contiguous u8 tensor of 1 to %d dimensions",
                    MOST_DIMS);
  for (int32_t i = 0; i < v->ndim; i++)
    for (int32_t k = 0; k < 4; k++) head[4 + 4 * i + k] = (uint8_t)(v->shape[i] >> (24 - 8 * k));
  qni_file_writer *w;
  qn_status st = qni_file_writer_open(path, &w);
  if (st) return st;
  st = qni_file_writer_write(w, head, 4 + 4 * (size_t)v->ndim);
  if (!st) st = qni_file_writer_write(w, v->data, (size_t)qni_tensor_count(t));
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}
