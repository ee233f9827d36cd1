/* Rows of the input for REAL; see embed.c. SPDX-License-Identifier: MIT */

static void FN(embed_row)(const struct embed *s, int64_t t, int64_t place) {
  const REAL scale = (REAL)s->scale, *e = (const REAL *)s->e + s->ids[t] * s->D;
  const REAL *p = s->p ? (const REAL *)s->p + place * s->D : NULL;
  REAL *x = (REAL *)s->x + t * s->D;
  for (int64_t d = 0; d < s->D; d++) x[d] = scale * e[d];
  for (int64_t d = 0; p && d < s->D; d++) x[d] += p[d];
  if (!s->keep) return;
  const uint8_t *keep = s->keep + t * s->D;
  const REAL grow = (REAL)(1 / (1 - s->dropout));
  for (int64_t d = 0; d < s->D; d++) x[d] *= keep[d] ? grow : 0;
}

/* to += by * the gradient of row t before dropout */
static void FN(add_row)(const struct embed *s, int64_t t, REAL by, REAL *to) {
  const REAL *dx = (const REAL *)s->dx + t * s->D;
  if (!s->keep) {
    for (int64_t d = 0; d < s->D; d++) to[d] += by * dx[d];
    return;
  }
  const uint8_t *keep = s->keep + t * s->D;
  by *= (REAL)(1 / (1 - s->dropout));
  for (int64_t d = 0; d < s->D; d++) to[d] += keep[d] ? by * dx[d] : 0;
}

static qn_status FN(table_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct embed *s = ctx;
  for (int64_t g = begin; g < end; g++) {
    REAL *row = (REAL *)s->de + g * s->D;
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
