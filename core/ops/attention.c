/*
** attention (jagged) and attention_dense: softmax attention (formulas in attention_tiles.h).
**
** Units are (sequence, head); each writes its own rows. When the bias wants a gradient that
** several sequences share, sequences go in turn to BIAS_LANES partial gradients, which are
** summed in order: the bits do not depend on the number of workers.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "attention_tiles.h"
#include "elementwise_table.h"
#include "network.h"

enum { SAVED_Q, SAVED_K, SAVED_V, SAVED_BIAS, SAVED_O, SAVED_LSE, SAVED_MASK, BIAS_LANES = 8 };

/* Element steps of an operand that is broadcast over [sequence, head, query, key]. */
struct spread {
  int64_t seq, head, row, col, count;
};

struct job {
  qni_attention_call call;
  const int64_t *offsets;                      /* NULL: dense */
  int64_t B, H, T, S;                          /* T, S of a dense call */
  int64_t q_seq, k_seq, v_seq, o_seq, lse_seq; /* between sequences of a dense call */
  int64_t q_head, k_head, v_head, o_head, lse_head;
  const void *q, *k, *v, *o, *go, *bias;
  const uint8_t *mask;
  void *out, *lse, *dq, *dk, *dv, *dbias;
  struct spread bias_at, mask_at;
  int64_t lanes; /* of dbias; 0: it has one owner for each sequence */
};

static void *moved(const struct job *j, const void *base, int64_t elements) {
  return base ? qni_net_at(base, elements, j->call.size) : NULL;
}

static qni_attention_unit unit_of(const struct job *j, int64_t b, int64_t head, void *dbias) {
  const int64_t first = j->offsets ? j->offsets[b] : 0, at = j->offsets ? 0 : b;
  qni_attention_unit u = {.T = j->offsets ? j->offsets[b + 1] - first : j->T};
  u.S = j->offsets ? u.T : j->S;
  const qni_attention_call *a = &j->call;
  const int64_t q = at * j->q_seq + head * j->q_head + first * a->q_row,
                k = at * j->k_seq + head * j->k_head + first * a->k_row;
  const int64_t v = at * j->v_seq + head * j->v_head + first * a->v_row,
                o = at * j->o_seq + head * j->o_head + first * a->o_row;
  u.q = moved(j, j->q, q), u.dq = moved(j, j->dq, q);
  u.k = moved(j, j->k, k), u.dk = moved(j, j->dk, k);
  u.v = moved(j, j->v, v), u.dv = moved(j, j->dv, v);
  u.o = moved(j, j->o, o), u.do_ = moved(j, j->go, o), u.out = moved(j, j->out, o);
  u.lse = moved(j, j->lse, at * j->lse_seq + head * j->lse_head + first * a->lse_row);
  const int64_t bias = b * j->bias_at.seq + head * j->bias_at.head;
  u.bias = moved(j, j->bias, bias), u.dbias = moved(j, dbias, bias);
  u.bias_row = u.dbias_row = j->bias_at.row;
  u.bias_col = u.dbias_col = j->bias_at.col;
  if (j->mask) u.mask = j->mask + b * j->mask_at.seq + head * j->mask_at.head;
  u.mask_row = j->mask_at.row, u.mask_col = j->mask_at.col;
  return u;
}

static qn_status forward_units(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  qn_status st = QN_OK;
  for (int64_t i = begin; !st && i < end; i++) {
    const qni_attention_unit u = unit_of(j, i / j->H, i % j->H, NULL);
    st = qni_attention_forward(&j->call, &u);
  }
  return st;
}

static qn_status backward_units(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  qn_status st = QN_OK;
  for (int64_t i = begin; !st && i < end; i++) {
    const qni_attention_unit u = unit_of(j, i / j->H, i % j->H, NULL);
    st = qni_attention_backward(&j->call, &u);
  }
  return st;
}

/* Sequences lane, lane + lanes, ... with all heads, into the lane's bias gradient. */
static qn_status backward_lanes(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const int64_t step = j->lanes ? j->lanes : j->B;
  qn_status st = QN_OK;
  for (int64_t lane = begin; lane < end; lane++) {
    void *dbias = moved(j, j->dbias, j->lanes ? lane * j->bias_at.count : 0);
    for (int64_t b = lane; !st && b < j->B; b += step)
      for (int64_t head = 0; !st && head < j->H; head++) {
        const qni_attention_unit u = unit_of(j, b, head, dbias);
        st = qni_attention_backward(&j->call, &u);
      }
  }
  return st;
}

