/*
** Interning: texts to dense codes 1..n, in order of first appearance.
**
** A hash table of codes over one growing block of text; FNV-1a, linear probing, at most
** half full.
** SPDX-License-Identifier: MIT
*/
#include "io/intern.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static qni_span text_of(const qni_intern *t, int32_t code) {
  int64_t at = t->name_at[code - 1];
  return (qni_span){t->names + at, (size_t)(t->name_at[code] - at)};
}

static size_t hash(qni_span s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < s.n; i++) h = (h ^ (uint8_t)s.at[i]) * 0x100000001b3u;
  return (size_t)(h ^ h >> 32);
}

/* The slot that holds the text, or the free one where it belongs. */
static int32_t *slot_of(const qni_intern *t, qni_span text) {
  for (size_t i = hash(text);; i++) {
    int32_t *slot = &t->slots[i & (t->n_slots - 1)];
    if (!*slot) return slot;
    qni_span known = text_of(t, *slot);
    if (known.n == text.n && !memcmp(known.at, text.at, text.n)) return slot;
  }
}

static qn_status grow_slots(qni_intern *t) {
  size_t n = t->n_slots ? 2 * t->n_slots : 64;
  int32_t *slots = qni_mem_zalloc(n, sizeof *slots);
  if (!slots) return QN_E_NOMEM;
  qni_mem_free(t->slots);
  t->slots = slots, t->n_slots = n;
  for (int32_t code = 1; code <= t->n; code++) *slot_of(t, text_of(t, code)) = code;
  return QN_OK;
}

static qn_status make_room(qni_intern *t, size_t more) {
  if (t->n + 1 >= t->room) {
    if (t->n >= INT32_MAX / 2) return qni_fail(QN_E_FORMAT, "more than a thousand million ids");
    int32_t room = t->room ? 2 * t->room : 64;
    int64_t *at = qni_mem_realloc(t->name_at, (size_t)room * sizeof *at);
    if (!at) return QN_E_NOMEM;
    if (!t->n) at[0] = 0;
    t->name_at = at, t->room = room;
  }
  if (more > t->room_bytes - t->n_bytes) {
    size_t room = 2 * (t->n_bytes + more) + 1024;
    char *names = qni_mem_realloc(t->names, room);
    if (!names) return QN_E_NOMEM;
    t->names = names, t->room_bytes = room;
  }
  return 2 * ((size_t)t->n + 1) > t->n_slots ? grow_slots(t) : QN_OK;
}

qn_status qni_intern_add(qni_intern *t, qni_span text, int32_t *code) {
  if (t->n_slots) {
    int32_t *slot = slot_of(t, text);
    if (*slot) return *code = *slot, QN_OK;
  }
  qn_status st = make_room(t, text.n);
  if (st) return st;
  int32_t *slot = slot_of(t, text);
  if (text.n) memcpy(t->names + t->n_bytes, text.at, text.n);
  t->n_bytes += text.n;
  t->name_at[++t->n] = (int64_t)t->n_bytes;
  *slot = *code = t->n;
  return QN_OK;
}

void qni_intern_free(qni_intern *t) {
  qni_mem_free(t->names);
  qni_mem_free(t->name_at);
  qni_mem_free(t->slots);
  *t = (qni_intern){0};
}

static int compare(const void *a, const void *b, void *ctx) {
  qni_span x = text_of(ctx, *(const int32_t *)a), y = text_of(ctx, *(const int32_t *)b);
  int order = memcmp(x.at, y.at, x.n < y.n ? x.n : y.n);
  return order ? order : (x.n > y.n) - (x.n < y.n);
}

qn_status qni_intern_finish(qni_intern *t, qni_ids *ids) {
  int32_t *sorted = qni_mem_alloc((size_t)t->n * sizeof *sorted);
  qn_status st = sorted ? make_room(t, 1) : QN_E_NOMEM; /* so that no array is NULL */
  if (st) {
    qni_mem_free(sorted);
    return st;
  }
  for (int32_t i = 0; i < t->n; i++) sorted[i] = i + 1;
  if (t->n) qsort_r(sorted, (size_t)t->n, sizeof *sorted, compare, t);
  *ids = (qni_ids){.kind = QNI_IDS_NAMES,
                   .n = t->n,
                   .seen = t->n,
                   .name_at = t->name_at,
                   .names = t->names,
                   .sorted = sorted};
  t->names = NULL, t->name_at = NULL;
  qni_intern_free(t);
  return QN_OK;
}
