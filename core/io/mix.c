/*
** Mix: the small random numbers of the data side, by SplitMix64 (Steele et al. 2014).
** SPDX-License-Identifier: MIT
*/
#include "io/mix.h"

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u;

static uint64_t finish(uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

qni_mix qni_mix_start(uint64_t seed, uint64_t a, uint64_t b) {
  uint64_t state = finish(seed + GOLDEN);
  state = finish(state ^ finish(a + 2 * GOLDEN));
  return (qni_mix){finish(state ^ finish(b + 3 * GOLDEN))};
}

uint64_t qni_mix_next(qni_mix *mix) { return finish(mix->state += GOLDEN); }

double qni_mix_uniform(qni_mix *mix) { return (double)(qni_mix_next(mix) >> 11) * 0x1p-53; }

int64_t qni_mix_below(qni_mix *mix, int64_t n) {
  uint64_t range = (uint64_t)n, cut = -range % range; /* 2^64 mod n values would be too many */
  for (;;) {
    uint64_t x = qni_mix_next(mix);
    if (x >= cut) return (int64_t)(x % range);
  }
}

void qni_mix_shuffle(qni_mix *mix, int64_t *values, int64_t n) {
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = qni_mix_below(mix, i + 1), held = values[i];
    values[i] = values[j];
    values[j] = held;
  }
}
