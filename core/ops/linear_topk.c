/*
** linear_topk: the k best rows of a table for each query, by inner product.
**
**   s_v = <h_n, w_v>, v = first .. V-1;   y[n], i[n]: the k greatest s_v, falling, and their v
**
** No [N, V] scores exist: the catalogue is cut into at most PARTS parts, queries into blocks of ROWS. A
** part's scores are made PANEL items at a time and go through a heap for each query, whose
** root is the worst of the k best so far; then each query's parts are merged in order. The
** cuts depend on N, V and k alone, and parts keep two workers busy with a single query. Of
** equal scores the smaller v is better; NaN is better than any number, as in topk.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>

#include "elementwise_table.h"
#include "network.h"

enum { ROWS = 32, PANEL = 512, PARTS = 16, LEAST_PART = 4096 };

typedef struct best {
  double score;
  int64_t id;
} best;

struct search {
  const qn_host *h;
  qn_call *c;
  const qn_view *q, *w;
  int64_t N, V, D, k, first, part, n_parts, n_blocks;
  best *found;   /* [N][n_parts][k] heaps */
  int64_t *size; /* [N][n_parts] */
  qn_view *y, *ids;
};

/* Does a come before b in the result? */
static int better(best a, best b) {
  const int nan_a = a.score != a.score, nan_b = b.score != b.score;
  if (nan_a || nan_b) return nan_a != nan_b ? nan_a : a.id < b.id;
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

/* ---- Heaps: the root is the worst ---- */

static void sink(best *heap, int64_t n, int64_t at) {
  for (;;) {
    int64_t worst = at;
    for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
      if (better(heap[worst], heap[child])) worst = child;
    if (worst == at) return;
    best swap = heap[at];
    heap[at] = heap[worst];
    heap[worst] = swap;
    at = worst;
  }
}

static void rise(best *heap, int64_t at) {
  while (at > 0 && better(heap[(at - 1) / 2], heap[at])) {
    best swap = heap[at];
    heap[at] = heap[(at - 1) / 2];
    heap[(at - 1) / 2] = swap;
    at = (at - 1) / 2;
  }
}

static void offer(best *heap, int64_t *n, int64_t k, best x) {
  if (*n < k) {
    heap[*n] = x;
    rise(heap, (*n)++);
  } else if (better(x, heap[0])) {
    heap[0] = x;
    sink(heap, k, 0);
  }
}

/* ---- Scores ---- */

/* Whether any of n scores passes the bar; the common answer is no. */
#define ANY_PASSES(REAL)                                                                           \
  static int any_##REAL(const REAL *s, int64_t n, REAL bar) {                                      \
    int any = 0;                                                                                   \
    for (int64_t i = 0; i < n; i++) any |= !(s[i] <= bar);                                         \
    return any;                                                                                    \
  }
ANY_PASSES(float)
ANY_PASSES(double)

static void scan(const struct search *s, int wide, const void *scores, int64_t n, int64_t id,
                 best *heap, int64_t *size) {
  for (int64_t at = 0; at < n; at += 64) {
    const int64_t some = n - at < 64 ? n - at : 64;
    const float *x = (const float *)scores + at;
    const double *wide_x = (const double *)scores + at;
    const int full = *size == s->k;
    if (full && !(wide ? any_double(wide_x, some, heap[0].score)
                       : any_float(x, some, (float)heap[0].score)))
      continue;
    for (int64_t i = 0; i < some; i++)
      offer(heap, size, s->k, (best){wide ? wide_x[i] : (double)x[i], id + at + i});
  }
}

static qn_status search_unit(const struct search *s, int64_t unit) {
  const int64_t block = unit / s->n_parts, part = unit % s->n_parts;
  const int64_t row = block * ROWS, rows = s->N - row < ROWS ? s->N - row : ROWS;
  const int64_t size = qni_net_size(s->q);
  int64_t begin = s->first + part * s->part, end = begin + s->part;
  if (end > s->V) end = s->V;
  void *scores;
  qn_status st = s->h->local(s->c, ROWS * PANEL * size, &scores);
  for (int64_t v = begin; !st && v < end; v += PANEL) {
    const int64_t n = end - v < PANEL ? end - v : PANEL;
    const qn_gemm g = {.m = rows,
                       .n = n,
                       .k = s->D,
                       .batch = 1,
                       .a = qni_net_at(s->q->data, row * s->D, size),
                       .b = qni_net_at(s->w->data, v * s->D, size),
                       .c = scores,
                       .a_row = s->D,
                       .a_col = 1,
                       .b_row = 1,
                       .b_col = s->D,
                       .c_row = PANEL,
                       .alpha = 1,
                       .dtype = s->q->dtype};
    if (s->D > 0)
      st = s->h->gemm(s->c, &g);
    else
      for (int64_t i = 0; i < ROWS * PANEL * size; i++) ((char *)scores)[i] = 0;
    for (int64_t r = 0; !st && r < rows; r++) {
      const int64_t list = (row + r) * s->n_parts + part;
      scan(s, qni_net_is64(s->q), qni_net_at(scores, r * PANEL, size), n, v, s->found + list * s->k,
           &s->size[list]);
    }
  }
  return st;
}

