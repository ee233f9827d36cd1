/*
** Element-by-element kernels on contiguous runs: y[i] = f(a[i], b[i], ...).
**
** p[0] is what is written, p[1..] what is read; step[k] is 1, or 0 where operand k
** is one value for the whole run (only kernels of two and more inputs take that).
** p[0] may be the same memory as an input, but must not overlap it otherwise.
** param points at the doubles a kernel needs (slope, bounds), or is NULL.
** Tables exist for f32, f64 and i64; NULL where an operation has no meaning.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_POINTWISE_H
#define QNI_POINTWISE_H

#include "kernels/kernel.h"

typedef void (*qni_map_fn)(const void *param, int64_t n, void *const *p, const int64_t *step);

/* x, a, b are inputs; g is an output gradient; p0, p1 are parameters. */
enum qni_pw {
  QNI_PW_ADD,
  QNI_PW_SUB,
  QNI_PW_MUL,
  QNI_PW_DIV, /* a, b */
  QNI_PW_MAX,
  QNI_PW_MIN, /* a, b; NaN wins */
  QNI_PW_FLOOR_DIV,
  QNI_PW_REMAINDER, /* a, b; sign of the divisor */
  QNI_PW_MAX_GRAD,
  QNI_PW_MIN_GRAD, /* g, a, b: gradient of a; half at a tie */
  QNI_PW_DIV_GRAD, /* g, a, b: gradient of b, -g a / b^2 */
  QNI_PW_FMA,      /* a, b, c: a b + c */
  QNI_PW_COPY,
  QNI_PW_NEG,
  QNI_PW_ABS,
  QNI_PW_SQUARE,
  QNI_PW_SIGN, /* x */
  QNI_PW_SQRT,
  QNI_PW_RSQRT,
  QNI_PW_RECIPROCAL,
  QNI_PW_FLOOR,
  QNI_PW_CEIL,
  QNI_PW_ROUND,
  QNI_PW_RELU,
  QNI_PW_LEAKY, /* x; slope p0 */
  QNI_PW_CLAMP, /* x; bounds p0, p1 */
  QNI_PW_SCALE,
  QNI_PW_FILL, /* p0 x; p0 */
  QNI_PW_ABS_GRAD,
  QNI_PW_SQUARE_GRAD, /* g, x */
  QNI_PW_RELU_GRAD,
  QNI_PW_LEAKY_GRAD,
  QNI_PW_CLAMP_GRAD, /* g, x */
  QNI_PW_SQRT_GRAD,
  QNI_PW_RSQRT_GRAD,
  QNI_PW_RECIPROCAL_GRAD, /* g, y */
  QNI_PW_TANH_GRAD,
  QNI_PW_SIGMOID_GRAD, /* g, y */
  QNI_PW_LOG1P_GRAD,   /* g, x: g / (1 + x) */
  QNI_PW_EQ,
  QNI_PW_NE,
  QNI_PW_LT,
  QNI_PW_LE,
  QNI_PW_GT,
  QNI_PW_GE,    /* a, b to one byte */
  QNI_PW_WHERE, /* cond (bytes), a, b */
  QNI_PW_KEEP,
  QNI_PW_DROP, /* cond (bytes), a: a where true / false, else 0 */
  QNI_PW_MASK, /* cond (bytes), a: p0 where true, else a */
  QNI_PW_COUNT
};

typedef struct qni_pointwise_table {
  qni_map_fn f32[QNI_PW_COUNT], f64[QNI_PW_COUNT], i64[QNI_PW_COUNT];
} qni_pointwise_table;

const qni_pointwise_table *qni_pointwise(void);

#endif
