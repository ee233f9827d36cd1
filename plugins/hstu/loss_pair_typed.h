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
  int32_t place;
  REAL share;
};

/* Rows of a padded matrix, each with its coefficient; the lists of both may lie in one of entries. */
struct FN(terms) {
  int64_t n;
  const REAL *rows;
  int64_t width;
  const int32_t *index;
  const REAL *coef;
  int index_step, coef_step;
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

/* x[j] = <o, row of slot[j]> for sixteen slots, of `whole` columns in whole vectors and a narrow one. */
ALWAYS_INLINE void dots_of_columns(const struct hstu_loss *s, int64_t whole, bool narrow,
                                   const int32_t *slot, const float *o, float *x) {
  __m512 quarter[4];
  for (int q = 0; q < 4; q++, slot += 4) {
    const float *r[4];
    __m512 sum[4];
    UNROLL
    for (int k = 0; k < 4; k++) r[k] = row_f32(s, slot[k]), sum[k] = _mm512_setzero_ps();
    if (narrow) {
      const __m128 part = _mm_loadu_ps(o + whole);
      UNROLL
      for (int k = 0; k < 4; k++)
        sum[k] = _mm512_zextps128_ps512(_mm_mul_ps(part, _mm_loadu_ps(r[k] + whole)));
    }
    for (int64_t d = 0; d < whole; d += 16) {
      const __m512 part = _mm512_loadu_ps(o + d);
      UNROLL
      for (int k = 0; k < 4; k++) sum[k] = _mm512_fmadd_ps(part, _mm512_loadu_ps(r[k] + d), sum[k]);
    }
    quarter[q] = (__m512)fold_four(sum);
  }
  _mm512_storeu_ps(x, fold_quarters(fold_quarters(quarter[0], quarter[1]),
                                    fold_quarters(quarter[2], quarter[3])));
}

/* Constants for the common widths, 50 and 64, unroll the loop over columns. */
static void dots_of_16(const struct hstu_loss *s, const int32_t *slot, const float *o, float *x) {
  const int64_t whole = whole_f32(s->D);
  const bool narrow = is_narrow_f32(s->D);
  if (whole == 48 && narrow)
    dots_of_columns(s, 48, true, slot, o, x);
  else if (whole == 64 && !narrow)
    dots_of_columns(s, 64, false, slot, o, x);
  else
    dots_of_columns(s, whole, narrow, slot, o, x);
}
#endif

static void FN(gather_dots)(const struct hstu_loss *s, int64_t n, const int32_t *slot,
                            const REAL *o, REAL *score) {
  int64_t j = 0;
#if defined(__AVX512F__) && REAL_IS_FLOAT
  for (; j + 16 <= n; j += 16) dots_of_16(s, slot + j, o, score + j);
#endif
  for (; j < n; j++) score[j] = FN(row_dot)(FN(in_vectors)(s->D), o, FN(row)(s, slot[j]));
}

/* Scores of n negatives, less `shift`; one that is the positive scores next to nothing. */
static void FN(negative_scores)(const struct hstu_loss *s, int32_t own, int64_t n,
                                const int32_t *slot, const REAL *o, REAL shift, REAL *x) {
  const REAL by = (REAL)(1 / s->temperature);
  FN(gather_dots)(s, n, slot, o, x);
  for (int64_t j = 0; j < n; j++) x[j] = slot[j] == own ? (REAL)MASKED : x[j] * by - shift;
}

/* ---- Weighted sums of rows ---- */

/* Of `vecs` vectors of columns and a narrow one; to what `to` holds, or anew. */
ALWAYS_INLINE void FN(add_columns)(const struct FN(terms) * t, int vecs, bool narrow, bool anew,
                                   int64_t from, REAL *to) {
  const int64_t last = vecs * FN(LANES);
  FN(vec) sum[4];
  FN(four) end = {0};
  to += from;
  UNROLL
  for (int v = 0; v < vecs; v++)
    sum[v] = anew ? (FN(vec)){0} : *(const FN(vec) *)(to + v * FN(LANES));
  if (narrow && !anew) end = *(const FN(four) *)(to + last);
  for (int64_t j = 0; j < t->n; j++) {
    const REAL *row = t->rows + t->index[j * t->index_step] * t->width + from;
    const REAL coef = t->coef[j * t->coef_step];
    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] += coef * *(const FN(vec) *)(row + v * FN(LANES));
    if (narrow) end += coef * *(const FN(four) *)(row + last);
  }
  UNROLL
  for (int v = 0; v < vecs; v++) *(FN(vec) *)(to + v * FN(LANES)) = sum[v];
  if (narrow) *(FN(four) *)(to + last) = end;
}

