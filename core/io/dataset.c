/*
** Datasets: interactions behind a memory-mapped cache file.
**
** The cache: one header, then the arrays, each at a multiple of 64 bytes and padded with
** zeros. A checksum covers header and arrays. Because a right checksum only says that the
** file is as somebody wrote it, all indices are checked for their range as well.
** SPDX-License-Identifier: MIT
*/
#include "io/dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/sha256.h"

enum { VERSION = 1, BYTE_ORDER_MARK = 0x01020304, ALIGN = 64 };

enum part {
  OFFSETS,
  ITEM,
  TIME,
  RATING,
  BEHAVIOUR,
  USER_IDS,
  ITEM_IDS = USER_IDS + 4,
  N_PARTS = ITEM_IDS + 4
}; /* four of ids: numbers, name_at, names, sorted */

struct header {
  char magic[8];
  uint32_t version, byte_order;
  int64_t source_size, source_mtime;
  uint8_t source_sha256[32], options_sha256[32];
  int64_t n_users, n_rows, n_duplicates, n_reordered;
  int64_t users_kind, users_n, users_seen, items_kind, items_n, items_seen;
  char format[16];
  uint64_t at[N_PARTS], n_bytes[N_PARTS]; /* 0 bytes: absent */
  uint64_t file_bytes, checksum;          /* the latter taken with itself 0 */
};

struct qni_dataset {
  qni_interactions mapped;
  const qni_interactions *x; /* &mapped, or what was read */
  qni_interactions *read;
  qni_file_map map;
  char *path;
  uint8_t source_sha256[32], options_sha256[32];
  qni_file_info source;
  char notice[320];
};

/* ---- Checksum: four multiplied lanes over 64-byte blocks, against damage only ---- */

struct sum {
  uint64_t lane[4];
};

static void sum_block(struct sum *s, const void *block) {
  uint64_t w[8];
  memcpy(w, block, sizeof w);
  for (int i = 0; i < 8; i++) {
    uint64_t x = (s->lane[i % 4] ^ w[i]) * 0x9e3779b97f4a7c15u;
    s->lane[i % 4] = x << 29 | x >> 35;
  }
}

/* The last block is padded with zeros, as it is in the file. */
static void sum_add(struct sum *s, const void *data, size_t n) {
  const char *p = data;
  for (; n >= ALIGN; p += ALIGN, n -= ALIGN) sum_block(s, p);
  char tail[ALIGN] = {0};
  if (n) memcpy(tail, p, n), sum_block(s, tail);
}

static uint64_t sum_end(const struct sum *s) {
  uint64_t h = 0;
  for (int i = 0; i < 4; i++) {
    h = ((h << 31 | h >> 33) ^ s->lane[i]) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
  }
  return h;
}

/* ---- Layout ---- */

