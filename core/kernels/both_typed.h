/*
** Includes QNI_TYPED_FILE for f32 and for f64, each after the lane reductions, with
**   REAL          the element type        FN(name)      the function's name
**   EXP(m, n, x, y)   y = exp(x): the host's vector kernel for f32, libm for f64
**   LOG1, EXP1, SQRT1, ABS1   of one value, for what happens once a row
** SPDX-License-Identifier: MIT
*/
#include <math.h>

enum { LANES = 16 };

static inline void exp_f64(int64_t n, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}

#define REAL float
#define IS64 0
#define FN(name) name##_f32
#define EXP(m, n, x, y) (m)->exp(n, x, y)
#define LOG1 logf
#define EXP1 expf
#define SQRT1 sqrtf
#define ABS1 fabsf
#define LOG1P1 log1pf
#include "kernels/lanes_typed.h"
#include QNI_TYPED_FILE
#undef REAL
#undef IS64
#undef FN
#undef EXP
#undef LOG1
#undef EXP1
#undef SQRT1
#undef ABS1
#undef LOG1P1

#define REAL double
#define IS64 1
#define FN(name) name##_f64
#define EXP(m, n, x, y) ((void)(m), exp_f64(n, x, y))
#define LOG1 log
#define EXP1 exp
#define SQRT1 sqrt
#define ABS1 fabs
#define LOG1P1 log1p
#include "kernels/lanes_typed.h"
#include QNI_TYPED_FILE
#undef REAL
#undef IS64
#undef FN
#undef EXP
#undef LOG1
#undef EXP1
#undef SQRT1
#undef ABS1
#undef LOG1P1
