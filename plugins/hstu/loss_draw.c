/*
** The candidates of a loss: negatives of each position, or one pool for all.
**
** A draw turns a 32-bit number r into candidate floor(r n / 2^32), column j of the
** position's row for its negative j. Large tables, and gradients by rows, number
** only the rows that were drawn: the rest of the work then never sees the others.
** SPDX-License-Identifier: MIT
*/
#include "loss.h"

enum { DRAWS = 128, ROWS_PER_CHUNK = 64, SMALL_TABLE = 8 << 20, FEW = 8 };

static int64_t id_at(const struct hstu_loss *s, int64_t i) { return s->ids ? s->ids[i] : i + 1; }

static int64_t drawn_id(const struct hstu_loss *s, uint32_t bits) {
  return id_at(s, (int64_t)(((uint64_t)bits * (uint64_t)s->n_ids) >> 32));
}

/* All ids of a list are rows of the table, and not its padding. */
static qn_status check_ids(const struct hstu_loss *s, const char *name, const int64_t *ids,
                           int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 1 || ids[i] >= s->V)
      return s->h->fail(s->c, QN_E_ARG, "%s[%lld] is %lld; ids are 1..%lld (0 is padding)", name,
                        (long long)(i + 1), (long long)ids[i], (long long)(s->V - 1));
  return QN_OK;
}

static void draw_row(const struct hstu_loss *s, uint32_t stream, int64_t row, int64_t n,
                     int32_t *to) {
  uint32_t bits[DRAWS];
  for (int64_t done = 0; done < n; done += DRAWS, to += DRAWS) {
    int64_t some = least(n - done, DRAWS);
    s->h->random(s->c, stream, row, done, some, bits);
    for (int64_t i = 0; !s->ids && i < some; i++)
      to[i] = (int32_t)(1 + (((uint64_t)bits[i] * (uint64_t)s->n_ids) >> 32));
    for (int64_t i = 0; s->ids && i < some; i++) to[i] = (int32_t)drawn_id(s, bits[i]);
  }
}

static qn_status draw_pairs(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  for (int64_t i = begin; i < end; i++) {
    int32_t *pair = s->pair + i * s->n_pair;
    if (s->n_pair > 1) draw_row(s, 0, i, s->n_pair - 1, pair);
    pair[s->n_pair - 1] = (int32_t)s->pos[i];
  }
  return QN_OK;
}

/* The distinct positives, rising. */
static qn_status ids_of_batch(struct hstu_loss *s) {
  void *memory;
  int64_t bytes = s->V + least(s->T, s->V) * (int64_t)sizeof(int64_t) + 64;
  qn_status st = s->h->scratch(s->c, bytes, &memory);
  if (st) return st;
  int64_t *ids = memory;
  uint8_t *seen = (uint8_t *)(ids + least(s->T, s->V));
  memset(seen, 0, (size_t)s->V);
  for (int64_t i = 0; i < s->T; i++) seen[s->pos[i]] = 1;
  s->n_ids = 0;
  for (int64_t v = 1; v < s->V; v++)
    if (seen[v]) ids[s->n_ids++] = v;
  s->ids = ids;
  return QN_OK;
}

/* ---- Numbering ---- */

/* Replaces rows by slots in a list. */
static void renumber(int64_t n, int32_t *list, const int32_t *slot) {
  for (int64_t i = 0; i < n; i++) list[i] = slot[list[i]];
}

static qn_status number_rows(struct hstu_loss *s) {
  void *memory;
  int64_t pairs = s->T * s->n_pair;
  qn_status st = s->h->scratch(s->c, s->V * (int64_t)sizeof(int32_t), &memory);
  if (st) return st;
  int32_t *slot = memory;
  memset(slot, 0, (size_t)s->V * sizeof *slot);
  for (int64_t i = 0; i < pairs; i++) slot[s->pair[i]] = 1;
  for (int64_t i = 0; i < s->P; i++) slot[s->pool[i]] = 1;
  s->A = 0;
  for (int64_t v = 0; v < s->V; v++) s->A += slot[v];
  st = s->h->scratch(s->c, s->A * (int64_t)sizeof(int64_t), &memory);
  if (st) return st;
  s->row_of = memory;
  int64_t next = 0;
  for (int64_t v = 0; v < s->V; v++) {
    if (!slot[v]) continue;
    s->row_of[next] = v;
    slot[v] = (int32_t)next++;
  }
  renumber(pairs, s->pair, slot);
  renumber(s->P, s->pool, slot);
  return QN_OK;
}

/* ---- The whole ---- */

static qn_status make_pool(struct hstu_loss *s) {
  bool full = s->sampler == SAMPLER_FULL;
  void *memory;
  s->P = full ? s->n_ids : s->R;
  qn_status st = s->h->scratch(s->c, s->P * (int64_t)sizeof(int32_t), &memory);
  if (st) return st;
  s->pool = memory;
  if (!full) draw_row(s, 1, -1, s->P, s->pool); /* of the call: the same in all slices */
  for (int64_t i = 0; full && i < s->P; i++) s->pool[i] = (int32_t)id_at(s, i);
  return QN_OK;
}

qn_status hstu_loss_draw(struct hstu_loss *s) {
  bool pooled = s->sampler == SAMPLER_SHARED || s->sampler == SAMPLER_FULL;
  void *memory;
  qn_status st = check_ids(s, "pos", s->pos, s->T);
  if (!st && s->ids) st = check_ids(s, "items", s->ids, s->n_ids);
  if (!st && s->sampler == SAMPLER_IN_BATCH) st = ids_of_batch(s);
  if (st) return st;
  if (s->n_ids < 1) return s->h->fail(s->c, QN_E_ARG, "there is no item to draw negatives from");
  s->n_pair = pooled ? 1 : s->R + 1;
  st = s->h->scratch(s->c, s->T * s->n_pair * (int64_t)sizeof(int32_t), &memory);
  if (st) return st;
  s->pair = memory;
  st = s->h->parallel(s->c, s->T, ROWS_PER_CHUNK, draw_pairs, s);
  if (!st && pooled) st = make_pool(s);
  if (st) return st;
  s->A = s->V;
  int64_t bytes = s->V * s->Dp * (int64_t)hstu_loss_real(s);
  bool few = s->sampler == SAMPLER_SHARED || (s->bce && s->R <= FEW);
  if (s->sparse || few || (bytes > SMALL_TABLE && s->sampler != SAMPLER_FULL)) st = number_rows(s);
  s->pool_first = s->sampler == SAMPLER_FULL && !s->ids && !s->row_of ? 1 : -1;
  return st;
}
