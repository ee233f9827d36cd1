/*
** pooled_embedding: the mean of the rows that a list names, a list for each id.
**
**   y_t = mean_{a in list[id_t]} w_a        an empty list gives 0
**   dw_a = sum over t and places of a in list[id_t] of dy_t / |list[id_t]|
** Side information of items: list[v] are the attributes of item v. Each row of dw has one
** owner, who adds tokens in their order: the same bits for any number of workers.
** SPDX-License-Identifier: MIT
*/
#include "hstu.h"

struct pool { /* one call */
  const qn_host *h;
  qn_call *c;
  int32_t dtype;
  int64_t A, D, T, V;
  const int64_t *ids, *list, *start; /* [T]; list[start[v] .. start[v+1]-1] */
  const void *w, *dy;
  void *y, *dw;
  int64_t *first; /* entries of row a: token[first[a] .. first[a+1]-1] */
  int32_t *token;
};

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "pooled_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "pooled_typed.h"

enum { ROWS_PER_CHUNK = 64 };
enum { SAVED_IDS, SAVED_LIST, SAVED_START };

static qn_status open_pool(struct pool *s, const qn_host *h, qn_call *c) {
  const qn_view *w = h->like(c, 0), *ids = h->like(c, 1);
  s->h = h;
  s->c = c;
  s->dtype = w->dtype;
  s->A = w->shape[0];
  s->D = w->shape[1];
  s->T = 1;
  for (int32_t i = 0; i < ids->ndim; i++) s->T *= ids->shape[i];
  return hstu_real_dtype(h, c, s->dtype);
}

static qn_status check_lists(const struct pool *s, int64_t n_list) {
  for (int64_t i = 0; i < n_list; i++)
    if (s->list[i] < 0 || s->list[i] >= s->A)
      return s->h->fail(s->c, QN_E_ARG, "lists[%lld] is %lld; rows are 0..%lld", (long long)(i + 1),
                        (long long)s->list[i], (long long)(s->A - 1));
  for (int64_t t = 0; t < s->T; t++)
    if (s->ids[t] < 0 || s->ids[t] >= s->V)
      return s->h->fail(s->c, QN_E_ARG, "ids[%lld] is %lld; there are lists 0..%lld",
                        (long long)(t + 1), (long long)s->ids[t], (long long)(s->V - 1));
  return QN_OK;
}

static qn_status save_start(const struct pool *s) {
  qn_view *v;
  qn_status st = s->h->save_new(s->c, SAVED_START, QN_I64, 1, (int64_t[]){s->V + 1}, &v);
  if (!st) memcpy(v->data, s->start, (size_t)(s->V + 1) * sizeof(int64_t));
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct pool s = {.w = h->in(c, 0)->data,
                   .ids = h->in(c, 1)->data,
                   .list = h->in(c, 2)->data,
                   .y = h->out(c, 0)->data};
  qn_status st = open_pool(&s, h, c);
  if (st) return st;
  s.start = h->offsets(c, 2, &s.V);
  if (!s.start) return h->fail(c, QN_E_SHAPE, "lists is not jagged: it has no offsets");
  st = check_lists(&s, h->in(c, 2)->shape[0]);
  if (!st)
    st = h->parallel(c, s.T, ROWS_PER_CHUNK, s.dtype == QN_F32 ? pool_rows_f32 : pool_rows_f64, &s);
  if (!st) st = h->save(c, SAVED_IDS, h->in(c, 1));
  if (!st) st = h->save(c, SAVED_LIST, h->in(c, 2));
  return st ? st : save_start(&s);
}

/* Tokens by the rows of w that they take, in their order. */
static qn_status group_tokens(struct pool *s) {
  int64_t n = 0;
  void *memory;
  for (int64_t t = 0; t < s->T; t++) n += s->start[s->ids[t] + 1] - s->start[s->ids[t]];
  int64_t words = s->A + 1;
  qn_status st = s->h->scratch(s->c, words * 8 + n * (int64_t)sizeof(int32_t) + 64, &memory);
  if (st) return st;
  s->first = memory;
  s->token = (int32_t *)(void *)(s->first + words);
  memset(s->first, 0, (size_t)words * sizeof *s->first);
  for (int64_t t = 0; t < s->T; t++)
    for (int64_t i = s->start[s->ids[t]]; i < s->start[s->ids[t] + 1]; i++)
      s->first[s->list[i] + 1]++;
  for (int64_t a = 0; a < s->A; a++) s->first[a + 1] += s->first[a];
  for (int64_t t = 0; t < s->T; t++)
    for (int64_t i = s->start[s->ids[t]]; i < s->start[s->ids[t] + 1]; i++)
      s->token[s->first[s->list[i]]++] = (int32_t)t;
  for (int64_t a = s->A; a > 0; a--) s->first[a] = s->first[a - 1];
  s->first[0] = 0;
  return QN_OK;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *start = h->saved(c, SAVED_START);
  struct pool s = {.ids = h->saved(c, SAVED_IDS)->data,
                   .list = h->saved(c, SAVED_LIST)->data,
                   .start = start->data,
                   .V = start->shape[0] - 1,
                   .dy = h->in(c, 0)->data};
  if (!h->needs_grad(c, 0)) return QN_OK;
  s.dw = h->out(c, 0)->data;
  qn_status st = open_pool(&s, h, c);
  if (!st) st = group_tokens(&s);
  return st ? st : h->parallel(c, s.A, 16, s.dtype == QN_F32 ? sum_rows_f32 : sum_rows_f64, &s);
}

const qn_op hstu_pooled_embedding_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_NAN_STOPS, /* an empty list gives 0 whatever w holds */
    .schema = "pooled_embedding(w: f[A,D], ids: i64[...], lists: i64[M@V]{0..A-1}) -> y: f[...,D]",
    .summary = "Mean of the rows of a table that each id's list names.",
    .doc = "y is the mean of w[a] over all a in lists[id]; 0 for an empty list. ids count lists "
           "from 0. Attributes of items: lists[v] holds those of item v, lists[0] none.",
    .cite = "Zhou et al. 2020 (S3-Rec), section 4.1; mean pooling as in Guo et al. 2024",
    .example = "local lists = quern.jagged(quern.i64{0, 1}, {0, 0, 2}); "
               "print(quern.pooled_embedding(quern.tensor{{1.0}, {3.0}}, quern.i64{1}, "
               "lists):item()) --> 2.0",
    .forward = forward,
    .backward = backward,
};
