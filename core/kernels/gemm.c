/*
** Matrix products for one thread: a family of register tiles.
**
** A tile is H rows of A by V vectors of B, all sums in registers: per step of k, V loads
** of a row of B, H broadcasts from A where it lies, H V multiply-adds; a last vector of
** which at most half is used is one of half the size (AVX-512). Widths 1..MAX_V share out
** the columns evenly, heights 12, 8, 6, 4, 2, 1 the rows. B is packed into panels
** unless it can be read in place; k runs in blocks of at most MAX_K, added through C in
** order. Cuts depend on shape alone; the column cut does not change any sum's order.
** SPDX-License-Identifier: MIT
*/
#include "kernels/gemm.h"

#include <math.h>
#include <stdbool.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "kernels/vec_part.h"

#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#else
#define UNROLL PRAGMA(GCC unroll 16)
#endif

#if defined(__AVX512F__)
#define MAX_V 4
#define MASKED 1 /* partial vectors are loaded and stored under a mask */
#else
#define MAX_V 2
#define MASKED 0
#endif
enum { MAX_H = 12, MOST_PANELS = 32 / MAX_V /* of a block */ };

/* ---- f32 ---- */

#if defined(__AVX512F__)
typedef float half_f32 __attribute__((vector_size(32)));
static inline half_f32 low_f32(vf v) { return (half_f32)_mm512_castps512_ps256((__m512)v); }
static inline half_f32 read_half_f32(const float *x, int count) {
  return (half_f32)_mm256_maskz_loadu_ps((__mmask8)(0xFFu >> (8 - count)), x);
}
static inline void store_half_f32(float *y, half_f32 v, int count) {
  _mm256_mask_storeu_ps(y, (__mmask8)(0xFFu >> (8 - count)), (__m256)v);
}
#else
typedef vf half_f32;
#define low_f32(v) (v)
#define read_half_f32 vf_load_part
#define store_half_f32 vf_store_part
#endif

static inline void transpose4_f32(const float *from, int64_t from_row, float *to, int64_t to_row) {
#if defined(__SSE2__)
  __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps(from + from_row);
  __m128 r2 = _mm_loadu_ps(from + 2 * from_row), r3 = _mm_loadu_ps(from + 3 * from_row);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(to, r0);
  _mm_storeu_ps(to + to_row, r1);
  _mm_storeu_ps(to + 2 * to_row, r2);
  _mm_storeu_ps(to + 3 * to_row, r3);
#else
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) to[j * to_row + i] = from[i * from_row + j];
#endif
}

static inline vf act_of(int32_t act, vf x) {
  switch (act) {
  case QN_ACT_RELU: return vf_pick(x < 0.0f, vf_all(0), x);
  case QN_ACT_SILU: return vf_silu(x);
  case QN_ACT_GELU: return vf_gelu(x);
  default: return x;
  }
}

VF_INLINE void act_part(int32_t act, float *x, float *z, int count) {
  const vf v = vf_load_part(x, count);
  if (z) vf_store_part(z, v, count);
  vf_store_part(x, act_of(act, v), count);
}

VF_INLINE void act_along(int32_t act, int64_t n, float *x, float *z) {
  int64_t i = 0;
  for (; i + VF_N <= n; i += VF_N) act_part(act, x + i, z ? z + i : NULL, VF_N);
  if (i < n) act_part(act, x + i, z ? z + i : NULL, (int)(n - i));
}

static void act_row_f32(int32_t act, int64_t n, float *x, float *z) {
  switch (act) {
  case QN_ACT_RELU: act_along(QN_ACT_RELU, n, x, z); break;
  case QN_ACT_SILU: act_along(QN_ACT_SILU, n, x, z); break;
  case QN_ACT_GELU: act_along(QN_ACT_GELU, n, x, z); break;
  default: memcpy(z, x, (size_t)n * sizeof *z);
  }
}

#define REAL float
#define VEC vf
#define HVEC half_f32
#define LOW low_f32
#define VL VF_N
#define MAX_K 512
#define FN(name) name##_f32
#define READ_LAST vf_load_part
#define STORE_LAST vf_store_part
#define READ_HALF read_half_f32
#define STORE_HALF store_half_f32
#define LOAD_HALF read_half_f32
#if defined(__AVX512F__)
#define LOAD_LAST vf_load_part
#else
#define LOAD_LAST(x, count) vf_load(x) /* panels are padded */
#endif
#include "kernels/gemm_typed.h"
#undef REAL
#undef VEC
#undef HVEC
#undef LOW
#undef VL
#undef MAX_K
#undef FN
#undef READ_LAST
#undef STORE_LAST
#undef READ_HALF
#undef STORE_HALF
#undef LOAD_HALF
#undef LOAD_LAST

