/*
** What linear's backward does before its products; see linear.c.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_LINEAR_KERNEL_H
#define QNI_LINEAR_KERNEL_H

#include "kernels/kernel.h"
#include "quern/abi.h"

typedef struct qni_linear_job {
  int64_t rows, cols, chunk; /* items of the range functions are chunks of so many rows */
  int32_t act;
  const void *z, *dy; /* z: the map before act, for relu after it, NULL without act; [rows,cols] */
  void *g;            /* gets dy act'(z); NULL without act */
  void *sums;         /* [chunks,cols] gets the sums of a chunk's rows of g; NULL: not wanted */
} qni_linear_job;

typedef struct qni_linear_table {
  qn_range_fn slope[2]; /* ctx qni_linear_job */
} qni_linear_table;

const qni_linear_table *qni_linear_kernels(void);

#endif
