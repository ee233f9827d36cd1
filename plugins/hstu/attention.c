/*
** hstu_attention: pointwise (SiLU) attention with relative position and time bias.
**
**   S_ij = alpha (<q_i, k_j> + bp[n-1+j-i] + bt[bucket_ij])        per head
**   P_ij = scale silu(S_ij)   for j <= i, else 0                   scale = 1/n
**   y_i  = sum_j P_ij v_j
** With g_ij = <dy_i, v_j>:
**   dS_ij = g_ij scale alpha silu'(S_ij)    silu'(s) = sig(s) (1 + s (1 - sig(s)))
**   dv_j = sum_i P_ij dy_i    dq_i = sum_j dS_ij k_j    dk_j = sum_i dS_ij q_i
**   dbp[n-1+j-i] += dS_ij     dbt[bucket_ij] += dS_ij
** score = "softmax": P_i = scale softmax_{j<=i}(S_i), masked before it is normalised;
** then alpha is 1/sqrt(D) and scale 1 unless given.
**
** Work is a (sequence, head) at a time, inside a core's cache. Scores exist for a
** block of rows only and are computed again in backward; nothing of size T x T is
** kept. Bias gradients are summed per chunk of sequences, then over chunks in order,
** so bits do not depend on the workers. SPDX-License-Identifier: MIT
*/
#include "attention.h"

enum { FORE_ROWS = 24, BACK_ROWS = 48 }; /* multiples of TILE_ROWS */
enum { TABLES = 8 };                     /* of sums by bucket */
enum { TOGETHER = 4 };                   /* heads at most that share a row's biases */

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "tile_typed.h"
#include "attention_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "tile_typed.h"
#include "attention_typed.h"

_Static_assert(FORE_ROWS % TILE_ROWS == 0 && BACK_ROWS % TILE_ROWS == 0, "whole groups of rows");

/* ---- The choice of element type ---- */

static int64_t head_work(const struct hstu_attn *a, int64_t length, bool backward) {
  if (a->dtype == QN_F32) {
    struct head_f32 s = open_f32(a, -1, 0, length);
    return layout_f32(&s, NULL, backward);
  }
  struct head_f64 s = open_f64(a, -1, 0, length);
  return layout_f64(&s, NULL, backward);
}

int64_t hstu_attn_work(const struct hstu_attn *a, int64_t length, bool backward) {
  return a->together * head_work(a, length, backward);
}

void hstu_attn_forward(const struct hstu_attn *a, int64_t unit, void *work) {
  if (a->dtype == QN_F32)
    attn_forward_f32(a, unit, work);
  else
    attn_forward_f64(a, unit, work);
}

void hstu_attn_backward(const struct hstu_attn *a, int64_t unit, void *work, void *bias) {
  if (a->dtype == QN_F32)
    attn_backward_f32(a, unit, work, bias);
  else
    attn_backward_f64(a, unit, work, bias);
}

void hstu_attn_reduce(const struct hstu_attn *a) {
  if (!a->partial) return;
  if (a->dtype == QN_F32)
    attn_reduce_f32(a);
  else
    attn_reduce_f64(a);
}

static size_t real_bytes(const struct hstu_attn *a) { return a->dtype == QN_F32 ? 4 : 8; }

/* ---- Set-up ---- */

const qn_view *hstu_input(const qn_host *h, qn_call *c, int32_t i, bool backward) {
  return backward ? h->saved(c, i) : h->in(c, i);
}

qn_status hstu_save_inputs(const qn_host *h, qn_call *c, int32_t n) {
  for (int32_t i = 0; i < n; i++) {
    const qn_view *v = h->in(c, i);
    qn_status st = v ? h->save(c, i, v) : QN_OK;
    if (st) return st;
  }
  return QN_OK;
}

int64_t hstu_attn_longest(const struct hstu_attn *a) {
  int64_t longest = 0;
  for (int64_t b = 0; b < a->n_seq; b++) longest = most(longest, a->offsets[b + 1] - a->offsets[b]);
  return longest;
}

static qn_status check_position(struct hstu_attn *a, const qn_view *bp) {
  a->bp = bp->data;
  a->P = bp->shape[0];
  int64_t longest = hstu_attn_longest(a);
  if (longest > a->n)
    return a->h->fail(a->c, QN_E_SHAPE,
                      "a sequence has %lld events, the position bias covers n = %lld",
                      (long long)longest, (long long)a->n);
  return QN_OK;
}

