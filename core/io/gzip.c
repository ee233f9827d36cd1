/*
** Gzip: packed files into memory, through zlib.
** SPDX-License-Identifier: MIT
*/
#include "io/gzip.h"

#define ZLIB_CONST /* input is read only */
#include <zlib.h>

#include "base/file.h"

enum { FIRST = 1 << 16, STEP = 1 << 30 }; /* first room; most bytes handed to zlib at once */

struct room {
  char *data;
  size_t n, size, cap;
};

bool qni_gzip_is(const void *data, size_t n_bytes) {
  const uint8_t *b = data;
  return n_bytes >= 2 && b[0] == 0x1f && b[1] == 0x8b;
}

static qn_status grow(struct room *r, const char *origin) {
  if (r->size > r->cap) {
    qni_fail(QN_E_FORMAT, "%s unpacks to more than %zu bytes", origin, r->cap);
    qni_error_hint("check that this is the file you mean");
    return QN_E_FORMAT;
  }
  size_t size = r->size > r->cap / 2 ? r->cap + 1 : 2 * r->size;
  char *grown = qni_mem_realloc(r->data, size);
  if (!grown) return QN_E_NOMEM;
  r->data = grown, r->size = size;
  return QN_OK;
}

static qn_status broken(const char *origin, int code, const z_stream *z) {
  if (code == Z_MEM_ERROR) return qni_fail(QN_E_NOMEM, "out of memory");
  if (code == Z_BUF_ERROR || code == Z_OK)
    qni_fail(QN_E_FORMAT, "%s: unexpected end of gzip data at byte %lu", origin, z->total_in);
  else
    qni_fail(QN_E_FORMAT, "%s: damaged gzip data at byte %lu", origin, z->total_in);
  if (z->msg) qni_error_detail("zlib: %s", z->msg);
  qni_error_hint("get the file again");
  return QN_E_FORMAT;
}

static uInt piece(size_t n) { return (uInt)(n < STEP ? n : STEP); }

/* One member; `*used` bytes of it were read. */
static qn_status unpack_member(const uint8_t *data, size_t n, const char *origin, struct room *r,
                               size_t *used) {
  z_stream z = {0};
  int code = inflateInit2(&z, 16 + MAX_WBITS);
  if (code != Z_OK) return broken(origin, code, &z);
  qn_status st = QN_OK;
  size_t at = 0;
  while (code != Z_STREAM_END && !st) {
    if (r->n == r->size && (st = grow(r, origin))) break;
    z.next_in = data + at, z.avail_in = piece(n - at);
    z.next_out = (Bytef *)r->data + r->n, z.avail_out = piece(r->size - r->n);
    uInt in = z.avail_in, out = z.avail_out;
    code = inflate(&z, Z_NO_FLUSH);
    at += in - z.avail_in, r->n += out - z.avail_out;
    bool stuck = in == z.avail_in && out == z.avail_out;
    if ((code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) ||
        (stuck && code != Z_STREAM_END))
      st = broken(origin, code, &z);
  }
  inflateEnd(&z);
  *used = at;
  return st;
}

qn_status qni_gzip_unpack(const void *data, size_t n_bytes, const char *origin, size_t cap,
                          char **out, size_t *n_out) {
  struct room r = {.size = FIRST, .cap = cap};
  const uint8_t *at = data;
  qn_status st = QN_OK;
  *out = NULL, *n_out = 0;
  if (!(r.data = qni_mem_alloc(r.size))) return QN_E_NOMEM;
  do {
    size_t used = 0;
    st = unpack_member(at, n_bytes, origin, &r, &used);
    at += used, n_bytes -= used;
  } while (!st && qni_gzip_is(at, n_bytes)); /* what follows the last member is padding */
  if (!st && r.n > cap) st = grow(&(struct room){.size = cap + 1, .cap = cap}, origin);
  if (st) {
    qni_mem_free(r.data);
    return st;
  }
  *out = r.data, *n_out = r.n;
  return QN_OK;
}

qn_status qni_gzip_read(const char *path, size_t cap, char **data, size_t *n_bytes) {
  qni_file_map map;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  bool packed = qni_gzip_is(map.data, map.n_bytes);
  if (packed) st = qni_gzip_unpack(map.data, map.n_bytes, path, cap, data, n_bytes);
  qni_file_map_close(&map);
  return packed ? st : qni_file_read(path, cap, data, n_bytes);
}
