/*
** Row normalisations and column sums.
**
**   layer: xh = (x - mean) r, r = 1 / sqrt(var + eps); y = xh w + b
**          dx = r (g - mean(g) - xh mean(g xh)), g = dy w; dw = sum dy xh; db = sum dy
**   rms:   xh = x r, r = 1 / sqrt(mean(x^2) + eps);  dx = r (g - xh mean(g xh))
**   l2:    y = x r, r = 1 / max(|x|, eps);           dx = r (dy - y sum(dy y)) where |x| > eps
**
** Statistics are taken in two passes. Backward items are chunks of QNI_NORM_CHUNK rows,
** each with its own row of partial sums, so that sums do not depend on the workers.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_NORM_H
#define QNI_NORM_H

#include "quern/abi.h"
#include "kernels/kernel.h"

enum { QNI_NORM_CHUNK = 128 };
enum qni_norm_kind { QNI_NORM_LAYER, QNI_NORM_RMS, QNI_NORM_L2 };

typedef struct qni_norm_job {
  int32_t kind;
  int64_t rows, cols;
  double eps;
  const void *x, *w, *b; /* w, b may be NULL */
  void *y;
  void *mean, *scale; /* [rows]; mean only of layer */
  const void *dy;
  void *dx;      /* may be NULL */
  void *dw, *db; /* [chunks, cols] partial sums, may be NULL */
} qni_norm_job;

typedef struct qni_column_job {
  const void *x; /* [rows, cols], rows `stride` apart */
  void *out;     /* chunks: [chunks, cols]; fold: [cols] */
  int64_t rows, cols, stride, chunk;
} qni_column_job;

/* Index 0 is f32, 1 is f64. */
typedef struct qni_norm_table {
  qn_range_fn forward[2];       /* ctx qni_norm_job; items are rows */
  qn_range_fn backward[2];      /* items are chunks */
  qn_range_fn column_chunks[2]; /* ctx qni_column_job; items are chunks of `chunk` rows */
  qn_range_fn column_fold[2];   /* items are columns; sums the rows of x in order */
} qni_norm_table;

const qni_norm_table *qni_norm(void);

#endif
