/* The kernels of entropy.h for one type. Included with REAL, FN(name), IS64. SPDX-License-Identifier: MIT */
#include "kernels/row_typed.h"

/* A worker's memory: scores of a chunk of rows, its rows of H times a factor, the products' panels. */
struct FN(work) {
  REAL *e, *rows;
  int64_t e_row;
  void *pack;
};

/* Rows of scores are whole vectors, and steps down a column do not share cache sets. */
static int64_t FN(score_row)(const qni_entropy_job *j) {
  const int64_t lane = 64 / (int64_t)sizeof(REAL), row = (j->block + lane - 1) / lane * lane;
  return row % (1024 / (int64_t)sizeof(REAL)) ? row : row + lane;
}

static int64_t FN(work)(const qni_entropy_job *j) {
  const int64_t cells = ROWS * FN(score_row)(j) + (ROWS * j->width + 15) / 16 * 16;
  return QNI_GEMM_STACK + cells * (int64_t)sizeof(REAL);
}

static struct FN(work) FN(lay_out)(const qni_entropy_job *j, void *work) {
  struct FN(work) s = {.pack = work, .e_row = FN(score_row)(j)};
  s.e = (REAL *)(void *)((char *)work + QNI_GEMM_STACK);
  s.rows = s.e + ROWS * s.e_row;
  return s;
}

static qn_status FN(pack)(void *ctx, int64_t begin, int64_t end) {
  const qni_entropy_job *j = ctx;
  for (int64_t p = begin; p < end; p++) {
    REAL *to = (REAL *)j->columns + p * PANEL * j->width;
    const REAL *w = (const REAL *)j->w + p * PANEL * j->width;
    const int64_t n = least(PANEL, j->items - p * PANEL);
    for (int64_t d = 0; d < j->width; d++)
      for (int64_t v = 0; v < PANEL; v++) to[d * PANEL + v] = v < n ? w[v * j->width + d] : 0;
  }
  return QN_OK;
}

static void FN(product)(const struct FN(work) * s, int64_t m, int64_t n, int64_t k, double alpha,
                        const REAL *a, int64_t a_row, int64_t a_col, const REAL *b, int64_t b_row,
                        REAL *c, int64_t c_row, int add) {
  const qn_gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .batch = 1,
                     .a = a,
                     .b = b,
                     .c = c,
                     .a_row = a_row,
                     .a_col = a_col,
                     .b_row = b_row,
                     .b_col = 1,
                     .c_row = c_row,
                     .alpha = alpha,
                     .beta = add,
                     .dtype = IS64 ? QN_F64 : QN_F32};
#if IS64
  QNI_KERNEL(gemm_kernels).f64(&g, NULL, s->pack, QNI_GEMM_STACK);
#else
  QNI_KERNEL(gemm_kernels).f32(&g, NULL, s->pack, QNI_GEMM_STACK);
#endif
}

/* Scores of rows first .. first + m - 1 against `count` items from `item` on. */
static void FN(scores)(const qni_entropy_job *j, const struct FN(work) * s, int64_t first,
                       int64_t m, int64_t item, int64_t count) {
  const int64_t D = j->width;
  for (int64_t v = 0; v < count; v += PANEL) FN(product)
  (s, m, least(PANEL, count - v), D, j->scale, (const REAL *)j->h + first * D, D, 1,
   (const REAL *)j->columns + (item + v) * D, PANEL, s->e + v, s->e_row, 0);
}

/* ---- One block ---- */

/* From scores to slopes but for a factor of the row, which is returned: coef / sum. */
static REAL FN(whole_row)(const qni_entropy_job *j, int64_t r, REAL *x) {
  const REAL s = (REAL)j->smoothing, V = (REAL)j->items;
  REAL *loss = (REAL *)j->loss + r;
  *loss = 0;
  if (j->skip && j->skip[r]) {
    for (int64_t v = 0; v < j->items; v++) x[v] = 0;
    return 0;
  }
  const REAL own = x[j->target[r]], mean = s > 0 ? FN(sum)(j->items, x) / V : 0;
  const REAL top = FN(greatest)(j->items, x), sum = FN(exp_row)(j->items, top, 1, x, x);
  *loss = top + LOG1(sum) - (1 - s) * own - s * mean;
  x[j->target[r]] -= (1 - s) * sum;
  for (int64_t v = 0; v < j->items && s > 0; v++) x[v] -= s / V * sum;
  return ((const REAL *)j->coef)[r] / sum;
}

/* dH and dW of a chunk whose slopes lack a factor of each row. */
static void FN(chunk)(const qni_entropy_job *j, const struct FN(work) * s, int64_t first, int64_t m,
                      REAL *dw, int add) {
  const int64_t D = j->width, V = j->items;
  REAL factor[ROWS], *dh = j->dh ? (REAL *)j->dh + first * D : NULL;
  FN(scores)(j, s, first, m, 0, V);
  for (int64_t r = 0; r < m; r++) factor[r] = FN(whole_row)(j, first + r, s->e + r * s->e_row);
  if (dh) FN(product)(s, m, D, V, j->scale, s->e, s->e_row, 1, j->w, D, dh, D, 0);
  for (int64_t r = 0; r < m; r++) {
    const REAL *h = (const REAL *)j->h + (first + r) * D;
    for (int64_t d = 0; d < D && dh; d++) dh[r * D + d] *= factor[r];
    for (int64_t d = 0; d < D; d++) s->rows[r * D + d] = factor[r] * h[d];
  }
  if (dw) FN(product)(s, V, D, m, j->scale, s->e, 1, s->e_row, s->rows, D, dw, D, add);
}

