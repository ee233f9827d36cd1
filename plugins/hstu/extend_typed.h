/* A block of new tokens of one head, for REAL; see extend.c. SPDX-License-Identifier: MIT */

struct FN(span) { /* ROWS new tokens of a head */
  int64_t head, first, rows;
  int64_t L, Lp, Ep;       /* packed keys, padded row lengths */
  REAL *kt, *vr, *p, *out; /* [D][Lp], [L][Ep], [ROWS][Lp], [ROWS][Ep] */
  REAL own[ROWS];          /* weights of candidates on themselves */
  uint8_t *bucket;         /* [Lp] */
};

static int64_t FN(span_bytes)(const struct extend *s, struct FN(span) * x, char *work) {
  x->L = s->candidates ? s->N : s->N + x->first + x->rows;
  x->Lp = padded_walk(x->L + 1, sizeof(REAL));
  x->Ep = padded(s->E, sizeof(REAL));
  REAL *at = (REAL *)(void *)work;
  x->kt = at;
  x->vr = x->kt + s->D * x->Lp;
  x->p = x->vr + x->L * x->Ep;
  x->out = x->p + ROWS * x->Lp;
  x->bucket = (uint8_t *)(x->out + ROWS * x->Ep);
  return (s->D * x->Lp + x->L * x->Ep + ROWS * (x->Lp + x->Ep)) * (int64_t)sizeof(REAL) + x->Lp;
}

/* Row `i` of an [_,H,width] matrix at this head. */
static const REAL *FN(row_of)(const struct extend *s, const void *m, int64_t i, int64_t head,
                              int64_t width) {
  return (const REAL *)m + (i * s->H + head) * width;
}

static void FN(pack_span)(const struct extend *s, const struct FN(span) * x) {
  const REAL *ck = (const REAL *)s->ck + x->head * s->D, *cv = (const REAL *)s->cv + x->head * s->E;
  FN(transpose)(s->N, s->D, ck, s->H * s->D, 1, x->kt, x->Lp);
  FN(pack_rows)(s->N, s->E, cv, s->H * s->E, 1, x->vr, x->Ep);
  for (int64_t j = s->N; j < x->L; j++) {
    const REAL *k = FN(row_of)(s, s->k, j - s->N, x->head, s->D);
    for (int64_t d = 0; d < s->D; d++) x->kt[d * x->Lp + j] = k[d];
  }
  if (x->L > s->N) FN(pack_rows)
  (x->L - s->N, s->E, (const REAL *)s->v + x->head * s->E, s->H * s->E, 1, x->vr + s->N * x->Ep,
   x->Ep);
}

/* Biases of `cols` keys for new token i at `place`; the last one is its own for candidates. */
static void FN(bias_span)(const struct extend *s, int64_t i, int64_t place, int64_t cols,
                          uint8_t *bucket, REAL *row) {
  const REAL *bp = s->bp ? (const REAL *)s->bp + s->n - 1 - place : NULL, *bt = s->bt;
  if (!bt) {
    for (int64_t j = 0; bp && j < cols; j++) row[j] += bp[j];
    return;
  }
  int64_t cached = least(cols, s->N), from = s->candidates ? i : 0;
  hstu_bucket_row(&s->buckets, s->query[i], s->time, cached, bucket);
  hstu_bucket_row(&s->buckets, s->query[i], s->new_time + from, cols - cached, bucket + cached);
  for (int64_t j = 0; j < cols; j++) row[j] += (bp ? bp[j] : 0) + bt[bucket[j]];
}

#if REAL_IS_FLOAT
#include "silu_row.h"

