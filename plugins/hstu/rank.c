/*
** rank_targets, rank_scores: where the true item stands among all candidates.
**
**   greater = #{v != t, v not left out: s_v > s_t}    tied = #{... s_v = s_t}
**   rank = 1 + greater + { 0 optimistic | tied / 2 average | tied pessimistic }
** Left out are row 0, items whose keep is 0, and the items of the user's `seen` list;
** never the target itself. Nothing is sorted. A constant scorer gets the middle rank
** under "average", not rank 1.
**
** rank_targets makes the scores <o_n, e_v> in tiles of ROWS x PANEL; the target's score
** comes from the same product routine, so that equal vectors tie exactly.
** SPDX-License-Identifier: MIT
*/
#include "hstu.h"

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "tile_typed.h"

enum { ROWS = 32, PANEL = 64 };

struct ranking { /* one call */
  const qn_host *h;
  qn_call *c;
  int64_t N, V, D;
  const float *o, *scores; /* [N,D], or scores [N,V] */
  float *columns;          /* [V / PANEL][D][PANEL]: e, transposed by panels */
  const float *e;
  const int64_t *target, *seen, *offsets;
  const uint8_t *keep;
  int64_t n_kept; /* candidates before seen items are taken out */
  double tie_share;
  double *rank;
  int64_t *tied;
};

struct user {                  /* one row of a chunk */
  float score;                 /* of the target */
  int64_t *seen, n_seen, next; /* sorted; next: first not yet passed */
  int64_t greater, tied;
};

/* ---- Seen lists ---- */

static bool is_kept(const struct ranking *s, int64_t v) {
  return v >= 1 && v < s->V && (!s->keep || s->keep[v]);
}

/* The user's seen items that would be candidates, sorted, each once, without the target. */
static void open_seen(const struct ranking *s, int64_t n, struct user *u) {
  const int64_t *list = s->seen + s->offsets[n];
  int64_t count = s->offsets[n + 1] - s->offsets[n], kept = 0;
  for (int64_t i = 0; i < count; i++)
    if (list[i] != s->target[n] && is_kept(s, list[i])) u->seen[kept++] = list[i];
  hstu_sort(u->seen, kept);
  for (int64_t i = 0; i < kept; i++)
    if (i == 0 || u->seen[i] != u->seen[i - 1]) u->seen[u->n_seen++] = u->seen[i];
}

static qn_status open_user(const struct ranking *s, int64_t n, struct user *u) {
  int64_t t = s->target[n];
  if (!is_kept(s, t))
    return s->h->fail(s->c, QN_E_ARG,
                      "target[%lld] is %lld, which is not in the catalogue (1..%lld)",
                      (long long)(n + 1), (long long)t, (long long)(s->V - 1));
  if (s->seen) open_seen(s, n, u);
  if (s->n_kept - u->n_seen <= 1)
    return s->h->fail(s->c, QN_E_ARG,
                      "row %lld: all candidates are filtered out; nothing is left to rank against",
                      (long long)(n + 1));
  return QN_OK;
}

/* ---- Scores ---- */

static qn_status pack_panels(void *ctx, int64_t begin, int64_t end) {
  const struct ranking *s = ctx;
  for (int64_t p = begin; p < end; p++) {
    int64_t rows = least(PANEL, s->V - p * PANEL);
    transpose_f32(rows, s->D, s->e + p * PANEL * s->D, s->D, 1, s->columns + p * s->D * PANEL,
                  PANEL);
  }
  return QN_OK;
}

/* The targets' scores: the diagonal of rows x targets. */
static void target_scores(const struct ranking *s, int64_t first, int64_t rows, float *room,
                          struct user *u) {
  float *columns = room, *tile = room + s->D * PANEL;
  for (int64_t r = 0; r < rows && s->scores; r++)
    u[r].score = s->scores[(first + r) * s->V + s->target[first + r]];
  if (s->scores) return;
  for (int64_t d = 0; d < s->D; d++)
    for (int64_t r = 0; r < PANEL; r++)
      columns[d * PANEL + r] = r < rows ? s->e[s->target[first + r] * s->D + d] : 0;
  product_f32(rows, PANEL, s->D, s->o + first * s->D, s->D, 1, columns, PANEL, tile, PANEL, false);
  for (int64_t r = 0; r < rows; r++) u[r].score = tile[r * PANEL + r];
}