static size_t padded(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

struct parts {
  const void *data[N_PARTS];
  size_t n_bytes[N_PARTS];
};

static void set_part(struct parts *p, int part, const void *data, int64_t n, size_t size) {
  p->data[part] = data;
  p->n_bytes[part] = data ? (size_t)n * size : 0;
}

static void set_ids(struct parts *p, int first, const qni_ids *ids) {
  set_part(p, first, ids->numbers, ids->n, sizeof *ids->numbers);
  set_part(p, first + 1, ids->name_at, ids->n + 1, sizeof *ids->name_at);
  set_part(p, first + 2, ids->names, ids->name_at ? ids->name_at[ids->n] : 0, 1);
  set_part(p, first + 3, ids->sorted, ids->n, sizeof *ids->sorted);
}

static void list_parts(const qni_interactions *x, struct parts *p) {
  set_part(p, OFFSETS, x->offsets, x->n_users + 1, sizeof *x->offsets);
  set_part(p, ITEM, x->item, x->n_rows, sizeof *x->item);
  set_part(p, TIME, x->time, x->n_rows, sizeof *x->time);
  set_part(p, RATING, x->rating, x->n_rows, sizeof *x->rating);
  set_part(p, BEHAVIOUR, x->behaviour, x->n_rows, sizeof *x->behaviour);
  set_ids(p, USER_IDS, &x->users);
  set_ids(p, ITEM_IDS, &x->items);
}

static void fill_header(const qni_dataset *d, const struct parts *p, struct header *h) {
  const qni_interactions *x = d->x;
  *h = (struct header){
      .magic = "QNCACHE",
      .version = VERSION,
      .byte_order = BYTE_ORDER_MARK,
      .source_size = d->source.size,
      .source_mtime = d->source.mtime_ns,
      .n_users = x->n_users,
      .n_rows = x->n_rows,
      .n_duplicates = x->n_duplicates,
      .n_reordered = x->n_reordered,
      .users_kind = x->users.kind,
      .users_n = x->users.n,
      .users_seen = x->users.seen,
      .items_kind = x->items.kind,
      .items_n = x->items.n,
      .items_seen = x->items.seen,
  };
  memcpy(h->source_sha256, d->source_sha256, 32);
  memcpy(h->options_sha256, d->options_sha256, 32);
  memcpy(h->format, x->format, sizeof h->format);
  uint64_t at = padded(sizeof *h);
  struct sum s = {{0}};
  for (int i = 0; i < N_PARTS; i++) {
    h->at[i] = at, h->n_bytes[i] = p->n_bytes[i];
    at += padded(p->n_bytes[i]);
  }
  h->file_bytes = at;
  sum_add(&s, h, sizeof *h);
  for (int i = 0; i < N_PARTS; i++) sum_add(&s, p->data[i], p->n_bytes[i]);
  h->checksum = sum_end(&s);
}

/* ---- Writing ---- */

static qn_status write_padded(qni_file_writer *w, const void *data, size_t n) {
  static const char zeros[ALIGN];
  qn_status st = n ? qni_file_writer_write(w, data, n) : QN_OK;
  return st ? st : qni_file_writer_write(w, zeros, padded(n) - n);
}

static qn_status write_cache(const qni_dataset *d) {
  struct parts p = {0};
  struct header h;
  qni_file_writer *w;
  list_parts(d->x, &p);
  fill_header(d, &p, &h);
  char *folder = qni_path_folder(d->path);
  qn_status st = folder ? qni_folder_make(folder) : QN_E_NOMEM;
  qni_mem_free(folder);
  if (!st) st = qni_file_writer_open(d->path, &w);
  if (st) return st;
  st = write_padded(w, &h, sizeof h);
  for (int i = 0; i < N_PARTS && !st; i++) st = write_padded(w, p.data[i], p.n_bytes[i]);
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}

/* ---- Checking and taking a cache ---- */

/* A part of exactly n elements, or an absent one; NULL with *ok false when it is neither. */
static const void *take_part(const qni_dataset *d, const struct header *h, int part, int64_t n,
                             size_t size, bool wanted, bool *ok) {
  uint64_t at = h->at[part], n_bytes = h->n_bytes[part];
  size_t need;
  if (at % ALIGN || at > d->map.n_bytes || n_bytes > d->map.n_bytes - at) return *ok = false, NULL;
  if (n_bytes == 0 && (!wanted || n == 0)) return wanted ? (const char *)d->map.data + at : NULL;
  if (n < 0 || !qni_size_mul_add((size_t)n, size, 0, &need) || n_bytes != need)
    return *ok = false, NULL;
  return (const char *)d->map.data + at;
}

static bool rising_from_zero(const int64_t *v, int64_t n, int64_t last) {
  if (v[0] != 0 || v[n] != last) return false;
  for (int64_t i = 0; i < n; i++)
    if (v[i + 1] < v[i]) return false;
  return true;
}

static bool in_range(const int32_t *v, int64_t n, int64_t most) {
  for (int64_t i = 0; i < n; i++)
    if (v[i] < 1 || v[i] > most) return false;
  return true;
}

static bool take_ids(const qni_dataset *d, const struct header *h, int first, qni_ids *ids) {
  bool ok =
      ids->n >= 0 && ids->n <= INT32_MAX && ids->kind >= QNI_IDS_KEPT && ids->kind <= QNI_IDS_NAMES;
  bool numbers = ids->kind == QNI_IDS_NUMBERS, names = ids->kind == QNI_IDS_NAMES;
  if (!ok) return false;
  int64_t n_text = (int64_t)h->n_bytes[first + 2];
  ids->numbers = take_part(d, h, first, ids->n, sizeof *ids->numbers, numbers, &ok);
  ids->name_at = take_part(d, h, first + 1, ids->n + 1, sizeof *ids->name_at, names, &ok);
  ids->names = take_part(d, h, first + 2, n_text, 1, names, &ok);
  ids->sorted = take_part(d, h, first + 3, ids->n, sizeof *ids->sorted, names, &ok);
  if (ok && names)
    ok = rising_from_zero(ids->name_at, ids->n, n_text) && in_range(ids->sorted, ids->n, ids->n);
  return ok;
}

static bool take_arrays(qni_dataset *d, const struct header *h) {
  qni_interactions *x = &d->mapped;
  *x = (qni_interactions){
      .n_users = h->n_users,
      .n_rows = h->n_rows,
      .n_duplicates = h->n_duplicates,
      .n_reordered = h->n_reordered,
      .users = {.kind = (int32_t)h->users_kind, .n = h->users_n, .seen = h->users_seen},
      .items = {.kind = (int32_t)h->items_kind, .n = h->items_n, .seen = h->items_seen},
  };
  memcpy(x->format, h->format, sizeof x->format);
  x->format[sizeof x->format - 1] = 0;
  if (x->n_users != x->users.n || x->n_rows < 0) return false;
  if (!take_ids(d, h, USER_IDS, &x->users) || !take_ids(d, h, ITEM_IDS, &x->items)) return false;
  bool ok = true;
  x->offsets = take_part(d, h, OFFSETS, x->n_users + 1, sizeof *x->offsets, true, &ok);
  x->item = take_part(d, h, ITEM, x->n_rows, sizeof *x->item, true, &ok);
  x->time = take_part(d, h, TIME, x->n_rows, sizeof *x->time, false, &ok);
  x->rating = take_part(d, h, RATING, x->n_rows, sizeof *x->rating, false, &ok);
  x->behaviour = take_part(d, h, BEHAVIOUR, x->n_rows, sizeof *x->behaviour, false, &ok);
  return ok && rising_from_zero(x->offsets, x->n_users, x->n_rows) &&
         in_range(x->item, x->n_rows, x->items.n);
}

/* Why the mapped file is no cache that can be trusted; NULL: it is one. */
static const char *find_damage(qni_dataset *d) {
  struct header h;
  if (d->map.n_bytes < padded(sizeof h)) return "is cut short";
  memcpy(&h, d->map.data, sizeof h);
  if (memcmp(h.magic, "QNCACHE", 8) || h.byte_order != BYTE_ORDER_MARK) return "is no cache file";
  if (h.version != VERSION) return "is of another version";
  if (h.file_bytes != d->map.n_bytes) return "is cut short";
  uint64_t checksum = h.checksum;
  struct sum s = {{0}};
  h.checksum = 0;
  sum_add(&s, &h, sizeof h);
  for (size_t i = sizeof h; i < padded(sizeof h); i++)
    if (((const char *)d->map.data)[i]) return "is damaged";
  sum_add(&s, (const char *)d->map.data + padded(sizeof h), d->map.n_bytes - padded(sizeof h));
  if (sum_end(&s) != checksum) return "is damaged";
  return take_arrays(d, &h) ? NULL : "holds what cannot be";
}

static bool same_source(qni_dataset *d, const char *source) {
  struct header h;
  memcpy(&h, d->map.data, sizeof h);
  if (memcmp(h.options_sha256, d->options_sha256, 32) || h.source_size != d->source.size)
    return false;
  if (h.source_mtime != d->source.mtime_ns) {
    uint8_t digest[32];
    if (qni_sha256_file(source, digest)) return qni_error_reset(), false;
    if (memcmp(digest, h.source_sha256, 32)) return false;
  }
  memcpy(d->source_sha256, h.source_sha256, 32);
  return true;
}

static bool use_cache(qni_dataset *d, const char *source) {
  if (!*d->path || !qni_file_exists(d->path)) return false;
  if (qni_file_map_open(d->path, &d->map)) return qni_error_reset(), false;
  const char *damage = find_damage(d);
  if (!damage && same_source(d, source)) return d->x = &d->mapped, true;
  if (damage)
    snprintf(d->notice, sizeof d->notice, "the cache %s %s and is built again", d->path, damage);
  qni_file_map_close(&d->map);
  return false;
}

/* ---- Opening ---- */

static qn_status build(qni_dataset *d, const char *source,
                       const qni_interactions_options *options) {
  qni_file_map map;
  qn_status st = qni_file_map_open(source, &map);
  if (st) return st;
  st = qni_interactions_parse(map.data, map.n_bytes, source, options, &d->read);
  if (!st) qni_sha256_of(map.data, map.n_bytes, d->source_sha256);
  qni_file_map_close(&map);
  d->x = d->read;
  if (st || !*d->path) return st;
  if (write_cache(d)) {
    snprintf(d->notice, sizeof d->notice, "no cache was written: %s", qn_error_last()->what);
    qni_error_reset();
    d->path[0] = 0;
  }
  return QN_OK;
}

static const char *or_empty(const char *text) { return text ? text : ""; }

static qn_status hash_options(const qni_interactions_options *o, uint8_t digest[32]) {
  char *text =
      qni_path_format("%s\n%s\n%s\n%s\n%s\n%s\n%d\n%d", or_empty(o->format), or_empty(o->user),
                      or_empty(o->item), or_empty(o->rating), or_empty(o->time),
                      or_empty(o->behaviour), (int)o->id_rule, (int)o->text_ids);
  if (!text) return QN_E_NOMEM;
  qni_sha256_of(text, strlen(text), digest);
  qni_mem_free(text);
  return QN_OK;
}

static char *cache_folder(void) {
  const char *own = getenv("QUERN_CACHE"), *user = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (own && *own) return qni_mem_strdup(own);
  if (user && *user) return qni_path_join(user, "quern");
  return home && *home ? qni_path_join(home, ".cache/quern") : qni_mem_strdup("");
}

/* FOLDER/NAME-HASH.qncache; the hash is of the source's full path and the options. */
static char *default_path(const char *source, const uint8_t options[32]) {
  char hex[65], *full = realpath(source, NULL), *folder = cache_folder(), *path = NULL;
  uint8_t digest[32];
  qni_sha256 s;
  qni_sha256_start(&s);
  qni_sha256_add(&s, options, 32);
  qni_sha256_add(&s, full ? full : source, strlen(full ? full : source));
  qni_sha256_end(&s, digest);
  qni_sha256_hex(digest, hex);
  const char *slash = strrchr(source, '/'), *name = slash ? slash + 1 : source;
  if (folder && *folder)
    path = qni_path_format("%s/%s-%.16s.qncache", folder, name, hex);
  else if (folder)
    path = qni_mem_strdup("");
  qni_mem_free(folder);
  qni_mem_free(full);
  return path;
}

qn_status qni_dataset_open(const char *source, const char *cache,
                           const qni_interactions_options *options, qni_dataset **dataset) {
  static const qni_interactions_options defaults;
  const qni_interactions_options *o = options ? options : &defaults;
  *dataset = NULL;
  qni_dataset *d = qni_mem_zalloc(1, sizeof *d);
  if (!d) return QN_E_NOMEM;
  qn_status st = qni_file_stat(source, &d->source);
  if (!st) st = hash_options(o, d->options_sha256);
  if (!st) {
    d->path = cache ? qni_mem_strdup(cache) : default_path(source, d->options_sha256);
    if (!d->path) st = QN_E_NOMEM;
  }
  if (!st && !use_cache(d, source)) st = build(d, source, o);
  if (st)
    qni_dataset_close(d);
  else
    *dataset = d;
  return st;
}

void qni_dataset_close(qni_dataset *d) {
  if (!d) return;
  qni_interactions_free(d->read);
  qni_file_map_close(&d->map);
  qni_mem_free(d->path);
  qni_mem_free(d);
}

const qni_interactions *qni_dataset_interactions(const qni_dataset *d) { return d->x; }
const char *qni_dataset_path(const qni_dataset *d) { return d->path; }
bool qni_dataset_from_cache(const qni_dataset *d) { return d->x == &d->mapped; }
const char *qni_dataset_notice(const qni_dataset *d) { return d->notice; }
const uint8_t *qni_dataset_sha256(const qni_dataset *d) { return d->source_sha256; }
