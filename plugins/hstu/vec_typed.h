/*
** Vectors of REAL in the width of the instruction level: parts of rows, sums, copies.
** Included by each file that works in vectors, once for float and once for double.
** SPDX-License-Identifier: MIT
*/

/* Registers differ by instruction level; the arithmetic does not. */
#ifndef HSTU_TILE
#define HSTU_TILE
#if defined(__AVX512F__)
#include <immintrin.h>
enum { VEC_BYTES = 64, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VEC_BYTES = 32, TILE_ROWS = 6, TILE_VECS = 2 };
/* From 8 - n on: n words of ones, then zeros. */
static const int32_t LANES_ON[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#else
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 2 };
#endif
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#endif

typedef REAL FN(vec) __attribute__((vector_size(VEC_BYTES), aligned(sizeof(REAL)), may_alias));

enum { FN(LANES) = VEC_BYTES / sizeof(REAL) };

typedef int8_t FN(bytes) __attribute__((vector_size(VEC_BYTES / sizeof(REAL))));
#if REAL_IS_FLOAT
typedef int32_t FN(ints) __attribute__((vector_size(VEC_BYTES)));
#else
typedef int64_t FN(ints) __attribute__((vector_size(VEC_BYTES)));
#endif

/* 16 bytes, anywhere */
typedef REAL FN(four) __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));

/* Half a vector, where halves cost less than whole ones; else 16 bytes. */
enum { FN(HALF) = (VEC_BYTES > 32 ? 32 : 16) / sizeof(REAL) };
typedef REAL FN(half)
    __attribute__((vector_size(VEC_BYTES > 32 ? 32 : 16), aligned(sizeof(REAL)), may_alias));

/* Sum of the lanes of a vector. */
ALWAYS_INLINE REAL FN(across)(FN(vec) v) {
  FN(four) s = *(const FN(four) *)&v;
  for (int k = 1; k < VEC_BYTES / 16; k++) s += ((const FN(four) *)&v)[k];
#if REAL_IS_FLOAT
  return (s[0] + s[1]) + (s[2] + s[3]);
#else
  return s[0] + s[1];
#endif
}

/* The first n lanes from memory, n up to all of them; the others 0. */
ALWAYS_INLINE FN(vec) FN(load_part)(const REAL *x, int64_t n) {
#if defined(__AVX512F__) && REAL_IS_FLOAT
  return (FN(vec))_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
#elif defined(__AVX512F__)
  return (FN(vec))_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), x);
#elif defined(__AVX2__) && REAL_IS_FLOAT
  return (FN(vec))_mm256_maskload_ps(x, _mm256_loadu_si256((const __m256i *)(LANES_ON + 8 - n)));
#elif defined(__AVX2__)
  return (FN(vec))_mm256_maskload_pd(x,
                                     _mm256_loadu_si256((const __m256i *)(LANES_ON + 8 - 2 * n)));
#else
  FN(vec) v = {0};
  memcpy(&v, x, (size_t)n * sizeof(REAL));
  return v;
#endif
}

ALWAYS_INLINE void FN(store_part)(REAL *x, FN(vec) v, int64_t n) {
#if defined(__AVX512F__) && REAL_IS_FLOAT
  _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX512F__)
  _mm512_mask_storeu_pd(x, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
  for (int64_t i = 0; i < n; i++) x[i] = v[i];
#endif
}

/* Up to a whole vector: n may be more. */
ALWAYS_INLINE FN(vec) FN(load_some)(const REAL *x, int64_t n) {
  return n >= FN(LANES) ? *(const FN(vec) *)x : FN(load_part)(x, n);
}
ALWAYS_INLINE void FN(store_some)(REAL *x, FN(vec) v, int64_t n) {
  if (n >= FN(LANES))
    *(FN(vec) *)x = v;
  else
    FN(store_part)(x, v, n);
}

/* Dropout's factors: `grow` where the byte is not 0, else 0; n bytes, or a whole vector of them. */
ALWAYS_INLINE FN(vec) FN(kept)(const uint8_t *keep, int64_t n, REAL grow) {
  const FN(vec) v = (FN(vec)){0} + grow;
#if defined(__AVX512F__) /* with BW and VL */
  const __mmask16 some = (__mmask16)(n >= FN(LANES) ? (1u << FN(LANES)) - 1 : (1u << n) - 1);
  const __m128i bytes = _mm_maskz_loadu_epi8(some, keep);
  const __mmask16 on = _mm_test_epi8_mask(bytes, bytes);
#if REAL_IS_FLOAT
  return (FN(vec))_mm512_maskz_mov_ps(on, (__m512)v);
#else
  return (FN(vec))_mm512_maskz_mov_pd((__mmask8)on, (__m512d)v);
#endif
#else
  FN(bytes) on = {0};
  memcpy(&on, keep, n >= FN(LANES) ? sizeof on : (size_t)n);
  return (FN(vec))((FN(ints))v & (__builtin_convertvector(on, FN(ints)) != 0));
#endif
}

/* The first n lanes, the others 0. */
ALWAYS_INLINE FN(vec) FN(first_lanes)(FN(vec) v, int64_t n) {
#if defined(__AVX512F__) && REAL_IS_FLOAT
  return (FN(vec))_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX512F__)
  return (FN(vec))_mm512_maskz_mov_pd((__mmask8)((1u << n) - 1), (__m512d)v);
#else
  for (int64_t i = n; i < FN(LANES); i++) v[i] = 0;
  return v;
#endif
}

/* Sums over rows of any length, in vector lanes. */
static inline REAL FN(row_sum)(int64_t n, const REAL *x) {
  FN(vec) sum = {0};
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES)) sum += *(const FN(vec) *)(x + i);
  if (i < n) sum += FN(load_part)(x + i, n - i);
  return FN(across)(sum);
}

static inline REAL FN(row_dot)(int64_t n, const REAL *x, const REAL *y) {
  FN(vec) sum = {0};
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES))
    sum += *(const FN(vec) *)(x + i) * *(const FN(vec) *)(y + i);
  if (i < n) sum += FN(load_part)(x + i, n - i) * FN(load_part)(y + i, n - i);
  return FN(across)(sum);
}

/* A copy without a call: rows are short. */
static inline void FN(copy_row)(int64_t n, const REAL *from, REAL *to) {
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES)) *(FN(vec) *)(to + i) = *(const FN(vec) *)(from + i);
  for (; i < n; i++) to[i] = from[i];
}
