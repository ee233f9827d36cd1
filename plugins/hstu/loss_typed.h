/* Values and gradients of a loss for REAL; see loss.c. SPDX-License-Identifier: MIT */

#if REAL_IS_FLOAT
static void exp_many_f32(const qn_math *m, int64_t n, const float *x, float *y) { m->exp(n, x, y); }
#else
static void exp_many_f64(const qn_math *m, int64_t n, const double *x, double *y) {
  (void)m;
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}
#endif

/* A pair as the table's gradient wants it: the position, and its coefficient. */
struct FN(entry) {
  int32_t token;
  REAL share;
};

/* <x, y> of padded rows. */
static REAL FN(dot)(int64_t Dp, const REAL *x, const REAL *y) {
  FN(vec) sum = {0};
  for (int64_t d = 0; d < Dp; d += FN(LANES))
    sum += *(const FN(vec) *)(x + d) * *(const FN(vec) *)(y + d);
  return FN(across)(sum);
}

/* to = x / |x|, padded with 0; returns 1 / |x|, or -1/eps where |x| < eps. */
static REAL FN(to_unit)(const struct hstu_loss *s, const REAL *x, REAL *to) {
  const double eps = 1e-6;
  REAL inverse = 1;
  memcpy(to, x, (size_t)s->D * sizeof(REAL));
  memset(to + s->D, 0, (size_t)(s->Dp - s->D) * sizeof(REAL));
  if (s->l2) {
    double length = sqrt((double)FN(dot)(s->Dp, to, to));
    inverse = (REAL)(length < eps ? -1 / eps : 1 / length);
    REAL by = inverse < 0 ? -inverse : inverse;
    for (int64_t d = 0; d < s->Dp; d++) to[d] *= by;
  }
  return inverse;
}

/* dx = (g - unit <unit, g>) / |x|, the Jacobian of x / |x|; g / eps where that was clamped. */
static void FN(from_unit)(const struct hstu_loss *s, const REAL *unit, REAL inverse, const REAL *g,
                          REAL *dx) {
  if (!s->l2) {
    memcpy(dx, g, (size_t)s->D * sizeof(REAL));
    return;
  }
  REAL along = inverse < 0 ? 0 : FN(dot)(s->Dp, unit, g), by = inverse < 0 ? -inverse : inverse;
  for (int64_t d = 0; d < s->D; d++) dx[d] = (g[d] - unit[d] * along) * by;
}

static qn_status FN(unit_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  for (int64_t a = begin; a < end; a++) {
    int64_t row = s->row_of ? s->row_of[a] : a;
    ((REAL *)s->inverse)[a] =
        FN(to_unit)(s, (const REAL *)s->e + row * s->D, (REAL *)s->unit + a * s->Dp);
  }
  return QN_OK;
}

static REAL FN(weight)(const struct hstu_loss *s, int64_t i) {
  return s->w ? ((const REAL *)s->w)[i] : 1;
}

/* ---- Candidates of each position ---- */

/* score[j] = <o, unit[slot[j]]> */
static void FN(gather_dots)(const struct hstu_loss *s, int64_t n, const int32_t *slot,
                            const REAL *o, REAL *score) {
  const REAL *unit = s->unit;
  for (int64_t j = 0; j < n; j++) score[j] = FN(dot)(s->Dp, o, unit + slot[j] * s->Dp);
}

/* to = sum_j coef[j] row[slot[j]], four vectors of columns at a time. */
static void FN(gather_sum)(int64_t Dp, int64_t n, const int32_t *slot, const REAL *coef,
                           const REAL *row, REAL *to) {
  int64_t d = 0;
  for (; d + 4 * FN(LANES) <= Dp; d += 4 * FN(LANES)) {
    FN(vec) sum[4] = {{0}};
    for (int64_t j = 0; j < n; j++) {
      const FN(vec) *from = (const FN(vec) *)(row + slot[j] * Dp + d);
      UNROLL
      for (int v = 0; v < 4; v++) sum[v] += coef[j] * from[v];
    }
    memcpy(to + d, sum, sizeof sum);
  }
  for (; d < Dp; d += FN(LANES)) {
    FN(vec) sum = {0};
    for (int64_t j = 0; j < n; j++) sum += coef[j] * *(const FN(vec) *)(row + slot[j] * Dp + d);
    memcpy(to + d, &sum, sizeof sum);
  }
}

