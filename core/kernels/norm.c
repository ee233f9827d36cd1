/* Normalisation kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/norm.h"

#define QNI_TYPED_FILE "kernels/norm_typed.h"
#include "kernels/both_typed.h"

extern const qni_norm_table QNI_KERNEL(norm);
const qni_norm_table QNI_KERNEL(norm) = {
    .forward = {forward_f32, forward_f64},
    .backward = {backward_f32, backward_f64},
    .column_chunks = {column_chunks_f32, column_chunks_f64},
    .column_fold = {column_fold_f32, column_fold_f64},
};
