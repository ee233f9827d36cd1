/*
** Activations of up to BLOCK elements for one type. Included with REAL, FN(name),
** SIGMOID, EXP (m, n, x, y) and a phi, the normal distribution function.
** SPDX-License-Identifier: MIT
*/

static void FN(act_block)(const struct job *j, int64_t n, const REAL *z, REAL *y) {
  REAL p[BLOCK];
  if (j->act == QN_ACT_SILU)
    SIGMOID(j->math, n, z, p);
  else
    FN(phi)(j->math, n, z, p);
  for (int64_t i = 0; i < n; i++) y[i] = z[i] * p[i];
}

/* silu' = s (1 + z (1 - s));  gelu' = Phi + z exp(-z^2 / 2) / sqrt(2 pi) */
static void FN(grad_block)(const struct job *j, int64_t n, const REAL *z, const REAL *dy, REAL *g) {
  REAL p[BLOCK], e[BLOCK];
  if (j->act == QN_ACT_RELU) {
    for (int64_t i = 0; i < n; i++) g[i] = z[i] > 0 ? dy[i] : 0;
    return;
  }
  if (j->act == QN_ACT_SILU) {
    SIGMOID(j->math, n, z, p);
    for (int64_t i = 0; i < n; i++) g[i] = dy[i] * p[i] * (1 + z[i] * (1 - p[i]));
    return;
  }
  FN(phi)(j->math, n, z, p);
  for (int64_t i = 0; i < n; i++) e[i] = (REAL)-0.5 * z[i] * z[i];
  EXP(j->math, n, e, e);
  for (int64_t i = 0; i < n; i++)
    g[i] = dy[i] * (p[i] + z[i] * e[i] * (REAL)0.39894228040143267794);
}

static qn_status FN(run)(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  for (int64_t at = begin; at < end; at += BLOCK) {
    const int64_t n = end - at < BLOCK ? end - at : BLOCK;
    const REAL *z = (const REAL *)j->z + at;
    if (j->dy)
      FN(grad_block)(j, n, z, (const REAL *)j->dy + at, (REAL *)j->out + at);
    else
      FN(act_block)(j, n, z, (REAL *)j->out + at);
  }
  return QN_OK;
}