/* The same over entries; `add`: to what is there. */
static void FN(entry_sum)(int64_t Dp, int64_t n, const struct FN(entry) * e, const REAL *row,
                          REAL *to, bool add) {
  int64_t d = 0;
  for (; d + 4 * FN(LANES) <= Dp; d += 4 * FN(LANES)) {
    FN(vec) sum[4] = {{0}};
    if (add) memcpy(sum, to + d, sizeof sum);
    for (int64_t j = 0; j < n; j++) {
      const FN(vec) *from = (const FN(vec) *)(row + e[j].token * Dp + d);
      UNROLL
      for (int v = 0; v < 4; v++) sum[v] += e[j].share * from[v];
    }
    memcpy(to + d, sum, sizeof sum);
  }
  for (; d < Dp; d += FN(LANES)) {
    FN(vec) sum = {0};
    if (add) memcpy(&sum, to + d, sizeof sum);
    for (int64_t j = 0; j < n; j++)
      sum += e[j].share * *(const FN(vec) *)(row + e[j].token * Dp + d);
    memcpy(to + d, &sum, sizeof sum);
  }
}

/*
** -log(own / (own + others)), own and others being sums of exponentials and `gap` the shift
** less the positive's score: exact for small losses, safe where own vanishes.
*/
static double FN(nll)(REAL own, REAL others, double gap) {
  if ((double)own > 1e-30) return log1p((double)others / (double)own);
  return log((double)others + (double)own) + gap;
}

/* Scores to coefficients, in place; returns the loss. The positive is last. */
static double FN(softmax_scores)(const struct hstu_loss *s, REAL weight, REAL *x) {
  int64_t n = s->n_pair;
  REAL top = x[0], sum = 0, own = x[n - 1];
  for (int64_t j = 1; j < n; j++) top = x[j] > top ? x[j] : top;
  for (int64_t j = 0; j < n; j++) x[j] -= top;
  FN(exp_many)(s->math, n, x, x);
  for (int64_t j = 0; j < n - 1; j++) sum += x[j];
  double loss = FN(nll)(x[n - 1], sum, (double)top - (double)own);
  REAL by = weight / (REAL)(s->total * s->temperature), each = by / (sum + x[n - 1]);
  for (int64_t j = 0; j < n - 1; j++) x[j] *= each;
  x[n - 1] = -sum * each;
  return loss;
}

/* beta softplus(-s_pos) + sum softplus(s_neg); a negative that is the positive is left out. */
static double FN(bce_scores)(const struct hstu_loss *s, REAL weight, const int32_t *slot, REAL *x) {
  int64_t n = s->n_pair;
  double loss = 0, by = (double)weight / (s->total * s->temperature);
  for (int64_t j = 0; j < n; j++) {
    double t = j == n - 1 ? -(double)x[j] : (double)x[j], e = exp(-fabs(t));
    double sig = t >= 0 ? 1 / (1 + e) : e / (1 + e);
    double share = j == n - 1 ? s->beta : slot[j] == slot[n - 1] ? 0 : 1;
    if (share > 0) loss += share * ((t > 0 ? t : 0) + log1p(e));
    x[j] = (REAL)((j == n - 1 ? -by : by) * share * sig);
  }
  return loss;
}

