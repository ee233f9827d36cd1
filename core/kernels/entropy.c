/* Cross-entropy against a table; see entropy.h. SPDX-License-Identifier: MIT */
#include "kernels/entropy.h"

#include "kernels/gemm.h"
#include "kernels/vec_part.h"

extern const qni_gemm_table QNI_KERNEL(gemm_kernels);

enum { PANEL = QNI_ENTROPY_PANEL, ROWS = QNI_ENTROPY_ROWS };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#define QNI_TYPED_FILE "kernels/entropy_typed.h"
#include "kernels/both_typed.h"

extern const qni_entropy_table QNI_KERNEL(entropy);
const qni_entropy_table QNI_KERNEL(entropy) = {
    .work = {work_f32, work_f64},
    .pack = {pack_f32, pack_f64},
    .rows = {rows_f32, rows_f64},
    .sums = {sums_f32, sums_f64},
    .join_sums = {join_sums_f32, join_sums_f64},
    .slopes = {slopes_f32, slopes_f64},
    .join_lanes = {join_lanes_f32, join_lanes_f64},
};
