/*
** apen, gram_entropy: how surprising the next id is, from counts of runs of m ids (grams).
**
** Approximate entropy (Pincus 1991) of one sequence u_1..u_L:
**   C_i = #{j : max_k |u_{i+k} - u_{j+k}| <= r} / T,  T = L - m + 1, i itself included
**   Phi(m) = (1/T) sum_i ln C_i,  0 for T <= 0        ApEn = |Phi(m) - Phi(m+1)|
** A count of zero (r < 0) stands as 1e-10, as in the authors' code. With 0 <= r < 1 only
** equal grams match: they are counted in a hash table, in O(L). From r = 1 on, a scan of
** each lag counts runs of near ids, which serves m and m+1 at once, in O(L^2 / 2).
**
** gram_entropy counts over all sequences together, no gram crossing from one to the next:
**   H(m) = -sum_g (c_g/T) ln(c_g/T)                   H(m+1) - H(m) is the pooled ApEn
** with two corrections for grams that were never seen: Miller-Madow H + (distinct - 1) / 2T,
** and Chao-Shen: -sum_g p ln p / (1 - (1-p)^T), p = (1 - singles/T) c_g/T.
**
** Sums run over places, or over counts from small to large, so that neither the names of
** ids nor the order of sequences moves a bit of what depends on neither.
** SPDX-License-Identifier: MIT
*/
#include "perflaw.h"

/* ---- Sequences ---- */

qn_status perflaw_offsets(const qn_host *h, qn_call *c, const int64_t **offsets, int64_t *n_seq) {
  int64_t rows = h->in(c, 0)->shape[0];
  *offsets = h->offsets(c, 0, n_seq);
  if (!*offsets) return h->fail(c, QN_E_ARG, "items must be a jagged tensor");
  const int64_t *at = *offsets;
  bool sound = at[0] == 0 && at[*n_seq] == rows;
  for (int64_t b = 0; b < *n_seq; b++) sound = sound && at[b] <= at[b + 1];
  if (!sound)
    return h->fail(c, QN_E_ARG, "the offsets of items must rise from 0 to %lld", (long long)rows);
  if (rows > MOST_GRAMS)
    return h->fail(c, QN_E_ARG, "items holds %lld ids; %d are the most", (long long)rows,
                   MOST_GRAMS);
  return QN_OK;
}

int64_t perflaw_longest(const int64_t *offsets, int64_t begin, int64_t end) {
  int64_t longest = 0;
  for (int64_t b = begin; b < end; b++) {
    int64_t n = offsets[b + 1] - offsets[b];
    if (n > longest) longest = n;
  }
  return longest;
}

/* ---- Counting equal grams ---- */

static uint64_t slots_for(int64_t n) {
  uint64_t slots = 4;
  while (slots < 2 * (uint64_t)n) slots *= 2;
  return slots;
}

int64_t perflaw_gram_room(int64_t n) {
  return ((int64_t)slots_for(n) + 2 * n) * (int64_t)sizeof(int32_t);
}

void perflaw_gram_open(struct gram_counter *g, int64_t n, void *memory) {
  uint64_t slots = slots_for(n);
  g->slot = memory;
  g->first = g->slot + slots;
  g->count = g->first + n;
  g->mask = slots - 1;
  memset(g->slot, 0, slots * sizeof *g->slot);
}

/* The finisher of MurmurHash3 over each id. */
static uint64_t hash_gram(const int64_t *ids, int64_t m) {
  uint64_t h = 0x9E3779B97F4A7C15u;
  for (int64_t k = 0; k < m; k++) {
    h ^= (uint64_t)ids[k];
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDu;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53u;
    h ^= h >> 33;
  }
  return h;
}

void perflaw_gram_add(struct gram_counter *g, const int64_t *ids, int64_t place, int64_t m) {
  const int64_t *gram = ids + place;
  for (uint64_t s = hash_gram(gram, m) & g->mask;; s = (s + 1) & g->mask) {
    int32_t other = g->slot[s] - 1;
    if (other >= 0 && memcmp(ids + other, gram, (size_t)m * sizeof *gram) != 0) continue;
    if (other < 0) {
      other = (int32_t)place;
      g->slot[s] = other + 1;
      g->count[other] = 0;
    }
    g->first[place] = other;
    g->count[other]++;
    return;
  }
}

