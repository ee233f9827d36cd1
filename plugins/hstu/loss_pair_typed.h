/*
** Candidates of each position, for REAL: dot products with the rows that were drawn, their
** sum weighted by the softmax, and the same pairs sorted by row for the table's gradient.
**
** A block is BLOCK positions or more: enough that a pass over all slots is little beside its
** pairs, few enough that its unit rows stay in cache. Its pairs are sorted by slot, in order
** of positions inside a slot; rows of the table then add up their own entries, block by block.
** SPDX-License-Identifier: MIT
*/

/* A pair as the table's gradient wants it: the position in its block, and its coefficient. */
struct FN(entry) {
  REAL place, share;
};

/* ---- Scores ---- */

#if defined(__AVX512F__) && REAL_IS_FLOAT
/* Lanes of four vectors folded once: quarter k of the result has a piece of each one's sum. */
ALWAYS_INLINE vec_f32 fold_four(const __m512 *v) {
  const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
  return (vec_f32)_mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                                _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

ALWAYS_INLINE __m512 fold_quarters(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* x[j] = <o, row of slot[j]> for sixteen slots. */
static void dots_of_16(const struct hstu_loss *s, const int32_t *slot, const float *o, float *x) {
  const int64_t D = s->D, whole = D / 16 * 16;
  const __mmask16 tail = (__mmask16)((1u << (D - whole)) - 1);
  __m512 quarter[4];
  for (int q = 0; q < 4; q++, slot += 4) {
    const float *r[4];
    __m512 sum[4];
    UNROLL
    for (int k = 0; k < 4; k++) r[k] = row_f32(s, slot[k]), sum[k] = _mm512_setzero_ps();
    for (int64_t d = 0; d < whole; d += 16) {
      const __m512 part = _mm512_loadu_ps(o + d);
      UNROLL
      for (int k = 0; k < 4; k++) sum[k] = _mm512_fmadd_ps(part, _mm512_loadu_ps(r[k] + d), sum[k]);
    }
    if (tail) {
      const __m512 part = _mm512_loadu_ps(o + whole); /* rows of o are padded */
      UNROLL
      for (int k = 0; k < 4; k++)
        sum[k] = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(tail, r[k] + whole), sum[k]);
    }
    quarter[q] = (__m512)fold_four(sum);
  }
  _mm512_storeu_ps(x, fold_quarters(fold_quarters(quarter[0], quarter[1]),
                                    fold_quarters(quarter[2], quarter[3])));
}
#endif

static void FN(gather_dots)(const struct hstu_loss *s, int64_t n, const int32_t *slot,
                            const REAL *o, REAL *score) {
  int64_t j = 0;
#if defined(__AVX512F__) && REAL_IS_FLOAT
  for (; j + 16 <= n; j += 16) dots_of_16(s, slot + j, o, score + j);
#endif
  for (; j < n; j++) score[j] = FN(row_dot)(s->D, o, FN(row)(s, slot[j]));
}

/* Scores of n negatives; one that is the positive scores next to nothing. */
static void FN(negative_scores)(const struct hstu_loss *s, int32_t own, int64_t n,
                                const int32_t *slot, const REAL *o, REAL *x) {
  const REAL by = (REAL)(1 / s->temperature);
  FN(gather_dots)(s, n, slot, o, x);
  for (int64_t j = 0; j < n; j++) x[j] = slot[j] == own ? (REAL)MASKED : x[j] * by;
}

/* ---- Gradient of the position ---- */

/*
** to += sum_j coef[j] row of slot[j], for `vecs` vectors of columns from `from` on; of the last one `last` lanes
** if it is partial.
*/
ALWAYS_INLINE void FN(gather_columns)(const struct hstu_loss *s, int vecs, bool partial,
                                      int64_t last, int64_t n, const int32_t *slot,
                                      const REAL *coef, int64_t from, REAL *to) {
  FN(vec) sum[4];
  UNROLL
  for (int v = 0; v < vecs; v++) sum[v] = *(const FN(vec) *)(to + from + v * FN(LANES));
  for (int64_t j = 0; j < n; j++) {
    const REAL *row = FN(row)(s, slot[j]) + from, *end = row + (vecs - 1) * FN(LANES);
    UNROLL
    for (int v = 0; v < vecs - 1; v++) sum[v] += coef[j] * *(const FN(vec) *)(row + v * FN(LANES));
    if (partial)
      sum[vecs - 1] += coef[j] * FN(load_part)(end, last);
    else
      sum[vecs - 1] += coef[j] * *(const FN(vec) *)end;
  }
  UNROLL
  for (int v = 0; v < vecs; v++) *(FN(vec) *)(to + from + v * FN(LANES)) = sum[v];
}

static void FN(gather_sum)(const struct hstu_loss *s, int64_t n, const int32_t *slot,
                           const REAL *coef, REAL *to) {
  enum { WIDE = 4 * FN(LANES) };
  for (int64_t d = 0; d < s->D; d += WIDE) {
    const int64_t left = least(s->D - d, WIDE), last = (left - 1) % FN(LANES) + 1;
    switch ((left + FN(LANES) - 1) / FN(LANES)) {
    case 4:
      if (last < FN(LANES))
        FN(gather_columns)(s, 4, true, last, n, slot, coef, d, to);
      else
        FN(gather_columns)(s, 4, false, last, n, slot, coef, d, to);
      break;
    case 3: FN(gather_columns)(s, 3, true, last, n, slot, coef, d, to); break;
    case 2: FN(gather_columns)(s, 2, true, last, n, slot, coef, d, to); break;
    default: FN(gather_columns)(s, 1, true, last, n, slot, coef, d, to); break;
    }
  }
}

/* ---- A position ---- */

enum { FN(TOGETHER) = 64 }; /* rows that stay in L1 between their two uses */

/* Sums of the exponentials of scores less `shift`, which x becomes, and of rows weighted by them. */
static REAL FN(softmax_sums)(const struct hstu_loss *s, const int32_t *slot, const REAL *o,
                             REAL shift, bool scored, REAL *x, REAL *g) {
  const int64_t n = s->n_pair - 1;
  REAL sum = 0;
  for (int64_t j = 0; j < n; j += FN(TOGETHER)) {
    const int64_t some = least(n - j, FN(TOGETHER));
    if (!scored) FN(negative_scores)(s, slot[n], some, slot + j, o, x + j);
    for (int64_t k = j; k < j + some; k++) x[k] -= shift;
    FN(exp_many)(s->math, some, x + j, x + j);
    sum += FN(row_sum)(some, x + j);
    if (g) FN(gather_sum)(s, some, slot + j, x + j, g);
  }
  return sum;
}

/* Loss of a position; x: coefficients of its candidates, g: their sum of rows, or NULL. */
static double FN(softmax_pairs)(const struct hstu_loss *s, REAL weight, const int32_t *slot,
                                const REAL *o, REAL *x, REAL *g) {
  const int64_t n = s->n_pair - 1;
  const REAL *own_row = FN(row)(s, slot[n]);
  const REAL own = FN(row_dot)(s->D, o, own_row) * (REAL)(1 / s->temperature);
  const bool bounded = FN(is_bounded)(s);
  REAL shift = bounded ? (REAL)(1 / s->temperature) : own, ours;
  if (!bounded) {
    FN(negative_scores)(s, slot[n], n, slot, o, x);
    for (int64_t j = 0; j < n; j++) shift = x[j] > shift ? x[j] : shift;
  }
  const REAL sum = FN(softmax_sums)(s, slot, o, shift, !bounded, x, g);
  x[n] = own - shift;
  FN(exp_many)(s->math, 1, x + n, &ours);
  const REAL each = weight / (REAL)(s->total * s->temperature) / (sum + ours);
  for (int64_t j = 0; j < n; j++) x[j] *= each;
  x[n] = -sum * each;
  for (int64_t d = 0; g && d < s->D; d++) g[d] = g[d] * each + x[n] * own_row[d];
  return FN(nll)(ours, sum, (double)shift - (double)own);
}

/* beta softplus(-s_pos) + sum softplus(s_neg); a negative that is the positive is left out. */
static double FN(bce_pairs)(const struct hstu_loss *s, REAL weight, const int32_t *slot,
                            const REAL *o, REAL *x, REAL *g) {
  const int64_t n = s->n_pair;
  double loss = 0, by = (double)weight / (s->total * s->temperature);
  FN(gather_dots)(s, n, slot, o, x);
  for (int64_t j = 0; j < n; j++) {
    double t = (double)(x[j] * (REAL)(1 / s->temperature)) * (j == n - 1 ? -1 : 1);
    double e = exp(-fabs(t)), sig = t >= 0 ? 1 / (1 + e) : e / (1 + e);
    double share = j == n - 1 ? s->beta : slot[j] == slot[n - 1] ? 0 : 1;
    if (share > 0) loss += share * ((t > 0 ? t : 0) + log1p(e));
    x[j] = (REAL)((j == n - 1 ? -by : by) * share * sig);
  }
  if (g) FN(gather_sum)(s, n, slot, x, g);
  return loss;
}

static void FN(pair_row)(const struct hstu_loss *s, int64_t i, REAL *x) {
  const int32_t *slot = s->pair + i * s->n_pair;
  REAL *o = (REAL *)s->unit_o + i * s->Dp, sums[MAX_WIDTH], *g = s->want_o ? sums : NULL;
  const REAL inverse = FN(to_unit)(s, (const REAL *)s->o + i * s->D, o), weight = FN(weight)(s, i);
  if (g) memset(g, 0, (size_t)s->Dp * sizeof(REAL));
  s->row_loss[i] = s->bce ? FN(bce_pairs)(s, weight, slot, o, x, g)
                          : FN(softmax_pairs)(s, weight, slot, o, x, g);
  if (g) FN(from_unit)(s, o, inverse, 1, g, (REAL *)s->grad_o + i * s->D, false);
}

/* ---- Pairs sorted by row of the table ---- */

/* start[a]: where the entries of slot a begin among the block's; returns them. */
static struct FN(entry) * FN(open_block)(const struct hstu_loss *s, int64_t block, int32_t *start) {
  const int64_t begin = block * s->block_rows, end = least(s->T, begin + s->block_rows);
  memset(start, 0, (size_t)(s->A + 1) * sizeof *start);
  for (int64_t i = begin * s->n_pair; i < end * s->n_pair; i++) start[s->pair[i] + 1]++;
  for (int64_t a = 0; a < s->A; a++) start[a + 1] += start[a];
  return (struct FN(entry) *)s->entries + begin * s->n_pair;
}

enum { FN(ENTRIES_AHEAD) = 16 };

/* start moves on by one entry for each; where they go, far apart, is fetched ahead. */
static void FN(enter)(const struct hstu_loss *s, int64_t i, const REAL *x, int32_t *start,
                      struct FN(entry) * entries) {
  const int32_t *slot = s->pair + i * s->n_pair;
  const REAL place = (REAL)(i % s->block_rows);
  const int64_t far = s->n_pair - FN(ENTRIES_AHEAD);
  for (int64_t j = 0; j < s->n_pair; j++) {
    if (j < far) __builtin_prefetch(entries + start[slot[j + FN(ENTRIES_AHEAD)]], 1);
    entries[start[slot[j]]++] = (struct FN(entry)){place, x[j]};
  }
}

static void FN(close_block)(const struct hstu_loss *s, int32_t *start) {
  for (int64_t a = s->A; a > 0; a--) start[a] = start[a - 1];
  start[0] = 0;
}

static void FN(block_loss)(const struct hstu_loss *s, int64_t block) {
  const int64_t begin = block * s->block_rows, end = least(s->T, begin + s->block_rows);
  s->lane_loss[block] = 0;
  for (int64_t i = begin; i < end; i++)
    s->lane_loss[block] += (double)FN(weight)(s, i) * s->row_loss[i];
}

/* Blocks: losses and gradients of positions, the sorted pairs. */
static qn_status FN(pair_blocks)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  void *memory;
  qn_status st = s->h->local(s->c, s->n_pair * (int64_t)sizeof(REAL), &memory);
  for (int64_t block = first; !st && block < last; block++) {
    const int64_t begin = block * s->block_rows, end = least(s->T, begin + s->block_rows);
    int32_t *start = s->want_e ? s->start + block * (s->A + 1) : NULL;
    struct FN(entry) *entries = start ? FN(open_block)(s, block, start) : NULL;
    for (int64_t i = begin; i < end; i++) {
      FN(pair_row)(s, i, memory);
      if (start) FN(enter)(s, i, memory, start, entries);
    }
    if (start) FN(close_block)(s, start);
    FN(block_loss)(s, block);
  }
  return st;
}

