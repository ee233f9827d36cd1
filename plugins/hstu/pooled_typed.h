/* Rows of pooled_embedding for REAL; see pooled.c. SPDX-License-Identifier: MIT */

static qn_status FN(pool_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct pool *s = ctx;
  for (int64_t t = begin; t < end; t++) {
    REAL *y = (REAL *)s->y + t * s->D;
    int64_t from = s->start[s->ids[t]], to = s->start[s->ids[t] + 1];
    const REAL share = to > from ? 1 / (REAL)(to - from) : 0;
    memset(y, 0, (size_t)s->D * sizeof(REAL));
    for (int64_t i = from; i < to; i++) {
      const REAL *w = (const REAL *)s->w + s->list[i] * s->D;
      for (int64_t d = 0; d < s->D; d++) y[d] += w[d];
    }
    for (int64_t d = 0; d < s->D; d++) y[d] *= share;
  }
  return QN_OK;
}

static qn_status FN(sum_rows)(void *ctx, int64_t begin, int64_t end) {
  const struct pool *s = ctx;
  for (int64_t a = begin; a < end; a++) {
    REAL *dw = (REAL *)s->dw + a * s->D;
    memset(dw, 0, (size_t)s->D * sizeof(REAL));
    for (int64_t i = s->first[a]; i < s->first[a + 1]; i++) {
      int64_t t = s->token[i], n = s->start[s->ids[t] + 1] - s->start[s->ids[t]];
      const REAL *dy = (const REAL *)s->dy + t * s->D, share = 1 / (REAL)n;
      for (int64_t d = 0; d < s->D; d++) dw[d] += share * dy[d];
    }
  }
  return QN_OK;
}