static void FN(pair_row)(const struct hstu_loss *s, int64_t i) {
  const int32_t *slot = s->pair + i * s->n_pair;
  REAL *x = (REAL *)s->coef + i * s->n_pair, *o = (REAL *)s->unit_o + i * s->Dp;
  REAL weight = FN(weight)(s, i), by = (REAL)(1 / s->temperature), g[MAX_WIDTH];
  REAL *grad_o = s->want_o ? (REAL *)s->grad_o + i * s->D : NULL;
  REAL inverse = FN(to_unit)(s, (const REAL *)s->o + i * s->D, o);
  FN(gather_dots)(s, s->n_pair, slot, o, x);
  for (int64_t j = 0; j < s->n_pair; j++) x[j] *= by;
  for (int64_t j = 0; !s->bce && j + 1 < s->n_pair; j++)
    if (slot[j] == slot[s->n_pair - 1]) x[j] = (REAL)MASKED;
  s->row_loss[i] = s->bce ? FN(bce_scores)(s, weight, slot, x) : FN(softmax_scores)(s, weight, x);
  if (!grad_o) return;
  FN(gather_sum)(s->Dp, s->n_pair, slot, x, s->unit, g);
  FN(from_unit)(s, o, inverse, g, grad_o);
}

/* ---- One pool of candidates for all positions ---- */

struct FN(chunk) { /* CHUNK_ROWS positions against the pool */
  int64_t first, rows;
  REAL *tiles;         /* [n_panels or 1][CHUNK_ROWS][PANEL] exp(score - shift) */
  REAL *grad, *scaled; /* [CHUNK_ROWS][Dp]: d loss / d unit_o; unit_o times factor */
  REAL inverse[CHUNK_ROWS], own[CHUNK_ROWS], shift[CHUNK_ROWS], sum[CHUNK_ROWS];
};

/* Scores of one panel, over temperature, the positive masked, columns beyond the pool too. */
static void FN(panel_scores)(const struct hstu_loss *s, const struct FN(chunk) * k, int64_t panel,
                             REAL *tile) {
  const REAL *columns = (const REAL *)s->pool_columns + panel * s->D * PANEL,
             by = (REAL)(1 / s->temperature);
  FN(product)
  (k->rows, PANEL, s->D, (const REAL *)s->unit_o + k->first * s->Dp, s->Dp, 1, columns, PANEL, tile,
   PANEL, false);
  int64_t base = panel * PANEL, width = least(PANEL, s->P - base);
  for (int64_t r = 0; r < k->rows; r++) {
    REAL *x = tile + r * PANEL;
    int32_t own = s->pair[k->first + r];
    for (int64_t j = 0; j < PANEL; j++) x[j] = x[j] * by - k->shift[r];
    if (s->pool_first >= 0) {
      int64_t j = own - s->pool_first - base;
      if (j >= 0 && j < width) x[j] = (REAL)MASKED;
    } else {
      for (int64_t j = 0; j < width; j++) x[j] = s->pool[base + j] == own ? (REAL)MASKED : x[j];
    }
    for (int64_t j = width; j < PANEL; j++) x[j] = (REAL)MASKED;
  }
}

/* A shift that no score passes by much: unit vectors bound the score, else the maximum is found. */
static void FN(find_shift)(const struct hstu_loss *s, struct FN(chunk) * k) {
  for (int64_t r = 0; r < k->rows; r++) k->shift[r] = 0;
  if (s->l2 && s->temperature >= 0.025) {
    for (int64_t r = 0; r < k->rows; r++) k->shift[r] = (REAL)(1 / s->temperature);
    return;
  }
  REAL top[CHUNK_ROWS];
  for (int64_t r = 0; r < k->rows; r++) top[r] = k->own[r];
  for (int64_t p = 0; p < s->n_panels; p++) {
    FN(panel_scores)(s, k, p, k->tiles);
    for (int64_t r = 0; r < k->rows; r++)
      for (int64_t j = 0; j < PANEL; j++)
        top[r] = k->tiles[r * PANEL + j] > top[r] ? k->tiles[r * PANEL + j] : top[r];
  }
  for (int64_t r = 0; r < k->rows; r++) k->shift[r] = top[r];
}

