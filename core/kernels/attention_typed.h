/*
** The kernels of attention.h for one type. Included with REAL, FN(name), LOG1, IS64, and
** FN(slope_row). SPDX-License-Identifier: MIT
*/
#include "kernels/row_typed.h"

static int64_t FN(seen)(const qni_attention_tile *t, int64_t i) {
  if (!t->causal || t->first + i + 1 >= t->cols) return t->cols;
  return t->first + i + 1 > 0 ? t->first + i + 1 : 0;
}

/* Bias and mask of row i on the n keys that it sees. */
static void FN(adjust)(const qni_attention_tile *t, int64_t i, int64_t n, REAL *restrict s) {
  if (t->bias) {
    const REAL *restrict b = (const REAL *)t->bias + i * t->bias_row;
    if (t->bias_col == 1)
      for (int64_t c = 0; c < n; c++) s[c] += b[c];
    else
      for (int64_t c = 0; c < n; c++) s[c] += b[c * t->bias_col];
  }
  if (t->mask) {
    const uint8_t *m = t->mask + i * t->mask_row;
    for (int64_t c = 0; c < n; c++) s[c] = m[c * t->mask_col] ? s[c] : (REAL)-INFINITY;
  }
}

static void FN(tile_forward)(const qni_attention_tile *t) {
  for (int64_t i = 0; i < t->rows; i++) {
    REAL *s = (REAL *)t->s + i * t->s_row, *lse = (REAL *)t->lse + i * t->lse_step;
    REAL *norm = (REAL *)t->norm + i;
    int64_t n = FN(seen)(t, i);
    FN(adjust)(t, i, n, s);
    const REAL top = FN(greatest)(n, s);
    if (FN(nothing)(n, s, top)) {
      *lse = (REAL)INFINITY;
      *norm = 0;
      n = 0;
    } else {
      const REAL sum = FN(exp_row)(n, top, 1, s, s);
      *norm = 1 / sum;
      *lse = top + LOG1(sum);
    }
    for (int64_t c = n; c < t->cols; c++) s[c] = 0;
  }
}

static void FN(add_bias_grad)(const qni_attention_tile *t, int64_t i, int64_t n,
                              const REAL *restrict ds) {
  REAL *restrict db = (REAL *)t->dbias + i * t->dbias_row;
  if (t->dbias_col == 0)
    *db += FN(sum)(n, ds);
  else
    for (int64_t c = 0; c < n; c++) db[c * t->dbias_col] += ds[c];
}

static void FN(tile_backward)(const qni_attention_tile *t) {
  for (int64_t i = 0; i < t->rows; i++) {
    REAL *s = (REAL *)t->s + i * t->s_row, *ds = (REAL *)t->ds + i * t->s_row;
    const REAL lse = ((const REAL *)t->lse)[i * t->lse_step], delta = ((const REAL *)t->delta)[i];
    const int64_t n = lse == (REAL)INFINITY ? 0 : FN(seen)(t, i);
    FN(adjust)(t, i, n, s);
    FN(slope_row)(n, lse, delta, s, ds);
    for (int64_t c = n; c < t->cols; c++) s[c] = ds[c] = 0;
    if (t->dbias) FN(add_bias_grad)(t, i, n, ds);
  }
}

static void FN(row_dots)(int64_t rows, int64_t width, int64_t stride, const void *a, const void *b,
                         void *out) {
  for (int64_t r = 0; r < rows; r++)
    ((REAL *)out)[r] = FN(dot)(width, (const REAL *)a + r * stride, (const REAL *)b + r * stride);
}

static void FN(scale_rows)(int64_t rows, int64_t width, int64_t stride, const void *by, void *x) {
  for (int64_t r = 0; r < rows; r++)
    FN(scale)(width, ((const REAL *)by)[r], (REAL *)x + r * stride);
}
