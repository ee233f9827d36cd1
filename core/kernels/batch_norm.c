/* Batch normalisation kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/batch_norm.h"

enum { BLOCK_BYTES = 16384, ROWS_LEAST = 32 }; /* of a block of rows */
/* What lets dy pass relu: nothing stops it; y tells; or x, from which forward made y. */
enum { OPEN, BY_Y, BY_X };

enum { MOST = 64 }; /* columns of a strip; fewer: 32, 16, the rest */

static int strip_of(int64_t columns) {
  return columns >= MOST ? MOST : columns >= 32 ? 32 : columns >= 16 ? 16 : (int)columns;
}

#define QNI_TYPED_FILE "kernels/batch_norm_typed.h"
#include "kernels/both_typed.h"

extern const qni_batch_norm_table QNI_KERNEL(batch_norm);
const qni_batch_norm_table QNI_KERNEL(batch_norm) = {
    .stats = {stats_f32, stats_f64},
    .apply = {apply_f32, apply_f64},
    .sums = {sums_f32, sums_f64},
    .back = {back_f32, back_f64},
};