static qn_status check_time(struct hstu_attn *a, const qn_view *bt, const qn_view *bucket) {
  if (!bt || !bucket)
    return a->h->fail(a->c, QN_E_ARG,
                      "%s; a model without timestamps uses position bias only (rab = \"pos\")",
                      bt ? "bt needs buckets (time_bucket makes them)" : "buckets need bt");
  a->K = BUCKETS;
  a->bucket = bucket->data;
  a->bucket_row = bucket->shape[1];
  int64_t longest = hstu_attn_longest(a);
  if (longest > a->bucket_row)
    return a->h->fail(a->c, QN_E_SHAPE, "a sequence has %lld events, buckets are %lld wide",
                      (long long)longest, (long long)a->bucket_row);
  /* any byte may be an index: those above 128 have no bias */
  void *wide;
  qn_status st = a->h->scratch(a->c, BUCKET_ROOM * (int64_t)real_bytes(a), &wide);
  if (st) return st;
  memset(wide, 0, BUCKET_ROOM * real_bytes(a));
  memcpy(wide, bt->data, BUCKETS * real_bytes(a));
  a->bt = wide;
  return QN_OK;
}

static qn_status numbers(struct hstu_attn *a) {
  const qn_host *h = a->h;
  qn_call *c = a->c;
  a->n = h->arg_int(c, "n");
  a->softmax = h->arg_int(c, "score") == 1;
  a->causal = h->arg_bool(c, "causal");
  a->dropout = h->has_arg(c, "attn_dropout") ? h->arg_num(c, "attn_dropout") : 0;
  a->alpha = h->has_arg(c, "alpha") ? h->arg_num(c, "alpha")
             : a->softmax           ? 1 / sqrt((double)a->D)
                                    : 1;
  a->scale = h->has_arg(c, "scale") ? h->arg_num(c, "scale") : a->softmax ? 1 : 1 / (double)a->n;
  if (a->scale == 0) return h->fail(c, QN_E_ARG, "scale must not be 0");
  if (a->dropout > 0 && hstu_attn_longest(a) > 1 << 20)
    return h->fail(c, QN_E_UNSUPPORTED, "dropout reaches sequences of up to 2^20 events");
  return hstu_check_dropout(h, c, a->dropout);
}

/*
** As many heads together as a core's cache has room for, by the model's sizes alone: how a batch
** is cut must not change a sequence's bits.
*/
static void group_heads(struct hstu_attn *a) {
  enum { USUAL = 200, ROOM = 768 << 10 };
  const int64_t fit = ROOM / head_work(a, USUAL, true);
  a->together = a->bp || a->bt ? most(1, least(fit, least(a->H, TOGETHER))) : 1;
  a->groups = (a->H + a->together - 1) / a->together;
}

qn_status hstu_attn_open(struct hstu_attn *a, const qn_host *h, qn_call *c, int32_t first,
                         bool backward) {
  a->h = h;
  a->c = c;
  a->math = h->query("qn.math/1");
  a->dtype = h->like(c, 0)->dtype;
  a->T = h->like(c, 0)->shape[0];
  qn_status st = hstu_real_dtype(h, c, a->dtype);
  if (!st) st = hstu_offsets(h, c, a->T, &a->offsets, &a->n_seq);
  if (!st) st = numbers(a);
  const qn_view *bp = hstu_input(h, c, first, backward),
                *bt = hstu_input(h, c, first + 1, backward);
  const qn_view *bucket = hstu_input(h, c, first + 2, backward);
  if (!st && bp) st = check_position(a, bp);
  if (!st && (bt || bucket)) st = check_time(a, bt, bucket);
  group_heads(a);
  if (!st) hstu_cut_units(a->offsets, a->n_seq, a->groups, &a->cut);
  return st;
}

qn_status hstu_attn_partials(struct hstu_attn *a) {
  if (!a->dbp && !a->dbt) return QN_OK;
  size_t bytes = (size_t)(a->cut.n_chunks * (a->P + a->K)) * real_bytes(a);
  qn_status st = a->h->scratch(a->c, (int64_t)bytes, &a->partial);
  if (!st && a->partial) memset(a->partial, 0, bytes);
  return st;
}

void *hstu_attn_partial(const struct hstu_attn *a, int64_t chunk) {
  if (!a->partial) return NULL;
  return (char *)a->partial + (size_t)(chunk * (a->P + a->K)) * real_bytes(a);
}

/* ---- The op ---- */

static struct hstu_mat matrix(const qn_view *v) {
  if (!v) return (struct hstu_mat){0};
  return (struct hstu_mat){v->data, v->stride[0], v->stride[1], v->stride[2]};
}

static qn_status same_offsets(const struct hstu_attn *a) {
  for (int32_t i = 1; i < 3; i++) {
    int64_t n = 0;
    const int64_t *o = a->h->offsets(a->c, i, &n);
    if (o != a->offsets &&
        (!o || n != a->n_seq || memcmp(o, a->offsets, (size_t)(n + 1) * sizeof *o) != 0))
      return a->h->fail(a->c, QN_E_SHAPE, "q, k and v differ in where their sequences begin");
  }
  return QN_OK;
}

