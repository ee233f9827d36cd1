/* What the parts of a loss share, for REAL; see loss.c. SPDX-License-Identifier: MIT */

#if REAL_IS_FLOAT
static void exp_many_f32(const qn_math *m, int64_t n, const float *x, float *y) { m->exp(n, x, y); }
#else
static void exp_many_f64(const qn_math *m, int64_t n, const double *x, double *y) {
  (void)m;
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}
#endif

/*
** Columns of a padded row: whole vectors, and behind them a narrow one of 16 bytes where that holds the rest.
** A rest that needs more takes a whole vector: rows are padded with 0.
*/
static bool FN(is_narrow)(int64_t D) {
  const int64_t rest = D % FN(LANES);
  return rest > 0 && rest * (int64_t)sizeof(REAL) <= 16;
}
static int64_t FN(in_vectors)(int64_t D) { return (D + FN(LANES) - 1) / FN(LANES) * FN(LANES); }
static int64_t FN(whole)(int64_t D) {
  return FN(is_narrow)(D) ? D / FN(LANES) * FN(LANES) : FN(in_vectors)(D);
}

/* to = by x, padded with 0 to Dp. */
static void FN(pad_row)(const struct hstu_loss *s, const REAL *x, REAL by, REAL *to) {
  int64_t d = 0;
  for (; d < s->D; d += FN(LANES)) *(FN(vec) *)(to + d) = FN(load_some)(x + d, s->D - d) * by;
  for (; d < s->Dp; d++) to[d] = 0;
}

/* to = x / |x|, padded with 0 to Dp; returns 1 / |x|, or -1/eps where |x| < eps; 1 without l2. */
static REAL FN(to_unit)(const struct hstu_loss *s, const REAL *x, REAL *to) {
  const double eps = 1e-6;
  REAL inverse = 1;
  if (s->l2) {
    double length = sqrt((double)FN(row_dot)(s->D, x, x));
    inverse = (REAL)(length < eps ? -1 / eps : 1 / length);
  }
  FN(pad_row)(s, x, inverse < 0 ? -inverse : inverse, to);
  return inverse;
}

/* dx = by (g - unit <unit, g>) / |x|, the Jacobian of x / |x|; g / eps where that was clamped. */
static void FN(from_unit)(const struct hstu_loss *s, const REAL *unit, REAL inverse, REAL by,
                          const REAL *g, REAL *dx, bool add) {
  const int64_t D = s->D;
  REAL along = 0;
  if (s->l2) {
    along = inverse < 0 ? 0 : FN(row_dot)(D, unit, g);
    by *= inverse < 0 ? -inverse : inverse;
  }
  for (int64_t d = 0; d < D; d += FN(LANES)) {
    FN(vec) v = FN(load_some)(g + d, D - d);
    if (s->l2) v -= FN(load_some)(unit + d, D - d) * along;
    v *= by;
    if (add) v += FN(load_some)(dx + d, D - d);
    FN(store_some)(dx + d, v, D - d);
  }
}

/* Row of the table that slot a stands for, as a unit vector if the loss wants those; padded to Dp. */
static const REAL *FN(row)(const struct hstu_loss *s, int64_t a) {
  return (const REAL *)s->rows + a * s->Dp;
}

static const REAL *FN(table_row)(const struct hstu_loss *s, int64_t a) {
  return (const REAL *)s->e + (s->row_of ? s->row_of[a] : a) * s->D;
}

/* Rows of the slots one after the other, on lines of their own. */
static qn_status FN(take_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  for (int64_t a = begin; a < end; a++) {
    const REAL *from = FN(table_row)(s, a);
    REAL *to = (REAL *)s->rows + a * s->Dp;
    if (s->given)
      FN(pad_row)(s, from, 1, to);
    else
      ((REAL *)s->inverse)[a] = FN(to_unit)(s, from, to);
  }
  return QN_OK;
}

static REAL FN(weight)(const struct hstu_loss *s, int64_t i) {
  return s->w ? ((const REAL *)s->w)[i] : 1;
}

/*
** -log(own / (own + others)), own and others being sums of exponentials and `gap` the shift
** less the positive's score: exact for small losses, safe where own vanishes.
*/
static double FN(nll)(REAL own, REAL others, double gap) {
  if ((double)own > 1e-30) return log1p((double)others / (double)own);
  return log((double)others + (double)own) + gap;
}

/* No score passes 1/temperature between unit vectors; is that a shift that keeps digits? */
static bool FN(is_bounded)(const struct hstu_loss *s) { return s->l2 && s->temperature >= 0.025; }
