/*
** safetensors, reading: everything is checked before anything is used.
**
** The file: u64 header length H (little-endian), H bytes of JSON, then the data. Each
** entry has a dtype, a shape and a span; the spans, sorted, must cover the data from
** its first byte to its last without gap or overlap, and each span must be as long as
** shape times type says. Arrays of no elements are legal.
** SPDX-License-Identifier: MIT
*/
#include "io/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/span.h"

struct qni_safetensors {
  qni_file_map map; /* empty when the memory is borrowed */
  const uint8_t *data;
  size_t n_data;
  json_t *header, *no_meta;
  char *origin;
  qni_safetensors_entry *entries; /* by name */
  int32_t n;
};

/* The format's types: size in a file, and what they become here (0: cannot be held). */
static const struct type {
  const char *name;
  size_t size;
  int32_t dtype;
} types[] = {
    {"F32", 4, QN_F32}, {"F64", 8, QN_F64}, {"BF16", 2, QN_BF16}, {"I64", 8, QN_I64},
    {"I32", 4, QN_I32}, {"U8", 1, QN_U8},   {"BOOL", 1, QN_BOOL}, {"F16", 2, QN_F32},
    {"I16", 2, QN_I32}, {"I8", 1, QN_I32},  {"U16", 2, QN_I32},   {"U32", 4, QN_I64},
    {"U64", 8, 0},      {"F8_E4M3", 1, 0},  {"F8_E5M2", 1, 0},
};

static const struct type *find_type(const char *name) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strcmp(types[i].name, name)) return &types[i];
  return NULL;
}

/* ---- Checking one entry ---- */

static qn_status bad_file(const char *origin, const char *name, const char *why) {
  char shown[48];
  if (name)
    qni_fail(QN_E_FORMAT, "%s is not a sound safetensors file: array \"%s\" %s", origin,
             qni_span_show((qni_span){name, strlen(name)}, shown), why);
  else
    qni_fail(QN_E_FORMAT, "%s is not a sound safetensors file: %s", origin, why);
  qni_error_hint("the file is damaged or was not written by a correct program; get it again");
  return QN_E_FORMAT;
}

qn_status qni_safetensors_check_name(const char *name, const char *origin) {
  size_t n = strlen(name);
  const char *why = n == 0                          ? "has an empty name"
                    : n > QNI_SAFETENSORS_NAME      ? "has too long a name"
                    : !strcmp(name, "__metadata__") ? "has a reserved name"
                                                    : NULL;
  for (size_t i = 0; i < n && !why; i++)
    if ((unsigned char)name[i] < ' ' || name[i] == 127) why = "has a control character in its name";
  return why ? bad_file(origin, name, why) : QN_OK;
}

/* Shape and its bytes, overflow-checked; also those of shapes with a zero in them. */
static qn_status read_shape(const json_t *shape, const struct type *type, const char *origin,
                            qni_safetensors_entry *e, size_t *n_bytes) {
  if (!json_is_array(shape)) return bad_file(origin, e->name, "has no shape");
  size_t ndim = json_array_size(shape), count = type->size;
  bool empty = false;
  if (ndim > QN_MAX_DIMS) return bad_file(origin, e->name, "has more than 8 dimensions");
  for (size_t i = 0; i < ndim; i++) {
    const json_t *size = json_array_get(shape, i);
    int64_t n = json_integer_value(size);
    if (!json_is_integer(size) || n < 0)
      return bad_file(origin, e->name, "has a size that is not a whole number from 0");
    e->shape[i] = n;
    if (n == 0)
      empty = true;
    else if (!qni_size_mul_add(count, (size_t)n, 0, &count))
      return bad_file(origin, e->name, "has sizes that multiply beyond any memory");
  }
  e->ndim = (int32_t)ndim;
  *n_bytes = empty ? 0 : count;
  return QN_OK;
}

static qn_status read_span(const json_t *span, const char *origin, size_t n_data, size_t n_bytes,
                           qni_safetensors_entry *e) {
  const json_t *a = json_array_get(span, 0), *b = json_array_get(span, 1);
  if (json_array_size(span) != 2 || !json_is_integer(a) || !json_is_integer(b))
    return bad_file(origin, e->name, "has no data_offsets of two whole numbers");
  int64_t begin = json_integer_value(a), end = json_integer_value(b);
  if (begin < 0 || end < begin || (uint64_t)end > n_data)
    return bad_file(origin, e->name, "lies outside the file's data");
  if ((size_t)(end - begin) != n_bytes)
    return bad_file(origin, e->name, "does not have as many bytes as its shape and type need");
  e->begin = (size_t)begin;
  e->n_bytes = n_bytes;
  return QN_OK;
}

