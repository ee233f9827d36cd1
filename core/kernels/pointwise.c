/* Element-by-element kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/pointwise.h"
#include <math.h>

/* No iteration depends on another; p[0] may be an input itself. */
#if defined(__clang__)
#define QNI_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define QNI_IVDEP _Pragma("GCC ivdep")
#endif

#define FLOATING
#define WRAP(a, op, b) ((a)op(b))

#define REAL float
#define FN(name) name##_f32
#define FLOOR floorf
#define CEIL ceilf
#define RINT rintf
#define SQRT sqrtf
#define ABS fabsf
#include "kernels/pointwise_typed.h"
#undef REAL
#undef FN
#undef FLOOR
#undef CEIL
#undef RINT
#undef SQRT
#undef ABS

#define REAL double
#define FN(name) name##_f64
#define FLOOR floor
#define CEIL ceil
#define RINT rint
#define SQRT sqrt
#define ABS fabs
#include "kernels/pointwise_typed.h"
#undef REAL
#undef FN
#undef FLOATING
#undef WRAP

#define WRAP(a, op, b) ((int64_t)((uint64_t)(a)op(uint64_t)(b)))
#define REAL int64_t
#define FN(name) name##_i64
#include "kernels/pointwise_typed.h"

#define EVERY_TYPE(t)                                                                              \
  [QNI_PW_ADD] = add_##t, [QNI_PW_SUB] = sub_##t, [QNI_PW_MUL] = mul_##t, [QNI_PW_MAX] = max_##t,  \
  [QNI_PW_MIN] = min_##t, [QNI_PW_COPY] = copy_##t, [QNI_PW_FLOOR_DIV] = floor_div_##t,            \
  [QNI_PW_REMAINDER] = remainder_##t, [QNI_PW_NEG] = neg_##t, [QNI_PW_ABS] = abs_##t,              \
  [QNI_PW_SQUARE] = square_##t, [QNI_PW_SIGN] = sign_##t, [QNI_PW_CLAMP] = clamp_##t,              \
  [QNI_PW_FILL] = fill_##t, [QNI_PW_EQ] = eq_##t, [QNI_PW_NE] = ne_##t, [QNI_PW_LT] = lt_##t,      \
  [QNI_PW_LE] = le_##t, [QNI_PW_GT] = gt_##t, [QNI_PW_GE] = ge_##t, [QNI_PW_WHERE] = where_##t,    \
  [QNI_PW_KEEP] = keep_##t, [QNI_PW_DROP] = drop_##t, [QNI_PW_MASK] = mask_##t

#define FLOAT_TYPE(t)                                                                              \
  EVERY_TYPE(t),                                                                                   \
      [QNI_PW_DIV] = div_##t, [QNI_PW_MAX_GRAD] = max_grad_##t, [QNI_PW_MIN_GRAD] = min_grad_##t,  \
      [QNI_PW_DIV_GRAD] = div_grad_##t, [QNI_PW_FMA] = fma_##t, [QNI_PW_SQRT] = sqrt_##t,          \
      [QNI_PW_RSQRT] = rsqrt_##t, [QNI_PW_RECIPROCAL] = reciprocal_##t,                            \
      [QNI_PW_FLOOR] = floor_##t, [QNI_PW_CEIL] = ceil_##t, [QNI_PW_ROUND] = round_##t,            \
      [QNI_PW_RELU] = relu_##t, [QNI_PW_LEAKY] = leaky_##t, [QNI_PW_SCALE] = scale_##t,            \
      [QNI_PW_ABS_GRAD] = abs_grad_##t, [QNI_PW_SQUARE_GRAD] = square_grad_##t,                    \
      [QNI_PW_RELU_GRAD] = relu_grad_##t, [QNI_PW_LEAKY_GRAD] = leaky_grad_##t,                    \
      [QNI_PW_CLAMP_GRAD] = clamp_grad_##t, [QNI_PW_SQRT_GRAD] = sqrt_grad_##t,                    \
      [QNI_PW_RSQRT_GRAD] = rsqrt_grad_##t, [QNI_PW_RECIPROCAL_GRAD] = reciprocal_grad_##t,        \
      [QNI_PW_TANH_GRAD] = tanh_grad_##t, [QNI_PW_SIGMOID_GRAD] = sigmoid_grad_##t,                \
      [QNI_PW_LOG1P_GRAD] = log1p_grad_##t

extern const qni_pointwise_table QNI_KERNEL(pointwise);
const qni_pointwise_table QNI_KERNEL(pointwise) = {
    .f32 = {FLOAT_TYPE(f32)},
    .f64 = {FLOAT_TYPE(f64)},
    .i64 = {EVERY_TYPE(i64)},
};
