/* The kernels of loss.h for one type. Included with REAL, FN(name), EXP. SPDX-License-Identifier: MIT */

/* log(1 + e) to the last digits of small e (Kahan's correction), for 0 <= e <= 1. */
static void FN(log_one_plus)(const qn_math *math, int64_t n, const REAL *e, REAL *l) {
  (void)math;
#if IS64
  for (int64_t i = 0; i < n; i++) l[i] = log1p(e[i]);
#else
  for (int64_t i = 0; i < n; i++) l[i] = 1 + e[i];
  math->log(n, l, l);
  for (int64_t i = 0; i < n; i++) {
    const REAL rounded = (1 + e[i]) - 1;
    l[i] = rounded == 0 ? e[i] : l[i] * (e[i] / rounded);
  }
#endif
}

/* Loss and slope of -x t + softplus(x): logistic of d against target t. */
static void FN(logistic)(const qn_math *math, int64_t n, const REAL *d, const REAL *t, REAL *l,
                         REAL *slope) {
  REAL e[BLOCK];
  for (int64_t i = 0; i < n; i++) e[i] = -ABS1(d[i]);
  EXP(math, n, e, e);
  FN(log_one_plus)(math, n, e, l);
  for (int64_t i = 0; i < n; i++) {
    const REAL target = t ? t[i] : 1;
    l[i] += (d[i] > 0 ? d[i] : 0) - d[i] * target;
    slope[i] = (d[i] >= 0 ? 1 : e[i]) / (1 + e[i]) - target;
  }
}

static void FN(smooth)(int64_t n, REAL beta, const REAL *d, REAL *l, REAL *slope) {
  for (int64_t i = 0; i < n; i++) {
    const REAL a = ABS1(d[i]), sign = d[i] > 0 ? 1 : d[i] < 0 ? -1 : d[i];
    const int inside = a < beta;
    l[i] = inside ? (REAL)0.5 * a * a / beta : a - (REAL)0.5 * beta;
    slope[i] = inside ? d[i] / beta : sign;
  }
}

/* Losses and their slopes in x of up to BLOCK elements. */
static void FN(block)(const qni_loss_job *j, int64_t n, const REAL *x, const REAL *t, REAL *l,
                      REAL *slope) {
  REAL d[BLOCK];
  if (j->kind == QNI_LOSS_LOGISTIC) {
    FN(logistic)(j->math, n, x, t, l, slope);
    return;
  }
  for (int64_t i = 0; i < n; i++) d[i] = x[i] - t[i];
  if (j->kind == QNI_LOSS_PAIR) {
    FN(logistic)(j->math, n, d, NULL, l, slope);
  } else if (j->kind == QNI_LOSS_SQUARE) {
    for (int64_t i = 0; i < n; i++) l[i] = d[i] * d[i], slope[i] = 2 * d[i];
  } else {
    FN(smooth)(n, j->kind == QNI_LOSS_SMOOTH ? (REAL)j->beta : 0, d, l, slope);
  }
}

static qn_status FN(forward)(void *ctx, int64_t begin, int64_t end) {
  const qni_loss_job *j = ctx;
  REAL l[BLOCK], slope[BLOCK];
  for (int64_t chunk = begin; chunk < end; chunk++) {
    const int64_t last = (chunk + 1) * QNI_LOSS_CHUNK < j->n ? (chunk + 1) * QNI_LOSS_CHUNK : j->n;
    double sum = 0;
    for (int64_t at = chunk * QNI_LOSS_CHUNK; at < last; at += BLOCK) {
      const int64_t n = last - at < BLOCK ? last - at : BLOCK;
      FN(block)(j, n, (const REAL *)j->x + at, (const REAL *)j->t + at, l, slope);
      for (int64_t i = 0; i < n && j->w; i++) l[i] *= ((const REAL *)j->w)[at + i];
      for (int64_t i = 0; i < n && j->out; i++) ((REAL *)j->out)[at + i] = l[i];
      sum += (double)FN(sum)(n, l);
    }
    if (j->sums) j->sums[chunk] = sum;
  }
  return QN_OK;
}