static qn_status read_entry(const json_t *value, const char *origin, size_t n_data,
                            qni_safetensors_entry *e) {
  qn_status st = qni_safetensors_check_name(e->name, origin);
  if (st) return st;
  const char *type_name = json_string_value(json_object_get(value, "dtype"));
  if (!type_name) return bad_file(origin, e->name, "has no dtype");
  if (json_object_size(value) != 3) return bad_file(origin, e->name, "has fields nobody knows");
  const struct type *type = find_type(type_name);
  if (!type) return bad_file(origin, e->name, "has a dtype nobody knows");
  e->type = type->name;
  e->dtype = type->dtype;
  size_t n_bytes = 0;
  st = read_shape(json_object_get(value, "shape"), type, origin, e, &n_bytes);
  if (st) return st;
  return read_span(json_object_get(value, "data_offsets"), origin, n_data, n_bytes, e);
}

/* ---- Checking all of them ---- */

static int by_name(const void *a, const void *b) {
  return strcmp(((const qni_safetensors_entry *)a)->name, ((const qni_safetensors_entry *)b)->name);
}

static int by_place(const void *a, const void *b) {
  const qni_safetensors_entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static qn_status check_cover(const qni_safetensors *f) {
  size_t end = 0;
  for (int32_t i = 0; i < f->n; i++) {
    const qni_safetensors_entry *e = &f->entries[i];
    if (e->begin < end) return bad_file(f->origin, e->name, "overlaps another array");
    if (e->begin > end) return bad_file(f->origin, e->name, "leaves a gap before it");
    end = e->begin + e->n_bytes;
  }
  if (end == f->n_data) return QN_OK;
  return bad_file(f->origin, NULL, "there is data behind the last array");
}

static qn_status check_meta(const json_t *meta, const char *origin) {
  const char *key;
  json_t *value;
  if (!json_is_object(meta)) return bad_file(origin, NULL, "__metadata__ is not an object");
  json_object_foreach((json_t *)(uintptr_t)meta, key, value) if (
      !json_is_string(value)) return bad_file(origin, NULL,
                                              "__metadata__ holds something other than strings");
  return QN_OK;
}

static qn_status read_entries(qni_safetensors *f) {
  const char *key;
  json_t *value;
  size_t n = json_object_size(f->header);
  if (n > INT32_MAX) return bad_file(f->origin, NULL, "it has too many arrays");
  if (!(f->entries = qni_mem_zalloc(n + 1, sizeof *f->entries))) return QN_E_NOMEM;
  json_object_foreach(f->header, key, value) {
    qn_status st;
    if (!strcmp(key, "__metadata__")) {
      st = check_meta(value, f->origin);
    } else {
      f->entries[f->n].name = key;
      st = read_entry(value, f->origin, f->n_data, &f->entries[f->n]);
      f->n++;
    }
    if (st) return st;
  }
  if (f->n) qsort(f->entries, (size_t)f->n, sizeof *f->entries, by_place);
  qn_status st = check_cover(f);
  if (f->n) qsort(f->entries, (size_t)f->n, sizeof *f->entries, by_name);
  return st;
}

static qn_status read_header(qni_safetensors *f, const uint8_t *bytes, size_t n_bytes) {
  uint64_t n = 0;
  if (n_bytes < 8) return bad_file(f->origin, NULL, "it is shorter than 8 bytes");
  for (int i = 0; i < 8; i++) n |= (uint64_t)bytes[i] << (8 * i);
  if (n > QNI_SAFETENSORS_HEADER)
    return bad_file(f->origin, NULL, "its header would be over 100 MB");
  if (n > n_bytes - 8) return bad_file(f->origin, NULL, "its header is longer than the file");
  if (n == 0 || bytes[8] != '{')
    return bad_file(f->origin, NULL, "its header is not a JSON object");
  f->data = bytes + 8 + n;
  f->n_data = n_bytes - 8 - (size_t)n;
  qn_status st = qni_json_parse((const char *)bytes + 8, (size_t)n, f->origin, &f->header);
  return st ? st : read_entries(f);
}

qn_status qni_safetensors_parse(const void *data, size_t n_bytes, const char *origin,
                                qni_safetensors **out) {
  *out = NULL;
  qni_safetensors *f = qni_mem_zalloc(1, sizeof *f);
  qn_status st = f ? QN_OK : QN_E_NOMEM;
  if (!st && !(f->origin = qni_mem_strdup(origin))) st = QN_E_NOMEM;
  if (!st) st = read_header(f, data, n_bytes);
  if (!st && !json_object_get(f->header, "__metadata__") && !(f->no_meta = json_object()))
    st = QN_E_NOMEM;
  if (st)
    qni_safetensors_close(f);
  else
    *out = f;
  return st;
}

qn_status qni_safetensors_open(const char *path, qni_safetensors **file) {
  qni_file_map map;
  *file = NULL;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  st = qni_safetensors_parse(map.data, map.n_bytes, path, file);
  if (st)
    qni_file_map_close(&map);
  else
    (*file)->map = map;
  return st;
}

void qni_safetensors_close(qni_safetensors *f) {
  if (!f) return;
  json_decref(f->header);
  json_decref(f->no_meta);
  qni_mem_free(f->entries);
  qni_mem_free(f->origin);
  qni_file_map_close(&f->map);
  qni_mem_free(f);
}

/* ---- Access ---- */

int32_t qni_safetensors_count(const qni_safetensors *f) { return f->n; }

const qni_safetensors_entry *qni_safetensors_at(const qni_safetensors *f, int32_t i) {
  return i >= 0 && i < f->n ? &f->entries[i] : NULL;
}

const qni_safetensors_entry *qni_safetensors_find(const qni_safetensors *f, const char *name) {
  qni_safetensors_entry key = {.name = name};
  return f->n ? bsearch(&key, f->entries, (size_t)f->n, sizeof key, by_name) : NULL;
}

const json_t *qni_safetensors_meta(const qni_safetensors *f) {
  return f->no_meta ? f->no_meta : json_object_get(f->header, "__metadata__");
}

const void *qni_safetensors_data(const qni_safetensors *f, const qni_safetensors_entry *e) {
  return f->data + e->begin;
}

/* ---- Reading one ---- */

/* Any half, subnormals and infinities included, is a float exactly. */
static float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, part = h & 1023u;
  float f;
  if (exponent == 0) {
    f = (float)part * 0x1p-24f;
    return sign ? -f : f;
  }
  uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | part << 13;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static void widen(const qni_safetensors_entry *e, const uint8_t *from, int64_t n, void *to) {
  if (!strcmp(e->type, "I8")) {
    for (int64_t i = 0; i < n; i++) ((int32_t *)to)[i] = (int8_t)from[i];
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    uint16_t x = (uint16_t)(from[2 * i] | from[2 * i + 1] << 8);
    if (e->type[0] == 'F')
      ((float *)to)[i] = half_to_float(x);
    else
      ((int32_t *)to)[i] = e->type[0] == 'I' ? (int32_t)(int16_t)x : (int32_t)x;
  }
}

static void widen_u32(const uint8_t *from, int64_t n, int64_t *to) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t x;
    memcpy(&x, from + 4 * i, sizeof x);
    to[i] = x;
  }
}

