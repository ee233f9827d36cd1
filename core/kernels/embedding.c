/* Table kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/embedding.h"

enum { AHEAD = 12 }; /* rows between asking for one and reading it */

#define QNI_TYPED_FILE "kernels/embedding_typed.h"
#include "kernels/both_typed.h"

extern const qni_embedding_table QNI_KERNEL(embedding);
const qni_embedding_table QNI_KERNEL(embedding) = {
    .gather = {gather_f32, gather_f64},
    .group_sum = {group_sum_f32, group_sum_f64},
};
