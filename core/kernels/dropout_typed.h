/* The kernels of dropout.h for one type. Included with REAL, FN(name). SPDX-License-Identifier: MIT */

#if !IS64 && defined(__AVX512F__)

/* Bits of the 16 or fewer lanes that are kept, into 2 bytes or 1. */
static void note_f32(int64_t n, uint32_t kept, uint8_t *to) {
  to[0] = (uint8_t)kept;
  if (n > 8) to[1] = (uint8_t)(kept >> 8);
}

static void apply_f32(int64_t n, const uint32_t *random, uint64_t below, double scale,
                      const void *xv, void *yv, uint8_t *kept) {
  const float *x = xv;
  float *y = yv;
  const __m512i low = _mm512_set1_epi32((int)(uint32_t)(below ? below - 1 : 0));
  const __m512 s = _mm512_set1_ps((float)scale);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 some = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xFFFFu);
    const __m512i r = _mm512_maskz_loadu_epi32(some, random + i);
    const __mmask16 keep = below ? _mm512_mask_cmpgt_epu32_mask(some, r, low) : some;
    _mm512_mask_storeu_ps(y + i, some,
                          _mm512_maskz_mul_ps(keep, _mm512_maskz_loadu_ps(keep, x + i), s));
    if (kept) note_f32(n - i, keep, kept + i / 8);
  }
}

static void again_f32(int64_t n, const uint8_t *kept, double scale, const void *xv, void *yv) {
  const float *x = xv;
  float *y = yv;
  const __m512 s = _mm512_set1_ps((float)scale);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 some = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xFFFFu);
    const uint8_t *k = kept + i / 8;
    const __mmask16 keep = (__mmask16)(some & (k[0] | (n - i > 8 ? k[1] << 8 : 0)));
    _mm512_mask_storeu_ps(y + i, some,
                          _mm512_maskz_mul_ps(keep, _mm512_maskz_loadu_ps(keep, x + i), s));
  }
}

#else

static void FN(apply)(int64_t n, const uint32_t *restrict random, uint64_t below, double scale,
                      const void *xv, void *yv, uint8_t *restrict kept) {
  const REAL s = (REAL)scale, *restrict x = xv;
  REAL *restrict y = yv;
  const uint32_t low = (uint32_t)(below ? below - 1 : 0); /* below 2^32 too: a word > low is kept */
  for (int64_t i = 0; i < n; i++) y[i] = random[i] > low || !below ? x[i] * s : 0;
  for (int64_t i = 0; kept && i < n; i += 8) {
    unsigned bits = 0;
    for (int64_t k = i; k < n && k < i + 8; k++)
      bits |= (unsigned)(random[k] > low || !below) << (k - i);
    kept[i / 8] = (uint8_t)bits;
  }
}

static void FN(again)(int64_t n, const uint8_t *restrict kept, double scale, const void *xv,
                      void *yv) {
  const REAL s = (REAL)scale, *restrict x = xv;
  REAL *restrict y = yv;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; k++) y[i + k] = kept[i / 8] >> k & 1 ? x[i + k] * s : 0;
  for (; i < n; i++) y[i] = kept[i / 8] >> i % 8 & 1 ? x[i] * s : 0;
}

#endif

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
