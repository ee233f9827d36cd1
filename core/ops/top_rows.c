/*
** top_rows: the rows of a table with the largest scalar products, for each row of x.
**
** Scores are made for ROWS rows of x against a stretch of the table at a time and looked through while they are in
** cache: no [N,V] matrix exists. The table is cut into stretches by its size alone; each keeps its own best, and
** these are merged in order, so ties go to the earlier row for any number of workers. SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>

#include "elementwise_table.h"
#include "network.h"

enum { ROWS = 24, STEP = 512, STRETCH = 16384, FEW = 4 };

struct best {
  double score;
  int64_t id; /* -1: none yet */
};

struct search {
  const qn_host *h;
  qn_call *c;
  const qn_view *x, *w;
  int64_t N, V, D, k, first;
  const int64_t *seen, *offsets; /* of each row; NULL: none */
  int64_t chunks, stretches;
  struct best *best; /* [stretches][N][k], each list from the best on */
};

/* ---- One list ---- */

static int is_seen(const struct search *s, int64_t row, int64_t id) {
  for (int64_t i = s->seen ? s->offsets[row] : 0; s->seen && i < s->offsets[row + 1]; i++)
    if (s->seen[i] == id) return 1;
  return 0;
}

/* Puts it behind those that are at least as good; the last one falls out. */
static void insert(struct best *list, int64_t k, double score, int64_t id) {
  int64_t at = k - 1;
  for (; at > 0 && (list[at - 1].id < 0 || list[at - 1].score < score); at--)
    list[at] = list[at - 1];
  list[at] = (struct best){score, id};
}

static int enters(const struct best *list, int64_t k, double score) {
  return score > list[k - 1].score || (list[k - 1].id < 0 && score == score);
}

static void look_through(const struct search *s, struct best *list, int64_t row, int64_t item,
                         int64_t n, const void *scores) {
  const int is64 = qni_net_is64(s->x);
  for (int64_t v = 0; v < n; v++) {
    const double score = is64 ? ((const double *)scores)[v] : (double)((const float *)scores)[v];
    if (!enters(list, s->k, score)) continue;
    if (!is_seen(s, row, item + v)) insert(list, s->k, score, item + v);
  }
}

/* ---- Scores ---- */

static void scores_f64(const struct search *s, int64_t row, int64_t m, int64_t item, int64_t n,
                       double *e) {
  const double *x = (const double *)s->x->data + row * s->D;
  const double *w = (const double *)s->w->data + item * s->D;
  for (int64_t r = 0; r < m; r++)
    for (int64_t v = 0; v < n; v++) {
      double sum = 0;
      for (int64_t d = 0; d < s->D; d++) sum += x[r * s->D + d] * w[v * s->D + d];
      e[r * STEP + v] = sum;
    }
}

/* A few rows go by scalar products: turning the table for a product would cost more. */
static void scores_f32(const struct search *s, int64_t row, int64_t m, int64_t item, int64_t n,
                       float *e) {
  const qn_math *math = qni_net_math(s->h);
  const float *x = (const float *)s->x->data + row * s->D;
  const float *w = (const float *)s->w->data + item * s->D;
  if (s->N >= FEW) {
    math->gemm(m, n, s->D, 1, x, s->D, 1, w, 1, s->D, e, STEP, 0);
    return;
  }
  for (int64_t r = 0; r < m; r++)
    for (int64_t v = 0; v < n; v++) e[r * STEP + v] = math->dot(s->D, x + r * s->D, w + v * s->D);
}