static void FN(rows)(const qni_entropy_job *j, int64_t lane, void *work) {
  const struct FN(work) s = FN(lay_out)(j, work);
  const int64_t begin = lane * j->each, end = least(j->n, begin + j->each);
  REAL *dw = j->dw;
  if (dw && lane > 0) dw = (REAL *)j->more + (lane - 1) * j->items * j->width;
  for (int64_t r = begin; r < end; r += ROWS)
    FN(chunk)(j, &s, r, least(ROWS, end - r), dw, r > begin);
}

/* ---- Several blocks ---- */

static void FN(sums)(const qni_entropy_job *j, int64_t block, void *work) {
  const struct FN(work) s = FN(lay_out)(j, work);
  const int64_t item = block * j->block, count = least(j->block, j->items - item);
  for (int64_t first = 0; first < j->n; first += ROWS) {
    const int64_t m = least(ROWS, j->n - first);
    FN(scores)(j, &s, first, m, item, count);
    for (int64_t r = 0; r < m; r++) {
      REAL *x = s.e + r * s.e_row;
      const int64_t at = block * j->n + first + r, t = j->target[first + r] - item;
      REAL linear =
          j->smoothing > 0 ? (REAL)j->smoothing * (FN(sum)(count, x) / (REAL)j->items) : 0;
      if (t >= 0 && t < count) linear += (REAL)(1 - j->smoothing) * x[t];
      const REAL top = FN(greatest)(count, x);
      ((REAL *)j->linear)[at] = linear;
      ((REAL *)j->top)[at] = top;
      ((REAL *)j->sum)[at] = FN(exp_row)(count, top, 1, x, x);
    }
  }
}

static qn_status FN(join_sums)(void *ctx, int64_t begin, int64_t end) {
  const qni_entropy_job *j = ctx;
  const REAL *tops = j->top, *sums = j->sum, *linears = j->linear;
  for (int64_t r = begin; r < end; r++) {
    REAL top = tops[r], sum = 0, linear = 0;
    for (int64_t b = 1; b < j->n_blocks; b++)
      top = tops[b * j->n + r] > top ? tops[b * j->n + r] : top;
    for (int64_t b = 0; b < j->n_blocks; b++) {
      sum += sums[b * j->n + r] * EXP1(tops[b * j->n + r] - top);
      linear += linears[b * j->n + r];
    }
    const REAL lse = top + LOG1(sum);
    ((REAL *)j->lse)[r] = lse;
    ((REAL *)j->loss)[r] = j->skip && j->skip[r] ? 0 : lse - linear;
  }
  return QN_OK;
}

static void FN(slope_row)(const qni_entropy_job *j, int64_t r, int64_t item, int64_t count,
                          REAL *x) {
  const REAL coef = ((const REAL *)j->coef)[r], s = (REAL)j->smoothing;
  const int64_t t = j->target[r] - item;
  if (j->skip && j->skip[r]) {
    for (int64_t v = 0; v < count; v++) x[v] = 0;
    return;
  }
  FN(exp_row)(count, ((const REAL *)j->lse)[r], coef, x, x);
  for (int64_t v = 0; v < count && s > 0; v++) x[v] -= coef * s / (REAL)j->items;
  if (t >= 0 && t < count) x[t] -= coef * (1 - s);
}

static void FN(slopes)(const qni_entropy_job *j, int64_t lane, void *work) {
  const struct FN(work) s = FN(lay_out)(j, work);
  const int64_t D = j->width, begin = lane * j->each, end = least(j->n_blocks, begin + j->each);
  REAL *dh = j->dh;
  if (dh && lane > 0) dh = (REAL *)j->more + (lane - 1) * j->n * D;
  for (int64_t b = begin; b < end; b++) {
    const int64_t item = b * j->block, count = least(j->block, j->items - item);
    for (int64_t first = 0; first < j->n; first += ROWS) {
      const int64_t m = least(ROWS, j->n - first);
      FN(scores)(j, &s, first, m, item, count);
      for (int64_t r = 0; r < m; r++) FN(slope_row)(j, first + r, item, count, s.e + r * s.e_row);
      if (dh) FN(product)
      (&s, m, D, count, j->scale, s.e, s.e_row, 1, (const REAL *)j->w + item * D, D, dh + first * D,
       D, b > begin);
      if (j->dw) FN(product)
      (&s, count, D, m, j->scale, s.e, 1, s.e_row, (const REAL *)j->h + first * D, D,
       (REAL *)j->dw + item * D, D, first > 0);
    }
  }
}

/* Lane 0 += lanes 1, 2, ...: rows of dw when there is one block, else of dh. */
static qn_status FN(join_lanes)(void *ctx, int64_t begin, int64_t end) {
  const qni_entropy_job *j = ctx;
  const int64_t cells = (j->n_blocks == 1 ? j->items : j->n) * j->width;
  REAL *to = j->n_blocks == 1 ? j->dw : j->dh;
  for (int64_t lane = 1; lane < j->lanes; lane++) {
    const REAL *from = (const REAL *)j->more + (lane - 1) * cells;
    for (int64_t i = begin * j->width; i < end * j->width; i++) to[i] += from[i];
  }
  return QN_OK;
}
