/*
** hstu_extend_attention: attention of new tokens on a history whose keys and values are kept.
**
** N tokens lie in the cache (ck, cv), M are new (q, k, v). The new ones are
**   a continuation: token i stands at position N + i and sees the cache and new tokens 0..i;
**   or candidates:  each stands at position N and sees the cache and itself, none of the others,
**                   which is the mask "i = j or rho(i) > rho(j)", rho(i) = min(i, N), of M-FALCON.
** Scores are those of hstu_attention: S = alpha (<q, k> + bp[n-1 + j - place] + bt[bucket(query -
** time_j)]), P = scale silu(S) or scale softmax(S). For inference: there is no backward.
**
** Work is a (head, ROWS new tokens) at a time: keys are transposed once per unit, then two small
** products. Each row is worked out alone, so results do not depend on the other new tokens
** of a candidate block, nor on the workers. SPDX-License-Identifier: MIT
*/
#include "hstu.h"

enum { ROWS = 48 };

struct extend { /* one call */
  const qn_host *h;
  qn_call *c;
  const qn_math *math;
  int32_t dtype;
  bool softmax, candidates;
  int64_t N, M, H, D, E, n; /* cached and new tokens, heads, d_qk, d_v, centre of bp */
  double alpha, scale;
  const void *q, *k, *v, *ck, *cv, *bp, *bt; /* [M,H,D] [M,H,D] [M,H,E] [N,H,D] [N,H,E] */
  const int64_t *time, *new_time, *query;    /* [N], [M], [M] */
  struct hstu_buckets buckets;
  int64_t blocks; /* of ROWS new tokens */
  void *y;        /* [M,H,E] */
};

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "tile_typed.h"
#include "extend_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "tile_typed.h"
#include "extend_typed.h"

enum { IN_Q, IN_K, IN_V, IN_CK, IN_CV, IN_BP, IN_BT, IN_TIMES, IN_NEW_TIMES, IN_QUERY };

static const void *data_of(const qn_host *h, qn_call *c, int32_t i) {
  const qn_view *v = h->in(c, i);
  return v ? v->data : NULL;
}

static qn_status check_places(const struct extend *s) {
  int64_t last = s->candidates ? s->N : s->N + s->M - 1;
  if (s->bp && s->M && last >= s->n)
    return s->h->fail(s->c, QN_E_SHAPE,
                      "the last new token stands at position %lld, the position bias covers n = "
                      "%lld",
                      (long long)last, (long long)s->n);
  if (s->bt && (!s->time || !s->new_time || !s->query))
    return s->h->fail(s->c, QN_E_ARG, "bt needs times, new_times and query");
  return QN_OK;
}

static qn_status open_extend(struct extend *s, const qn_host *h, qn_call *c) {
  const qn_view *q = h->in(c, IN_Q), *v = h->in(c, IN_V), *ck = h->in(c, IN_CK);
  *s = (struct extend){.h = h,
                       .c = c,
                       .math = h->query("qn.math/1"),
                       .dtype = q->dtype,
                       .N = ck->shape[0],
                       .M = q->shape[0],
                       .H = q->shape[1],
                       .D = q->shape[2],
                       .E = v->shape[2],
                       .n = h->arg_int(c, "n"),
                       .softmax = h->arg_int(c, "score") == 1,
                       .candidates = h->arg_bool(c, "candidates"),
                       .q = q->data,
                       .k = data_of(h, c, IN_K),
                       .v = v->data,
                       .ck = ck->data,
                       .cv = data_of(h, c, IN_CV),
                       .bp = data_of(h, c, IN_BP),
                       .bt = data_of(h, c, IN_BT),
                       .time = data_of(h, c, IN_TIMES),
                       .new_time = data_of(h, c, IN_NEW_TIMES),
                       .query = data_of(h, c, IN_QUERY),
                       .y = h->out(c, 0)->data};
  s->alpha = h->has_arg(c, "alpha") ? h->arg_num(c, "alpha")
             : s->softmax           ? 1 / sqrt((double)s->D)
                                    : 1;
  s->scale = h->has_arg(c, "scale") ? h->arg_num(c, "scale") : s->softmax ? 1 : 1 / (double)s->n;
  s->blocks = (s->M + ROWS - 1) / ROWS;
  hstu_bucket_table(&s->buckets);
  qn_status st = hstu_real_dtype(h, c, s->dtype);
  return st ? st : check_places(s);
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct extend s;
  qn_status st = open_extend(&s, h, c);
  if (st || !s.M) return st;
  return h->parallel(c, s.H * s.blocks, 1, s.dtype == QN_F32 ? extend_units_f32 : extend_units_f64,
                     &s);
}

static int64_t flops(const qn_host *h, qn_call *c) {
  const qn_view *q = h->like(c, IN_Q), *v = h->like(c, IN_V), *ck = h->like(c, IN_CK);
  return 2 * q->shape[0] * (ck->shape[0] + 1) * q->shape[1] * (q->shape[2] + v->shape[2]);
}

const qn_op hstu_extend_attention_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD,
    .schema = "hstu_extend_attention(q: f[M,H,D], k: f[M,H,D], v: f[M,H,E], ck: f[N,H,D], "
              "cv: f[N,H,E], bp: f[2*n-1]? = nil, bt: f[129]? = nil, times: i64[N]? = nil, "
              "new_times: i64[M]? = nil, query: i64[M]? = nil, *, n: int{1..}, "
              "score: enum{silu|softmax} = silu, candidates: bool = false, alpha: num? = nil, "
              "scale: num? = nil) -> y: f[M,H,E]",
    .summary = "Attention of new tokens on a cached history, as continuation or as candidates.",
    .doc = "ck, cv are keys and values of N tokens, q, k, v belong to M new ones. candidates = "
           "false: new token i stands at position N + i and sees the cache and the new ones up to "
           "itself; true: each stands at position N and sees the cache and itself. Biases, alpha "
           "and scale as in hstu_attention; bt is indexed by bucket(query - time), times of the "
           "cache and new_times of the new tokens as keys. For inference, without gradient.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), appendix H (M-FALCON)",
    .example = "local q, k = quern.ones{1, 1, 2}, quern.ones{3, 1, 2}; "
               "print(quern.hstu_extend_attention(q, q, q, k, k, {n = 4}).shape[1]) --> "
               "1",
    .forward = forward,
    .flops = flops,
};
