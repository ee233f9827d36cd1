/* Attention tile kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/attention.h"

#define QNI_TYPED_FILE "kernels/attention_typed.h"
#include "kernels/both_typed.h"

extern const qni_attention_table QNI_KERNEL(attention);
const qni_attention_table QNI_KERNEL(attention) = {
    .forward = {tile_forward_f32, tile_forward_f64},
    .backward = {tile_backward_f32, tile_backward_f64},
    .row_dots = {row_dots_f32, row_dots_f64},
};
