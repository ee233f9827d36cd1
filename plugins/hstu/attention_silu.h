/*
** A row of scores in f32: both biases, SiLU and in backward its slope in one pass, on registers.
** Included by attention_typed.h. SPDX-License-Identifier: MIT
*/

/* ---- bt[bucket] for a vector of buckets ---- */

#if defined(__AVX512F__)
/* The table in registers: entries 0..127 in eight vectors, 128 for all others that are not 0. */
struct lookup {
  __m512 part[8], last;
};

ALWAYS_INLINE struct lookup open_lookup(const float *bt) {
  struct lookup t;
  UNROLL
  for (int k = 0; k < 8; k++) t.part[k] = _mm512_loadu_ps(bt + 16 * k);
  t.last = _mm512_maskz_loadu_ps(1, bt + 128);
  return t;
}

ALWAYS_INLINE vec_f32 looked_up(const struct lookup *t, const float *bt, const uint8_t *bucket,
                                int64_t n) {
  (void)bt;
  const __mmask16 some = (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
  const __m512i at = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(some, bucket));
  const __m512 a = _mm512_permutex2var_ps(t->part[0], at, t->part[1]),
               b = _mm512_permutex2var_ps(t->part[2], at, t->part[3]),
               c = _mm512_permutex2var_ps(t->part[4], at, t->part[5]),
               d = _mm512_permutex2var_ps(t->part[6], at, t->part[7]);
  const __mmask16 odd = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32)),
                  high = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64)),
                  top = _mm512_test_epi32_mask(at, _mm512_set1_epi32(128));
  const __m512 low =
      _mm512_mask_blend_ps(high, _mm512_mask_blend_ps(odd, a, b), _mm512_mask_blend_ps(odd, c, d));
  /* 128 has its bias in lane 0 of `last`, what lies above finds a 0 */
  return (vec_f32)_mm512_mask_permutexvar_ps(low, top, at, t->last);
}
#else
struct lookup {
  int none;
};

ALWAYS_INLINE struct lookup open_lookup(const float *bt) {
  (void)bt;
  return (struct lookup){0};
}

ALWAYS_INLINE vec_f32 looked_up(const struct lookup *t, const float *bt, const uint8_t *bucket,
                                int64_t n) {
  (void)t;
  vec_f32 v = {0};
  for (int64_t j = 0; j < LANES_f32; j++) v[j] = j < n ? bt[bucket[j]] : 0;
  return v;
}
#endif

/* ---- SiLU ---- */

ALWAYS_INLINE vec_f32 within(vec_f32 x, float bound) { /* NaN stays */
#if defined(__AVX512F__)
  const __m512 high = _mm512_set1_ps(bound), low = _mm512_set1_ps(-bound);
  return (vec_f32)_mm512_max_ps(low, _mm512_min_ps(high, (__m512)x));
#elif defined(__AVX2__)
  const __m256 high = _mm256_set1_ps(bound), low = _mm256_set1_ps(-bound);
  return (vec_f32)_mm256_max_ps(low, _mm256_min_ps(high, (__m256)x));
#else
  const vec_f32 high = (vec_f32){0} + bound;
  const ints_f32 above = x > high, below = x < -high;
  x = (vec_f32)((above & (ints_f32)high) | (~above & (ints_f32)x));
  return (vec_f32)((below & (ints_f32)-high) | (~below & (ints_f32)x));
#endif
}

/* exp by halving to |r| <= ln 2 / 2 and a polynomial; 2 ulp; x is held within +-87. */
ALWAYS_INLINE vec_f32 exp_vec(vec_f32 x) {
  const vec_f32 round = (vec_f32){0} + 12582912.0f;
  x = within(x, 87.0f);
  vec_f32 shifted = x * 1.44269504f + round, n = shifted - round;
  vec_f32 r = x - n * 0.693145752f - n * 1.42860677e-6f;
  vec_f32 p = r * 1.3981999e-3f + 8.3333284e-3f;
  p = p * r + 4.1665795e-2f;
  p = p * r + 1.6666665e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  return (vec_f32)((ints_f32)p + ((ints_f32)shifted << 23));
}

/* 1 / d for d >= 1, to 2 ulp. */
ALWAYS_INLINE vec_f32 inverse_of(vec_f32 d) {
#if defined(__AVX512F__)
  const __m512 y = _mm512_rcp14_ps((__m512)d), two = _mm512_set1_ps(2);
  return (vec_f32)_mm512_mul_ps(y, _mm512_fnmadd_ps((__m512)d, y, two));
#else
  return 1.0f / d;
#endif
}

struct silu_row { /* what a row's vectors share */
  const float *bp, *bt;
  const uint8_t *bucket;
  float alpha, scale, steep;
  struct lookup table;
};

/*
** n lanes from column j on: scores become P. With g, which becomes dS, and with dbp, to which
** that is added.
*/
ALWAYS_INLINE void silu_part(const struct silu_row *s, int64_t j, int64_t n, float *row, float *g,
                             float *dbp) {
  vec_f32 t = *(const vec_f32 *)(row + j);
  if (s->bp) t += load_some_f32(s->bp + j, n);
  if (s->bucket) t += looked_up(&s->table, s->bt, s->bucket + j, n);
  t *= s->alpha;
  const vec_f32 sig = inverse_of(1.0f + exp_vec(-t)), y = t * sig;
  *(vec_f32 *)(row + j) = y * s->scale;
  if (!g) return;
  const vec_f32 ds = *(const vec_f32 *)(g + j) * ((sig + y * (1.0f - sig)) * s->steep);
  *(vec_f32 *)(g + j) = ds;
  if (dbp) store_some_f32(dbp + j, load_some_f32(dbp + j, n) + ds, n);
}

ALWAYS_INLINE void silu_parts(const struct silu_row *s, int64_t cols, float *row, float *g,
                              float *dbp) {
  int64_t j = 0;
  for (; j + LANES_f32 <= cols; j += LANES_f32) silu_part(s, j, LANES_f32, row, g, dbp);
  if (j < cols) silu_part(s, j, cols - j, row, g, dbp);
}

/* Rows reach to whole vectors; what lies right of `cols` there is not defined. */
static void silu_bias_row(const struct head_f32 *h, int64_t i, int64_t cols, float *row, float *g,
                          float *dbp) {
  const struct hstu_attn *a = h->a;
  struct silu_row s = {
      .alpha = (float)a->alpha, .scale = (float)a->scale, .steep = (float)(a->scale * a->alpha)};
  if (h->bp) s.bp = h->bp - i;
  if (h->bucket) {
    s.bucket = h->bucket + i * a->bucket_row;
    s.bt = h->bt;
    s.table = open_lookup(h->bt);
  }
  if (!g)
    silu_parts(&s, cols, row, NULL, NULL);
  else if (!dbp)
    silu_parts(&s, cols, row, g, NULL);
  else
    silu_parts(&s, cols, row, g, dbp - i);
}