/* ---- Operands ---- */

/* A mask or bias of shape [?] against [B,H,T,S], aligned at the end; a jagged one may be longer than needed. */
static qn_status spread_of(const qn_host *h, qn_call *c, const char *name, const qn_view *v,
                           const struct job *j, struct spread *s) {
  const int64_t full[4] = {j->offsets ? 1 : j->B, j->H, j->T, j->S};
  int64_t stride[4] = {0}, step = 1;
  char text[160];
  int fits = v->ndim <= 4;
  for (int32_t d = 3, k = v->ndim - 1; fits && k >= 0; d--, k--) {
    const int64_t n = v->shape[k];
    fits = n == 1 || n == full[d] || (j->offsets && d >= 2 && n >= full[d]);
    stride[d] = n == 1 ? 0 : step;
    step *= n;
  }
  if (!fits)
    return h->fail(
        c, QN_E_SHAPE,
        "%s has the shape %s, but must fit [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]%s",
        name, qni_net_shape_text(v, text, sizeof text), full[0], full[1], full[2], full[3],
        j->offsets ? " (1, heads, at least the longest sequence twice)"
                   : " (batch, heads, queries, keys) or be 1 there");
  *s = (struct spread){.seq = j->offsets ? 0 : stride[0],
                       .head = stride[1],
                       .row = stride[2],
                       .col = stride[3],
                       .count = step};
  return QN_OK;
}

static double scale_of(const qn_host *h, qn_call *c, int64_t D) {
  return h->has_arg(c, "scale") ? h->arg_num(c, "scale") : 1 / sqrt((double)(D > 0 ? D : 1));
}

/* q, k, v have their shapes in both phases; data may be NULL. */
static struct job jagged_job(const qn_host *h, qn_call *c, const qn_view *q, const qn_view *v) {
  struct job j = {.H = q->shape[1]};
  const int64_t H = j.H, D = q->shape[2], E = v->shape[2];
  j.offsets = h->offsets(c, 0, &j.B);
  for (int64_t b = 0; b < j.B; b++)
    if (j.offsets[b + 1] - j.offsets[b] > j.T) j.T = j.offsets[b + 1] - j.offsets[b];
  j.S = j.T;
  j.q_head = j.k_head = D, j.v_head = j.o_head = E, j.lse_head = 1;
  j.call = (qni_attention_call){.h = h,
                                .c = c,
                                .math = qni_net_math(h),
                                .size = qni_net_size(q),
                                .D = D,
                                .E = E,
                                .q_row = H * D,
                                .k_row = H * D,
                                .v_row = H * E,
                                .o_row = H * E,
                                .lse_row = H,
                                .dtype = q->dtype,
                                .causal = h->arg_bool(c, "causal"),
                                .scale = scale_of(h, c, D)};
  return j;
}

static struct job dense_job(const qn_host *h, qn_call *c, const qn_view *q, const qn_view *k,
                            const qn_view *v) {
  const int64_t D = q->shape[3], E = v->shape[3];
  struct job j = {.B = q->shape[0], .H = q->shape[1], .T = q->shape[2], .S = k->shape[2]};
  j.q_head = j.T * D, j.k_head = j.S * D, j.v_head = j.S * E, j.o_head = j.T * E, j.lse_head = j.T;
  j.q_seq = j.H * j.q_head, j.k_seq = j.H * j.k_head, j.v_seq = j.H * j.v_head,
  j.o_seq = j.H * j.o_head;
  j.lse_seq = j.H * j.T;
  j.call = (qni_attention_call){.h = h,
                                .c = c,
                                .math = qni_net_math(h),
                                .size = qni_net_size(q),
                                .D = D,
                                .E = E,
                                .q_row = D,
                                .k_row = D,
                                .v_row = E,
                                .o_row = E,
                                .lse_row = 1,
                                .dtype = q->dtype,
                                .causal = h->arg_bool(c, "causal"),
                                .scale = scale_of(h, c, D)};
  return j;
}