static qn_status fill(const qni_safetensors *f, const qni_safetensors_entry *e, qn_tensor *t) {
  const uint8_t *from = f->data + e->begin;
  int64_t n = qni_tensor_count(t);
  if (e->n_bytes == 0) return QN_OK;
  if (!strcmp(e->type, "U32"))
    widen_u32(from, n, t->view.data);
  else if (e->n_bytes < (size_t)n * qni_dtype_size(e->dtype))
    widen(e, from, n, t->view.data);
  else
    memcpy(t->view.data, from, e->n_bytes);
  for (int64_t i = 0; e->dtype == QN_BOOL && i < n; i++)
    if (from[i] > 1) return bad_file(f->origin, e->name, "has a boolean other than 0 and 1");
  return QN_OK;
}

static qn_status no_such_array(const qni_safetensors *f, const char *name) {
  qni_fail(QN_E_NOT_FOUND, "%s has no array \"%s\"", f->origin, name);
  for (int32_t i = 0; i < f->n && i < 8; i++) qni_error_detail("it has: %s", f->entries[i].name);
  if (f->n > 8) qni_error_detail("and %d more", (int)f->n - 8);
  return QN_E_NOT_FOUND;
}

qn_status qni_safetensors_read(const qni_safetensors *f, const char *name, qn_tensor **t) {
  *t = NULL;
  const qni_safetensors_entry *e = qni_safetensors_find(f, name);
  if (!e) return no_such_array(f, name);
  if (!e->dtype) {
    qni_fail(QN_E_UNSUPPORTED, "%s: array \"%s\" has type %s, which cannot be held here", f->origin,
             name, e->type);
    qni_error_hint("convert it to one of F64, F32, BF16, F16, I64, I32, U8, BOOL first");
    return QN_E_UNSUPPORTED;
  }
  qn_status st = qni_tensor_empty(e->dtype, e->ndim, e->shape, t);
  if (!st) st = fill(f, e, *t);
  if (st) qn_tensor_free(*t), *t = NULL;
  return st;
}
