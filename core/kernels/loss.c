/* Loss kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/loss.h"

#include <string.h>

#include "kernels/vec_part.h"

enum { BLOCK = 256 };

#define QNI_TYPED_FILE "kernels/loss_typed.h"
#include "kernels/both_typed.h"

extern const qni_loss_table QNI_KERNEL(loss);
const qni_loss_table QNI_KERNEL(loss) = {
    .forward = {forward_f32, forward_f64},
    .backward = {backward_f32, backward_f64},
    .class_forward = {class_forward_f32, class_forward_f64},
    .class_backward = {class_backward_f32, class_backward_f64},
    .sampled_forward = {sampled_forward_f32, sampled_forward_f64},
    .sampled_backward = {sampled_backward_f32, sampled_backward_f64},
    .sampled_sort = {sampled_sort_f32, sampled_sort_f64},
    .sampled_table = {sampled_table_f32, sampled_table_f64},
};
