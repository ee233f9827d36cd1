/* Blocks of Philox4x32-10, many at once. SPDX-License-Identifier: MIT */
#ifndef QNI_PHILOX_H
#define QNI_PHILOX_H

#include "kernels/kernel.h"

typedef struct qni_philox_table {
  /* out[4i .. 4i+3]: the block of counter (c0, c1, c2, c3 + i); the last may be cut short. */
  void (*fill)(const uint32_t counter[4], const uint32_t key[2], int64_t words, uint32_t *out);
} qni_philox_table;

const qni_philox_table *qni_philox(void);

#endif