static qn_status open_op(struct hstu_attn *a, const qn_host *h, qn_call *c, bool backward) {
  const qn_view *q = hstu_input(h, c, 0, backward), *v = hstu_input(h, c, 2, backward);
  a->H = q->shape[1];
  a->D = q->shape[2];
  a->E = v->shape[2];
  a->q = matrix(q);
  a->k = matrix(hstu_input(h, c, 1, backward));
  a->v = matrix(v);
  qn_status st = hstu_attn_open(a, h, c, 3, backward);
  return st ? st : same_offsets(a);
}

static qn_status forward_chunks(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_attn *a = ctx;
  void *work;
  qn_status st = a->h->local(a->c, hstu_attn_work(a, hstu_attn_longest(a), false), &work);
  for (int64_t chunk = begin; !st && chunk < end; chunk++)
    for (int64_t unit = a->cut.first[chunk]; unit < a->cut.first[chunk + 1]; unit++)
      hstu_attn_forward(a, unit, work);
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct hstu_attn a = {0};
  qn_status st = open_op(&a, h, c, false);
  if (st) return st;
  a.y = matrix(h->out(c, 0));
  st = h->parallel(c, a.cut.n_chunks, 1, forward_chunks, &a);
  return st ? st : hstu_save_inputs(h, c, 6);
}

static qn_status backward_chunks(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_attn *a = ctx;
  void *work;
  qn_status st = a->h->local(a->c, hstu_attn_work(a, hstu_attn_longest(a), true), &work);
  for (int64_t chunk = begin; !st && chunk < end; chunk++)
    for (int64_t unit = a->cut.first[chunk]; unit < a->cut.first[chunk + 1]; unit++)
      hstu_attn_backward(a, unit, work, hstu_attn_partial(a, chunk));
  return st;
}

static void *data_of(const qn_view *v) { return v ? v->data : NULL; }

static qn_status backward(const qn_host *h, qn_call *c) {
  struct hstu_attn a = {0};
  qn_status st = open_op(&a, h, c, true);
  if (st) return st;
  a.dy = matrix(h->in(c, 0));
  a.dq = matrix(h->out(c, 0));
  a.dk = matrix(h->out(c, 1));
  a.dv = matrix(h->out(c, 2));
  a.dbp = data_of(a.bp ? h->out(c, 3) : NULL);
  a.dbt = data_of(a.bt ? h->out(c, 4) : NULL);
  st = hstu_attn_partials(&a);
  if (!st) st = h->parallel(c, a.cut.n_chunks, 1, backward_chunks, &a);
  if (!st) hstu_attn_reduce(&a);
  return st;
}

/* Two products of half of all pairs. */
static int64_t flops(const qn_host *h, qn_call *c) {
  const qn_view *q = h->like(c, 0), *v = h->like(c, 2);
  int64_t n_seq, pairs = 0;
  const int64_t *o = h->offsets(c, 0, &n_seq);
  for (int64_t b = 0; o && b < n_seq; b++) pairs += (o[b + 1] - o[b]) * (o[b + 1] - o[b] + 1) / 2;
  return 2 * pairs * q->shape[1] * (q->shape[2] + v->shape[2]);
}

const qn_op hstu_attention_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .flags = QN_OP_RANDOM,
    .schema = "hstu_attention(q: f[T@B,H,D] strided, k: f[T@B,H,D] strided, v: f[T@B,H,E] strided, "
              "bp: f[2*n-1]? = nil, bt: f[129]? = nil, buckets: u8[T@B,W]? = nil, *, n: int{1..}, "
              "score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, "
              "scale: num? = nil, attn_dropout: num{0..1} = 0) -> y: f[T@B,H,E]",
    .summary = "Attention without softmax: silu(q k + bias) / n, causal, by sequence.",
    .doc =
        "S_ij = alpha (<q_i, k_j> + bp[n-1+j-i] + bt[bucket_ij]), P = scale silu(S) for j <= i, "
        "y_i = sum_j P_ij v_j. n is a constant of the model, not the length of a sequence; scale "
        "defaults to 1/n. bp has 2n-1 entries, bt 129; buckets come from time_bucket. "
        "score = \"softmax\" normalises over the keys a query may see; alpha then defaults to "
        "1/sqrt(D) and scale to 1.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), eq. 2",
    .example = "local q = quern.jagged(quern.ones{4, 1, 2}, {0, 3, 4}); "
               "print(quern.hstu_attention(q, q, q, {n = 3}).shape[1]) --> 4",
    .forward = forward,
    .backward = backward,
    .flops = flops,
};
