/*
** Softmax and its logarithm over the middle of [outer, cols, inner].
**
**   y_c = exp(x_c - max) / sum_c exp(x_c - max)       dx_c = y_c (dy_c - sum_c dy_c y_c)
**   l_c = x_c - max - log sum_c exp(x_c - max)        dx_c = dy_c - exp(l_c) sum_c dy_c
**
** An item of a range is one row when inner is 1, else QNI_SOFTMAX_BLOCK columns of
** one outer index. Rows with a mask leave out places whose byte is 0; a row with
** nothing kept is zeros.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SOFTMAX_H
#define QNI_SOFTMAX_H

#include "quern/abi.h"
#include "kernels/kernel.h"

enum { QNI_SOFTMAX_BLOCK = 64 };

typedef struct qni_softmax_job {
  const qn_math *math;
  const void *x; /* forward: scores; backward: y */
  const void *dy;
  void *out;
  int64_t cols, inner;
  int32_t log;    /* the logarithm is wanted */
  int32_t n_lead; /* of a masked job: leading dimensions, and the mask's strides */
  int64_t lead[8], keep_stride[8];
  const uint8_t *keep; /* NULL: all kept */
} qni_softmax_job;

/* Index 0 is f32, 1 is f64. ctx is a qni_softmax_job. */
typedef struct qni_softmax_table {
  qn_range_fn forward[2], backward[2];
} qni_softmax_table;

const qni_softmax_table *qni_softmax(void);

#endif
