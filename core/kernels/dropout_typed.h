/* The kernels of dropout.h for one type. Included with REAL, FN(name). SPDX-License-Identifier: MIT */

static void FN(apply)(int64_t n, const uint32_t *restrict random, uint64_t below, double scale,
                      const void *xv, void *yv) {
  const REAL s = (REAL)scale, *restrict x = xv;
  REAL *restrict y = yv;
  const uint32_t low = (uint32_t)(below ? below - 1 : 0); /* below 2^32 too: a word > low is kept */
  for (int64_t i = 0; i < n; i++) y[i] = random[i] > low || !below ? x[i] * s : 0;
}

static qn_status FN(rotate)(void *ctx, int64_t begin, int64_t end) {
  const qni_rotate_job *j = ctx;
  const int64_t half = j->width / 2;
  const REAL turn = j->back ? -1 : 1;
  for (int64_t r = begin; r < end; r++) {
    const int64_t at = (j->position ? j->position[r] : r % j->period) * half;
    const REAL *restrict co = (const REAL *)j->cosine + at, *restrict si =
                                                                (const REAL *)j->sine + at;
    for (int64_t h = 0; h < j->heads; h++) {
      const REAL *restrict x = (const REAL *)j->x + (r * j->heads + h) * j->width;
      REAL *restrict y = (REAL *)j->y + (r * j->heads + h) * j->width;
      for (int64_t k = 0; k < half; k++) {
        y[2 * k] = x[2 * k] * co[k] - x[2 * k + 1] * (turn * si[k]);
        y[2 * k + 1] = x[2 * k] * (turn * si[k]) + x[2 * k + 1] * co[k];
      }
    }
  }
  return QN_OK;
}
