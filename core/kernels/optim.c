/* Optimizer kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include <math.h>
#include <stddef.h>

#include "kernels/optim.h"

enum { LANES = 16 };

#define REAL float
#define FN(name) name##_f32
#define SQRT sqrtf
#include "kernels/optim_typed.h"
#undef REAL
#undef FN
#undef SQRT

#define REAL double
#define FN(name) name##_f64
#define SQRT sqrt
#include "kernels/optim_typed.h"
#undef REAL
#undef FN
#undef SQRT

extern const qni_optim_table QNI_KERNEL(optim);
const qni_optim_table QNI_KERNEL(optim) = {
    .sgd = {sgd_f32, sgd_f64},
    .adam = {adam_f32, adam_f64},
    .adam_rows = {adam_rows_f32, adam_rows_f64},
    .rowwise_rows = {rowwise_rows_f32, rowwise_rows_f64},
    .adagrad_rows = {adagrad_rows_f32, adagrad_rows_f64},
    .sum_square = {sum_square_f32, sum_square_f64},
};