static void FN(block_back)(const qni_loss_job *j, int64_t at, int64_t n) {
  REAL l[BLOCK], slope[BLOCK], r[BLOCK];
  const REAL *x = (const REAL *)j->x + at, *dy = j->dy, *w = j->w;
  FN(block)(j, n, x, (const REAL *)j->t + at, l, slope);
  for (int64_t i = 0; i < n; i++) r[i] = (REAL)j->scale * (dy ? dy[at + i] : 1);
  for (int64_t i = 0; i < n && j->dw; i++) ((REAL *)j->dw)[at + i] = l[i] * r[i];
  for (int64_t i = 0; i < n && w; i++) r[i] *= w[at + i];
  for (int64_t i = 0; i < n && j->dx; i++) ((REAL *)j->dx)[at + i] = slope[i] * r[i];
  const int logistic = j->kind == QNI_LOSS_LOGISTIC;
  for (int64_t i = 0; i < n && j->dt; i++)
    ((REAL *)j->dt)[at + i] = -(logistic ? x[i] : slope[i]) * r[i];
}

static qn_status FN(backward)(void *ctx, int64_t begin, int64_t end) {
  const qni_loss_job *j = ctx;
  const int64_t last = end * QNI_LOSS_CHUNK < j->n ? end * QNI_LOSS_CHUNK : j->n;
  for (int64_t at = begin * QNI_LOSS_CHUNK; at < last; at += BLOCK)
    FN(block_back)(j, at, last - at < BLOCK ? last - at : BLOCK);
  return QN_OK;
}

/* ---- Rows of class scores ---- */

/* sum exp(x - top), in blocks that stay on the stack */
static REAL FN(exp_sum)(const qn_math *math, int64_t n, const REAL *x, REAL top) {
  REAL e[BLOCK], sum = 0;
  for (int64_t at = 0; at < n; at += BLOCK) {
    const int64_t m = n - at < BLOCK ? n - at : BLOCK;
    for (int64_t i = 0; i < m; i++) e[i] = x[at + i] - top;
    EXP(math, m, e, e);
    sum += FN(sum)(m, e);
  }
  return sum;
}

static qn_status FN(class_forward)(void *ctx, int64_t begin, int64_t end) {
  const qni_class_job *j = ctx;
  const REAL s = (REAL)j->smoothing;
  REAL *loss = j->loss, *lse = j->lse;
  for (int64_t r = begin; r < end; r++) {
    const REAL *x = (const REAL *)j->x + r * j->cols;
    loss[r] = lse[r] = 0;
    if (j->skip && j->skip[r]) continue;
    const REAL top = FN(max)(j->cols, x);
    lse[r] = top + LOG1(FN(exp_sum)(j->math, j->cols, x, top));
    loss[r] =
        lse[r] - (s > 0 ? (1 - s) * x[j->target[r]] + s * (FN(sum)(j->cols, x) / (REAL)j->cols)
                        : x[j->target[r]]);
  }
  return QN_OK;
}

static qn_status FN(class_backward)(void *ctx, int64_t begin, int64_t end) {
  const qni_class_job *j = ctx;
  const int64_t C = j->cols;
  const REAL s = (REAL)j->smoothing, low = s / (REAL)C, *coef = j->coef, *lse = j->lse;
  for (int64_t r = begin; r < end; r++) {
    const REAL *x = (const REAL *)j->x + r * C;
    REAL *dx = (REAL *)j->dx + r * C;
    if (j->skip && j->skip[r]) {
      for (int64_t c = 0; c < C; c++) dx[c] = 0;
      continue;
    }
    for (int64_t c = 0; c < C; c++) dx[c] = x[c] - lse[r];
    EXP(j->math, C, dx, dx);
    for (int64_t c = 0; c < C; c++) dx[c] = coef[r] * (dx[c] - low);
    dx[j->target[r]] -= coef[r] * (1 - s);
  }
  return QN_OK;
}

#include "kernels/loss_sampled_typed.h"