/* Rows reach to whole vectors; what lies right of n there is not defined. */
static void activate_f32(const struct extend *s, int64_t n, float *x) {
  if (!s->softmax) {
    silu_parts(&(struct silu_row){.alpha = 1}, n, x, NULL, NULL);
    return;
  }
  float top = s->math->max(n, x);
  for (int64_t j = 0; j < n; j++) x[j] -= top;
  s->math->exp(n, x, x);
  s->math->scale(n, 1 / row_sum_f32(n, x), x, x);
}
#else
static void activate_f64(const struct extend *s, int64_t n, double *x) {
  double top = -INFINITY;
  for (int64_t j = 0; j < n; j++) top = x[j] > top ? x[j] : top;
  for (int64_t j = 0; j < n; j++)
    x[j] = s->softmax  ? exp(x[j] - top)
           : x[j] >= 0 ? x[j] / (1 + exp(-x[j]))
                       : x[j] * exp(x[j]) / (1 + exp(x[j]));
  if (!s->softmax) return;
  double one = 1 / row_sum_f64(n, x);
  for (int64_t j = 0; j < n; j++) x[j] *= one;
}
#endif

/* A candidate's own key stands in the column behind the cache's and is scored as those are: to the same bits. */
static void FN(score_own)(const struct extend *s, const struct FN(span) * x, int64_t i, REAL *row) {
  const REAL *q = FN(row_of)(s, s->q, i, x->head, s->D), *k = FN(row_of)(s, s->k, i, x->head, s->D);
  const int64_t from = x->L / FN(HALF) * FN(HALF);
  for (int64_t d = 0; d < s->D; d++) x->kt[d * x->Lp + x->L] = k[d];
  FN(product)(1, x->L - from + 1, s->D, q, 0, 1, x->kt + from, x->Lp, row + from, x->Lp, false);
}

static void FN(weigh_row)(const struct extend *s, struct FN(span) * x, int64_t r) {
  int64_t i = x->first + r, seen = s->candidates ? s->N : s->N + i + 1, cols = seen;
  REAL *row = x->p + r * x->Lp;
  if (s->candidates) {
    FN(score_own)(s, x, i, row);
    cols++;
  }
  FN(bias_span)(s, i, s->candidates ? s->N : s->N + i, cols, x->bucket, row);
  const REAL alpha = (REAL)s->alpha;
  for (int64_t j = 0; j < cols; j++) row[j] *= alpha;
  FN(activate)(s, cols, row);
  if (s->candidates) x->own[r] = row[seen];
  for (int64_t j = seen; j < x->L; j++) row[j] = 0;
}

static void FN(extend_span)(const struct extend *s, struct FN(span) * x) {
  FN(pack_span)(s, x);
  int64_t wide = (x->L + FN(LANES) - 1) / FN(LANES) * FN(LANES);
  const REAL *q = FN(row_of)(s, s->q, x->first, x->head, s->D);
  FN(product)(x->rows, wide, s->D, q, s->H * s->D, 1, x->kt, x->Lp, x->p, x->Lp, false);
  for (int64_t r = 0; r < x->rows; r++) FN(weigh_row)(s, x, r);
  FN(product)(x->rows, x->Ep, x->L, x->p, x->Lp, 1, x->vr, x->Ep, x->out, x->Ep, false);
  for (int64_t r = 0; r < x->rows; r++) {
    REAL *out = x->out + r * x->Ep, *y = (REAL *)s->y + ((x->first + r) * s->H + x->head) * s->E;
    const REAL *v = FN(row_of)(s, s->v, x->first + r, x->head, s->E);
    for (int64_t e = 0; e < s->E; e++)
      y[e] = (REAL)s->scale * (s->candidates ? out[e] + x->own[r] * v[e] : out[e]);
  }
}

static qn_status FN(extend_units)(void *ctx, int64_t begin, int64_t end) {
  const struct extend *s = ctx;
  for (int64_t unit = begin; unit < end; unit++) {
    struct FN(span) x = {.head = unit / s->blocks, .first = unit % s->blocks * ROWS};
    void *work;
    x.rows = least(ROWS, s->M - x.first);
    qn_status st = s->h->local(s->c, FN(span_bytes)(s, &x, NULL), &work);
    if (st) return st;
    FN(span_bytes)(s, &x, work);
    FN(extend_span)(s, &x);
  }
  return QN_OK;
}
