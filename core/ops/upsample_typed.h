/*
** Enlarging one plane, per element type (REAL, FN): each result pixel is a sum of up to four
** source pixels with weights; backward gives each of them its share.
** SPDX-License-Identifier: MIT
*/
static void FN(enlarge_plane)(const struct grid *g, const REAL *x, REAL *y) {
  for (int64_t i = 0; i < g->OH; i++)
    for (int64_t j = 0; j < g->OW; j++) {
      const struct tap *r = &g->row[i], *c = &g->col[j];
      REAL a = (REAL)(1 - r->weight), b = (REAL)r->weight, d = (REAL)(1 - c->weight),
           e = (REAL)c->weight;
      y[i * g->OW + j] = a * (d * x[r->low * g->W + c->low] + e * x[r->low * g->W + c->high]) +
                         b * (d * x[r->high * g->W + c->low] + e * x[r->high * g->W + c->high]);
    }
}

static void FN(enlarge_plane_back)(const struct grid *g, const REAL *dy, REAL *dx) {
  memset(dx, 0, (size_t)(g->H * g->W) * sizeof *dx);
  for (int64_t i = 0; i < g->OH; i++)
    for (int64_t j = 0; j < g->OW; j++) {
      const struct tap *r = &g->row[i], *c = &g->col[j];
      REAL a = (REAL)(1 - r->weight), b = (REAL)r->weight, d = (REAL)(1 - c->weight),
           e = (REAL)c->weight, v = dy[i * g->OW + j];
      dx[r->low * g->W + c->low] += v * a * d;
      dx[r->low * g->W + c->high] += v * a * e;
      dx[r->high * g->W + c->low] += v * b * d;
      dx[r->high * g->W + c->high] += v * b * e;
    }
}