/* ---- ApEn ---- */

static const double NOTHING = 1e-10; /* stands for a count of zero */

/* Phi(m) of equal grams. */
static double phi_equal(const int64_t *u, int64_t L, int64_t m, void *memory) {
  int64_t T = L - m + 1;
  double sum = 0;
  struct gram_counter g;
  if (T <= 0) return 0;
  perflaw_gram_open(&g, T, memory);
  for (int64_t i = 0; i < T; i++) perflaw_gram_add(&g, u, i, m);
  for (int64_t i = 0; i < T; i++) sum += log((double)g.count[g.first[i]] / (double)T);
  return sum / (double)T;
}

static double phi_counts(const int32_t *count, int64_t T) {
  double sum = 0;
  for (int64_t i = 0; i < T; i++) sum += log((double)count[i] / (double)T);
  return T > 0 ? sum / (double)T : 0;
}

static bool near(int64_t a, int64_t b, double r) {
  return (double)(a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a) <= r;
}

/* |Phi(m) - Phi(m+1)| with tolerance r >= 1: one scan of each lag counts both. */
static double apen_near(const int64_t *u, int64_t L, int64_t m, double r, int32_t *count) {
  int32_t *longer = count + L; /* of grams one id longer */
  for (int64_t i = 0; i < L; i++) count[i] = longer[i] = 1;
  for (int64_t lag = 1; lag < L; lag++) {
    for (int64_t i = 0, run = 0; i + lag < L; i++) {
      run = near(u[i], u[i + lag], r) ? run + 1 : 0;
      int64_t at = i - m + 1;
      if (run >= m) count[at]++, count[at + lag]++;
      if (run > m) longer[at - 1]++, longer[at - 1 + lag]++;
    }
  }
  return fabs(phi_counts(count, L - m + 1) - phi_counts(longer, L - m));
}

static double apen_of(const int64_t *u, int64_t L, int64_t m, double r, void *memory) {
  if (r < 0) return fabs((L >= m ? log(NOTHING) : 0) - (L > m ? log(NOTHING) : 0));
  if (r < 1) return fabs(phi_equal(u, L, m, memory) - phi_equal(u, L, m + 1, memory));
  return apen_near(u, L, m, r, memory);
}

struct apen { /* one call */
  const qn_host *h;
  qn_call *c;
  const int64_t *items, *offsets;
  int64_t m;
  double r;
  double *e;
};

static qn_status apen_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct apen *s = ctx;
  int64_t longest = perflaw_longest(s->offsets, begin, end);
  void *memory;
  qn_status st = s->h->local(s->c, perflaw_gram_room(longest), &memory);
  for (int64_t b = begin; !st && b < end; b++)
    s->e[b] =
        apen_of(s->items + s->offsets[b], s->offsets[b + 1] - s->offsets[b], s->m, s->r, memory);
  return st;
}

static qn_status apen_forward(const qn_host *h, qn_call *c) {
  int64_t n_seq;
  struct apen s = {.h = h,
                   .c = c,
                   .items = h->in(c, 0)->data,
                   .m = h->arg_int(c, "m"),
                   .r = h->arg_num(c, "r"),
                   .e = h->out(c, 0)->data};
  qn_status st = perflaw_offsets(h, c, &s.offsets, &n_seq);
  return st ? st : h->parallel(c, n_seq, 16, apen_sequences, &s);
}

/* ---- Pooled entropy ---- */

struct spectrum { /* of[k]: how many distinct grams occur k times */
  int64_t *of, most, total, distinct;
};

static double plain_entropy(const struct spectrum *s) {
  double h = 0, T = (double)s->total;
  for (int64_t k = 1; k <= s->most; k++)
    if (s->of[k]) h -= (double)s->of[k] * ((double)k / T) * log((double)k / T);
  return h;
}

