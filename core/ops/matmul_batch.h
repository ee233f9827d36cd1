/*
** Products of batches of matrices with broadcasting.
**
** A batch is a list of leading dimensions with one stride per operand; stride 0 in a
** or b repeats that matrix, stride 0 in c sums over the dimension, in order. Dimensions
** are merged, with each other and into the matrix, before the loop over what is left.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_MATMUL_BATCH_H
#define QNI_MATMUL_BATCH_H

#include "quern/abi.h"

typedef struct qni_batch {
  int32_t n;
  int64_t size[QN_MAX_DIMS], a[QN_MAX_DIMS], b[QN_MAX_DIMS], c[QN_MAX_DIMS];
} qni_batch;

/* C = alpha A B for all items of the batch; g has the matrices, its batch fields are not read. */
qn_status qni_batch_multiply(const qn_host *h, qn_call *c, qn_gemm g, qni_batch batch);

#endif
