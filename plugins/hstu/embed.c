/*
** sequence_embedding: the input of a sequence model, in one pass.
**
**   x_t = dropout(scale E[id_t] + P[place of t in its sequence, from 0])
**   dE[v] = scale sum_{t: id_t = v} dx_t    dP[i] = sum over sequences of dx at place i
** Rows of dE and dP have one owner each, which adds tokens in their order: the same bits
** for any number of workers. sparse gives dE by rows, of the ids that occur.
** SPDX-License-Identifier: MIT
*/
#include "hstu.h"

struct embed { /* one call */
  const qn_host *h;
  qn_call *c;
  int32_t dtype;
  int64_t T, D, V, N, n_seq; /* tokens, width, rows of E and P, sequences */
  const int64_t *ids, *offsets;
  const void *e, *p, *dx;
  void *x, *de, *dp;
  uint8_t *keep;
  bool add_e, add_p; /* onto sums that are there */
  double scale, dropout;
  int64_t *start; /* tokens of group g: token[start[g] .. start[g+1]-1] */
  int32_t *token;
};

enum { FETCH = 8, FETCH_GROUPS = 32 }; /* rows ahead; groups, of which few have tokens */

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "vec_typed.h"
#include "embed_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "vec_typed.h"
#include "embed_typed.h"

enum { SAVED_IDS, SAVED_KEEP };

static qn_status open_embed(struct embed *s, const qn_host *h, qn_call *c) {
  const qn_view *ids = h->like(c, 0), *e = h->like(c, 1), *p = h->like(c, 2);
  s->h = h;
  s->c = c;
  s->dtype = e->dtype;
  s->T = ids->shape[0];
  s->V = e->shape[0];
  s->D = e->shape[1];
  s->N = p ? p->shape[0] : 0;
  s->scale = h->arg_num(c, "scale");
  s->dropout = h->arg_num(c, "dropout");
  qn_status st = hstu_real_dtype(h, c, s->dtype);
  if (!st) st = hstu_check_dropout(h, c, s->dropout);
  return st ? st : hstu_offsets(h, c, s->T, &s->offsets, &s->n_seq);
}

static qn_status check_input(const struct embed *s) {
  for (int64_t b = 0; s->p && b < s->n_seq; b++)
    if (s->offsets[b + 1] - s->offsets[b] > s->N)
      return s->h->fail(s->c, QN_E_SHAPE, "sequence %lld has %lld events, there are %lld positions",
                        (long long)(b + 1), (long long)(s->offsets[b + 1] - s->offsets[b]),
                        (long long)s->N);
  for (int64_t t = 0; t < s->T; t++)
    if (s->ids[t] < 1 || s->ids[t] >= s->V)
      return s->h->fail(s->c, QN_E_ARG, "ids[%lld] is %lld; ids are 1..%lld", (long long)(t + 1),
                        (long long)s->ids[t], (long long)(s->V - 1));
  return QN_OK;
}

static void fetch_row(const struct embed *s, int64_t t) {
  const int64_t bytes = s->D * (s->dtype == QN_F32 ? 4 : 8);
  const char *e = (const char *)s->e + s->ids[t] * bytes;
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(e + at);
}

static qn_status embed_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct embed *s = ctx;
  for (int64_t b = begin; b < end; b++)
    for (int64_t t = s->offsets[b]; t < s->offsets[b + 1]; t++) {
      if (t + FETCH < s->T) fetch_row(s, t + FETCH);
      if (s->keep) hstu_keep(s->h, s->c, 0, t, 0, s->D, drop_below(s->dropout), s->keep + t * s->D);
      if (s->dtype == QN_F32)
        embed_row_f32(s, t, t - s->offsets[b]);
      else
        embed_row_f64(s, t, t - s->offsets[b]);
    }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *p = h->in(c, 2);
  struct embed s = {.ids = h->in(c, 0)->data,
                    .e = h->in(c, 1)->data,
                    .p = p ? p->data : NULL,
                    .x = h->out(c, 0)->data};
  qn_status st = open_embed(&s, h, c);
  if (!st) st = check_input(&s);
  if (!st && s.dropout > 0) {
    int64_t shape[2] = {s.T, s.D};
    qn_view *keep;
    st = h->save_new(c, SAVED_KEEP, QN_U8, 2, shape, &keep);
    if (!st) s.keep = keep->data;
  }
  if (!st) st = h->parallel(c, s.n_seq, 2, embed_sequences, &s);
  return st ? st : h->save(c, SAVED_IDS, h->in(c, 0));
}

