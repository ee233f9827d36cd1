/*
** Vectors of f32 in the width of the instruction level, and the functions on them.
**
** Everything here is static, so each level and each kernel file has its own copy.
** Polynomials are least-maximum fits on the stated intervals (weighted by relative
** error); every function is within 2 ulp over its whole range, which the tests check;
** silu' alone, which crosses zero, is within 6 away from there and 1.5e-7 near it.
** Denormals come out right when the thread does not flush them.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_MATH_VEC_H
#define QNI_MATH_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VF_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define VF_BYTES 32
#else
#define VF_BYTES 16
#endif

typedef float vf __attribute__((vector_size(VF_BYTES)));
typedef int32_t vi __attribute__((vector_size(VF_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VF_BYTES))); /* where bits may wrap around */
enum { VF_N = VF_BYTES / 4 };

#define VF_INLINE static inline __attribute__((always_inline, unused))

VF_INLINE vf vf_load(const float *x) {
  vf v;
  memcpy(&v, x, sizeof v);
  return v;
}
VF_INLINE void vf_store(float *y, vf v) { memcpy(y, &v, sizeof v); }
VF_INLINE vf vf_all(float x) { return x - (vf){0}; }
/* a where the mask has ones, else b. */
VF_INLINE vf vf_pick(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
VF_INLINE vf vf_abs(vf x) { return (vf)((vi)x & INT32_MAX); }
VF_INLINE vf vf_sign_of(vf size, vf sign) {
  return (vf)(((vi)size & INT32_MAX) | ((vi)sign & INT32_MIN));
}
/* a where it is greater (less) than b, else b: NaN in b stays, NaN in a does not. */
VF_INLINE vf vf_max(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif VF_BYTES == 32
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return vf_pick(a > b, a, b);
#endif
}
VF_INLINE vf vf_min(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif VF_BYTES == 32
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return vf_pick(a < b, a, b);
#endif
}
/* NaN in x stays. */
VF_INLINE vf vf_at_most(vf x, float top) { return vf_min(vf_all(top), x); }
VF_INLINE vf vf_at_least(vf x, float low) { return vf_max(vf_all(low), x); }

VF_INLINE vi vi_from(vf x) { /* x holds small whole numbers */
#if defined(__AVX512F__)
  return (vi)_mm512_cvttps_epi32((__m512)x);
#elif VF_BYTES == 32
  return (vi)_mm256_cvttps_epi32((__m256)x);
#else
  return __builtin_convertvector(vf_pick(vf_abs(x) < 1e6f, x, vf_all(0)), vi);
#endif
}
VF_INLINE vf vf_from(vi x) { return __builtin_convertvector(x, vf); }

/* p 2^n for whole n in -300..300: by two factors, so that only the last product rounds. */
VF_INLINE vf vf_scale2(vf p, vf n) {
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const vi whole = vi_from(n), half = whole >> 1;
  return p * (vf)((vu)(half + 127) << 23) * (vf)((vu)(whole - half + 127) << 23);
#endif
}

/* The nearest whole number, |x| < 2^22. */
VF_INLINE vf vf_round(vf x) {
  const vf magic = vf_all(12582912.0f); /* 1.5 2^23 */
  return (x + magic) - magic;
}

/* exp(r) - 1 = r + r^2 q(r), |r| <= ln 2 / 2 */
VF_INLINE vf vf_expm1_near_0(vf r) {
  vf q = vf_all(1.38138782e-3f);
  q = q * r + 8.36906396e-3f;
  q = q * r + 4.16684225e-2f;
  q = q * r + 1.66665182e-1f;
  q = q * r + 4.9999994e-1f;
  return q * (r * r) + r;
}

/* exp(x) = 2^n exp(r): n = round(x / ln 2), r = x - n ln 2. For x up to 90. */
VF_INLINE vf vf_exp_low(vf x) {
  x = vf_at_least(x, -106.0f);
  const vf n = vf_round(x * 1.44269504f);
  const vf r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  return vf_scale2(vf_expm1_near_0(r) + 1.0f, n);
}

VF_INLINE vf vf_exp(vf x) { return vf_exp_low(vf_at_most(x, 90.0f)); }

/* x = 2^e m, sqrt(1/2) <= m < sqrt(2), f = m - 1: log x = e ln 2 + f - f^2/2 + f^3 P(f). */
VF_INLINE vf vf_log(vf x) {
  const vi tiny = (vi)x < 0x00800000; /* denormal, zero, or negative */
  const vi bits = (vi)((vu)vf_pick(tiny, x * 16777216.0f, x) - 0x3F3504F3u);
  const vf e = vf_from(bits >> 23) - vf_pick(tiny, vf_all(24.0f), vf_all(0));
  const vf f = (vf)((bits & 0x007FFFFF) + 0x3F3504F3) - 1.0f;
  vf p = vf_all(6.75753057e-2f);
  p = p * f - 1.16943248e-1f;
  p = p * f + 1.1893525e-1f;
  p = p * f - 1.24030866e-1f;
  p = p * f + 1.42185524e-1f;
  p = p * f - 1.66680902e-1f;
  p = p * f + 2.00021669e-1f;
  p = p * f - 2.50000089e-1f;
  p = p * f + 3.33333105e-1f;
  const vf square = f * f;
  vf y = p * (square * f) - e * 2.12194440e-4f;
  y = (y - 0.5f * square) + f;
  y = e * 0.693359375f + y;
  y = vf_pick(x < __builtin_inff(), y, x); /* inf and NaN */
  y = vf_pick(x == 0.0f, vf_all(-__builtin_inff()), y);
  return vf_pick(x < 0.0f, vf_all(__builtin_nanf("")), y);
}

/* top / s: an estimate and what its product leaves over. */
VF_INLINE vf vf_over(vf top, vf s) {
#if defined(__AVX512F__)
  const __m512 guess = _mm512_rcp14_ps((__m512)s), q = _mm512_mul_ps((__m512)top, guess);
  return (vf)_mm512_fmadd_ps(_mm512_fnmadd_ps(q, (__m512)s, (__m512)top), guess, q);
#else
  return top / s;
#endif
}

/* |x| < 0.63: x + x^3 P(x^2); else 1 - 2 / (exp(2 |x|) + 1). */
VF_INLINE vf vf_tanh(vf x) {
  const vf a = vf_abs(x), u = x * x;
  vf p = vf_all(-5.6483075e-3f);
  p = p * u + 2.05898173e-2f;
  p = p * u - 5.37251234e-2f;
  p = p * u + 1.33312747e-1f;
  p = p * u - 3.33332747e-1f;
  const vf small = p * (u * a) + a;
  const vf large = 1.0f - vf_over(vf_all(2.0f), vf_exp_low(2.0f * vf_at_most(a, 10.0f)) + 1.0f);
  return vf_sign_of(vf_pick(a < 0.63f, small, large), x);
}

/* |x| < 0.92: x + x E(x^2); else 1 - exp(G(|x|)), G fitted to log erfc. */
VF_INLINE vf vf_erf(vf x) {
  const vf a = vf_at_most(vf_abs(x), 4.0f), u = x * x;
  vf p = vf_all(8.33409867e-5f);
  p = p * u - 8.13416031e-4f;
  p = p * u + 5.20027662e-3f;
  p = p * u - 2.68590935e-2f;
  p = p * u + 1.12836897e-1f;
  p = p * u - 3.76126319e-1f;
  p = p * u + 1.28379166e-1f;
  const vf small = p * a + a;
  vf g = vf_all(-2.10950548e-5f);
  g = g * a + 4.3446265e-4f;
  g = g * a - 4.17106319e-3f;
  g = g * a + 2.51194276e-2f;
  g = g * a - 1.08280092e-1f;
  g = g * a - 6.33346915e-1f;
  g = g * a - 1.12951493f;
  g = g * a + 1.74684494e-4f;
  const vf large = 1.0f - vf_exp_low(g);
  return vf_sign_of(vf_pick(a < 0.92f, small, large), x);
}

/*
** sigmoid(x) = 2^n / s,  s = 2^n + exp(r):  exp(-x) = 2^-n exp(r), n = round(x / ln 2), r = n ln 2 - x.
** Neither side loses digits; exp(r) - 1 is small, so that s is rounded as if once.
*/
struct vf_logistic {
  vf x, n, p, s; /* x held where nothing changes but x itself; p = exp(r) */
};

VF_INLINE struct vf_logistic vf_logistic_of(vf x) {
  struct vf_logistic f;
  f.x = vf_at_least(vf_at_most(x, 60.0f), -112.0f);
  f.n = vf_round(f.x * 1.44269504f);
  const vf r = (f.n * 0.693359375f - f.x) - f.n * 2.12194440e-4f, t = vf_expm1_near_0(r);
  const vf power = (vf)((vu)(vi_from(vf_at_least(f.n, -126.0f)) + 127) << 23); /* 2^n */
  const vf most = power + 1.0f, lost = power - (most - 1.0f);
  f.p = t + 1.0f;
  f.s = most + (t + lost);
  return f;
}

VF_INLINE vf vf_sigmoid(vf x) {
  const struct vf_logistic f = vf_logistic_of(x);
  return vf_scale2(vf_over(vf_all(1.0f), f.s), f.n);
}

/* x sigmoid(x) */
VF_INLINE vf vf_silu_of(const struct vf_logistic *f, vf x) {
  return vf_pick(x > 60.0f, x, vf_scale2(vf_over(f->x, f->s), f->n));
}

VF_INLINE vf vf_silu(vf x) {
  const struct vf_logistic f = vf_logistic_of(x);
  return vf_silu_of(&f, x);
}

/* silu'(x) = sigmoid(x) (1 + x exp(r) / s); *y = silu(x). */
VF_INLINE vf vf_silu_slope(vf x, vf *y) {
  const struct vf_logistic f = vf_logistic_of(x);
  const vf one = vf_over(vf_all(1.0f), f.s);
  *y = vf_silu_of(&f, x);
  return vf_scale2(one * (1.0f + f.x * (f.p * one)), f.n);
}

/* x (1 + erf(x / sqrt 2)) / 2 */
VF_INLINE vf vf_gelu(vf x) {
  return 0.5f * x * (1.0f + vf_erf(vf_at_least(x, -14.0f) * 0.707106781f));
}

#endif
