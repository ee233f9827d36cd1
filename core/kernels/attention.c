/* Attention tile kernels, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/attention.h"

#include <math.h>

#include "kernels/vec_part.h"

/* p = exp(s - lse), ds = p (dp - delta) over n keys: s becomes p, dp becomes ds. */
static void slope_row_f64(int64_t n, double lse, double delta, double *s, double *ds) {
  for (int64_t c = 0; c < n; c++) {
    s[c] = exp(s[c] - lse);
    ds[c] = s[c] * (ds[c] - delta);
  }
}

VF_INLINE void slope_cells(float *s, float *ds, int count, float lse, float delta) {
  const vf p = vf_exp(vf_load_part(s, count) - lse);
  const vf slope = p * (vf_load_part(ds, count) - delta);
  vf_store_part(s, p, count);
  vf_store_part(ds, slope, count);
}

static void slope_row_f32(int64_t n, float lse, float delta, float *s, float *ds) {
  int64_t c = 0;
  for (; c + VF_N <= n; c += VF_N) slope_cells(s + c, ds + c, VF_N, lse, delta);
  if (c < n) slope_cells(s + c, ds + c, (int)(n - c), lse, delta);
}

#define QNI_TYPED_FILE "kernels/attention_typed.h"
#include "kernels/both_typed.h"

extern const qni_attention_table QNI_KERNEL(attention);
const qni_attention_table QNI_KERNEL(attention) = {
    .forward = {tile_forward_f32, tile_forward_f64},
    .backward = {tile_backward_f32, tile_backward_f64},
    .row_dots = {row_dots_f32, row_dots_f64},
    .scale_rows = {scale_rows_f32, scale_rows_f64},
};
