/*
** Batch normalisation with channels last: x [rows, cols], statistics of each column.
**
**   y = act(scale x + shift + residual)
**   g = dy act'(y);  dresidual = g;  dx = a (g - u) + q (x - mean) + m
**
** Items of every range are chunks of QNI_BATCH_NORM_CHUNK elements of whole rows, so that
** sums do not depend on the workers; each chunk has a row of partial results of its own.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_BATCH_NORM_H
#define QNI_BATCH_NORM_H

#include "kernels/kernel.h"
#include "quern/abi.h"

enum { QNI_BATCH_NORM_CHUNK = 32768 };

typedef struct qni_batch_norm_job {
  int64_t rows, cols, chunk; /* chunk: rows of one item */
  int32_t relu;
  const void *x, *residual;  /* [rows, cols]; residual may be NULL */
  const void *scale, *shift; /* [cols] */
  void *y;                   /* [rows, cols]; of backward: where relu is told by it, or NULL */
  const void *mean;          /* [cols], of the element type; backward */
  const void *dy;            /* [rows, cols] */
  void *g;                   /* dy where y > 0, written by the sums; NULL: not kept */
  void *dx;                  /* [rows, cols] */
  const void *a, *u, *q, *m; /* [cols] */
  double *first, *second;    /* [chunks, cols] partial results */
} qni_batch_norm_job;

/* Index 0 is f32, 1 is f64; ctx qni_batch_norm_job. */
typedef struct qni_batch_norm_table {
  qn_range_fn stats[2]; /* first: mean, second: sum (x - mean)^2, of each chunk */
  qn_range_fn apply[2]; /* y */
  qn_range_fn sums[2];  /* first: sum g, second: sum g (x - mean); g too, where asked for */
  qn_range_fn back[2];  /* dx, of g where it was kept */
} qni_batch_norm_table;

const qni_batch_norm_table *qni_batch_norm(void);

#endif
