/*
** The functions of unary_math.h in f32, on the host's vector kernels.
** Where a formula has several steps, it is done for BLOCK elements at a time.
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "unary_math.h"

enum { BLOCK = 256 };

static const float ROOT_HALF = 0.707106781f, ROOT_2_PI = 0.797884561f, ROOT_1_2PI = 0.398942280f,
                   TWO_ROOT_1_PI = 1.128379167f;

static const qn_math *math_of(const void *param) { return ((const qni_um_param *)param)->math; }

#define DIRECT(name)                                                                               \
  static void name##_f32(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    (void)step;                                                                                    \
    math_of(param)->name(n, p[1], p[0]);                                                           \
  }
DIRECT(exp)
DIRECT(log)
DIRECT(tanh)
DIRECT(sigmoid)
DIRECT(silu)
DIRECT(erf)

static void silu_grad_f32(const void *param, int64_t n, void *const *p, const int64_t *step) {
  (void)step;
  math_of(param)->silu_grad(n, p[2], p[1], p[0]);
}

/* One element at a time through the C library: rare functions. */
#define SCALAR(name, expr)                                                                         \
  static void name##_f32(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    const float *xs = p[1], k = param ? (float)((const qni_um_param *)param)->v : 0;               \
    float *y = p[0];                                                                               \
    (void)step;                                                                                    \
    (void)k;                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                              \
      const float x = xs[i];                                                                       \
      y[i] = expr;                                                                                 \
    }                                                                                              \
  }
SCALAR(log1p, log1pf(x))
SCALAR(elu, x > 0 ? x : k * expm1f(x))
SCALAR(sin, sinf(x))
SCALAR(cos, cosf(x))

/* Blocks: `fill` makes t from x, math `call` turns t into u, `expr` gives the result. */
#define BLOCKED(name, fill, call, expr)                                                            \
  static void name##_f32(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    const qn_math *math = math_of(param);                                                          \
    const float k = (float)((const qni_um_param *)param)->v;                                       \
    (void)math;                                                                                    \
    float t[BLOCK], u[BLOCK];                                                                      \
    (void)step;                                                                                    \
    (void)k;                                                                                       \
    for (int64_t at = 0; at < n; at += BLOCK) {                                                    \
      const int64_t m = n - at < BLOCK ? n - at : BLOCK;                                           \
      const float *xs = (const float *)p[1] + at;                                                  \
      float *y = (float *)p[0] + at;                                                               \
      for (int64_t i = 0; i < m; i++) {                                                            \
        const float x = xs[i];                                                                     \
        t[i] = fill;                                                                               \
      }                                                                                            \
      call;                                                                                        \
      for (int64_t i = 0; i < m; i++) {                                                            \
        const float x = xs[i];                                                                     \
        (void)x;                                                                                   \
        y[i] = expr;                                                                               \
      }                                                                                            \
    }                                                                                              \
  }
#define BLOCKED_GRAD(name, fill, call, expr)                                                       \
  static void name##_f32(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    const qn_math *math = math_of(param);                                                          \
    const float k = (float)((const qni_um_param *)param)->v;                                       \
    (void)math;                                                                                    \
    float t[BLOCK], u[BLOCK];                                                                      \
    (void)step;                                                                                    \
    (void)k;                                                                                       \
    for (int64_t at = 0; at < n; at += BLOCK) {                                                    \
      const int64_t m = n - at < BLOCK ? n - at : BLOCK;                                           \
      const float *gs = (const float *)p[1] + at, *xs = (const float *)p[2] + at;                  \
      float *y = (float *)p[0] + at;                                                               \
      for (int64_t i = 0; i < m; i++) {                                                            \
        const float x = xs[i];                                                                     \
        t[i] = fill;                                                                               \
      }                                                                                            \
      call;                                                                                        \
      for (int64_t i = 0; i < m; i++) {                                                            \
        const float x = xs[i], g = gs[i];                                                          \
        (void)x;                                                                                   \
        y[i] = g * (expr);                                                                         \
      }                                                                                            \
    }                                                                                              \
  }

/* log(1 + e) for small e = exp(-|k x|) without losing e */
static float log1p_of(float e, float log_1_e) {
  const float u = 1 + e;
  return u == 1 ? e : log_1_e * e / (u - 1);
}

static void softplus_logs(const qn_math *math, int64_t m, float *t, float *u) {
  math->exp(m, t, t);
  for (int64_t i = 0; i < m; i++) u[i] = 1 + t[i];
  math->log(m, u, u);
}

/* With t = x / sqrt 2: u = erf(t), then t = exp(-t^2). */
static void normal_parts(const qn_math *math, int64_t m, float *t, float *u) {
  math->erf(m, t, u);
  for (int64_t i = 0; i < m; i++) t[i] = -t[i] * t[i];
  math->exp(m, t, t);
}

BLOCKED(gelu, x *ROOT_HALF, math->erf(m, t, u), 0.5f * x * (1 + u[i]))
BLOCKED(gelu_tanh, ROOT_2_PI *(x + 0.044715f * x * x * x), math->tanh(m, t, u),
        0.5f * x * (1 + u[i]))
BLOCKED(softplus, -fabsf(k *x), softplus_logs(math, m, t, u),
        ((k * x > 0 ? k * x : 0) + log1p_of(t[i], u[i])) / k)
BLOCKED_GRAD(erf_grad, -x *x, math->exp(m, t, u), TWO_ROOT_1_PI *u[i])
BLOCKED_GRAD(gelu_grad, x *ROOT_HALF, normal_parts(math, m, t, u),
             0.5f * (1 + u[i]) + x * ROOT_1_2PI * t[i])
BLOCKED_GRAD(gelu_tanh_grad, ROOT_2_PI *(x + 0.044715f * x * x * x), math->tanh(m, t, u),
             0.5f * (1 + u[i]) +
                 0.5f * x * (1 - u[i] * u[i]) * ROOT_2_PI * (1 + 3 * 0.044715f * x * x))
BLOCKED_GRAD(elu_grad, x > 0 ? 0 : x, math->exp(m, t, u), x > 0 ? 1 : k * u[i])
BLOCKED_GRAD(softplus_grad, k *x, math->sigmoid(m, t, u), u[i])
BLOCKED_GRAD(sin_grad, x, for (int64_t j = 0; j < m; j++) u[j] = cosf(t[j]), u[i])
BLOCKED_GRAD(cos_grad, x, for (int64_t j = 0; j < m; j++) u[j] = sinf(t[j]), -u[i])

const qni_map_fn qni_um_f32[QNI_UM_COUNT] = {exp_f32,
                                             log_f32,
                                             log1p_f32,
                                             tanh_f32,
                                             sigmoid_f32,
                                             silu_f32,
                                             erf_f32,
                                             gelu_f32,
                                             gelu_tanh_f32,
                                             elu_f32,
                                             softplus_f32,
                                             sin_f32,
                                             cos_f32,
                                             silu_grad_f32,
                                             erf_grad_f32,
                                             gelu_grad_f32,
                                             gelu_tanh_grad_f32,
                                             elu_grad_f32,
                                             softplus_grad_f32,
                                             sin_grad_f32,
                                             cos_grad_f32};
