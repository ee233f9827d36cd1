/*
** A row of scores in f32: both biases, SiLU and in backward its slope in one pass, on registers.
** Vectors go four abreast, so that their chains of operations overlap. What attends to kept keys
** and what attends to a whole sequence call it, so that their scores agree. Included after
** tile_typed.h. SPDX-License-Identifier: MIT
*/

enum { ABREAST = 4 };
typedef uint32_t bits_f32 __attribute__((vector_size(sizeof(vec_f32))));

/* Statements for each of `vecs` vectors from HERE on; the last has n lanes, LEFT is that of v. */
#define EACH                                                                                       \
  UNROLL                                                                                           \
  for (int v = 0; v < vecs; v++)
#define LEFT (v < vecs - 1 ? LANES_f32 : n)
#define HERE (j + v * LANES_f32)

struct silu_row { /* what a row's vectors share */
  const float *bp, *bt;
  const uint8_t *bucket;
  float alpha;
#if defined(__AVX512F__)
  __m512 table[4]; /* bt[0..63] */
#endif
};

/* ---- t += bt[bucket] ---- */

#if defined(__AVX512F__)
/* Times less than seven years apart, in seconds, have buckets below 64. */
ALWAYS_INLINE __m512 bias_below_64(const __m512 *table, __m512i at) {
  const __m512 low = _mm512_permutex2var_ps(table[0], at, table[1]),
               high = _mm512_permutex2var_ps(table[2], at, table[3]);
  return _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high);
}

/* 128 is the last with a bias; what lies above finds a 0. */
static __attribute__((noinline)) __m512 any_bias(const float *bt, __m128i bytes) {
  const __m512i at = _mm512_cvtepu8_epi32(bytes);
  __m512 table[8];
  for (int k = 0; k < 8; k++) table[k] = _mm512_loadu_ps(bt + 16 * k);
  const __mmask16 high = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64)),
                  top = _mm512_test_epi32_mask(at, _mm512_set1_epi32(128));
  const __m512 low =
      _mm512_mask_blend_ps(high, bias_below_64(table, at), bias_below_64(table + 4, at));
  return _mm512_mask_permutexvar_ps(low, top, at, _mm512_maskz_loadu_ps(1, bt + 128));
}

ALWAYS_INLINE void add_time(int vecs, const struct silu_row *s, int64_t j, int64_t n, vec_f32 *t) {
  __m128i bytes[ABREAST], any = _mm_setzero_si128();
  EACH {
    bytes[v] = _mm_maskz_loadu_epi8((__mmask16)((1u << LEFT) - 1), s->bucket + HERE);
    any = _mm_or_si128(any, bytes[v]);
  }
  if (__builtin_expect(_mm_testz_si128(any, _mm_set1_epi8((char)0xc0)), 1))
    EACH t[v] += (vec_f32)bias_below_64(s->table, _mm512_cvtepu8_epi32(bytes[v]));
  else
    EACH t[v] += (vec_f32)any_bias(s->bt, bytes[v]);
}
#else
ALWAYS_INLINE void add_time(int vecs, const struct silu_row *s, int64_t j, int64_t n, vec_f32 *t) {
  EACH {
    vec_f32 bias = {0};
    for (int64_t k = 0; k < LANES_f32; k++) bias[k] = k < LEFT ? s->bt[s->bucket[HERE + k]] : 0;
    t[v] += bias;
  }
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

/*
** e = exp(-x) = 2^n 2^r with n the integer next to -x log2 e and a polynomial in r; x is held
** within +-87. Off by 2 ulp and by 1.3e-8 |x| of its size.
*/
ALWAYS_INLINE void exp_minus(int vecs, const vec_f32 *x, vec_f32 *e) {
  const vec_f32 round = (vec_f32){0} + 12582912.0f;
  vec_f32 r[ABREAST], power[ABREAST];
  EACH r[v] = within(x[v], 87.0f);
  EACH power[v] = round - r[v] * 1.44269502f;
  EACH r[v] = (round - power[v]) - r[v] * 1.44269502f;
  EACH e[v] = r[v] * 1.5453163e-4f + 1.3390863e-3f;
  EACH e[v] = e[v] * r[v] + 9.618083e-3f;
  EACH e[v] = e[v] * r[v] + 5.550357e-2f;
  EACH e[v] = e[v] * r[v] + 2.4022651e-1f;
  EACH e[v] = e[v] * r[v] + 6.9314718e-1f;
  EACH e[v] = e[v] * r[v] + 1.0f;
  EACH e[v] = (vec_f32)((bits_f32)e[v] + ((bits_f32)power[v] << 23)); /* of a NaN wraps around */
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

/* bp + bt[bucket] */
ALWAYS_INLINE void bias_of(int vecs, const struct silu_row *s, int64_t j, int64_t n, vec_f32 *t) {
  EACH t[v] = s->bp ? load_some_f32(s->bp + HERE, LEFT) : (vec_f32){0};
  if (s->bucket) add_time(vecs, s, j, n, t);
}

/*
** Scores become P / scale. With g, which becomes dS / (scale alpha), and with dbp, to which that
** is added. vecs is a constant at every call.
*/
ALWAYS_INLINE void silu_part(int vecs, const struct silu_row *s, int64_t j, int64_t n, float *row,
                             float *g, float *dbp) {
  vec_f32 t[ABREAST], e[ABREAST], sig[ABREAST];
  bias_of(vecs, s, j, n, t);
  EACH t[v] += *(const vec_f32 *)(row + HERE);
  if (s->alpha != 1) EACH t[v] *= s->alpha;
  exp_minus(vecs, t, e);
  EACH sig[v] = inverse_of(1.0f + e[v]);
  EACH t[v] *= sig[v];
  EACH *(vec_f32 *)(row + HERE) = t[v];
  if (!g) return;
  EACH t[v] = *(const vec_f32 *)(g + HERE) * ((t[v] * e[v] + 1.0f) * sig[v]);
  EACH *(vec_f32 *)(g + HERE) = t[v];
  if (dbp) EACH store_some_f32(dbp + HERE, load_some_f32(dbp + HERE, LEFT) + t[v], LEFT);
}

ALWAYS_INLINE void silu_parts(const struct silu_row *s, int64_t cols, float *row, float *g,
                              float *dbp) {
  int64_t j = 0;
  for (; j + ABREAST * LANES_f32 < cols; j += ABREAST * LANES_f32)
    silu_part(ABREAST, s, j, LANES_f32, row, g, dbp);
  const int64_t vecs = (cols - j + LANES_f32 - 1) / LANES_f32;
  const int64_t n = cols - j - (vecs - 1) * LANES_f32;
  switch (vecs) {
  case 4: silu_part(4, s, j, n, row, g, dbp); break;
  case 3: silu_part(3, s, j, n, row, g, dbp); break;
  case 2: silu_part(2, s, j, n, row, g, dbp); break;
  default: silu_part(1, s, j, n, row, g, dbp); break;
  }
}

ALWAYS_INLINE void bias_part(int vecs, const struct silu_row *s, int64_t j, int64_t n, float *sum) {
  vec_f32 t[ABREAST];
  bias_of(vecs, s, j, n, t);
  EACH *(vec_f32 *)(sum + HERE) = t[v];
}

#undef EACH
#undef LEFT
#undef HERE
