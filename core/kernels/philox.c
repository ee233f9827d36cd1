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

/* Words of the low halves of x and y in turns, as the first and the last half of 2 LANES. */
#if defined(__AVX512F__)
#define TURNS(x, y, first, last)                                                                   \
  (first = __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11),                                \
   last = __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15))
#elif defined(__AVX2__)
#define TURNS(x, y, first, last)                                                                   \
  (first = __builtin_shufflevector(x, y, 0, 4, 1, 5),                                              \
   last = __builtin_shufflevector(x, y, 2, 6, 3, 7))
#else
#define TURNS(x, y, first, last)                                                                   \
  (first = __builtin_shufflevector(x, y, 0, 2), last = __builtin_shufflevector(x, y, 1, 3))
#endif

static lanes counting(uint32_t from) {
  uint64_t c[LANES];
  lanes v;
  for (uint32_t i = 0; i < LANES; i++) c[i] = from + i; /* wraps as 32 bits */
  memcpy(&v, c, sizeof v);
  return v;
}

/* Two words of 32 bits as one of 64, in the order they lie in memory. */
static lanes pair(lanes x, lanes y) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return (x & 0xFFFFFFFFu) | y << 32;
#else
  return x << 32 | (y & 0xFFFFFFFFu);
#endif
}

/* `times` (1 or 2) groups of LANES blocks side by side: the rounds of one wait for each other. */
static inline __attribute__((always_inline)) void groups(int times, const uint32_t counter[4],
                                                         const uint32_t key[2], uint32_t *out) {
  const lanes zero = {0}, m0 = zero + M0, m1 = zero + M1;
  lanes x0[2], x1[2], x2[2], x3[2], first, last;
  for (int t = 0; t < times; t++) {
    x0[t] = zero + counter[0], x1[t] = zero + counter[1], x2[t] = zero + counter[2];
    x3[t] = counting(counter[3] + (uint32_t)(t * LANES));
  }
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++, k0 += W0, k1 += W1)
    for (int t = 0; t < times; t++) {
      const lanes p0 = product(x0[t], m0), p1 = product(x2[t], m1);
      x0[t] = (p1 >> 32) ^ x1[t] ^ (zero + k0);
      x2[t] = (p0 >> 32) ^ x3[t] ^ (zero + k1);
      x1[t] = p1;
      x3[t] = p0;
    }
  for (int t = 0; t < times; t++, out += 4 * LANES) {
    const lanes front = pair(x0[t], x1[t]), back = pair(x2[t], x3[t]);
    TURNS(front, back, first, last);
    memcpy(out, &first, sizeof first);
    memcpy(out + 2 * LANES, &last, sizeof last);
  }
}

static void fill(const uint32_t counter[4], const uint32_t key[2], int64_t words, uint32_t *out) {
  enum { GROUP = 4 * LANES };
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (; words >= 2 * GROUP; words -= 2 * GROUP, out += 2 * GROUP, c[3] += 2 * LANES)
    groups(2, c, key, out);
  if (!words) return;
  uint32_t last[2 * GROUP];
  if (words > GROUP)
    groups(2, c, key, last);
  else
    groups(1, c, key, last);
  memcpy(out, last, (size_t)words * sizeof *out);
}

extern const qni_philox_table QNI_KERNEL(philox);
const qni_philox_table QNI_KERNEL(philox) = {.fill = fill};