/* ---- Forward ---- */

static qn_status forward(const qn_host *h, qn_call *c, struct job *j, const qn_view *bias,
                         const qn_view *mask) {
  const qn_view *q = h->in(c, 0);
  qn_view *o = h->out(c, 0), *lse = NULL;
  j->q = q->data, j->k = h->in(c, 1)->data, j->v = h->in(c, 2)->data, j->out = o->data;
  qn_status st = QN_OK;
  if (bias && !(st = spread_of(h, c, "bias", bias, j, &j->bias_at))) j->bias = bias->data;
  if (!st && mask && mask->dtype != QN_BOOL && mask->dtype != QN_U8)
    st = h->fail(c, QN_E_DTYPE,
                 "mask must be a tensor of type bool or u8, 1 where a query sees a key");
  if (!st && mask && !(st = spread_of(h, c, "mask", mask, j, &j->mask_at))) j->mask = mask->data;
  if (!st)
    st = h->save_new(c, SAVED_LSE, q->dtype, q->ndim - 1, q->shape, &lse); /* [T,H] or [B,H,T] */
  if (st) return st;
  j->lse = lse->data;
  if ((st = h->parallel(c, j->B * j->H, 1, forward_units, j))) return st;
  for (int32_t i = 0; !st && i < 3; i++) st = h->save(c, SAVED_Q + i, h->in(c, i));
  if (!st && bias) st = h->save(c, SAVED_BIAS, bias);
  if (!st && mask) st = h->save(c, SAVED_MASK, mask);
  return st ? st : h->save(c, SAVED_O, o);
}

static qn_status jagged_forward(const qn_host *h, qn_call *c) {
  struct job j = jagged_job(h, c, h->in(c, 0), h->in(c, 2));
  return forward(h, c, &j, h->in(c, 3), NULL);
}

static qn_status dense_forward(const qn_host *h, qn_call *c) {
  struct job j = dense_job(h, c, h->in(c, 0), h->in(c, 1), h->in(c, 2));
  return forward(h, c, &j, h->in(c, 4), h->in(c, 3));
}

/* ---- Backward ---- */

/* A gradient that units add to, from zero. */
static void *zeroed(qn_view *v) {
  if (!v) return NULL;
  qni_net_fill_zero(v);
  return v->data;
}

static qn_status bias_memory(const qn_host *h, qn_call *c, struct job *j, qn_view *dbias) {
  const int64_t bytes = j->bias_at.count * j->call.size;
  qni_net_fill_zero(dbias);
  if (j->bias_at.seq || j->B == 1) return j->dbias = dbias->data, QN_OK;
  j->lanes = j->B < BIAS_LANES ? j->B : BIAS_LANES;
  qn_status st = h->scratch(c, j->lanes * bytes, &j->dbias);
  if (!st && j->lanes * bytes > 0) memset(j->dbias, 0, (size_t)(j->lanes * bytes));
  return st;
}

static qn_status backward(const qn_host *h, qn_call *c, struct job *j, int32_t bias_input) {
  const qn_view *bias = h->saved(c, SAVED_BIAS), *mask = h->saved(c, SAVED_MASK);
  qn_view *dq = h->out(c, 0), *dbias = h->out(c, bias_input);
  j->q = h->saved(c, SAVED_Q)->data, j->k = h->saved(c, SAVED_K)->data,
  j->v = h->saved(c, SAVED_V)->data;
  j->o = h->saved(c, SAVED_O)->data, j->lse = h->saved(c, SAVED_LSE)->data,
  j->go = h->in(c, 0)->data;
  j->dq = dq ? dq->data : NULL, j->dk = zeroed(h->out(c, 1)), j->dv = zeroed(h->out(c, 2));
  qn_status st = QN_OK;
  if (bias && !(st = spread_of(h, c, "bias", bias, j, &j->bias_at))) j->bias = bias->data;
  if (!st && mask && !(st = spread_of(h, c, "mask", mask, j, &j->mask_at))) j->mask = mask->data;
  if (st) return st;
  if (!dbias) return h->parallel(c, j->B * j->H, 1, backward_units, j);
  if ((st = bias_memory(h, c, j, dbias))) return st;
  if ((st = h->parallel(c, j->lanes ? j->lanes : j->B, 1, backward_lanes, j)) || !j->lanes)
    return st;
  const int64_t n = j->bias_at.count;
  return qni_net_column_sums(h, c, qni_net_is64(dbias), j->lanes, n, n, j->dbias, dbias->data);
}