/* ---- Backward ---- */

/* Groups tokens by row: group v for all rows, or groups of the rows that occur, counted in *n. */
static qn_status group_tokens(struct embed *s, bool sparse, int64_t *n, int64_t **rows) {
  void *memory;
  int64_t words = (s->V + 1) + (sparse ? s->V : 0) + 1;
  qn_status st = s->h->scratch(s->c, words * 8 + s->T * (int64_t)sizeof(int32_t), &memory);
  if (st) return st;
  s->start = memory;
  *rows = sparse ? s->start + s->V + 1 : NULL;
  s->token = (int32_t *)(void *)(s->start + words);
  memset(s->start, 0, (size_t)(s->V + 1) * sizeof *s->start);
  for (int64_t t = 0; t < s->T; t++) s->start[s->ids[t] + 1]++;
  for (int64_t v = 0; v < s->V; v++) s->start[v + 1] += s->start[v];
  for (int64_t t = 0; t < s->T; t++) s->token[s->start[s->ids[t]]++] = (int32_t)t;
  for (int64_t v = s->V; v > 0; v--) s->start[v] = s->start[v - 1];
  s->start[0] = 0;
  *n = s->V;
  if (!sparse) return QN_OK;
  *n = 0;
  for (int64_t v = 0; v < s->V; v++) {
    if (s->start[v + 1] == s->start[v]) continue;
    (*rows)[*n] = v;
    s->start[(*n)++] = s->start[v];
  }
  s->start[*n] = s->T;
  return QN_OK;
}

static qn_status table_gradient(struct embed *s) {
  bool sparse = s->h->arg_bool(s->c, "sparse");
  int64_t n, *rows, *ids;
  qn_status st = group_tokens(s, sparse, &n, &rows);
  if (st) return st;
  if (sparse) {
    qn_view *out;
    st = s->h->grad_rows(s->c, 1, n, &ids, &out);
    if (st) return st;
    memcpy(ids, rows, (size_t)n * sizeof *ids);
    s->de = out->data;
  } else {
    s->de = s->h->out(s->c, 1)->data;
    s->add_e = s->h->adds(s->c, 1) != 0;
  }
  return s->h->parallel(s->c, n, 32, s->dtype == QN_F32 ? table_rows_f32 : table_rows_f64, s);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *keep = h->saved(c, SAVED_KEEP);
  struct embed s = {.ids = h->saved(c, SAVED_IDS)->data,
                    .dx = h->in(c, 0)->data,
                    .keep = keep ? keep->data : NULL};
  qn_status st = open_embed(&s, h, c);
  if (!st && h->needs_grad(c, 1)) st = table_gradient(&s);
  if (st || !s.N || !h->needs_grad(c, 2)) return st;
  s.dp = h->out(c, 2)->data;
  s.add_p = h->adds(c, 2) != 0;
  return h->parallel(c, s.N, 4, s.dtype == QN_F32 ? place_rows_f32 : place_rows_f64, &s);
}

const qn_op hstu_sequence_embedding_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .flags = QN_OP_RANDOM | QN_OP_ADDS_GRADS,
    .schema =
        "sequence_embedding(ids: i64[T@B]{1..V-1}, e: f[V,D], p: f[N,D]? = nil, *, scale: num = 1, "
        "dropout: num{0..1} = 0, sparse: bool = false) -> x: f[T@B,D]",
    .summary = "Item embeddings times scale plus position embeddings, with dropout, by sequence.",
    .doc = "x_t = dropout(scale e[ids_t] + p[i]), i being the place of t in its sequence, from the "
           "oldest. Ids are 1..V-1; row 0 is padding, which jagged sequences do not have.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), its research code",
    .example = "local ids = quern.jagged(quern.i64{1, 2, 1}, {0, 2, 3}); "
               "print(quern.sequence_embedding(ids, quern.ones{3, 4}, {scale = "
               "2}):sum():item()) --> 24.0",
    .forward = forward,
    .backward = backward,
};
