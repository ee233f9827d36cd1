/*
** bf16 is storage: numbers are widened to f32 before any arithmetic, and rounded when they are put back.
**
**   nearest     to the nearest, ties to even; NaN stays NaN
**   stochastic  up with the probability of what is cut off: right on average, so that a sum of many
**               small changes is not lost. The 16 random bits of element i are a hash of (i, seed), for
**               any order and number of workers.
**   follow      a master in f32 goes along with what others wrote: where it does not round to the stored
**               number, it becomes that number
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_BF16_H
#define QNI_BF16_H

#include "kernels/kernel.h"

typedef struct qni_bf16_table {
  void (*widen)(int64_t n, const uint16_t *x, float *y);
  void (*nearest)(int64_t n, const float *x, uint16_t *y);
  /* x[0] is element `first` */
  void (*stochastic)(int64_t n, const float *x, uint16_t *y, int64_t first, uint32_t seed);
  void (*follow)(int64_t n, const uint16_t *stored, float *master);
} qni_bf16_table;

const qni_bf16_table *qni_bf16(void);

/* The seed of a tensor's rounding at a step: `salt` tells tensors apart. */
static inline uint32_t qni_bf16_seed(int64_t step, uint32_t salt) {
  return ((uint32_t)step * 0x85ebca77u ^ salt) * 0xc2b2ae3du;
}

#endif
