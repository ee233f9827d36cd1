/* Dropout and rotation kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/dropout.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define QNI_TYPED_FILE "kernels/dropout_typed.h"
#include "kernels/both_typed.h"

extern const qni_dropout_table QNI_KERNEL(dropout);
const qni_dropout_table QNI_KERNEL(dropout) = {
    .apply = {apply_f32, apply_f64},
    .again = {again_f32, again_f64},
    .rotate = {rotate_f32, rotate_f64},
};
