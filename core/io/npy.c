/*
** NPY: "\x93NUMPY", version, header length, a Python dict as text, the array.
**
** The dict is {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } with its keys
** in any order; every key must be there once. Length fields: u16 in version 1, u32 in
** 2 and 3.
** SPDX-License-Identifier: MIT
*/
#include "io/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/span.h"

enum { HEADER_CAP = 1 << 16 };

static const struct {
  const char *descr;
  int32_t dtype;
} types[] = {
    {"<f4", QN_F32}, {"<f8", QN_F64}, {"<i4", QN_I32},  {"<i8", QN_I64},
    {"|u1", QN_U8},  {"<u1", QN_U8},  {"|b1", QN_BOOL}, {"<b1", QN_BOOL},
};

struct header {
  int32_t dtype;
  bool fortran;
  int32_t ndim;
  int64_t shape[QN_MAX_DIMS];
  int seen; /* bits: descr, fortran_order, shape */
};

static qn_status bad_file(const char *origin, const char *why) {
  qni_fail(QN_E_FORMAT, "%s is not a sound NPY file: %s", origin, why);
  qni_error_hint("write it again with numpy.save");
  return QN_E_FORMAT;
}

/* ---- The header's dict ---- */

struct cursor {
  const char *at, *end;
};

static void skip_blanks(struct cursor *c) {
  while (c->at < c->end && strchr(" \t\r\n", *c->at) && *c->at) c->at++;
}

static bool take(struct cursor *c, const char *word) {
  size_t n = strlen(word);
  skip_blanks(c);
  if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n)) return false;
  c->at += n;
  return true;
}

/* A string in single or double quotes, without escapes. */
static bool take_string(struct cursor *c, qni_span *text) {
  skip_blanks(c);
  if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
  char quote = *c->at++;
  const char *stop = memchr(c->at, quote, (size_t)(c->end - c->at));
  if (!stop) return false;
  *text = (qni_span){c->at, (size_t)(stop - c->at)};
  c->at = stop + 1;
  return true;
}

static qn_status take_descr(struct cursor *c, const char *origin, struct header *h) {
  qni_span text;
  char shown[48];
  if (!take_string(c, &text)) return bad_file(origin, "descr is not a plain type");
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (qni_span_is(text, types[i].descr)) return h->dtype = types[i].dtype, QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "%s: NPY type %s is not supported", origin,
           qni_span_show(text, shown));
  qni_error_detail("supported: <f4 <f8 <i4 <i8 |u1 |b1, little-endian");
  qni_error_hint("convert it in NumPy, as in array.astype('<f4')");
  return QN_E_UNSUPPORTED;
}

static qn_status take_shape(struct cursor *c, const char *origin, struct header *h) {
  if (!take(c, "(")) return bad_file(origin, "shape is not a tuple");
  while (!take(c, ")")) {
    qni_span digits = {c->at, 0};
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') c->at++;
    digits.n = (size_t)(c->at - digits.at);
    if (h->ndim == QN_MAX_DIMS) return bad_file(origin, "it has more than 8 dimensions");
    if (qni_span_int(digits, &h->shape[h->ndim]) != QNI_NUMBER_OK)
      return bad_file(origin, "a size in its shape is not a whole number");
    h->ndim++;
    if (!take(c, ",")) {
      if (h->ndim == 1) return bad_file(origin, "shape is not a tuple");
      if (!take(c, ")")) return bad_file(origin, "its shape has no end");
      break;
    }
    skip_blanks(c);
  }
  return QN_OK;
}

static qn_status take_field(struct cursor *c, const char *origin, struct header *h) {
  qni_span key;
  if (!take_string(c, &key) || !take(c, ":")) return bad_file(origin, "its header is not a dict");
  int bit = qni_span_is(key, "descr")           ? 1
            : qni_span_is(key, "fortran_order") ? 2
            : qni_span_is(key, "shape")         ? 4
                                                : 0;
  if (!bit || (h->seen & bit)) return bad_file(origin, "its header has an unknown or repeated key");
  h->seen |= bit;
  if (bit == 1) return take_descr(c, origin, h);
  if (bit == 4) return take_shape(c, origin, h);
  h->fortran = take(c, "True");
  return h->fortran || take(c, "False") ? QN_OK : bad_file(origin, "fortran_order is no boolean");
}

static qn_status parse_dict(struct cursor c, const char *origin, struct header *h) {
  if (!take(&c, "{")) return bad_file(origin, "its header is not a dict");
  while (!take(&c, "}")) {
    qn_status st = take_field(&c, origin, h);
    if (st) return st;
    if (!take(&c, ",") && !(c.at < c.end && *c.at == '}'))
      return bad_file(origin, "its header is not a dict");
  }
  skip_blanks(&c);
  if (c.at != c.end) return bad_file(origin, "there is something behind its header");
  return h->seen == 7 ? QN_OK : bad_file(origin, "its header lacks a key");
}

/* Header and the place of the data. */
static qn_status parse_header(const uint8_t *p, size_t n, const char *origin, struct header *h,
                              size_t *data_at) {
  if (n < 10 || memcmp(p, "\x93NUMPY", 6)) return bad_file(origin, "it does not begin like one");
  if (p[6] < 1 || p[6] > 3 || p[7] != 0) return bad_file(origin, "its version is not 1, 2 or 3");
  size_t width = p[6] == 1 ? 2 : 4, length = 0;
  if (n < 8 + width) return bad_file(origin, "it ends inside its header");
  for (size_t i = 0; i < width; i++) length |= (size_t)p[8 + i] << (8 * i);
  if (length > HEADER_CAP) return bad_file(origin, "its header is over 64 KiB");
  if (length > n - 8 - width) return bad_file(origin, "it ends inside its header");
  const char *text = (const char *)p + 8 + width;
  *data_at = 8 + width + length;
  return parse_dict((struct cursor){text, text + length}, origin, h);
}