static void panel_scores(const struct ranking *s, int64_t first, int64_t rows, int64_t panel,
                         float *tile) {
  int64_t width = least(PANEL, s->V - panel * PANEL);
  if (!s->scores)
    product_f32(rows, PANEL, s->D, s->o + first * s->D, s->D, 1, s->columns + panel * s->D * PANEL,
                PANEL, tile, PANEL, false);
  for (int64_t r = 0; r < rows; r++) {
    float *x = tile + r * PANEL;
    if (s->scores)
      memcpy(x, s->scores + (first + r) * s->V + panel * PANEL, (size_t)width * sizeof *x);
    for (int64_t j = width; j < PANEL; j++) x[j] = -INFINITY;
    for (int64_t j = 0; s->keep && j < width; j++)
      x[j] = s->keep[panel * PANEL + j] ? x[j] : -INFINITY;
    if (panel == 0) x[0] = -INFINITY;
  }
}

/* Counts one panel of a row; a NaN counts as greater. */
static void count_panel(struct user *u, int64_t base, int64_t target, float *x) {
  int32_t greater = 0, tied = 0;
  for (; u->next < u->n_seen && u->seen[u->next] < base + PANEL; u->next++)
    x[u->seen[u->next] - base] = -INFINITY;
  if (target >= base && target < base + PANEL) x[target - base] = -INFINITY;
  for (int j = 0; j < PANEL; j++) greater += !(x[j] <= u->score);
  for (int j = 0; j < PANEL; j++) tied += x[j] == u->score;
  u->greater += greater;
  u->tied += tied;
}

static qn_status rank_chunk(const struct ranking *s, int64_t first, int64_t rows, int64_t *seen,
                            float *room) {
  struct user users[ROWS] = {{0}};
  for (int64_t r = 0; r < rows; r++) {
    users[r].seen = seen ? seen + s->offsets[first + r] - s->offsets[first] : NULL;
    qn_status st = open_user(s, first + r, &users[r]);
    if (st) return st;
  }
  target_scores(s, first, rows, room, users);
  for (int64_t r = 0; r < rows; r++)
    if (!isfinite(users[r].score))
      return s->h->fail(s->c, QN_E_NUMERIC, "the target of row %lld scores %g",
                        (long long)(first + r + 1), (double)users[r].score);
  for (int64_t p = 0; p * PANEL < s->V; p++) {
    panel_scores(s, first, rows, p, room);
    for (int64_t r = 0; r < rows; r++)
      count_panel(&users[r], p * PANEL, s->target[first + r], room + r * PANEL);
  }
  for (int64_t r = 0; r < rows; r++) {
    s->rank[first + r] = 1 + (double)users[r].greater + s->tie_share * (double)users[r].tied;
    s->tied[first + r] = users[r].tied;
  }
  return QN_OK;
}

static qn_status rank_rows(void *ctx, int64_t begin, int64_t end) {
  const struct ranking *s = ctx;
  int64_t n_seen = s->seen ? s->offsets[end] - s->offsets[begin] : 0;
  int64_t floats = (s->D + ROWS) * PANEL;
  int64_t bytes = floats * (int64_t)sizeof(float), listed = n_seen * (int64_t)sizeof(int64_t);
  void *memory;
  qn_status st = s->h->local(s->c, bytes + listed, &memory);
  for (int64_t i = begin; !st && i < end; i += ROWS) {
    void *lists = (char *)memory + bytes;
    int64_t *mine = s->seen ? (int64_t *)lists + s->offsets[i] - s->offsets[begin] : NULL;
    st = rank_chunk(s, i, least(ROWS, end - i), mine, memory);
  }
  return st;
}

