/*
** The kernels of softmax.h for one type. Included with REAL, FN(name), EXP(math, n, x, y).
** SPDX-License-Identifier: MIT
*/
#include "kernels/row_typed.h"

static void FN(forward_row)(const qni_softmax_job *j, const REAL *x, REAL *y) {
  const int64_t C = j->cols;
  const REAL top = FN(greatest)(C, x);
  if (!j->log) {
    FN(scale)(C, 1 / FN(exp_row)(C, top, 1, x, y), y);
    return;
  }
  const REAL low = top + LOG1(FN(exp_row)(C, top, 1, x, y));
  for (int64_t c = 0; c < C; c++) y[c] = x[c] - low;
}

static void FN(forward_masked)(const qni_softmax_job *j, const REAL *x, const uint8_t *keep,
                               REAL *y) {
  const int64_t C = j->cols;
  for (int64_t c = 0; c < C; c++) y[c] = keep[c] ? x[c] : (REAL)-INFINITY;
  const REAL top = FN(greatest)(C, y);
  if (FN(nothing)(C, y, top)) { /* nothing kept, or only -infinity */
    for (int64_t c = 0; c < C; c++) y[c] = 0;
    return;
  }
  const REAL by = 1 / FN(exp_row)(C, top, 1, y, y);
  for (int64_t c = 0; c < C; c++) y[c] = keep[c] ? y[c] * by : 0;
}

/* One block of `n` neighbouring columns; cols steps of `inner` elements. */
static void FN(forward_block)(const qni_softmax_job *j, int64_t n, const REAL *x, REAL *y) {
  REAL top[QNI_SOFTMAX_BLOCK], sum[QNI_SOFTMAX_BLOCK], e[QNI_SOFTMAX_BLOCK];
  for (int64_t i = 0; i < n; i++) top[i] = (REAL)-INFINITY, sum[i] = 0;
  for (int64_t c = 0; c < j->cols; c++)
    for (int64_t i = 0; i < n; i++) {
      const REAL v = x[c * j->inner + i];
      top[i] = v > top[i] ? v : top[i];
    }
  for (int64_t c = 0; c < j->cols; c++) {
    for (int64_t i = 0; i < n; i++) e[i] = x[c * j->inner + i] - top[i];
    if (j->log)
      for (int64_t i = 0; i < n; i++) y[c * j->inner + i] = e[i];
    EXP(j->math, n, e, e);
    for (int64_t i = 0; i < n; i++) sum[i] += e[i];
    if (!j->log)
      for (int64_t i = 0; i < n; i++) y[c * j->inner + i] = e[i];
  }
  for (int64_t i = 0; i < n; i++) sum[i] = j->log ? LOG1(sum[i]) : 1 / sum[i];
  for (int64_t c = 0; c < j->cols; c++)
    for (int64_t i = 0; i < n; i++) {
      const REAL v = y[c * j->inner + i];
      y[c * j->inner + i] = j->log ? v - sum[i] : v * sum[i];
    }
}

static void FN(backward_row)(const qni_softmax_job *j, const REAL *y, const REAL *dy,
                             REAL *restrict dx) {
  const int64_t C = j->cols;
  if (j->log) {
    const REAL sum = FN(sum)(C, dy);
    EXP(j->math, C, y, dx);
    for (int64_t c = 0; c < C; c++) dx[c] = dy[c] - dx[c] * sum;
    return;
  }
  const REAL sum = FN(dot)(C, y, dy);
  for (int64_t c = 0; c < C; c++) dx[c] = y[c] * (dy[c] - sum);
}

static void FN(backward_block)(const qni_softmax_job *j, int64_t n, const REAL *y, const REAL *dy,
                               REAL *dx) {
  REAL sum[QNI_SOFTMAX_BLOCK] = {0}, e[QNI_SOFTMAX_BLOCK];
  for (int64_t c = 0; c < j->cols; c++)
    for (int64_t i = 0; i < n; i++) {
      const int64_t at = c * j->inner + i;
      sum[i] += j->log ? dy[at] : dy[at] * y[at];
    }
  for (int64_t c = 0; c < j->cols; c++) {
    const int64_t row = c * j->inner;
    if (j->log) EXP(j->math, n, y + row, e);
    for (int64_t i = 0; i < n; i++)
      dx[row + i] = j->log ? dy[row + i] - e[i] * sum[i] : y[row + i] * (dy[row + i] - sum[i]);
  }
}

/* First element and width of block `item`. */
static int64_t FN(block_at)(const qni_softmax_job *j, int64_t item, int64_t *n) {
  const int64_t blocks = (j->inner + QNI_SOFTMAX_BLOCK - 1) / QNI_SOFTMAX_BLOCK;
  const int64_t first = item % blocks * QNI_SOFTMAX_BLOCK;
  *n = j->inner - first < QNI_SOFTMAX_BLOCK ? j->inner - first : QNI_SOFTMAX_BLOCK;
  return item / blocks * j->cols * j->inner + first;
}

static qn_status FN(forward)(void *ctx, int64_t begin, int64_t end) {
  const qni_softmax_job *j = ctx;
  const REAL *x = j->x;
  REAL *y = j->out;
  for (int64_t r = begin; r < end; r++) {
    int64_t n, at = j->inner == 1 ? r * j->cols : FN(block_at)(j, r, &n);
    if (j->inner != 1)
      FN(forward_block)(j, n, x + at, y + at);
    else if (j->keep)
      FN(forward_masked)(j, x + at, mask_row(j, r), y + at);
    else
      FN(forward_row)(j, x + at, y + at);
  }
  return QN_OK;
}

static qn_status FN(backward)(void *ctx, int64_t begin, int64_t end) {
  const qni_softmax_job *j = ctx;
  const REAL *y = j->x, *dy = j->dy;
  REAL *dx = j->out;
  for (int64_t r = begin; r < end; r++) {
    int64_t n, at = j->inner == 1 ? r * j->cols : FN(block_at)(j, r, &n);
    if (j->inner != 1)
      FN(backward_block)(j, n, y + at, dy + at, dx + at);
    else
      FN(backward_row)(j, y + at, dy + at, dx + at);
  }
  return QN_OK;
}
