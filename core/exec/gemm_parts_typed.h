/*
** C = act(alpha (part 0 + part 1 + ...) + beta C + bias), rows begin..end-1.
** Included by gemm.c with REAL and FN(name).
** SPDX-License-Identifier: MIT
*/
static qn_status FN(join)(void *ctx, int64_t begin, int64_t end) {
  const struct parts *s = ctx;
  const qn_gemm *g = s->g;
  const int64_t n = g->n, cells = g->m * n;
  const REAL alpha = (REAL)g->alpha, beta = (REAL)g->beta;
  for (int64_t i = begin; i < end; i++) {
    REAL *sums = (REAL *)(void *)s->sums + i * n, *c = (REAL *)g->c + i * g->c_row;
    for (int64_t part = 1; part < s->n_parts; part++)
      for (int64_t j = 0; j < n; j++) sums[j] += sums[part * cells + j];
    if (beta != 0)
      for (int64_t j = 0; j < n; j++) c[j] = alpha * sums[j] + beta * c[j];
    else
      for (int64_t j = 0; j < n; j++) c[j] = alpha * sums[j];
  }
  const struct product rows = piece_of(s->whole, 0, begin, end - begin, 0, n);
  finish(&rows);
  return QN_OK;
}
