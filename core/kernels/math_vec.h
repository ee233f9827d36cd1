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
VF_INLINE vi vi_all(int32_t x) { return x + (vi){0}; }
/* a where the mask has ones, else b. */
VF_INLINE vf vf_pick(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
VF_INLINE vf vf_abs(vf x) { return (vf)((vi)x & INT32_MAX); }
VF_INLINE vf vf_sign_of(vf size, vf sign) {
  return (vf)(((vi)size & INT32_MAX) | ((vi)sign & INT32_MIN));
}
/* NaN in x stays. */
VF_INLINE vf vf_at_most(vf x, float top) { return vf_pick(x > top, vf_all(top), x); }
VF_INLINE vf vf_at_least(vf x, float low) { return vf_pick(x < low, vf_all(low), x); }

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

/* exp(x) = (p + rest) 2^n: n = round(x / ln 2), r = x - n ln 2, p + rest = 1 + r + r^2 q(r). */
VF_INLINE vf vf_exp_parts(vf x, vf *n, vf *rest) {
  const vf magic = vf_all(12582912.0f); /* 1.5 2^23: adding it rounds to a whole number */
  const vf k = (x * 1.44269504f + magic) - magic;
  const vf r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  vf q = vf_all(1.38138782e-3f);
  q = q * r + 8.36906396e-3f;
  q = q * r + 4.16684225e-2f;
  q = q * r + 1.66665182e-1f;
  q = q * r + 4.9999994e-1f;
  *n = k;
  const vf t = q * (r * r) + r, p = t + 1.0f;
  *rest = t - (p - 1.0f);
  return p;
}

VF_INLINE vf vf_exp(vf x) {
  vf n, rest;
  const vf p = vf_exp_parts(vf_at_least(vf_at_most(x, 90.0f), -106.0f), &n, &rest);
  return vf_scale2(p, n);
}

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

/* |x| < 0.63: x + x^3 P(x^2); else 1 - 2 / (exp(2 |x|) + 1). */
VF_INLINE vf vf_tanh(vf x) {
  const vf a = vf_abs(x), u = x * x;
  vf p = vf_all(-5.6483075e-3f);
  p = p * u + 2.05898173e-2f;
  p = p * u - 5.37251234e-2f;
  p = p * u + 1.33312747e-1f;
  p = p * u - 3.33332747e-1f;
  const vf small = p * (u * a) + a;
  const vf large = 1.0f - 2.0f / (vf_exp(2.0f * vf_at_most(a, 10.0f)) + 1.0f);
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
  const vf large = 1.0f - vf_exp(g);
  return vf_sign_of(vf_pick(a < 0.92f, small, large), x);
}

/* top / (1 + z), 0 <= z <= 1, less most of what rounding 1 + z did to it. */
VF_INLINE vf vf_over_1_plus(vf top, vf z) {
  const vf d = 1.0f + z, y = top / d;
  return y + y * ((d - 1.0f) - z);
}

/* With z = exp(-|x|): 1/(1+z) or z/(1+z), so that neither side loses digits. */
VF_INLINE vf vf_sigmoid(vf x) {
  const vf z = vf_exp(-vf_abs(x));
  return vf_over_1_plus(vf_pick(x < 0.0f, z, vf_all(1.0f)), z);
}

/* z = exp(-|x|), kept with its parts: z = (p + rest) 2^n. */
struct vf_decay {
  vf x, size, n, p, rest, z; /* x and |x| bounded: beyond 112 nothing changes but x itself */
  vi negative;
};

VF_INLINE struct vf_decay vf_decay_of(vf x) {
  struct vf_decay s;
  s.x = vf_at_least(x, -112.0f);
  s.size = vf_at_most(vf_abs(s.x), 112.0f);
  s.negative = s.x < 0.0f;
  s.p = vf_exp_parts(-s.size, &s.n, &s.rest);
  s.z = vf_scale2(s.p, s.n);
  return s;
}

#if defined(__FMA__)
/* What rounding lost in ab = a b. Intrinsics, since a compiler may not see the difference. */
VF_INLINE vf vf_lost(vf a, vf b, vf ab) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)ab);
#else
  return (vf)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)ab);
#endif
}
#endif

/* x / (1 + z), for x < 0 times z: small corrections are added first, 2^n comes last. */
VF_INLINE vf vf_silu_of(const struct vf_decay *s) {
  const vf power = vf_pick(s->negative, s->n, vf_all(0));
#if defined(__FMA__)
  const vf d = 1.0f + s->z, lost = (d - 1.0f) - s->z, below = s->p * s->x;
  const vf top = vf_pick(s->negative, below, s->x);
  const vf finer = s->rest * s->x + (below * lost + vf_lost(s->p, s->x, below));
  const vf more = vf_pick(s->negative, finer, s->size * lost);
  return vf_scale2(top + more, power) / d;
#else /* one rounding more would be one too many: these few steps go in f64 */
  const vf p = vf_pick(s->negative, s->p, vf_all(1.0f)),
           rest = vf_pick(s->negative, s->rest, vf_all(0));
  vf y;
  for (int i = 0; i < VF_N; i++)
    y[i] = (float)(((double)p[i] + (double)rest[i]) * (double)s->x[i] / (1.0 + (double)s->z[i]));
  return vf_scale2(y, power);
#endif
}

VF_INLINE vf vf_silu(vf x) {
  const struct vf_decay s = vf_decay_of(x);
  return vf_silu_of(&s);
}

/* silu'(x) = s (1 + x (1 - s)), s = sigmoid(x); *y = silu(x). */
VF_INLINE vf vf_silu_slope(vf x, vf *y) {
  const struct vf_decay s = vf_decay_of(x);
  const vf part = 1.0f / (1.0f + s.z);
  const vf slope = part * (1.0f + s.size * vf_pick(s.negative, -part, s.z * part));
  *y = vf_silu_of(&s);
  return vf_scale2(vf_pick(s.negative, s.p * slope, slope), vf_pick(s.negative, s.n, vf_all(0)));
}

/* x (1 + erf(x / sqrt 2)) / 2 */
VF_INLINE vf vf_gelu(vf x) {
  return 0.5f * x * (1.0f + vf_erf(vf_at_least(x, -14.0f) * 0.707106781f));
}

#endif
