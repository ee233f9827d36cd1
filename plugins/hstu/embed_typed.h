/* Rows of the input for REAL; see embed.c. SPDX-License-Identifier: MIT */

static void FN(embed_row)(const struct embed *s, int64_t t, int64_t place) {
  const int64_t D = s->D;
  const REAL scale = (REAL)s->scale, grow = (REAL)(1 / (1 - s->dropout));
  const REAL *e = (const REAL *)s->e + s->ids[t] * D;
  const REAL *p = s->p ? (const REAL *)s->p + place * D : NULL;
  const uint8_t *keep = s->keep ? s->keep + t * D : NULL;
  REAL *x = (REAL *)s->x + t * D;
  for (int64_t d = 0; d < D; d += FN(LANES)) {
    FN(vec) v = FN(load_some)(e + d, D - d) * scale;
    if (p) v += FN(load_some)(p + d, D - d);
    if (keep) v *= FN(kept)(keep + d, D - d, grow);
    FN(store_some)(x + d, v, D - d);
  }
}

/* to += by * the gradient of row t before dropout */
static void FN(add_row)(const struct embed *s, int64_t t, REAL by, REAL *to) {
  const int64_t D = s->D;
  const REAL *dx = (const REAL *)s->dx + t * D;
  const uint8_t *keep = s->keep ? s->keep + t * D : NULL;
  if (keep) by *= (REAL)(1 / (1 - s->dropout));
  for (int64_t d = 0; d < D; d += FN(LANES)) {
    FN(vec) v = FN(load_some)(dx + d, D - d);
    if (keep)
      v *= FN(kept)(keep + d, D - d, by);
    else
      v *= by;
    FN(store_some)(to + d, FN(load_some)(to + d, D - d) + v, D - d);
  }
}

/* The sum of group g, which lies far from the one before, on its way. */
static void FN(fetch_group)(const struct embed *s, int64_t g) {
  const REAL *row = (const REAL *)s->de + g * s->D;
  if (s->start[g + 1] == s->start[g]) return;
  for (int64_t d = 0; d < s->D; d += 64 / (int64_t)sizeof(REAL)) __builtin_prefetch(row + d, 1);
}

static qn_status FN(table_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct embed *s = ctx;
  for (int64_t g = begin; g < end; g++) {
    REAL *row = (REAL *)s->de + g * s->D;
    if (g + FETCH_GROUPS < end) FN(fetch_group)(s, g + FETCH_GROUPS);
    if (!s->add_e) memset(row, 0, (size_t)s->D * sizeof(REAL));
    for (int64_t i = s->start[g]; i < s->start[g + 1]; i++)
      FN(add_row)(s, s->token[i], (REAL)s->scale, row);
  }
  return QN_OK;
}

static qn_status FN(place_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct embed *s = ctx;
  for (int64_t place = begin; place < end; place++) {
    REAL *row = (REAL *)s->dp + place * s->D;
    if (!s->add_p) memset(row, 0, (size_t)s->D * sizeof(REAL));
    for (int64_t b = 0; b < s->n_seq; b++)
      if (place < s->offsets[b + 1] - s->offsets[b]) FN(add_row)(s, s->offsets[b] + place, 1, row);
  }
  return QN_OK;
}
