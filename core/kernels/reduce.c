/* Reduction kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/reduce.h"
#include <math.h>

static double not_a_number_f32(void) { return NAN; }
static double not_a_number_f64(void) { return NAN; }
static int64_t not_a_number_i64(void) { return 0; } /* never asked for: integers equal themselves */

#define WRAP(a, op, b) ((a)op(b))
#define ACC double
#define REAL float
#define FN(name) name##_f32
#include "kernels/reduce_typed.h"
#undef REAL
#undef FN
#define REAL double
#define FN(name) name##_f64
#include "kernels/reduce_typed.h"
#undef REAL
#undef FN
#undef ACC
#undef WRAP

#define WRAP(a, op, b) ((int64_t)((uint64_t)(a)op(uint64_t)(b)))
#define ACC int64_t
#define REAL int64_t
#define FN(name) name##_i64
#include "kernels/reduce_typed.h"

#define KERNELS(t)                                                                                 \
  {                                                                                                \
    .rows = {sum_rows_##t, prod_rows_##t, max_rows_##t, min_rows_##t, squares_rows_##t},           \
    .cols = {sum_cols_##t, prod_cols_##t, max_cols_##t, min_cols_##t, squares_cols_##t},           \
  }

extern const qni_reduce_table QNI_KERNEL(reduce);
const qni_reduce_table QNI_KERNEL(reduce) = {KERNELS(f32), KERNELS(f64), KERNELS(i64)};
