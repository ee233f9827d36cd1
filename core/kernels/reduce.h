/*
** Reduction kernels: folding contiguous elements into an accumulator.
**
** Accumulators are double for f32 and f64, int64_t for i64. f32 sums run in 32 lanes of
** f32 over at most 1024 elements, then go on in double: the order of additions is
** fixed by n alone, and the error does not grow with n.
**   rows(n, x, acc, center)              *acc   <- fold of x[0..n-1]
**   cols(rows, cols, x, ld, acc, center) acc[c] <- fold of x[r * ld + c] over r
** center: one value for rows, one for each column for cols; used by SQUARES only (the sum
** of (x - center)^2), else NULL. NaN wins in MAX and MIN.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_REDUCE_H
#define QNI_REDUCE_H

#include "kernels/kernel.h"

enum qni_fold_kind {
  QNI_FOLD_SUM,
  QNI_FOLD_PROD,
  QNI_FOLD_MAX,
  QNI_FOLD_MIN,
  QNI_FOLD_SQUARES,
  QNI_FOLD_COUNT
};

typedef void (*qni_fold_rows)(int64_t n, const void *x, void *acc, const double *center);
typedef void (*qni_fold_cols)(int64_t rows, int64_t cols, const void *x, int64_t ld, void *acc,
                              const double *center);

typedef struct qni_reduce_kernels {
  qni_fold_rows rows[QNI_FOLD_COUNT];
  qni_fold_cols cols[QNI_FOLD_COUNT];
} qni_reduce_kernels;

typedef struct qni_reduce_table {
  qni_reduce_kernels f32, f64, i64;
} qni_reduce_table;

const qni_reduce_table *qni_reduce(void);

#endif
