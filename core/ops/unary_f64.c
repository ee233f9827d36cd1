/*
** The functions of unary_math.h in f64, by the C library.
** gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2; its tanh form puts
** Phi(x) = (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "unary_math.h"

static const double ROOT_HALF = 0.70710678118654752440, ROOT_2_PI = 0.79788456080286535588,
                    ROOT_1_2PI = 0.39894228040143267794, TWO_ROOT_1_PI = 1.12837916709551257390;

#define MAP(name, expr)                                                                            \
  static void name##_f64(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    const double k = param ? ((const qni_um_param *)param)->v : 0;                                 \
    const double *xs = p[1];                                                                       \
    double *y = p[0];                                                                              \
    (void)step;                                                                                    \
    (void)k;                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                              \
      const double x = xs[i];                                                                      \
      y[i] = expr;                                                                                 \
    }                                                                                              \
  }
#define MAP_GRAD(name, expr)                                                                       \
  static void name##_f64(const void *param, int64_t n, void *const *p, const int64_t *step) {      \
    const double k = param ? ((const qni_um_param *)param)->v : 0;                                 \
    const double *gs = p[1], *xs = p[2];                                                           \
    double *y = p[0];                                                                              \
    (void)k;                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                              \
      const double g = gs[i * step[1]], x = xs[i * step[2]];                                       \
      y[i] = g * (expr);                                                                           \
    }                                                                                              \
  }

static double logistic(double x) {
  if (x >= 0) return 1 / (1 + exp(-x));
  const double e = exp(x);
  return e / (1 + e);
}
static double silu_slope(double x) {
  const double s = logistic(x);
  return s * (1 + x * (1 - s));
}
static double phi(double x) { return 0.5 * (1 + erf(x * ROOT_HALF)); }
static double tanh_u(double x) { return tanh(ROOT_2_PI * (x + 0.044715 * x * x * x)); }
static double gelu_tanh_slope(double x) {
  const double t = tanh_u(x);
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT_2_PI * (1 + 3 * 0.044715 * x * x);
}
static double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

MAP(exp, exp(x))
MAP(log, log(x))
MAP(log1p, log1p(x))
MAP(tanh, tanh(x))
MAP(sigmoid, logistic(x))
MAP(silu, x *logistic(x))
MAP(erf, erf(x))
MAP(gelu, x *phi(x))
MAP(gelu_tanh, 0.5 * x * (1 + tanh_u(x)))
MAP(elu, x > 0 ? x : k * expm1(x))
MAP(softplus, softplus(k *x) / k)
MAP(sin, sin(x))
MAP(cos, cos(x))
MAP_GRAD(silu_grad, silu_slope(x))
MAP_GRAD(erf_grad, TWO_ROOT_1_PI *exp(-x *x))
MAP_GRAD(gelu_grad, phi(x) + x * ROOT_1_2PI * exp(-0.5 * x * x))
MAP_GRAD(gelu_tanh_grad, gelu_tanh_slope(x))
MAP_GRAD(elu_grad, x > 0 ? 1 : k * exp(x))
MAP_GRAD(softplus_grad, logistic(k *x))
MAP_GRAD(sin_grad, cos(x))
MAP_GRAD(cos_grad, -sin(x))

const qni_map_fn qni_um_f64[QNI_UM_COUNT] = {exp_f64,
                                             log_f64,
                                             log1p_f64,
                                             tanh_f64,
                                             sigmoid_f64,
                                             silu_f64,
                                             erf_f64,
                                             gelu_f64,
                                             gelu_tanh_f64,
                                             elu_f64,
                                             softplus_f64,
                                             sin_f64,
                                             cos_f64,
                                             silu_grad_f64,
                                             erf_grad_f64,
                                             gelu_grad_f64,
                                             gelu_tanh_grad_f64,
                                             elu_grad_f64,
                                             softplus_grad_f64,
                                             sin_grad_f64,
                                             cos_grad_f64};
