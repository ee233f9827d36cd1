/*
** The kernels of pointwise.h for one type. Included with
**   REAL      the element type          FN(name)   the function's name
**   WRAP      a op b that never traps   FLOATING   defined for f32 and f64
** The loops are plain; the compiler vectorizes them (runs never overlap by halves).
** SPDX-License-Identifier: MIT
*/

#define MAP1(name, expr)                                                                           \
  static void FN(name)(const void *param, int64_t n, void *const *p, const int64_t *step) {        \
    const double *v = param;                                                                       \
    const REAL *xs = p[1];                                                                         \
    REAL *y = p[0];                                                                                \
    (void)v;                                                                                       \
    (void)step;                                                                                    \
    QNI_IVDEP for (int64_t i = 0; i < n; i++) {                                                    \
      const REAL x = xs[i];                                                                        \
      y[i] = (REAL)(expr);                                                                         \
    }                                                                                              \
  }

#define LOOP2(OUT, A, B, expr)                                                                     \
  QNI_IVDEP for (int64_t i = 0; i < n; i++) {                                                      \
    const REAL a = A, b = B;                                                                       \
    y[i] = (OUT)(expr);                                                                            \
  }

#define MAP2_TO(OUT, name, expr)                                                                   \
  static void FN(name)(const void *param, int64_t n, void *const *p, const int64_t *step) {        \
    const double *v = param;                                                                       \
    const REAL *as = p[1], *bs = p[2];                                                             \
    OUT *y = p[0];                                                                                 \
    (void)v;                                                                                       \
    if (step[1] && step[2]) {                                                                      \
      LOOP2(OUT, as[i], bs[i], expr)                                                               \
    } else if (step[1]) {                                                                          \
      const REAL b0 = *bs;                                                                         \
      LOOP2(OUT, as[i], b0, expr)                                                                  \
    } else if (step[2]) {                                                                          \
      const REAL a0 = *as;                                                                         \
      LOOP2(OUT, a0, bs[i], expr)                                                                  \
    } else {                                                                                       \
      const REAL a0 = *as, b0 = *bs;                                                               \
      LOOP2(OUT, a0, b0, expr)                                                                     \
    }                                                                                              \
  }
#define MAP2(name, expr) MAP2_TO(REAL, name, expr)

#define MAP3_OF(T, name, expr)                                                                     \
  static void FN(name)(const void *param, int64_t n, void *const *p, const int64_t *step) {        \
    const T *gs = p[1];                                                                            \
    const REAL *as = p[2], *bs = p[3];                                                             \
    REAL *y = p[0];                                                                                \
    const int64_t sg = step[1], sa = step[2], sb = step[3];                                        \
    (void)param;                                                                                   \
    if (sg && sa && sb) {                                                                          \
      QNI_IVDEP for (int64_t i = 0; i < n; i++) {                                                  \
        const T g = gs[i];                                                                         \
        const REAL a = as[i], b = bs[i];                                                           \
        y[i] = (REAL)(expr);                                                                       \
      }                                                                                            \
      return;                                                                                      \
    }                                                                                              \
    QNI_IVDEP for (int64_t i = 0; i < n; i++) {                                                    \
      const T g = gs[i * sg];                                                                      \
      const REAL a = as[i * sa], b = bs[i * sb];                                                   \
      y[i] = (REAL)(expr);                                                                         \
    }                                                                                              \
  }

/* cond (bytes) and one value operand */
#define MAP_COND(name, expr)                                                                       \
  static void FN(name)(const void *param, int64_t n, void *const *p, const int64_t *step) {        \
    const double *v = param;                                                                       \
    const uint8_t *cs = p[1];                                                                      \
    const REAL *as = p[2];                                                                         \
    REAL *y = p[0];                                                                                \
    const int64_t sc = step[1], sa = step[2];                                                      \
    const REAL fill = v ? (REAL)v[0] : 0;                                                          \
    (void)fill;                                                                                    \
    QNI_IVDEP for (int64_t i = 0; i < n; i++) {                                                    \
      const uint8_t c = cs[i * sc];                                                                \
      const REAL a = as[i * sa];                                                                   \
      y[i] = (REAL)(expr);                                                                         \
    }                                                                                              \
  }

