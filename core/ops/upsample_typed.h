/*
** Enlarging one item (a plane, or an image with channels last), per element type (REAL, FN): each
** result pixel is a sum of up to four source pixels with weights; backward gives each its share.
** SPDX-License-Identifier: MIT
*/
/* y += a x */
static inline void FN(add_lanes)(int64_t L, REAL a, const REAL *restrict x, REAL *restrict y) {
  for (int64_t l = 0; l < L; l++) y[l] += a * x[l];
}

static void FN(enlarge_item)(const struct grid *g, const REAL *restrict x, REAL *restrict y) {
  const int64_t L = g->lanes, row_size = g->w.W * L;
  for (int64_t i = 0; i < g->w.OH; i++)
    for (int64_t j = 0; j < g->w.OW; j++, y += L) {
      const struct tap *r = &g->row[i], *c = &g->col[j];
      const REAL a = (REAL)(1 - r->weight), b = (REAL)r->weight, d = (REAL)(1 - c->weight),
                 e = (REAL)c->weight;
      const REAL *low = x + r->low * row_size, *high = x + r->high * row_size;
      for (int64_t l = 0; l < L; l++)
        y[l] = a * (d * low[c->low * L + l] + e * low[c->high * L + l]) +
               b * (d * high[c->low * L + l] + e * high[c->high * L + l]);
    }
}

static void FN(enlarge_item_back)(const struct grid *g, const REAL *dy, REAL *dx) {
  const int64_t L = g->lanes, row_size = g->w.W * L;
  memset(dx, 0, (size_t)(g->w.H * row_size) * sizeof *dx);
  for (int64_t i = 0; i < g->w.OH; i++)
    for (int64_t j = 0; j < g->w.OW; j++, dy += L) {
      const struct tap *r = &g->row[i], *c = &g->col[j];
      const REAL a = (REAL)(1 - r->weight), b = (REAL)r->weight, d = (REAL)(1 - c->weight),
                 e = (REAL)c->weight;
      REAL *low = dx + r->low * row_size, *high = dx + r->high * row_size;
      FN(add_lanes)(L, a * d, dy, low + c->low * L);
      if (e > 0) FN(add_lanes)(L, a * e, dy, low + c->high * L);
      if (b > 0) FN(add_lanes)(L, b * d, dy, high + c->low * L);
      if (b > 0 && e > 0) FN(add_lanes)(L, b * e, dy, high + c->high * L);
    }
}
