/*
** Dropout of a run of elements, and the rotation of pairs (rope).
**
**   y_i = keep_i x_i scale,  keep_i: random word i >= below; bit i % 8 of kept[i / 8], if wanted
**   (y_2k, y_2k+1) = (x_2k cos - x_2k+1 sin, x_2k sin + x_2k+1 cos)
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_DROPOUT_H
#define QNI_DROPOUT_H

#include "quern/abi.h"
#include "kernels/kernel.h"

typedef struct qni_rotate_job {
  const void *x;
  void *y;
  const void *cosine, *sine;    /* [positions, width / 2] */
  const int64_t *position;      /* [rows], or NULL: row % period */
  int64_t period, heads, width; /* a row is [heads, width] */
  int32_t back;                 /* turns the other way */
} qni_rotate_job;

typedef struct qni_dropout_table {
  void (*apply[2])(int64_t n, const uint32_t *random, uint64_t below, double scale, const void *x,
                   void *y, uint8_t *kept);
  void (*again[2])(int64_t n, const uint8_t *kept, double scale, const void *x, void *y);
  qn_range_fn rotate[2]; /* items are rows */
} qni_dropout_table;

const qni_dropout_table *qni_dropout(void);

#endif