static void FN(panel_exp)(const struct hstu_loss *s, const struct FN(chunk) * k, int64_t panel,
                          REAL *tile) {
  FN(panel_scores)(s, k, panel, tile);
  FN(exp_many)(s->math, k->rows * PANEL, tile, tile);
}

static void FN(sum_panels)(const struct hstu_loss *s, struct FN(chunk) * k) {
  for (int64_t r = 0; r < k->rows; r++) k->sum[r] = 0;
  for (int64_t p = 0; p < s->n_panels; p++) {
    REAL *tile = k->tiles + (s->keep_tiles ? p * CHUNK_ROWS * PANEL : 0);
    FN(panel_exp)(s, k, p, tile);
    for (int64_t r = 0; r < k->rows; r++) {
      REAL lane[16] = {0};
      for (int64_t j = 0; j < PANEL; j += 16)
        for (int l = 0; l < 16; l++) lane[l] += tile[r * PANEL + j + l];
      for (int l = 0; l < 16; l++) k->sum[r] += lane[l];
    }
  }
}

/* Unit rows of o, the positives' scores. */
static void FN(open_chunk)(const struct hstu_loss *s, struct FN(chunk) * k) {
  for (int64_t r = 0; r < k->rows; r++) {
    int64_t i = k->first + r;
    REAL *o = (REAL *)s->unit_o + i * s->Dp;
    k->inverse[r] = FN(to_unit)(s, (const REAL *)s->o + i * s->D, o);
    k->own[r] =
        FN(dot)(s->Dp, o, (const REAL *)s->unit + s->pair[i] * s->Dp) / (REAL)s->temperature;
  }
}

/* Loss of the rows; factor of each row's exponentials and the positive's coefficient. */
static void FN(close_sums)(const struct hstu_loss *s, struct FN(chunk) * k, REAL *factor) {
  for (int64_t r = 0; r < k->rows; r++) {
    int64_t i = k->first + r;
    REAL weight = FN(weight)(s, i), by = weight / (REAL)(s->total * s->temperature);
    double gap = (double)k->shift[r] - (double)k->own[r];
    REAL own = (REAL)exp(-gap);
    factor[r] = by / (k->sum[r] + own);
    ((REAL *)s->coef)[i] = -k->sum[r] * factor[r];
    s->row_loss[i] = FN(nll)(own, k->sum[r], gap);
  }
}

/* The second way through the panels: dô += P ê, dê += P^T ô, both without their factors. */
static void FN(spread_panels)(const struct hstu_loss *s, struct FN(chunk) * k, REAL *pool_grad) {
  int64_t Dp = s->Dp;
  for (int64_t p = 0; p < s->n_panels; p++) {
    REAL *tile = k->tiles + (s->keep_tiles ? p * CHUNK_ROWS * PANEL : 0);
    if (!s->keep_tiles) FN(panel_exp)(s, k, p, tile);
    if (s->want_o) FN(product)
    (k->rows, Dp, PANEL, tile, PANEL, 1, (const REAL *)s->pool_rows + p * PANEL * Dp, Dp, k->grad,
     Dp, p > 0);
    if (s->want_e) FN(product)
    (PANEL, Dp, k->rows, tile, 1, PANEL, k->scaled, Dp, pool_grad + p * PANEL * Dp, Dp, true);
  }
}

static void FN(pool_chunk)(const struct hstu_loss *s, struct FN(chunk) * k, REAL *pool_grad) {
  REAL factor[CHUNK_ROWS];
  int64_t Dp = s->Dp;
  FN(open_chunk)(s, k);
  FN(find_shift)(s, k);
  FN(sum_panels)(s, k);
  FN(close_sums)(s, k, factor);
  if (!s->want_o && !s->want_e) return;
  const REAL *o = (const REAL *)s->unit_o + k->first * Dp;
  for (int64_t r = 0; r < k->rows; r++)
    for (int64_t d = 0; d < Dp; d++) k->scaled[r * Dp + d] = o[r * Dp + d] * factor[r];
  FN(spread_panels)(s, k, pool_grad);
  for (int64_t r = 0; s->want_o && r < k->rows; r++) {
    int64_t i = k->first + r;
    REAL *g = k->grad + r * Dp, own = ((const REAL *)s->coef)[i];
    const REAL *unit = (const REAL *)s->unit + s->pair[i] * Dp;
    for (int64_t d = 0; d < Dp; d++) g[d] = g[d] * factor[r] + own * unit[d];
    FN(from_unit)(s, o + r * Dp, k->inverse[r], g, (REAL *)s->grad_o + i * s->D);
  }
}

