/*
** Random numbers as a function of position; nothing is carried from draw to draw.
**
** The 64-bit key is mix(mix(seed) + step): for one seed, different steps have different
** keys. Rows beyond 2^32 fold their high half into the key.
** SPDX-License-Identifier: MIT
*/
#include "exec/rng.h"

#include <stdatomic.h>

#include <string.h>

#include "exec/cpu.h"
#include "kernels/philox.h"

QNI_DISPATCH(philox, qni_philox_table)

/* A bijection of 64 bits that spreads every bit (finalizer of Stafford's variant 13). */
static uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

void qni_rng_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  qni_philox()->fill(counter, key, 4, out);
}

void qni_rng_fill(const qni_rng_key *key, int64_t row, int64_t col, int64_t n, uint32_t *out) {
  if (n <= 0) return;
  uint64_t k = mix(mix(key->seed) + key->step), high = (uint64_t)row >> 32;
  if (high) k = mix(k ^ high);
  const uint32_t words[2] = {(uint32_t)k, (uint32_t)(k >> 32)};
  uint32_t counter[4] = {key->instance, key->stream, (uint32_t)row, (uint32_t)((uint64_t)col / 4)};
  const qni_philox_table *philox = qni_philox();
  int64_t skip = col % 4;
  if (skip) {
    uint32_t block[4];
    int64_t count = n < 4 - skip ? n : 4 - skip;
    philox->fill(counter, words, 4, block);
    memcpy(out, block + skip, (size_t)count * sizeof *out);
    out += count;
    n -= count;
    counter[3]++;
  }
  philox->fill(counter, words, n, out);
}

/* ---- The run's position ---- */

static uint64_t current_seed, current_step;
static atomic_uint next_instance; /* ops may be called by several threads */

void qni_rng_seed(uint64_t seed) {
  current_seed = seed;
  qni_rng_step(0);
}

void qni_rng_step(uint64_t step) {
  current_step = step;
  next_instance = 0;
}

uint64_t qni_rng_current_seed(void) { return current_seed; }
uint64_t qni_rng_current_step(void) { return current_step; }
uint32_t qni_rng_instance(void) { return next_instance++; }
uint32_t qni_rng_peek(void) { return next_instance; }
void qni_rng_rewind(uint32_t instance) { next_instance = instance; }
