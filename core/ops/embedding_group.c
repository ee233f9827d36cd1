/*
** Positions grouped by id: a stable radix sort of (id, position) in one number each.
**
** Positions are cut into chunks, a function of their number alone. In each pass a chunk counts its
** digits, and knows from the counts of all where its own go; what the sort returns does not depend
** on who does which chunk. SPDX-License-Identifier: MIT
*/
#include "embedding_group.h"

#include <stdbool.h>
#include <string.h>

#include "kernels/embedding.h"
#include "network.h"

enum { BITS = 12, CHUNK = 32768, MOST_CHUNKS = 64, WORK = 4096 };

struct sorting {
  int64_t (*id_at)(const void *ctx, int64_t p);
  const void *ctx;
  int64_t n, limit;      /* what is left out has the id `limit`, and so comes last */
  int64_t chunk, chunks; /* positions of a chunk */
  int place_bits;        /* low ones, of the position */
  uint64_t *from, *to;   /* [n] id, position */
  int shift, bits;       /* of this pass's digit */
  int64_t *start;        /* [chunks][1 << BITS] */
  int64_t *opened;       /* [chunks] groups that begin in a chunk, then before it */
  int64_t *order, *first, *id;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int bits_of(uint64_t x) {
  int n = 0;
  for (; x; x >>= 1) n++;
  return n;
}

static qn_status number(void *ctx, int64_t begin, int64_t end) {
  const struct sorting *s = ctx;
  for (int64_t p = begin * s->chunk; p < least(end * s->chunk, s->n); p++) {
    const int64_t id = s->id_at(s->ctx, p);
    s->from[p] = (uint64_t)(id < 0 ? s->limit : id) << s->place_bits | (uint64_t)p;
  }
  return QN_OK;
}

static int64_t digit(const struct sorting *s, int64_t i) {
  return (int64_t)(s->from[i] >> s->shift & (((uint64_t)1 << s->bits) - 1));
}

static qn_status count(void *ctx, int64_t begin, int64_t end) {
  const struct sorting *s = ctx;
  for (int64_t k = begin; k < end; k++) {
    int64_t *start = s->start + (k << BITS);
    memset(start, 0, sizeof *start << s->bits);
    for (int64_t i = k * s->chunk; i < least((k + 1) * s->chunk, s->n); i++) start[digit(s, i)]++;
  }
  return QN_OK;
}

/* Counts become places: digit by digit, chunk by chunk inside it. */
static void place(const struct sorting *s) {
  int64_t sum = 0;
  for (int64_t d = 0; d < (int64_t)1 << s->bits; d++)
    for (int64_t k = 0; k < s->chunks; k++) {
      int64_t *start = s->start + (k << BITS) + d;
      const int64_t n = *start;
      *start = sum;
      sum += n;
    }
}

static qn_status move(void *ctx, int64_t begin, int64_t end) {
  const struct sorting *s = ctx;
  for (int64_t k = begin; k < end; k++) {
    int64_t *start = s->start + (k << BITS);
    for (int64_t i = k * s->chunk; i < least((k + 1) * s->chunk, s->n); i++)
      s->to[start[digit(s, i)]++] = s->from[i];
  }
  return QN_OK;
}

/* Sorted numbers end up in `from`. */
static qn_status sort(const qn_host *h, qn_call *c, struct sorting *s) {
  const int bits = bits_of((uint64_t)s->limit), passes = (bits + BITS - 1) / BITS;
  qn_status st = h->parallel(c, s->chunks, 1, number, s);
  s->shift = s->place_bits;
  for (int pass = 0; !st && pass < passes; pass++, s->shift += s->bits) {
    s->bits = (bits - (s->shift - s->place_bits) + passes - pass - 1) / (passes - pass);
    st = h->parallel(c, s->chunks, 1, count, s);
    place(s);
    if (!st) st = h->parallel(c, s->chunks, 1, move, s);
    uint64_t *t = s->from;
    s->from = s->to;
    s->to = t;
  }
  return st;
}

static int64_t id_of(const struct sorting *s, int64_t i) {
  return (int64_t)(s->from[i] >> s->place_bits);
}
static bool opens(const struct sorting *s, int64_t i) {
  return id_of(s, i) != s->limit && (i == 0 || id_of(s, i) != id_of(s, i - 1));
}

static qn_status count_groups(void *ctx, int64_t begin, int64_t end) {
  const struct sorting *s = ctx;
  for (int64_t k = begin; k < end; k++) {
    s->opened[k] = 0;
    for (int64_t i = k * s->chunk; i < least((k + 1) * s->chunk, s->n); i++)
      s->opened[k] += opens(s, i);
  }
  return QN_OK;
}

static qn_status write_groups(void *ctx, int64_t begin, int64_t end) {
  const struct sorting *s = ctx;
  const uint64_t places = ((uint64_t)1 << s->place_bits) - 1;
  for (int64_t k = begin; k < end; k++) {
    int64_t g = s->opened[k];
    for (int64_t i = k * s->chunk; i < least((k + 1) * s->chunk, s->n); i++) {
      s->order[i] = (int64_t)(s->from[i] & places);
      if (!opens(s, i)) continue;
      s->first[g] = i;
      s->id[g++] = id_of(s, i);
    }
  }
  return QN_OK;
}

/* How many are not left out. */
static int64_t kept(const struct sorting *s) {
  int64_t low = 0, high = s->n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (id_of(s, middle) < s->limit)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static qn_status cut(const qn_host *h, qn_call *c, struct sorting *s, qni_groups *g) {
  void *first, *id;
  qn_status st = h->parallel(c, s->chunks, 1, count_groups, s);
  int64_t groups = 0;
  for (int64_t k = 0; k < s->chunks; k++) {
    const int64_t n = s->opened[k];
    s->opened[k] = groups;
    groups += n;
  }
  if (!st) st = h->scratch(c, (groups + 1) * 8, &first);
  if (!st) st = h->scratch(c, groups * 8, &id);
  if (st) return st;
  s->order = (int64_t *)s->to;
  s->first = first;
  s->id = id;
  s->first[groups] = kept(s);
  *g = (qni_groups){.count = groups, .order = s->order, .first = s->first, .id = s->id};
  return h->parallel(c, s->chunks, 1, write_groups, s);
}

qn_status qni_groups_make(const qn_host *h, qn_call *c, int64_t n, int64_t limit,
                          int64_t (*id_at)(const void *ctx, int64_t p), const void *ctx,
                          qni_groups *g) {
  struct sorting s = {.id_at = id_at, .ctx = ctx, .n = n, .limit = limit};
  void *from, *to, *start, *opened;
  s.place_bits = bits_of((uint64_t)n);
  if (s.place_bits + bits_of((uint64_t)limit) > 64)
    return h->fail(c, QN_E_UNSUPPORTED, "%lld ids of a table of %lld rows are too many to sort",
                   (long long)n, (long long)limit);
  s.chunks = least((n + CHUNK - 1) / CHUNK, MOST_CHUNKS);
  if (s.chunks < 1) s.chunks = 1;
  s.chunk = (n + s.chunks - 1) / s.chunks;
  qn_status st = h->scratch(c, n * 8, &from);
  if (!st) st = h->scratch(c, n * 8, &to);
  if (!st) st = h->scratch(c, s.chunks * ((int64_t)sizeof(int64_t) << BITS), &start);
  if (!st) st = h->scratch(c, s.chunks * 8, &opened);
  if (st) return st;
  s.from = from;
  s.to = to;
  s.start = start;
  s.opened = opened;
  st = sort(h, c, &s);
  return st ? st : cut(h, c, &s, g);
}

static qn_status sum(const qn_host *h, qn_call *c, const qni_groups *g, int is64, int64_t width,
                     const int64_t *row_of, int add, void *out, const void *rows, const void *coef,
                     int64_t per) {
  qni_group_job j = {.rows = rows,
                     .coef = coef,
                     .per = per,
                     .width = width,
                     .order = g->order,
                     .first = g->first,
                     .row_of = row_of,
                     .out = out,
                     .add = add};
  return h->parallel(c, g->count, qni_net_grain(width, WORK), qni_embedding()->group_sum[is64], &j);
}

static qn_status onto(const qn_host *h, qn_call *c, const qni_groups *g, int add, qn_view *out,
                      const void *rows, const void *coef, int64_t per) {
  if (out->shape[0] == 0) return QN_OK;
  return sum(h, c, g, qni_net_is64(out), qni_net_count(out) / out->shape[0], g->id, add, out->data,
             rows, coef, per);
}

qn_status qni_groups_dense(const qn_host *h, qn_call *c, const qni_groups *g, qn_view *out,
                           const void *rows, const void *coef, int64_t per) {
  qni_net_fill_zero(out);
  return onto(h, c, g, 0, out, rows, coef, per);
}

qn_status qni_groups_gradient(const qn_host *h, qn_call *c, const qni_groups *g, int32_t input,
                              int by_rows, const void *rows, const void *coef, int64_t per) {
  if (!by_rows) {
    qn_view *dense = h->out(c, input);
    if (!dense) return QN_OK; /* no memory: the host knows */
    return h->adds(c, input) ? onto(h, c, g, 1, dense, rows, coef, per)
                             : qni_groups_dense(h, c, g, dense, rows, coef, per);
  }
  int64_t *ids;
  qn_view *out;
  qn_status st = h->grad_rows(c, input, g->count, &ids, &out);
  if (st || g->count == 0) return st;
  memcpy(ids, g->id, (size_t)g->count * 8);
  return sum(h, c, g, qni_net_is64(out), qni_net_count(out) / g->count, NULL, 0, out->data, rows,
             coef, per);
}
