/* One pool of candidates for all positions, for REAL; see loss.c. SPDX-License-Identifier: MIT */

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
  if (FN(is_bounded)(s)) {
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
    k->own[r] = FN(row_dot)(s->D, o, FN(row)(s, s->pair[i])) / (REAL)s->temperature;
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
    const REAL *unit = FN(row)(s, s->pair[i]);
    for (int64_t d = 0; d < s->D; d++) g[d] = g[d] * factor[r] + own * unit[d];
    FN(from_unit)(s, o + r * Dp, k->inverse[r], 1, g, (REAL *)s->grad_o + i * s->D, false);
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

static qn_status FN(pool_lanes)(void *ctx, int64_t first, int64_t last) {
  const struct hstu_loss *s = ctx;
  qn_status st = QN_OK;
  for (int64_t lane = first; !st && lane < last; lane++) {
    int64_t begin = lane * s->lane_rows, end = least(s->T, begin + s->lane_rows);
    st = FN(pool_lane)(s, lane, begin, end);
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
      FN(pack_rows)(1, s->D, FN(row)(s, s->pool[p * PANEL + j]), s->D, 1, rows + j * s->Dp, s->Dp);
    memset(rows + width * s->Dp, 0, (size_t)((PANEL - width) * s->Dp) * sizeof(REAL));
    FN(transpose)(PANEL, s->D, rows, s->Dp, 1, (REAL *)s->pool_columns + p * s->D * PANEL, PANEL);
  }
  return QN_OK;
}

/* ---- Gradient of the table ---- */

/* Sums over pairs, lanes and pool entries, then through the Jacobian of the unit rows. */
static qn_status FN(pool_gradient)(void *ctx, int64_t begin, int64_t end) {
  const struct hstu_loss *s = ctx;
  const int64_t Dp = s->Dp, pool_size = s->n_panels * PANEL * Dp;
  const bool bent = s->l2 && !s->given;
  void *memory;
  qn_status st = s->h->local(s->c, (end - begin) * Dp * (int64_t)sizeof(REAL), &memory);
  if (st) return st;
  REAL *g = memory;
  FN(slot_sums)(s, begin, end, g);
  for (int64_t a = begin; a < end; a++, g += Dp) {
    for (int32_t c = s->chain_first[a]; c >= 0; c = s->chain[c])
      for (int64_t l = 0; l < s->n_lanes; l++) {
        const REAL *from = (const REAL *)s->pool_grad + l * pool_size + c * Dp;
        for (int64_t d = 0; d < s->D; d++) g[d] += from[d];
      }
    REAL *to = (REAL *)s->grad_e + a * s->D;
    if (bent)
      FN(from_unit)(s, FN(row)(s, a), ((const REAL *)s->inverse)[a], 1, g, to, false);
    else
      FN(give_row)(s->D, 1, g, to, false);
  }
  return QN_OK;
}

/* ---- The whole ---- */

static qn_status FN(run_loss)(struct hstu_loss *s) {
  const qn_host *h = s->h;
  qn_status st = h->parallel(s->c, s->A, 64, FN(take_rows), s);
  if (st || !s->P) return st ? st : h->parallel(s->c, s->n_blocks, 1, FN(pair_blocks), s);
  st = h->parallel(s->c, s->n_panels, 1, FN(pack_pool), s);
  if (!st) st = h->parallel(s->c, s->n_lanes, 1, FN(pool_lanes), s);
  if (st || !s->want_e) return st;
  st = h->parallel(s->c, s->n_blocks, 1, FN(sort_blocks), s);
  return st ? st : h->parallel(s->c, s->A, slots_together(s), FN(pool_gradient), s);
}
