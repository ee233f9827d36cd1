/*
** Positions grouped by id: a radix sort, eleven bits a pass, stable.
** SPDX-License-Identifier: MIT
*/
#include "embedding_group.h"

#include <string.h>

#include "kernels/embedding.h"
#include "network.h"

enum { BITS = 11, RADIX = 1 << BITS, WORK = 4096 };

struct pair {
  int64_t id, at;
};

static struct pair *sort(struct pair *a, struct pair *b, int64_t n, int64_t top) {
  for (int shift = 0; shift == 0 || (shift < 63 && top >> shift); shift += BITS) {
    int64_t start[RADIX] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) start[a[i].id >> shift & (RADIX - 1)]++;
    for (int d = 0; d < RADIX; d++) {
      const int64_t count = start[d];
      start[d] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; i++) b[start[a[i].id >> shift & (RADIX - 1)]++] = a[i];
    struct pair *t = a;
    a = b;
    b = t;
  }
  return a;
}

static void cut(const struct pair *sorted, int64_t n, int64_t *order, int64_t *first, int64_t *id,
                qni_groups *g) {
  g->count = 0;
  for (int64_t i = 0; i < n; i++) {
    order[i] = sorted[i].at;
    if (i > 0 && sorted[i].id == sorted[i - 1].id) continue;
    first[g->count] = i;
    id[g->count++] = sorted[i].id;
  }
  first[g->count] = n;
  g->order = order;
  g->first = first;
  g->id = id;
}

qn_status qni_groups_make(const qn_host *h, qn_call *c, int64_t n, int64_t limit,
                          int64_t (*id_at)(const void *ctx, int64_t p), const void *ctx,
                          qni_groups *g) {
  void *a, *b, *order, *first, *id;
  qn_status st = h->scratch(c, n * (int64_t)sizeof(struct pair), &a);
  if (!st) st = h->scratch(c, n * (int64_t)sizeof(struct pair), &b);
  if (!st) st = h->scratch(c, n * 8, &order);
  if (!st) st = h->scratch(c, (n + 1) * 8, &first);
  if (!st) st = h->scratch(c, n * 8, &id);
  if (st) return st;
  int64_t kept = 0;
  for (int64_t p = 0; p < n; p++) {
    const int64_t i = id_at(ctx, p);
    if (i >= 0) ((struct pair *)a)[kept++] = (struct pair){i, p};
  }
  cut(sort(a, b, kept, limit > 0 ? limit - 1 : 0), kept, order, first, id, g);
  return QN_OK;
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