/* ---- Reading ---- */

static qn_status check_bools(const qn_tensor *t, const char *origin) {
  const uint8_t *b = t->view.data;
  int64_t n = t->view.dtype == QN_BOOL ? qni_tensor_count(t) : 0;
  for (int64_t i = 0; i < n; i++)
    if (b[i] > 1) return bad_file(origin, "it has a boolean other than 0 and 1");
  return QN_OK;
}

/* A row-major copy of data in Fortran order: the same sizes with strides from the left. */
static qn_status fill_fortran(const struct header *h, const void *data, size_t n_bytes,
                              qn_tensor *t) {
  void *aligned = qni_mem_buffer(n_bytes);
  if (!aligned) return QN_E_NOMEM;
  memcpy(aligned, data, n_bytes);
  qn_view from;
  qni_view_dense(&from, aligned, h->dtype, h->ndim, h->shape);
  int64_t stride = 1;
  for (int32_t i = 0; i < h->ndim; i++) from.stride[i] = stride, stride *= h->shape[i];
  qni_view_copy(&from, &t->view);
  qni_mem_buffer_free(aligned, n_bytes);
  return QN_OK;
}

qn_status qni_npy_parse(const void *data, size_t n_bytes, const char *origin, qn_tensor **t) {
  struct header h = {0};
  size_t at = 0, need = 0;
  *t = NULL;
  qn_status st = parse_header(data, n_bytes, origin, &h, &at);
  if (st) return st;
  if (qni_shape_bytes(h.dtype, h.ndim, h.shape, &need))
    return qni_error_reset(), bad_file(origin, "its sizes multiply beyond any memory");
  if (n_bytes - at != need)
    return bad_file(origin, n_bytes - at < need ? "it ends before its data do"
                                                : "there is something behind its data");
  if ((st = qni_tensor_empty(h.dtype, h.ndim, h.shape, t))) return st;
  const uint8_t *from = (const uint8_t *)data + at;
  if (h.fortran && h.ndim > 1 && need)
    st = fill_fortran(&h, from, need, *t);
  else if (need)
    memcpy((*t)->view.data, from, need);
  if (!st) st = check_bools(*t, origin);
  if (st) qn_tensor_free(*t), *t = NULL;
  return st;
}

qn_status qni_npy_read(const char *path, qn_tensor **t) {
  qni_file_map map;
  *t = NULL;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  st = qni_npy_parse(map.data, map.n_bytes, path, t);
  qni_file_map_close(&map);
  return st;
}

/* ---- Writing ---- */

static const char *descr_of(int32_t dtype) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].dtype == dtype) return types[i].descr;
  return NULL;
}

/* Magic, version 1, length and dict, padded so that the data begin at a multiple of 64. */
static size_t format_header(const qn_view *v, const char *descr, char buf[QNI_NPY_HEADER]) {
  char shape[200] = "";
  int n = 0;
  for (int32_t i = 0; i < v->ndim; i++)
    n += snprintf(shape + n, sizeof shape - (size_t)n, "%" PRId64 "%s", v->shape[i],
                  i + 1 < v->ndim ? ", "
                  : v->ndim == 1  ? ","
                                  : "");
  int dict = snprintf(buf + 10, 374, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                      descr, shape);
  size_t total = (10 + (size_t)dict + 1 + 63) / 64 * 64, length = total - 10;
  memcpy(buf, "\x93NUMPY\x01\x00", 8);
  buf[8] = (char)(length & 255);
  buf[9] = (char)(length >> 8);
  memset(buf + 10 + dict, ' ', total - 11 - (size_t)dict);
  buf[total - 1] = '\n';
  return total;
}

qn_status qni_npy_header(const qn_view *v, char header[QNI_NPY_HEADER], size_t *n_bytes) {
  const char *descr = descr_of(v->dtype);
  *n_bytes = descr ? format_header(v, descr, header) : 0;
  if (descr) return QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "NPY has no type for %s", qni_dtype_name(v->dtype));
  qni_error_hint("convert to f32 first, or save as safetensors");
  return QN_E_UNSUPPORTED;
}

static qn_status write_body(qni_file_writer *w, const qn_tensor *t, const char *header,
                            size_t n_header) {
  qn_tensor *dense;
  qn_status st = qni_file_writer_write(w, header, n_header);
  if (!st) st = qni_tensor_contiguous((qn_tensor *)(uintptr_t)t, &dense);
  if (st) return st;
  size_t n_bytes = (size_t)qni_tensor_count(dense) * qni_dtype_size(dense->view.dtype);
  st = qni_file_writer_write(w, dense->view.data, n_bytes);
  qn_tensor_free(dense);
  return st;
}

qn_status qni_npy_write(const char *path, const qn_tensor *t) {
  char header[QNI_NPY_HEADER];
  size_t n_header;
  qni_file_writer *w;
  qn_status st = qni_npy_header(&t->view, header, &n_header);
  if (!st) st = qni_file_writer_open(path, &w);
  if (st) return st;
  st = write_body(w, t, header, n_header);
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}
