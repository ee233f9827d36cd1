/*
** Slopes of linear's activations, and the sums of their rows, in one pass:
**
**   g = dy act'(z),  sums = the sum of g's rows
**
**   relu' = 1 where y > 0;  silu' = s (1 + z (1 - s)), s = sigmoid(z);
**   gelu' = Phi(z) + z phi(z), phi(z) = exp(-z^2 / 2) / sqrt(2 pi)
**
** Rows go through one after the other; a chunk of them has sums of its own.
** SPDX-License-Identifier: MIT
*/
#include "kernels/linear.h"

#include <math.h>
#include <stddef.h>

#include "kernels/vec_part.h"

#define INV_SQRT_2PI 0.39894228040143267794
#define SQRT_HALF 0.70710678118654752440

/* ---- f32 ---- */

VF_INLINE vf slope_of(int32_t act, vf z, vf dy) {
  switch (act) {
  case QN_ACT_RELU: return vf_pick(z > 0.0f, dy, vf_all(0));
  case QN_ACT_SILU: {
    vf y;
    return dy * vf_silu_slope(z, &y);
  }
  case QN_ACT_GELU: {
    const vf Phi = 0.5f + 0.5f * vf_erf(z * (float)SQRT_HALF);
    return dy * (Phi + z * vf_exp(-0.5f * z * z) * (float)INV_SQRT_2PI);
  }
  default: return dy;
  }
}

/* `n` columns of a row: g and, where they are wanted, its sums. */
VF_INLINE void cells_f32(int32_t act, const float *z, const float *dy, float *g, float *sums,
                         int n) {
  vf x = vf_load_part(dy, n);
  if (act != QN_ACT_NONE) {
    x = slope_of(act, vf_load_part(z, n), x);
    vf_store_part(g, x, n);
  }
  if (sums) vf_store_part(sums, vf_load_part(sums, n) + x, n);
}

/* Rows whose sums nobody wants are one long row. */
VF_INLINE void chunk_f32(const qni_linear_job *j, int32_t act, int64_t chunk) {
  const int64_t first = chunk * j->chunk * j->cols, left = j->rows * j->cols - first;
  const int64_t all = left < j->chunk * j->cols ? left : j->chunk * j->cols;
  const int64_t n = j->sums ? j->cols : all;
  const float *z = j->z, *dy = j->dy;
  float *g = j->g, *sums = j->sums ? (float *)j->sums + chunk * n : NULL;
  if (sums) memset(sums, 0, (size_t)n * sizeof *sums);
  for (int64_t at = first; at < first + all; at += n) {
    int64_t c = 0;
    for (; c + VF_N <= n; c += VF_N)
      cells_f32(act, z + at + c, dy + at + c, g + at + c, sums ? sums + c : NULL, VF_N);
    if (c < n)
      cells_f32(act, z + at + c, dy + at + c, g + at + c, sums ? sums + c : NULL, (int)(n - c));
  }
}

static qn_status slope_f32(void *ctx, int64_t begin, int64_t end) {
  const qni_linear_job *j = ctx;
  for (int64_t i = begin; i < end; i++) switch (j->act) {
    case QN_ACT_RELU: chunk_f32(j, QN_ACT_RELU, i); break;
    case QN_ACT_SILU: chunk_f32(j, QN_ACT_SILU, i); break;
    case QN_ACT_GELU: chunk_f32(j, QN_ACT_GELU, i); break;
    default: chunk_f32(j, QN_ACT_NONE, i);
    }
  return QN_OK;
}

/* ---- f64: exactness before speed ---- */

static double slope_of_f64(int32_t act, double z) {
  if (act == QN_ACT_RELU) return z > 0;
  if (act == QN_ACT_SILU) {
    const double s = 1 / (1 + exp(-z));
    return s * (1 + z * (1 - s));
  }
  return 0.5 * erfc(-z * SQRT_HALF) + z * exp(-0.5 * z * z) * INV_SQRT_2PI;
}

static void chunk_f64(const qni_linear_job *j, int64_t chunk) {
  const int64_t first = chunk * j->chunk,
                end = first + j->chunk < j->rows ? first + j->chunk : j->rows;
  double *sums = j->sums ? (double *)j->sums + chunk * j->cols : NULL;
  for (int64_t c = 0; sums && c < j->cols; c++) sums[c] = 0;
  for (int64_t r = first; r < end; r++) {
    const int64_t at = r * j->cols;
    const double *dy = (const double *)j->dy + at, *x = dy;
    if (j->act != QN_ACT_NONE) {
      const double *z = (const double *)j->z + at;
      double *g = (double *)j->g + at;
      for (int64_t c = 0; c < j->cols; c++) g[c] = dy[c] * slope_of_f64(j->act, z[c]);
      x = g;
    }
    for (int64_t c = 0; sums && c < j->cols; c++) sums[c] += x[c];
  }
}

static qn_status slope_f64(void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) chunk_f64(ctx, i);
  return QN_OK;
}

extern const qni_linear_table QNI_KERNEL(linear_kernels);
const qni_linear_table QNI_KERNEL(linear_kernels) = {.slope = {slope_f32, slope_f64}};
