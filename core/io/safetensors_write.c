/*
** safetensors, writing: the same limits as reading, crash-safe.
**
** Arrays lie by falling type size, then by name, and the header is padded with blanks
** to a multiple of 8, so that every array is aligned to its type.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "io/safetensors.h"

struct item {
  const char *name;
  const qn_tensor *tensor;
  size_t n_bytes;
};

static const char *type_name(int32_t dtype) {
  static const char *const names[] = {
      [QN_F32] = "F32", [QN_F64] = "F64", [QN_BF16] = "BF16", [QN_I64] = "I64",
      [QN_I32] = "I32", [QN_U8] = "U8",   [QN_BOOL] = "BOOL"};
  return names[dtype];
}

static int by_layout(const void *a, const void *b) {
  const struct item *x = a, *y = b;
  size_t p = qni_dtype_size(x->tensor->view.dtype), q = qni_dtype_size(y->tensor->view.dtype);
  if (p != q) return p > q ? -1 : 1;
  return strcmp(x->name, y->name);
}

/* ---- The header ---- */

/* jansson failed: for want of memory, which mem.c has recorded then, or of UTF-8. */
static qn_status no_json(const char *path) {
  if (qn_error_last()->status == QN_E_NOMEM) return QN_E_NOMEM;
  return qni_fail(QN_E_ARG, "a name or metadata text for %s is not valid UTF-8", path);
}

static qn_status add_entry(const char *path, json_t *header, const struct item *it, size_t begin) {
  const qn_view *v = &it->tensor->view;
  json_t *shape = json_array();
  for (int32_t i = 0; i < v->ndim && shape; i++)
    if (json_array_append_new(shape, json_integer(v->shape[i]))) json_decref(shape), shape = NULL;
  json_t *entry =
      shape ? json_pack("{s:s,s:o,s:[I,I]}", "dtype", type_name(v->dtype), "shape", shape,
                        "data_offsets", (json_int_t)begin, (json_int_t)(begin + it->n_bytes))
            : NULL;
  return entry && !json_object_set_new(header, it->name, entry) ? QN_OK : no_json(path);
}

static qn_status check_item(const char *path, const json_t *header, const struct item *it) {
  qn_status st = qni_safetensors_check_name(it->name, path);
  if (st) return st;
  if (!json_object_get(header, it->name)) return QN_OK;
  return qni_fail(QN_E_ARG, "two arrays for %s have the name \"%s\"", path, it->name);
}

static qn_status check_meta(const char *path, const json_t *meta) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)meta, key, value) if (!json_is_string(value)) {
    qni_fail(QN_E_ARG, "metadata for %s must be strings, but \"%s\" is %s", path, key,
             qni_json_type(value));
    qni_error_hint("turn it into text first; nested values as JSON text");
    return QN_E_ARG;
  }
  if (meta && !json_is_object(meta))
    return qni_fail(QN_E_ARG, "metadata for %s must be an object of strings, not %s", path,
                    qni_json_type(meta));
  return QN_OK;
}

static qn_status build_header(const char *path, struct item *items, int32_t n, const json_t *meta,
                              json_t *header) {
  size_t end = 0;
  qn_status st = check_meta(path, meta);
  if (st) return st;
  if (json_object_size(meta) && json_object_set(header, "__metadata__", (json_t *)(uintptr_t)meta))
    return no_json(path);
  for (int32_t i = 0; i < n; i++) {
    const qn_view *v = &items[i].tensor->view;
    if ((st = check_item(path, header, &items[i]))) return st;
    if ((st = qni_shape_bytes(v->dtype, v->ndim, v->shape, &items[i].n_bytes))) return st;
    if ((st = add_entry(path, header, &items[i], end))) return st;
    if (!qni_size_mul_add(1, end, items[i].n_bytes, &end) || end > INT64_MAX)
      return qni_fail(QN_E_SHAPE, "the arrays for %s are too large for one file", path);
  }
  return QN_OK;
}

static qn_status write_header(qni_file_writer *w, const char *path, const json_t *header) {
  char *text = qni_json_dump(header);
  if (!text) return QN_E_NOMEM;
  size_t n = strlen(text), padded = (n + 7) / 8 * 8;
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)padded >> (8 * i));
  qn_status st = QN_OK;
  if (padded > QNI_SAFETENSORS_HEADER)
    st = qni_fail(QN_E_ARG, "the names and metadata for %s exceed 100 MB", path);
  if (!st) st = qni_file_writer_write(w, length, sizeof length);
  if (!st) st = qni_file_writer_write(w, text, n);
  if (!st) st = qni_file_writer_write(w, "        ", padded - n);
  qni_mem_free(text);
  return st;
}

/* ---- The data ---- */

/* Strided tensors pass through a small buffer, one innermost row or piece of it at a time. */
static qn_status write_strided(qni_file_writer *w, const qn_view *v, int32_t dim, const char *at) {
  size_t size = qni_dtype_size(v->dtype);
  int64_t step = v->stride[dim] * (int64_t)size;
  qn_status st = QN_OK;
  for (int64_t i = 0; i < v->shape[dim] && !st; i++, at += step)
    st = dim + 1 < v->ndim ? write_strided(w, v, dim + 1, at) : qni_file_writer_write(w, at, size);
  return st;
}

static qn_status write_data(qni_file_writer *w, const struct item *it) {
  const qn_view *v = &it->tensor->view;
  if (it->n_bytes == 0) return QN_OK;
  if (qni_view_contiguous(v)) return qni_file_writer_write(w, v->data, it->n_bytes);
  return write_strided(w, v, 0, v->data);
}

static qn_status write_file(const char *path, const struct item *items, int32_t n,
                            const json_t *header) {
  qni_file_writer *w;
  qn_status st = qni_file_writer_open(path, &w);
  if (st) return st;
  st = write_header(w, path, header);
  for (int32_t i = 0; i < n && !st; i++) st = write_data(w, &items[i]);
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}

qn_status qni_safetensors_write(const char *path, const char *const *names,
                                qn_tensor *const *tensors, int32_t n, const json_t *meta) {
  qni_json_start();
  struct item *items = qni_mem_zalloc((size_t)n + 1, sizeof *items);
  json_t *header = json_object();
  qn_status st = items && header ? QN_OK : no_json(path);
  for (int32_t i = 0; i < n && !st; i++) items[i] = (struct item){names[i], tensors[i], 0};
  if (!st && n) qsort(items, (size_t)n, sizeof *items, by_layout);
  if (!st) st = build_header(path, items, n, meta, header);
  if (!st) st = write_file(path, items, n, header);
  json_decref(header);
  qni_mem_free(items);
  return st;
}