/* ---- Lanes: contiguous positions, whose sums are added in order ---- */

static qn_status FN(pool_lane)(const struct hstu_loss *s, int64_t lane, int64_t begin,
                               int64_t end) {
  struct FN(chunk) k = {0};
  int64_t tiles = (s->keep_tiles ? s->n_panels : 1) * CHUNK_ROWS * PANEL, rows = CHUNK_ROWS * s->Dp;
  void *memory;
  qn_status st = s->h->local(s->c, (tiles + 2 * rows) * (int64_t)sizeof(REAL), &memory);
  if (st) return st;
  k.tiles = memory;
  k.grad = k.tiles + tiles;
  k.scaled = k.grad + rows;
  int64_t size = s->n_panels * PANEL * s->Dp;
  REAL *grad = s->want_e ? (REAL *)s->pool_grad + lane * size : NULL;
  if (grad) memset(grad, 0, (size_t)size * sizeof(REAL));
  for (k.first = begin; k.first < end; k.first += CHUNK_ROWS) {
    k.rows = least(CHUNK_ROWS, end - k.first);
    FN(pool_chunk)(s, &k, grad);
  }
  return QN_OK;
}

static qn_status FN(run_lanes)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  qn_status st = QN_OK;
  for (int64_t lane = first; !st && lane < last; lane++) {
    int64_t begin = lane * s->lane_rows, end = least(s->T, begin + s->lane_rows);
    if (s->P)
      st = FN(pool_lane)(s, lane, begin, end);
    else
      for (int64_t i = begin; i < end; i++) FN(pair_row)(s, i);
    s->lane_loss[lane] = 0;
    for (int64_t i = begin; i < end; i++)
      s->lane_loss[lane] += (double)FN(weight)(s, i) * s->row_loss[i];
  }
  return st;
}

/* Unit rows of the pool by panels, as columns and as rows. */
static qn_status FN(pack_pool)(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  for (int64_t p = begin; p < end; p++) {
    REAL *rows = (REAL *)s->pool_rows + p * PANEL * s->Dp;
    int64_t width = least(PANEL, s->P - p * PANEL);
    for (int64_t j = 0; j < width; j++)
      memcpy(rows + j * s->Dp, (const REAL *)s->unit + s->pool[p * PANEL + j] * s->Dp,
             (size_t)s->Dp * sizeof(REAL));
    memset(rows + width * s->Dp, 0, (size_t)((PANEL - width) * s->Dp) * sizeof(REAL));
    FN(transpose)(PANEL, s->D, rows, s->Dp, 1, (REAL *)s->pool_columns + p * s->D * PANEL, PANEL);
  }
  return QN_OK;
}

/* ---- Gradient of the table ---- */

/* Sorts the pairs of positions begin .. end - 1 by slot, keeping their order inside a slot. */
static struct FN(entry) *
    FN(sort_pairs)(const struct hstu_loss *s, int64_t *start, int64_t begin, int64_t end) {
  const REAL *coef = s->coef;
  struct FN(entry) *entries = (struct FN(entry) *)s->entries + begin * s->n_pair;
  memset(start, 0, (size_t)(s->A + 1) * sizeof *start);
  for (int64_t i = begin * s->n_pair; i < end * s->n_pair; i++) start[s->pair[i] + 1]++;
  for (int64_t a = 0; a < s->A; a++) start[a + 1] += start[a];
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = i * s->n_pair; j < (i + 1) * s->n_pair; j++)
      entries[start[s->pair[j]]++] = (struct FN(entry)){(int32_t)i, coef[j]};
  for (int64_t a = s->A; a > 0; a--) start[a] = start[a - 1];
  start[0] = 0;
  return entries;
}

