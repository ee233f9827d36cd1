/*
** Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), several counters side by side.
**
**   one round:  (x0, x1, x2, x3) <- (hi(M1 x2) ^ x1 ^ k0, lo(M1 x2), hi(M0 x0) ^ x3 ^ k1, lo(M0 x0))
**   between rounds:  k0 += W0, k1 += W1
**
** A lane is 64 bits wide and its word is the low half; what stands in the high half is
** never read, so products need no masking.
** SPDX-License-Identifier: MIT
*/
#include "kernels/philox.h"

#include <string.h>

static const uint32_t M0 = 0xD2511F53u, M1 = 0xCD9E8D57u, W0 = 0x9E3779B9u, W1 = 0xBB67AE85u;

#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 8 };
typedef uint64_t lanes __attribute__((vector_size(64)));
static lanes product(lanes x, lanes m) { return (lanes)_mm512_mul_epu32((__m512i)x, (__m512i)m); }
#elif defined(__AVX2__)
#include <immintrin.h>
enum { LANES = 4 };
typedef uint64_t lanes __attribute__((vector_size(32)));
static lanes product(lanes x, lanes m) { return (lanes)_mm256_mul_epu32((__m256i)x, (__m256i)m); }
#elif defined(__SSE2__)
#include <emmintrin.h>
enum { LANES = 2 };
typedef uint64_t lanes __attribute__((vector_size(16)));
static lanes product(lanes x, lanes m) { return (lanes)_mm_mul_epu32((__m128i)x, (__m128i)m); }
#else
enum { LANES = 2 };
typedef uint64_t lanes __attribute__((vector_size(16)));
static lanes product(lanes x, lanes m) { return (x & 0xFFFFFFFFu) * m; }
#endif

static void group(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4 * LANES]) {
  const lanes zero = {0}, m0 = zero + M0, m1 = zero + M1;
  lanes x0 = zero + counter[0], x1 = zero + counter[1], x2 = zero + counter[2], x3 = zero;
  for (int i = 0; i < LANES; i++) x3[i] = (uint32_t)(counter[3] + (uint32_t)i);
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++, k0 += W0, k1 += W1) {
    const lanes p0 = product(x0, m0), p1 = product(x2, m1);
    x0 = (p1 >> 32) ^ x1 ^ (zero + k0);
    x2 = (p0 >> 32) ^ x3 ^ (zero + k1);
    x1 = p1;
    x3 = p0;
  }
  for (int i = 0; i < LANES; i++) {
    out[4 * i] = (uint32_t)x0[i];
    out[4 * i + 1] = (uint32_t)x1[i];
    out[4 * i + 2] = (uint32_t)x2[i];
    out[4 * i + 3] = (uint32_t)x3[i];
  }
}

static void fill(const uint32_t counter[4], const uint32_t key[2], int64_t blocks, uint32_t *out) {
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (; blocks >= LANES; blocks -= LANES, out += 4 * LANES, c[3] += LANES) group(c, key, out);
  if (!blocks) return;
  uint32_t last[4 * LANES];
  group(c, key, last);
  memcpy(out, last, (size_t)blocks * 4 * sizeof *out);
}

extern const qni_philox_table QNI_KERNEL(philox);
const qni_philox_table QNI_KERNEL(philox) = {.fill = fill};