static qn_status search_range(void *ctx, int64_t begin, int64_t end) {
  const struct search *s = ctx;
  void *e;
  qn_status st = s->h->local(s->c, ROWS * STEP * qni_net_size(s->x), &e);
  for (int64_t u = begin; !st && u < end; u++) {
    const int64_t row = u % s->chunks * ROWS, stretch = u / s->chunks;
    const int64_t m = s->N - row < ROWS ? s->N - row : ROWS;
    const int64_t start = s->first + stretch * STRETCH;
    const int64_t stop = s->V < start + STRETCH ? s->V : start + STRETCH;
    struct best *list = s->best + (stretch * s->N + row) * s->k;
    for (int64_t i = 0; i < m * s->k; i++) list[i] = (struct best){-(double)INFINITY, -1};
    for (int64_t item = start; item < stop; item += STEP) {
      const int64_t n = stop - item < STEP ? stop - item : STEP;
      if (qni_net_is64(s->x))
        scores_f64(s, row, m, item, n, e);
      else
        scores_f32(s, row, m, item, n, e);
      for (int64_t r = 0; r < m; r++)
        look_through(s, list + r * s->k, row + r, item, n,
                     qni_net_at(e, r * STEP, qni_net_size(s->x)));
    }
  }
  return st;
}

/* ---- The op ---- */

static void give(const struct search *s, qn_view *y, qn_view *ids) {
  for (int64_t row = 0; row < s->N; row++) {
    struct best *list = s->best + row * s->k;
    for (int64_t stretch = 1; stretch < s->stretches; stretch++) {
      const struct best *more = s->best + (stretch * s->N + row) * s->k;
      for (int64_t i = 0; i < s->k && more[i].id >= 0; i++)
        if (enters(list, s->k, more[i].score)) insert(list, s->k, more[i].score, more[i].id);
    }
    for (int64_t i = 0; i < s->k; i++) {
      const int64_t at = row * s->k + i;
      ((int64_t *)ids->data)[at] = list[i].id;
      if (qni_net_is64(y))
        ((double *)y->data)[at] = list[i].score;
      else
        ((float *)y->data)[at] = (float)list[i].score;
    }
  }
}

static qn_status forward(const qn_host *h, qn_call *c) {
  int64_t rows = 0;
  struct search s = {.h = h,
                     .c = c,
                     .x = h->in(c, 0),
                     .w = h->in(c, 1),
                     .k = h->arg_int(c, "k"),
                     .first = h->arg_int(c, "first")};
  const qn_view *seen = h->in(c, 2);
  s.N = s.x->shape[0];
  s.D = s.x->shape[1];
  s.V = s.w->shape[0];
  if (seen) {
    s.seen = seen->data;
    s.offsets = h->offsets(c, 2, &rows);
  }
  if (s.k > s.V - s.first)
    return h->fail(c, QN_E_ARG,
                   "k is %" PRId64 ", but w has %" PRId64 " rows from first = %" PRId64 " on", s.k,
                   s.V > s.first ? s.V - s.first : 0, s.first);
  s.chunks = (s.N + ROWS - 1) / ROWS;
  s.stretches = (s.V - s.first + STRETCH - 1) / STRETCH;
  void *memory;
  qn_status st = h->scratch(c, s.stretches * s.N * s.k * (int64_t)sizeof(struct best), &memory);
  s.best = memory;
  if (!st) st = h->parallel(c, s.chunks * s.stretches, 1, search_range, &s);
  if (!st) give(&s, h->out(c, 0), h->out(c, 1));
  return st;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  return 2 * qni_net_count(h->like(c, 0)) * h->like(c, 1)->shape[0];
}

QNI_OP(top_rows_op, QN_BATCH_COUPLED,
       "top_rows(x: f[N,D], w: f[V,D], seen: i64[S@N]? = nil, *, k: int{1..} = 10, first: "
       "int{0..} = 0) -> y: f[N,k], i: i64[N,k]",
       "The rows of a table with the largest scalar products, without a matrix of scores.",
       "y = the k largest <x_n, w_v>, best first, i = their rows v, counted from 0; of equal ones "
       "the earlier comes first.\n"
       "Candidates are the rows from first on (1 leaves out a padding row) less the row's seen "
       "ids. Places that no candidate is left for have i = -1 and y = -infinity.",
       "print(quern.top_rows(quern.tensor{{1,2}}, quern.tensor{{1,0},{0,1},{1,1}}, {k = 2}))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = forward, .flops = flops);

extern const qn_op *const qni_ops_top_rows[];
const qn_op *const qni_ops_top_rows[] = {&top_rows_op, NULL};
