/*
** Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011).
** Key: (run seed, step); counter: (op instance, stream, row, column / 4).
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_RNG_H
#define QNI_RNG_H

#include <stdint.h>

typedef struct qni_rng_key {
  uint64_t seed, step;
  uint32_t instance, stream;
} qni_rng_key;

/* out[0..n-1]: the numbers of columns col .. col+n-1 of a row. col < 2^34. */
void qni_rng_fill(const qni_rng_key *key, int64_t row, int64_t col, int64_t n, uint32_t *out);
void qni_rng_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The run's position; op instances count up from 0 within a step. */
void qni_rng_seed(uint64_t seed);
void qni_rng_step(uint64_t step);
uint64_t qni_rng_current_seed(void);
uint64_t qni_rng_current_step(void);
uint32_t qni_rng_instance(void);        /* takes the next */
uint32_t qni_rng_peek(void);            /* the next, not taken */
void qni_rng_rewind(uint32_t instance); /* makes it the next again, for replay */

#endif
