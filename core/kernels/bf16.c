/* bf16 storage, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/bf16.h"

#include <string.h>

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline uint32_t is_nan(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u; }

static void widen(int64_t n, const uint16_t *x, float *y) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t bits = (uint32_t)x[i] << 16;
    memcpy(&y[i], &bits, sizeof bits);
  }
}

static inline uint16_t nearest_of(float x) {
  const uint32_t bits = bits_of(x), even = bits >> 16 & 1;
  const uint32_t rounded = bits + 0x7fffu + even, kept = bits | 0x400000u;
  return (uint16_t)((is_nan(bits) ? kept : rounded) >> 16);
}

static void nearest(int64_t n, const float *x, uint16_t *y) {
  for (int64_t i = 0; i < n; i++) y[i] = nearest_of(x[i]);
}

static void follow(int64_t n, const uint16_t *stored, float *master) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t own = bits_of(master[i]), other = (uint32_t)stored[i] << 16;
    const uint32_t bits = nearest_of(master[i]) == stored[i] ? own : other;
    memcpy(&master[i], &bits, sizeof bits);
  }
}

/* A bijection of 32 bits whose outputs look unrelated for neighbouring inputs. */
static inline uint32_t scatter(uint32_t h) {
  h = (h ^ h >> 16) * 0x7feb352du;
  h = (h ^ h >> 15) * 0x846ca68bu;
  return h ^ h >> 16;
}

static void stochastic(int64_t n, const float *x, uint16_t *y, int64_t first, uint32_t seed) {
  const uint32_t start = ((uint32_t)first ^ (uint32_t)(first >> 32) * 0x9e3779b1u);
  for (int64_t i = 0; i < n; i++) {
    const uint32_t bits = bits_of(x[i]);
    const uint32_t rounded = bits + (scatter(start + (uint32_t)i + seed) >> 16);
    y[i] = (uint16_t)((is_nan(bits) ? bits | 0x400000u : rounded) >> 16);
  }
}

extern const qni_bf16_table QNI_KERNEL(bf16);
const qni_bf16_table QNI_KERNEL(bf16) = {
    .widen = widen, .nearest = nearest, .stochastic = stochastic, .follow = follow};
