/* Trial slices, on which a step is recorded. SPDX-License-Identifier: MIT */
#ifndef QNI_TRIAL_H
#define QNI_TRIAL_H

#include "graph/affine.h"
#include "tensor/tensor.h"

/*
** Inputs of trial slice `trial`, made out of a batch of B samples: copies of some samples, long
** sequences cut. shared[i]: input i belongs to all samples and is given as it is. Jagged
** inputs share one tensor of offsets. New tensors; on failure none.
*/
qn_status qni_trial_make(qn_tensor *const *inputs, const bool *shared, int32_t n, int64_t B,
                         int32_t trial, qn_tensor **made, qni_extent *extent) QNI_WARN_UNUSED;

#endif