MAP2(add, WRAP(a, +, b))
MAP2(sub, WRAP(a, -, b))
MAP2(mul, WRAP(a, *, b))
MAP2(max, (a > b || a != a) ? a : b)
MAP2(min, (a < b || a != a) ? a : b)
MAP1(copy, x)
MAP1(neg, WRAP(0, -, x))
MAP1(square, WRAP(x, *, x))
MAP2_TO(uint8_t, eq, a == b)
MAP2_TO(uint8_t, ne, a != b)
MAP2_TO(uint8_t, lt, a < b)
MAP2_TO(uint8_t, le, a <= b)
MAP2_TO(uint8_t, gt, a > b)
MAP2_TO(uint8_t, ge, a >= b)
MAP3_OF(uint8_t, where, g ? a : b)
MAP_COND(keep, c ? a : 0)
MAP_COND(drop, c ? 0 : a)
MAP_COND(mask, c ? fill : a)

static void FN(fill)(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const REAL value = (REAL)((const double *)param)[0];
  REAL *y = p[0];
  (void)step;
  for (int64_t i = 0; i < n; i++) y[i] = value;
}

#ifdef FLOATING
MAP2(div, a / b)
MAP2(floor_div, FLOOR(a / b))
MAP2(remainder, a - b * FLOOR(a / b))
MAP2(abs_grad, b > 0 ? a : b < 0 ? -a : a * b)
MAP2(square_grad, 2 * a * b)
MAP2(relu_grad, b > 0 ? a : 0)
MAP2(leaky_grad, b > 0 ? a : a * (REAL)v[0])
MAP2(clamp_grad, b >= (REAL)v[0] && b <= (REAL)v[1] ? a : 0)
MAP2(sqrt_grad, a / (2 * b))
MAP2(rsqrt_grad, (REAL)-0.5 * a * b * b * b)
MAP2(reciprocal_grad, -a *b *b)
MAP2(tanh_grad, a *(1 - b * b))
MAP2(sigmoid_grad, a *b *(1 - b))
MAP2(log1p_grad, a / (1 + b))
MAP3_OF(REAL, max_grad, a > b ? g : a == b ? g * (REAL)0.5 : 0)
MAP3_OF(REAL, min_grad, a < b ? g : a == b ? g * (REAL)0.5 : 0)
MAP3_OF(REAL, div_grad, -g *a / (b * b))
MAP3_OF(REAL, fma, g *a + b)
MAP1(abs, ABS(x))
MAP1(sign, x > 0 ? 1 : x < 0 ? -1 : x)
MAP1(sqrt, SQRT(x))
MAP1(rsqrt, 1 / SQRT(x))
MAP1(reciprocal, 1 / x)
MAP1(floor, FLOOR(x))
MAP1(ceil, CEIL(x))
MAP1(round, RINT(x))
MAP1(relu, x < 0 ? 0 : x)
MAP1(leaky, x < 0 ? x * (REAL)v[0] : x)
MAP1(clamp, x<(REAL)v[0] ? (REAL)v[0] : x>(REAL) v[1] ? (REAL)v[1] : x)
MAP1(scale, (REAL)v[0] * x)
#else
/* The callers have made sure that no divisor is 0. */
static int64_t floor_quotient(int64_t a, int64_t b) {
  if (b == -1) return WRAP(0, -, a);
  const int64_t q = a / b;
  return q - ((a % b != 0) && ((a < 0) != (b < 0)));
}
static int64_t clamped(int64_t x, const double *v) {
  const double d = (double)x;
  return d < v[0] ? (int64_t)v[0] : d > v[1] ? (int64_t)v[1] : x;
}
MAP2(floor_div, floor_quotient(a, b))
MAP2(remainder, WRAP(a, -, WRAP(b, *, floor_quotient(a, b))))
MAP1(abs, x < 0 ? WRAP(0, -, x) : x)
MAP1(sign, (x > 0) - (x < 0))
MAP1(clamp, clamped(x, v))
#endif

#undef MAP1
#undef MAP2
#undef MAP2_TO
#undef LOOP2
#undef MAP3_OF
#undef MAP_COND
