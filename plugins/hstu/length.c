/*
** stochastic_length: which events of long sequences a training step keeps.
**
** With the limit N_c, 1 < alpha <= 2, a sequence of n events:
**   n <= N_c^(alpha/2)           all are kept
**   with probability N_c^alpha / n^2    all are kept
**   else                         L = floor(N_c^(alpha/2)) of them:
**     greedy    the most recent
**     random    any, with equal chance
**     weighted  without replacement, with weights 1 - f_i / sum f, f_i = t_n - t_i
** Order stays that of the sequence. Without replacement: each event draws a key, the L least are
** kept; the key of weight w is -ln(u) / w (Efraimidis and Spirakis 2006). alpha = 2 keeps all of
** sequences up to the limit. SPDX-License-Identifier: MIT
*/
#include "hstu.h"

enum { GREEDY, RANDOM, WEIGHTED };
enum { INDEX_BITS = 31 }; /* of a key's place */

struct cut { /* one call */
  const qn_host *h;
  qn_call *c;
  const int64_t *offsets, *time;
  double alpha, limit;
  int32_t select;
  uint8_t *keep;
};

static double uniform(uint32_t bits) { return ((double)bits + 0.5) * 0x1p-32; }

/* Positive floats order as their bits do. */
static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Keys of a sequence's events, each with its place in the low bits. */
static void draw_keys(const struct cut *s, int64_t b, int64_t n, int64_t *key) {
  const int64_t *t = s->time + s->offsets[b];
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += fabs((double)t[n - 1] - (double)t[i]);
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    s->h->random(s->c, 1, s->offsets[b] + i, 0, 1, &bits);
    if (s->select == WEIGHTED) {
      double w = sum > 0 ? 1 - fabs((double)t[n - 1] - (double)t[i]) / sum : 1;
      bits = bits_of((float)fmin(-log(uniform(bits)) / fmax(w, 1e-30), 3e38));
    }
    key[i] = (int64_t)bits << INDEX_BITS | i;
  }
}

static void cut_sequence(const struct cut *s, int64_t b, int64_t *key) {
  int64_t n = s->offsets[b + 1] - s->offsets[b];
  uint8_t *keep = s->keep + s->offsets[b];
  double most = pow(s->limit, s->alpha / 2);
  int64_t L = (int64_t)floor(most);
  uint32_t bits;
  s->h->random(s->c, 0, s->offsets[b], 0, 1, &bits);
  bool all = (double)n <= most || uniform(bits) < most * most / ((double)n * (double)n);
  memset(keep, all, (size_t)n);
  if (all) return;
  if (s->select == GREEDY) {
    memset(keep + n - L, 1, (size_t)L);
    return;
  }
  draw_keys(s, b, n, key);
  hstu_sort(key, n);
  for (int64_t i = 0; i < L; i++) keep[key[i] & (((int64_t)1 << INDEX_BITS) - 1)] = 1;
}

static qn_status cut_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct cut *s = ctx;
  int64_t longest = 0;
  void *keys;
  for (int64_t b = begin; b < end; b++) longest = most(longest, s->offsets[b + 1] - s->offsets[b]);
  qn_status st = s->h->local(s->c, longest * (int64_t)sizeof(int64_t), &keys);
  for (int64_t b = begin; !st && b < end; b++) cut_sequence(s, b, keys);
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *time = h->in(c, 0);
  int64_t n_seq;
  struct cut s = {.h = h,
                  .c = c,
                  .time = time->data,
                  .alpha = h->arg_num(c, "alpha"),
                  .limit = (double)h->arg_int(c, "limit"),
                  .select = (int32_t)h->arg_int(c, "select"),
                  .keep = h->out(c, 0)->data};
  if (!(s.alpha > 1))
    return h->fail(c, QN_E_ARG, "alpha must be above 1 and at most 2, not %g", s.alpha);
  if (time->shape[0] >= (int64_t)1 << INDEX_BITS)
    return h->fail(c, QN_E_UNSUPPORTED, "a batch may have up to 2^31 events");
  qn_status st = hstu_offsets(h, c, time->shape[0], &s.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 4, cut_sequences, &s);
}

const qn_op hstu_stochastic_length_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .flags = QN_OP_RANDOM,
    .schema = "stochastic_length(times: i64[T@B], *, limit: int{1..}, alpha: num{1..2} = 1.6, "
              "select: enum{greedy|random|weighted} = weighted) -> keep: u8[T@B]",
    .summary = "Which events of long sequences a training step keeps.",
    .doc = "1 for each event that is kept. A sequence of n events stays whole if n <= "
           "limit^(alpha/2), and with probability limit^alpha / n^2; else floor(limit^(alpha/2)) "
           "of its events stay: the most recent, any, or by weights that fall with age. times "
           "rise within a sequence; where there are none, positions serve.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), eq. 4 and appendix F",
    .example = "local t = quern.jagged(quern.arange(1, 41), {0, 40}); "
               "print(quern.stochastic_length(t, {limit = 4, select = "
               "'greedy'}):values():sum():item()) --> 3",
    .forward = forward,
};