/* ---- The ops: inputs target, seen, keep stand at `at` and after ---- */

static qn_status open_ranking(struct ranking *s, int32_t at) {
  static const double share[] = {0.5, 0, 1};
  const qn_view *target = s->h->in(s->c, at), *seen = s->h->in(s->c, at + 1),
                *keep = s->h->in(s->c, at + 2);
  s->N = target->shape[0];
  s->target = target->data;
  if (seen) {
    int64_t n_seq;
    s->seen = seen->data;
    s->offsets = s->h->offsets(s->c, at + 1, &n_seq);
    if (!s->offsets || n_seq != s->N)
      return s->h->fail(s->c, QN_E_SHAPE, "seen must hold one list for each of the %lld rows",
                        (long long)s->N);
  }
  s->keep = keep ? keep->data : NULL;
  s->tie_share = share[s->h->arg_int(s->c, "ties")];
  for (int64_t v = 1; v < s->V; v++) s->n_kept += is_kept(s, v);
  s->rank = s->h->out(s->c, 0)->data;
  s->tied = s->h->out(s->c, 1)->data;
  return QN_OK;
}

static qn_status targets_forward(const qn_host *h, qn_call *c) {
  const qn_view *o = h->in(c, 0), *e = h->in(c, 1);
  struct ranking s = {
      .h = h, .c = c, .o = o->data, .e = e->data, .D = o->shape[1], .V = e->shape[0]};
  void *memory;
  qn_status st = open_ranking(&s, 2);
  if (st) return st;
  int64_t panels = (s.V + PANEL - 1) / PANEL;
  st = h->scratch(c, panels * s.D * PANEL * (int64_t)sizeof(float), &memory);
  if (st) return st;
  s.columns = memory;
  st = h->parallel(c, panels, 8, pack_panels, &s);
  return st ? st : h->parallel(c, s.N, 2 * ROWS, rank_rows, &s);
}

static qn_status scores_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  struct ranking s = {.h = h, .c = c, .scores = x->data, .V = x->shape[1]};
  qn_status st = open_ranking(&s, 1);
  return st ? st : h->parallel(c, s.N, 2 * ROWS, rank_rows, &s);
}

static int64_t targets_flops(const qn_host *h, qn_call *c) {
  const qn_view *o = h->like(c, 0), *e = h->like(c, 1);
  return 2 * o->shape[0] * o->shape[1] * e->shape[0];
}

const qn_op hstu_rank_targets_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_NAN_STOPS,
    .schema = "rank_targets(o: f32[N,D], e: f32[V,D], target: i64[N], seen: i64[S@N]? = nil, "
              "keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) "
              "-> rank: f64[N], tied: i64[N]",
    .summary = "Rank of each row's target among all rows of a table, by scalar product.",
    .doc =
        "rank = 1 + number of candidates that score more + a share of those that score the same: "
        "half of them, none, or all (ties). Candidates are rows 1..V-1 of e with keep not 0, less "
        "the row's seen ids, less the target. tied counts the equal ones.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), evaluation protocol; ties are ours",
    .example = "local e = quern.tensor{{0.0}, {1.0}, {3.0}}; "
               "print(quern.rank_targets(quern.ones{1, 1}, e, quern.i64{1}):item()) --> "
               "2.0",
    .forward = targets_forward,
    .flops = targets_flops,
};

const qn_op hstu_rank_scores_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_NAN_STOPS,
    .schema = "rank_scores(scores: f32[N,V], target: i64[N], seen: i64[S@N]? = nil, "
              "keep: u8[V]? = nil, *, ties: enum{average|optimistic|pessimistic} = average) "
              "-> rank: f64[N], tied: i64[N]",
    .summary = "Rank of each row's target among the row's scores.",
    .doc = "As rank_targets, with the scores given: column v is item v, column 0 is padding.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), evaluation protocol; ties are ours",
    .example = "print(quern.rank_scores(quern.tensor{{0.0, 1.0, 3.0}}, "
               "quern.i64{2}):item()) --> 1.0",
    .forward = scores_forward,
};
