/* Softmax kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/softmax.h"

#include "kernels/vec_part.h"

/* The mask's row for row r of the scores, broadcast as its strides say. */
static const uint8_t *mask_row(const qni_softmax_job *j, int64_t r) {
  int64_t at = 0;
  for (int32_t d = j->n_lead - 1; d >= 0; d--) {
    at += r % j->lead[d] * j->keep_stride[d];
    r /= j->lead[d];
  }
  return j->keep + at;
}

#define QNI_TYPED_FILE "kernels/softmax_typed.h"
#include "kernels/both_typed.h"

extern const qni_softmax_table QNI_KERNEL(softmax);
const qni_softmax_table QNI_KERNEL(softmax) = {
    .forward = {forward_f32, forward_f64},
    .backward = {backward_f32, backward_f64},
};