static qn_status jagged_backward(const qn_host *h, qn_call *c) {
  struct job j = jagged_job(h, c, h->saved(c, SAVED_Q), h->saved(c, SAVED_V));
  return backward(h, c, &j, 3);
}

static qn_status dense_backward(const qn_host *h, qn_call *c) {
  struct job j = dense_job(h, c, h->saved(c, SAVED_Q), h->saved(c, SAVED_K), h->saved(c, SAVED_V));
  return backward(h, c, &j, 4);
}

/* Two products for each pair of a query and a key that it sees. */
static int64_t jagged_flops(const qn_host *h, qn_call *c) {
  int64_t B, pairs = 0;
  const int64_t *at = h->offsets(c, 0, &B);
  for (int64_t b = 0; b < B; b++) {
    const int64_t n = at[b + 1] - at[b];
    pairs += h->arg_bool(c, "causal") ? n * (n + 1) / 2 : n * n;
  }
  return 2 * pairs * h->like(c, 0)->shape[1] * (h->like(c, 0)->shape[2] + h->like(c, 2)->shape[2]);
}

static int64_t dense_flops(const qn_host *h, qn_call *c) {
  const qn_view *q = h->like(c, 0), *v = h->like(c, 2);
  const int64_t pairs = q->shape[2] * v->shape[2];
  return 2 * (h->arg_bool(c, "causal") ? pairs / 2 : pairs) * q->shape[0] * q->shape[1] *
         (q->shape[3] + v->shape[3]);
}

QNI_OP(
    attention_op, QN_BATCH_SEQUENCES,
    "attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], bias: f[?]? = nil, *, causal: bool = true, "
    "scale: num? = nil) -> o: f[T@B,H,E]",
    "Softmax attention within each sequence of a jagged batch.",
    "S = Q K' scale + bias, P = softmax(S) over the keys that a query sees, O = P V; scale is 1 / "
    "sqrt(D) unless given.\n"
    "dV = P' dO, dP = dO V', dS = P (dP - rowsum(dO O)), dQ = dS K scale, dK = dS' Q scale, dbias "
    "= the sum of dS.\n"
    "causal: query i sees keys up to i. bias is [L,L] or [H,L,L], L at least the longest sequence, "
    "indexed by position.",
    "print(quern.attention(quern.jagged({quern.tensor{{{1,0}}}}), "
    "quern.jagged({quern.tensor{{{1,0}}}}), "
    "quern.jagged({quern.tensor{{{1,2}}}})))",
    .cite = "Vaswani et al. 2017, eq. 1; recomputation: Dao et al. 2022, section 3.1",
    .forward = jagged_forward, .backward = jagged_backward, .flops = jagged_flops);

QNI_OP(attention_dense_op, QN_BATCH_ROWS,
       "attention_dense(q: f[B,H,T,D], k: f[B,H,S,D], v: f[B,H,S,E], mask: any[?]? = nil, bias: "
       "f[?]? = nil, *, "
       "causal: bool = false, scale: num? = nil) -> o: f[B,H,T,E]",
       "Softmax attention of a padded batch, with an optional mask and additive bias.",
       "As attention. mask (bool or u8, 1 where a query sees a key) and bias are broadcast to "
       "[B,H,T,S]; a query that\n"
       "sees no key gives zeros. causal: query i sees keys up to i + S - T, so the last query sees "
       "all.",
       "print(quern.attention_dense(quern.tensor{{{{1,0}}}}, quern.tensor{{{{1,0}}}}, "
       "quern.tensor{{{{1,2}}}}))",
       .cite = "Vaswani et al. 2017, eq. 1; recomputation: Dao et al. 2022, section 3.1",
       .flags = QN_OP_NAN_STOPS, .forward = dense_forward, .backward = dense_backward,
       .flops = dense_flops);

extern const qn_op *const qni_ops_attention[];
const qn_op *const qni_ops_attention[] = {&attention_op, &attention_dense_op, NULL};
