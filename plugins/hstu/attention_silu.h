/* The rows of attention's heads in f32, for silu_row.h. Included by attention_typed.h. SPDX-License-Identifier: MIT */

#include "silu_row.h"

ALWAYS_INLINE struct silu_row open_silu(const struct head_f32 *h, const struct row_f32 *t) {
  struct silu_row s = {.bp = t->bp, .bucket = t->bucket, .alpha = (float)h->a->alpha};
  if (!t->bucket) return s;
  s.bt = h->bt;
#if defined(__AVX512F__)
  for (int k = 0; k < 4; k++) s.table[k] = _mm512_loadu_ps(h->bt + 16 * k);
#endif
  return s;
}

/* The sum of both biases, in whole vectors. */
static void bias_sum_f32(const struct head_f32 *h, const struct row_f32 *t, int64_t cols,
                         float *sum) {
  const struct silu_row s = open_silu(h, t);
  for (int64_t j = 0; j < cols; j += LANES_f32)
    bias_part(1, &s, j, least(cols - j, LANES_f32), sum);
}

/* Rows reach to whole vectors; what lies right of `cols` there is not defined. */
static void silu_bias_row(const struct head_f32 *h, const struct row_f32 *t, int64_t cols,
                          float *row, float *g) {
  const struct silu_row s = open_silu(h, t);
  if (!g)
    silu_parts(&s, cols, row, NULL, NULL);
  else if (!t->dbp)
    silu_parts(&s, cols, row, g, NULL);
  else
    silu_parts(&s, cols, row, g, t->dbp);
}