/* The same for coefficients that are known: of the positives beside a pool. */
static qn_status FN(sort_blocks)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  for (int64_t block = first; block < last; block++) {
    const int64_t begin = block * s->block_rows, end = least(s->T, begin + s->block_rows);
    int32_t *start = s->start + block * (s->A + 1);
    struct FN(entry) *entries = FN(open_block)(s, block, start);
    for (int64_t i = begin; i < end; i++)
      FN(enter)(s, i, (const REAL *)s->coef + i * s->n_pair, start, entries);
    FN(close_block)(s, start);
  }
  return QN_OK;
}

/* ---- Gradient of the table ---- */

/* to += sum of shares times unit rows of the positions at `rows`. */
static void FN(entry_sum)(int64_t Dp, int64_t n, const struct FN(entry) * e, const REAL *rows,
                          REAL *to) {
  int64_t d = 0;
  for (; d + 4 * FN(LANES) <= Dp; d += 4 * FN(LANES)) {
    FN(vec) sum[4];
    UNROLL
    for (int v = 0; v < 4; v++) sum[v] = *(const FN(vec) *)(to + d + v * FN(LANES));
    for (int64_t j = 0; j < n; j++) {
      const REAL *from = rows + (int32_t)e[j].place * Dp + d;
      UNROLL
      for (int v = 0; v < 4; v++) sum[v] += e[j].share * *(const FN(vec) *)(from + v * FN(LANES));
    }
    UNROLL
    for (int v = 0; v < 4; v++) *(FN(vec) *)(to + d + v * FN(LANES)) = sum[v];
  }
  for (; d < Dp; d += FN(LANES)) {
    FN(vec) sum = *(const FN(vec) *)(to + d);
    for (int64_t j = 0; j < n; j++)
      sum += e[j].share * *(const FN(vec) *)(rows + (int32_t)e[j].place * Dp + d);
    *(FN(vec) *)(to + d) = sum;
  }
}

