/*
** Mix: the small random numbers of the data side, by SplitMix64 (Steele et al. 2014).
**
** A stream starts from (seed, a, b), so that epoch b of purpose a, or record b, is
** drawn without drawing those before it. Bits are the same on every machine.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_MIX_H
#define QNI_MIX_H

#include <stdint.h>

typedef struct qni_mix {
  uint64_t state;
} qni_mix;

qni_mix qni_mix_start(uint64_t seed, uint64_t a, uint64_t b);
uint64_t qni_mix_next(qni_mix *mix);
double qni_mix_uniform(qni_mix *mix);           /* [0, 1), 53 bits */
int64_t qni_mix_below(qni_mix *mix, int64_t n); /* 0 .. n-1 without bias; n > 0 */
void qni_mix_shuffle(qni_mix *mix, int64_t *values, int64_t n);

#endif