/* to = or += sum_j coef[j] rows[index[j]], of D columns; padding may be written too. */
ALWAYS_INLINE void FN(add_rows)(const struct FN(terms) * t, int64_t D, bool anew, REAL *to) {
  const int64_t whole = FN(whole)(D);
  const bool narrow = FN(is_narrow)(D);
  int64_t d = 0;
  for (; d + 4 * FN(LANES) <= whole; d += 4 * FN(LANES)) FN(add_columns)(t, 4, false, anew, d, to);
  switch ((whole - d) / FN(LANES) * 2 + narrow) {
  case 1: FN(add_columns)(t, 0, true, anew, d, to); break;
  case 2: FN(add_columns)(t, 1, false, anew, d, to); break;
  case 3: FN(add_columns)(t, 1, true, anew, d, to); break;
  case 4: FN(add_columns)(t, 2, false, anew, d, to); break;
  case 5: FN(add_columns)(t, 2, true, anew, d, to); break;
  case 6: FN(add_columns)(t, 3, false, anew, d, to); break;
  case 7: FN(add_columns)(t, 3, true, anew, d, to); break;
  default: break;
  }
}

/* Gradient of a position: to += sum_j coef[j] row of slot[j]. */
static void FN(gather_sum)(const struct hstu_loss *s, int64_t n, const int32_t *slot,
                           const REAL *coef, REAL *to) {
  const struct FN(terms) t = {n, s->rows, s->Dp, slot, coef, 1, 1};
  FN(add_rows)(&t, s->D, false, to);
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
    if (!scored) FN(negative_scores)(s, slot[n], some, slot + j, o, shift, x + j);
    for (int64_t k = j; scored && k < j + some; k++) x[k] -= shift;
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
  const REAL own = FN(row_dot)(FN(in_vectors)(s->D), o, own_row) * (REAL)(1 / s->temperature);
  const bool bounded = FN(is_bounded)(s);
  REAL shift = bounded ? (REAL)(1 / s->temperature) : own, ours;
  if (!bounded) {
    FN(negative_scores)(s, slot[n], n, slot, o, 0, x);
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
  const int32_t place = (int32_t)(i % s->block_rows);
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

/* to = or += sum of shares times unit rows of the positions at `rows`. */
static void FN(entry_sum)(const struct hstu_loss *s, int64_t n, const struct FN(entry) * e,
                          const REAL *rows, bool anew, REAL *to) {
  enum { WORDS = sizeof(struct FN(entry)) / sizeof(int32_t), REALS = sizeof *e / sizeof(REAL) };
  const struct FN(terms) t = {n, rows, s->Dp, &e->place, &e->share, WORDS, REALS};
  FN(add_rows)(&t, s->D, anew, to);
}

/* g[a - first] = sum of the entries of slot a, block by block. */
static void FN(slot_sums)(const struct hstu_loss *s, int64_t first, int64_t last, REAL *g) {
  for (int64_t block = 0; block < s->n_blocks; block++) {
    const int64_t begin = block * s->block_rows;
    const int32_t *start = s->start + block * (s->A + 1);
    const struct FN(entry) *e = (const struct FN(entry) *)s->entries + begin * s->n_pair;
    const REAL *rows = (const REAL *)s->unit_o + begin * s->Dp;
    for (int64_t a = first; a < last; a++) FN(entry_sum)
    (s, start[a + 1] - start[a], e + start[a], rows, block == 0, g + (a - first) * s->Dp);
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