/* g[a - first] = sum of the entries of slot a, block by block. */
static void FN(slot_sums)(const struct hstu_loss *s, int64_t first, int64_t last, REAL *g) {
  memset(g, 0, (size_t)((last - first) * s->Dp) * sizeof(REAL));
  for (int64_t block = 0; block < s->n_blocks; block++) {
    const int64_t begin = block * s->block_rows;
    const int32_t *start = s->start + block * (s->A + 1);
    const struct FN(entry) *e = (const struct FN(entry) *)s->entries + begin * s->n_pair;
    const REAL *rows = (const REAL *)s->unit_o + begin * s->Dp;
    for (int64_t a = first; a < last; a++)
      if (start[a + 1] > start[a])
        FN(entry_sum)(s->Dp, start[a + 1] - start[a], e + start[a], rows, g + (a - first) * s->Dp);
  }
}

/* No position drew the slot. */
static bool FN(is_untouched)(const struct hstu_loss *s, int64_t a) {
  for (int64_t block = 0; block < s->n_blocks; block++) {
    const int32_t *start = s->start + block * (s->A + 1);
    if (start[a + 1] > start[a]) return false;
  }
  return true;
}

static void FN(give_row)(int64_t D, REAL by, const REAL *g, REAL *to, bool add) {
  for (int64_t d = 0; d < D; d += FN(LANES)) {
    FN(vec) v = FN(load_some)(g + d, D - d) * by;
    if (add) v += FN(load_some)(to + d, D - d);
    FN(store_some)(to + d, v, D - d);
  }
}

/* Backward: gradients of the rows of slots, times that of the loss. */
static qn_status FN(pair_gradient)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  const bool bent = s->l2 && !s->given;
  void *memory;
  qn_status st =
      s->h->local(s->c, ((last - first) * s->Dp + s->Dp) * (int64_t)sizeof(REAL), &memory);
  if (st) return st;
  REAL *unit = memory, *g = unit + s->Dp;
  FN(slot_sums)(s, first, last, g);
  for (int64_t a = first; a < last; a++, g += s->Dp) {
    REAL *to = (REAL *)s->grad_e + (s->row_of && !s->sparse ? s->row_of[a] : a) * s->D;
    if (s->adds && FN(is_untouched)(s, a)) continue;
    if (bent) {
      const REAL inverse = FN(to_unit)(s, FN(table_row)(s, a), unit);
      FN(from_unit)(s, unit, inverse, (REAL)s->by, g, to, s->adds);
    } else {
      FN(give_row)(s->D, (REAL)s->by, g, to, s->adds);
    }
  }
  return QN_OK;
}