static void FN(sum_pairs)(const struct hstu_loss *s, const int64_t *start,
                          const struct FN(entry) * entries, REAL *grad, int64_t first, int64_t last,
                          bool add) {
  for (int64_t a = first; a < last; a++)
    if (!add || start[a + 1] > start[a]) FN(entry_sum)
  (s->Dp, start[a + 1] - start[a], entries + start[a], s->unit_o, grad + a * s->Dp, add);
}

/*
** Positions that are sorted at a time: few enough that entries and unit rows stay in cache, and enough that the
** pass over all slots is little beside them.
*/
static int64_t FN(sort_rows)(const struct hstu_loss *s) { return most(512, 4 * s->A / s->n_pair); }

static qn_status FN(pair_lanes)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  const int64_t step = FN(sort_rows)(s);
  for (int64_t lane = first; lane < last; lane++) {
    const int64_t begin = lane * s->lane_rows, end = least(s->T, begin + s->lane_rows);
    int64_t *start = s->start + lane * (s->A + 1);
    REAL *grad = (REAL *)s->pair_grad + lane * s->A * s->Dp;
    for (int64_t i = begin; i < end; i += step) FN(sum_pairs)
    (s, start, FN(sort_pairs)(s, start, i, least(end, i + step)), grad, 0, s->A, i > begin);
  }
  return QN_OK;
}

static qn_status FN(pair_slots)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  FN(sum_pairs)(s, s->start, s->entries, s->pair_grad, first, last, false);
  return QN_OK;
}

/* Sums over lanes and pool entries, then through the Jacobian of the unit rows. */
static qn_status FN(table_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  int64_t Dp = s->Dp, pool_size = s->n_panels * PANEL * Dp;
  REAL g[MAX_WIDTH];
  for (int64_t a = begin; a < end; a++) {
    memset(g, 0, (size_t)Dp * sizeof(REAL));
    for (int64_t l = 0; l < s->n_sums; l++) {
      const REAL *from = (const REAL *)s->pair_grad + (l * s->A + a) * Dp;
      for (int64_t d = 0; d < Dp; d++) g[d] += from[d];
    }
    for (int32_t c = s->P ? s->chain_first[a] : -1; c >= 0; c = s->chain[c])
      for (int64_t l = 0; l < s->n_lanes; l++) {
        const REAL *from = (const REAL *)s->pool_grad + l * pool_size + c * Dp;
        for (int64_t d = 0; d < Dp; d++) g[d] += from[d];
      }
    FN(from_unit)
    (s, (const REAL *)s->unit + a * Dp, ((const REAL *)s->inverse)[a], g,
     (REAL *)s->grad_e + a * s->D);
  }
  return QN_OK;
}

static qn_status FN(run_loss)(struct hstu_loss *s) {
  const qn_host *h = s->h;
  qn_status st = h->parallel(s->c, s->A, 64, FN(unit_rows), s);
  if (!st && s->P) st = h->parallel(s->c, s->n_panels, 1, FN(pack_pool), s);
  if (!st) st = h->parallel(s->c, s->n_lanes, 1, FN(run_lanes), s);
  if (st || !s->want_e) return st;
  if (s->n_sums > 1 || s->n_lanes == 1) {
    st = h->parallel(s->c, s->n_sums, 1, FN(pair_lanes), s);
  } else {
    (void)FN(sort_pairs)(s, s->start, 0, s->T);
    st = h->parallel(s->c, s->A, 64, FN(pair_slots), s);
  }
  return st ? st : h->parallel(s->c, s->A, 64, FN(table_rows), s);
}