/* ---- f64 ---- */

typedef double vd __attribute__((vector_size(VF_BYTES)));
enum { VD_N = VF_BYTES / 8 };

#if defined(__AVX512F__)
static inline vd read_last_f64(const double *x, int count) {
  return (vd)_mm512_maskz_loadu_pd((__mmask8)(0xFFu >> (8 - count)), x);
}
static inline void store_last_f64(double *y, vd v, int count) {
  _mm512_mask_storeu_pd(y, (__mmask8)(0xFFu >> (8 - count)), (__m512d)v);
}
typedef double half_f64 __attribute__((vector_size(32)));
static inline half_f64 low_f64(vd v) { return (half_f64)_mm512_castpd512_pd256((__m512d)v); }
static inline half_f64 read_half_f64(const double *x, int count) {
  return (half_f64)_mm256_maskz_loadu_pd((__mmask8)(0xFu >> (4 - count)), x);
}
static inline void store_half_f64(double *y, half_f64 v, int count) {
  _mm256_mask_storeu_pd(y, (__mmask8)(0xFu >> (4 - count)), (__m256d)v);
}
#else
typedef vd half_f64;
#define low_f64(v) (v)
#define read_half_f64 read_last_f64
#define store_half_f64 store_last_f64
static inline vd load_f64(const double *x) {
  vd v;
  memcpy(&v, x, sizeof v);
  return v;
}
static inline vd read_last_f64(const double *x, int count) {
  vd v = {0};
  if (count == VD_N) return load_f64(x);
  for (int i = 0; i < VD_N; i++)
    if (i < count) v[i] = x[i];
  return v;
}
static inline void store_last_f64(double *y, vd v, int count) {
  if (count == VD_N) {
    memcpy(y, &v, sizeof v);
    return;
  }
  for (int i = 0; i < VD_N; i++)
    if (i < count) y[i] = v[i];
}
#endif

static inline void transpose4_f64(const double *from, int64_t from_row, double *to,
                                  int64_t to_row) {
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) to[j * to_row + i] = from[i * from_row + j];
}

/* f64 serves gradient checks: exactness before speed. */
static void act_row_f64(int32_t act, int64_t n, double *x, double *z) {
  if (z) memcpy(z, x, (size_t)n * sizeof *z);
  for (int64_t i = 0; i < n; i++) switch (act) {
    case QN_ACT_RELU: x[i] = x[i] < 0 ? 0 : x[i]; break;
    case QN_ACT_SILU: x[i] = x[i] / (1 + exp(-x[i])); break;
    case QN_ACT_GELU: x[i] = 0.5 * x[i] * (1 + erf(x[i] * 0.70710678118654752440)); break;
    default: break;
    }
}

#define REAL double
#define VEC vd
#define HVEC half_f64
#define LOW low_f64
#define VL VD_N
#define MAX_K 256
#define FN(name) name##_f64
#define READ_LAST read_last_f64
#define STORE_LAST store_last_f64
#define READ_HALF read_half_f64
#define STORE_HALF store_half_f64
#define LOAD_HALF read_half_f64
#if defined(__AVX512F__)
#define LOAD_LAST read_last_f64
#else
#define LOAD_LAST(x, count) load_f64(x)
#endif
#include "kernels/gemm_typed.h"

/* ---- Tables ---- */

void QNI_GEMM_TILE(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_row,
                   int64_t a_col, const float *b, int64_t b_row, int64_t b_col, float *c,
                   int64_t c_row, int32_t add) {
  _Alignas(64) unsigned char pack[QNI_GEMM_STACK];
  const qn_gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .batch = 1,
                     .a = a,
                     .b = b,
                     .c = c,
                     .a_row = a_row,
                     .a_col = a_col,
                     .b_row = b_row,
                     .b_col = b_col,
                     .c_row = c_row,
                     .alpha = alpha,
                     .beta = add ? 1 : 0,
                     .dtype = QN_F32};
  gemm_f32(&g, NULL, pack, sizeof pack);
}

extern const qni_gemm_table QNI_KERNEL(gemm_kernels);
const qni_gemm_table QNI_KERNEL(gemm_kernels) = {
    .f32 = gemm_f32,
    .f64 = gemm_f64,
    .act_f32 = act_f32,
    .act_f64 = act_f64,
    .n_panels = {n_panels_f32, n_panels_f64},
    .panel_bytes = {panel_bytes_f32, panel_bytes_f64},
    .panels = {panels_f32, panels_f64},
};