/* Where every gram is single, one is taken for a double: else nothing would be covered. */
static double chao_shen(const struct spectrum *s) {
  double h = 0, T = (double)s->total;
  double singles = (double)(s->of[1] < s->total ? s->of[1] : s->total - 1);
  for (int64_t k = 1; k <= s->most; k++) {
    double p = (1 - singles / T) * (double)k / T;
    if (s->of[k] && p > 0 && p < 1) h -= (double)s->of[k] * p * log(p) / -expm1(T * log1p(-p));
  }
  return h;
}

static qn_status pool_grams(const qn_host *h, qn_call *c, int64_t m, struct spectrum *s) {
  const int64_t *items = h->in(c, 0)->data, *offsets;
  int64_t n_seq, rows = h->in(c, 0)->shape[0];
  void *memory;
  struct gram_counter g;
  qn_status st = perflaw_offsets(h, c, &offsets, &n_seq);
  if (!st) st = h->scratch(c, perflaw_gram_room(rows), &memory);
  if (st) return st;
  perflaw_gram_open(&g, rows, memory);
  for (int64_t b = 0; b < n_seq; b++)
    for (int64_t i = offsets[b]; i + m <= offsets[b + 1]; i++, s->total++) {
      perflaw_gram_add(&g, items, i, m);
      s->distinct += g.first[i] == i;
      if (g.count[g.first[i]] > s->most) s->most = g.count[g.first[i]];
    }
  st = h->scratch(c, (s->most + 2) * (int64_t)sizeof *s->of, &memory);
  if (st) return st;
  s->of = memory;
  memset(s->of, 0, (size_t)(s->most + 2) * sizeof *s->of);
  for (int64_t b = 0; b < n_seq; b++)
    for (int64_t i = offsets[b]; i + m <= offsets[b + 1]; i++)
      if (g.first[i] == i) s->of[g.count[i]]++;
  return QN_OK;
}

static qn_status gram_forward(const qn_host *h, qn_call *c) {
  struct spectrum s = {0};
  qn_status st = pool_grams(h, c, h->arg_int(c, "m"), &s);
  if (st) return st;
  double plain = s.total ? plain_entropy(&s) : 0;
  *(double *)h->out(c, 0)->data = plain;
  *(double *)h->out(c, 1)->data =
      s.total ? plain + (double)(s.distinct - 1) / (2 * (double)s.total) : 0;
  *(double *)h->out(c, 2)->data = s.total ? chao_shen(&s) : 0;
  *(int64_t *)h->out(c, 3)->data = s.total;
  *(int64_t *)h->out(c, 4)->data = s.distinct;
  *(int64_t *)h->out(c, 5)->data = s.of[1];
  return QN_OK;
}

const qn_op perflaw_apen_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD,
    .schema = "apen(items: i64[T@B], *, m: int{1..64} = 2, r: num = 0.2) -> e: f64[B]",
    .summary = "Approximate entropy of each sequence, in nats.",
    .doc = "|Phi(m) - Phi(m+1)|, Phi(m) = mean over runs i of m ids of ln C_i, C_i being the share "
           "of runs whose ids all lie within r of those of run i, itself included. With "
           "0 <= r < 1 ids must be equal; r >= 1 compares ids as numbers, which says something "
           "only where they have an order. Phi is 0 for sequences shorter than m.",
    .cite = "Pincus 1991; Shen et al. 2024 (arXiv 2412.00430), data quality",
    .example = "print(quern.apen(quern.jagged({{1,2,1,2,3}}, \"i64\"), {m=1}))",
    .forward = apen_forward,
};

const qn_op perflaw_gram_entropy_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD,
    .schema = "gram_entropy(items: i64[T@B], *, m: int{1..64} = 1) -> h: f64[], "
              "miller_madow: f64[], chao_shen: f64[], total: i64[], distinct: i64[], "
              "singles: i64[]",
    .summary = "Entropy of runs of m ids, counted over all sequences together, in nats.",
    .doc = "h = -sum of (c/total) ln(c/total) over distinct runs; no run crosses from one sequence "
           "to the next. miller_madow and chao_shen are corrections for runs that were not seen; "
           "singles counts runs that occur once. The order of sequences does not matter.",
    .cite = "Shannon 1948; Miller 1955; Chao and Shen 2003",
    .example = "print(quern.gram_entropy(quern.jagged({{1,2,1},{2,1}}, \"i64\"), {m=2}))",
    .forward = gram_forward,
};
