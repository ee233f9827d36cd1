/*
** Kernels of the functions that need more than arithmetic. f32 goes through the host's
** vector kernels ("qn.math/1") in blocks, f64 through the C library.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_UNARY_MATH_H
#define QNI_UNARY_MATH_H

#include "elementwise_map.h"

/* y = f(x); the _GRAD ones take (g, x) and give g f'(x), EXP takes (g, y). p0: alpha or beta. */
enum qni_um {
  QNI_UM_EXP,
  QNI_UM_LOG,
  QNI_UM_LOG1P,
  QNI_UM_TANH,
  QNI_UM_SIGMOID,
  QNI_UM_SILU,
  QNI_UM_ERF,
  QNI_UM_GELU,
  QNI_UM_GELU_TANH,
  QNI_UM_ELU,
  QNI_UM_SOFTPLUS,
  QNI_UM_SIN,
  QNI_UM_COS,
  QNI_UM_SILU_GRAD,
  QNI_UM_ERF_GRAD,
  QNI_UM_GELU_GRAD,
  QNI_UM_GELU_TANH_GRAD,
  QNI_UM_ELU_GRAD,
  QNI_UM_SOFTPLUS_GRAD,
  QNI_UM_SIN_GRAD,
  QNI_UM_COS_GRAD,
  QNI_UM_COUNT
};

typedef struct qni_um_param {
  double v; /* alpha, beta */
  const qn_math *math;
} qni_um_param;

extern const qni_map_fn qni_um_f32[QNI_UM_COUNT], qni_um_f64[QNI_UM_COUNT];

#endif