static qn_status search_range(void *ctx, int64_t begin, int64_t end) {
  qn_status st = QN_OK;
  for (int64_t unit = begin; !st && unit < end; unit++) st = search_unit(ctx, unit);
  return st;
}

/* ---- Merging the parts of a query ---- */

static void put_out(const struct search *s, int64_t n, const best *heap) {
  for (int64_t i = 0; i < s->k; i++) {
    const int64_t at = n * s->k + i;
    ((int64_t *)s->ids->data)[at] = heap[i].id;
    if (qni_net_is64(s->y))
      ((double *)s->y->data)[at] = heap[i].score;
    else
      ((float *)s->y->data)[at] = (float)heap[i].score;
  }
}

static qn_status merge_range(void *ctx, int64_t begin, int64_t end) {
  const struct search *s = ctx;
  for (int64_t n = begin; n < end; n++) {
    best *heap = s->found + n * s->n_parts * s->k;
    int64_t *size = s->size + n * s->n_parts;
    for (int64_t part = 1; part < s->n_parts; part++)
      for (int64_t i = 0; i < size[part]; i++) offer(heap, size, s->k, heap[part * s->k + i]);
    for (int64_t left = s->k; left > 1; left--) { /* the worst goes to the end */
      best worst = heap[0];
      heap[0] = heap[left - 1];
      heap[left - 1] = worst;
      sink(heap, left - 1, 0);
    }
    put_out(s, n, heap);
  }
  return QN_OK;
}

/* ---- The op ---- */

static qn_status open_search(struct search *s) {
  const int64_t items = s->V - s->first;
  if (s->k > items)
    return s->h->fail(s->c, QN_E_ARG,
                      "k is %" PRId64 ", but there are %" PRId64 " rows from %" PRId64 " on", s->k,
                      items > 0 ? items : 0, s->first);
  s->part = (items + PARTS - 1) / PARTS;
  if (s->part < LEAST_PART) s->part = LEAST_PART;
  s->n_parts = (items + s->part - 1) / s->part;
  s->n_blocks = (s->N + ROWS - 1) / ROWS;
  void *found, *size;
  const int64_t lists = s->N * s->n_parts;
  qn_status st = s->h->scratch(s->c, lists * s->k * (int64_t)sizeof(best), &found);
  if (!st) st = s->h->scratch(s->c, lists * 8, &size);
  if (st) return st;
  s->found = found;
  s->size = size;
  for (int64_t i = 0; i < lists; i++) s->size[i] = 0;
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct search s = {.h = h,
                     .c = c,
                     .q = h->in(c, 0),
                     .w = h->in(c, 1),
                     .k = h->arg_int(c, "k"),
                     .first = h->arg_int(c, "first"),
                     .y = h->out(c, 0),
                     .ids = h->out(c, 1)};
  s.N = s.q->shape[0];
  s.D = s.q->shape[1];
  s.V = s.w->shape[0];
  qn_status st = open_search(&s);
  if (!st) st = h->parallel(c, s.n_blocks * s.n_parts, 1, search_range, &s);
  return st ? st : h->parallel(c, s.N, 8, merge_range, &s);
}

static int64_t flops(const qn_host *h, qn_call *c) {
  return 2 * qni_net_count(h->like(c, 0)) * h->like(c, 1)->shape[0];
}

QNI_OP(linear_topk_op, QN_BATCH_ROWS,
       "linear_topk(h: f[N,D], w: f[V,D], k: int{1..}, *, first: int{0..} = 0) -> y: f[N,k], i: "
       "i64[N,k]",
       "The k best rows of a table for each query, by inner product.",
       "s = h w'; y are the k greatest scores of a row, falling, i the rows of w that have them. "
       "Rows before `first` are left out (1: row 0 is padding). Equal scores: the smaller row "
       "first. The scores of all rows are never in memory at once. No gradient.",
       "print(quern.linear_topk(quern.tensor{{1,2}}, quern.tensor{{1,0},{0,1},{1,1}}, 2))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = forward, .flops = flops);

extern const qn_op *const qni_ops_linear_topk[];
const qn_op *const qni_ops_linear_topk[] = {&linear_topk_op, NULL};
