/*
** time_bucket: the time difference of every (query, key) pair, on a log scale.
**
**   bucket(d) = clamp(trunc(ln(max(|d|, 1)) / 0.301), 0, 128)      in float32
** Row i, column j holds bucket(query_i - tau_j): query_i is tau_{i+1}, the time of the
** event to be predicted there ("next"), or tau_i ("current"). The matrix is made once per
** batch and shared by all layers and heads: a byte read per pair costs a layer less than
** finding the bucket from the times again.
**
** The logarithm is a table: bucket b begins at the float STEP[b], the least one whose
** correctly rounded logarithm divided by 0.301f reaches b. Buckets are a factor of
** 1.35 wide, so of the 8 equal parts of an octave each meets one step at most: the
** part gives the bucket of its first float, one comparison the rest.
** SPDX-License-Identifier: MIT
*/
#include "hstu.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

static const float STEP[BUCKETS] = {0,
                                    0x1.59e8dcp0f,
                                    0x1.d36572p0f,
                                    0x1.3bc66ep1f,
                                    0x1.aaada2p1f,
                                    0x1.20440ep2f,
                                    0x1.8581eap2f,
                                    0x1.07273p3f,
                                    0x1.63932ap3f,
                                    0x1.e074bep3f,
                                    0x1.44992ep4f,
                                    0x1.b699acp4f,
                                    0x1.285208p5f,
                                    0x1.906412p5f,
                                    0x1.0e818cp6f,
                                    0x1.6d8298p6f,
                                    0x1.ede17ap6f,
                                    0x1.4dab1p7f,
                                    0x1.c2dafep7f,
                                    0x1.30999ep8f,
                                    0x1.9b9418p8f,
                                    0x1.16107cp9f,
                                    0x1.77b91cp9f,
                                    0x1.fbae3ap9f,
                                    0x1.56fdcep10f,
                                    0x1.cf7408p10f,
                                    0x1.391c7p11f,
                                    0x1.a7141cp11f,
                                    0x1.1dd582p12f,
                                    0x1.8238b2p12f,
                                    0x1.04eed4p13f,
                                    0x1.609342p13f,
                                    0x1.dc671ap13f,
                                    0x1.41dc1cp14f,
                                    0x1.b2e676p14f,
                                    0x1.25d20ep15f,
                                    0x1.8d034ep15f,
                                    0x1.0c3954p16f,
                                    0x1.6a6d32p16f,
                                    0x1.e9b6e6p16f,
                                    0x1.4ada6ep17f,
                                    0x1.bf0d44p17f,
                                    0x1.2e07cep18f,
                                    0x1.981b34p18f,
                                    0x1.13b7eap19f,
                                    0x1.748db2p19f,
                                    0x1.f765c8p19f,
                                    0x1.541914p20f,
                                    0x1.cb8b1ap20f,
                                    0x1.367834p21f,
                                    0x1.a38274p21f,
                                    0x1.1b6c2cp22f,
                                    0x1.7ef68ap22f,
                                    0x1.02bb56p23f,
                                    0x1.5d99bap23f,
                                    0x1.d8623ep23f,
                                    0x1.3f2516p24f,
                                    0x1.af3b2p24f,
                                    0x1.235782p25f,
                                    0x1.89a9fcp25f,
                                    0x1.09f5fep26f,
                                    0x1.675e7cp26f,
                                    0x1.e59548p26f,
                                    0x1.480ffcp27f,
                                    0x1.bb47cap27f,
                                    0x1.2b7b86p28f,
                                    0x1.94a9bcp28f,
                                    0x1.116474p29f,
                                    0x1.71691cp29f,
                                    0x1.f3267ep29f,
                                    0x1.513a8p30f,
                                    0x1.c7aaa6p30f,
                                    0x1.33d9ap31f,
                                    0x1.9ff85cp31f,
                                    0x1.190814p32f,
                                    0x1.7bbb62p32f,
                                    0x1.008c8p33f,
                                    0x1.5aa6c2p33f,
                                    0x1.d4661cp33f,
                                    0x1.3c73bap34f,
                                    0x1.ab97dcp34f,
                                    0x1.20e258p35f,
                                    0x1.8657aap35f,
                                    0x1.07b7a4p36f,
                                    0x1.64566ap36f,
                                    0x1.e17c68p36f,
                                    0x1.454b5cp37f,
                                    0x1.b78a82p37f,
                                    0x1.28f4a2p38f,
                                    0x1.913fdap38f,
                                    0x1.0f160ep39f,
                                    0x1.6e4b2cp39f,
                                    0x1.eef09p39f,
                                    0x1.4e623ep40f,
                                    0x1.c3d29ep40f,
                                    0x1.3140cep41f,
                                    0x1.9c760ep41f,
                                    0x1.16a92ep42f,
                                    0x1.788756p42f,
                                    0x1.fcc4f2p42f,
                                    0x1.57ba26p43f,
                                    0x1.d0725cp43f,
                                    0x1.39c856p44f,
                                    0x1.a7fc76p44f,
                                    0x1.1e7258p45f,
                                    0x1.830cb6p45f,
                                    0x1.057e22p46f,
                                    0x1.6154ccp46f,
                                    0x1.dd6c82p46f,
                                    0x1.428cf4p47f,
                                    0x1.b3d532p47f,
                                    0x1.267346p48f,
                                    0x1.8ddd7p48f,
                                    0x1.0ccc92p49f,
                                    0x1.6b341p49f,
                                    0x1.eac3d8p49f,
                                    0x1.4b900cp50f,
                                    0x1.c0029p50f,
                                    0x1.2eadaep51f,
                                    0x1.98fb3cp51f,
                                    0x1.144f32p52f,
                                    0x1.755a4cp52f,
                                    0x1.f87a1ep52f,
                                    0x1.54d39cp53f,
                                    0x1.cc877cp53f,
                                    0x1.3722a2p54f,
                                    0x1.a468f4p54f,
                                    0x1.1c07d4p55f,
                                    0x1.7fc8c4p55f};

void hstu_bucket_table(struct hstu_buckets *table) {
  int32_t b = 0;
  for (uint32_t p = 0; p < BUCKET_PARTS; p++) {
    uint32_t bits = (p + (127u << 3)) << 20;
    float first;
    memcpy(&first, &bits, sizeof first);
    while (b + 1 < BUCKETS && first >= STEP[b + 1]) b++;
    table->base[p] = b;
  }
  for (int i = 0; i < BUCKETS; i++) table->step[i] = i + 1 < BUCKETS ? STEP[i + 1] : INFINITY;
}

struct pairs { /* one call */
  const int64_t *offsets, *time, *query;
  uint8_t *out;
  int64_t width;
  bool causal;
  struct hstu_buckets table;
};

#if defined(__AVX512F__)
/*
** The same for up to 16 keys at once: log2(d) = e + m + 0.344 m (1 - m) - 0.0085 for d = 2^e (1 + m)
** is at most 0.017 low and never high, so its bucket is the right one or the one before.
*/
struct steps { /* where the next bucket begins, of 128 buckets, in registers */
  __m512 part[8];
};

static inline __m512 step_of(const struct steps *s, __m512i at) {
  const __m512 a = _mm512_permutex2var_ps(s->part[0], at, s->part[1]),
               b = _mm512_permutex2var_ps(s->part[2], at, s->part[3]),
               c = _mm512_permutex2var_ps(s->part[4], at, s->part[5]),
               d = _mm512_permutex2var_ps(s->part[6], at, s->part[7]);
  const __mmask16 odd = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32)),
                  high = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
  return _mm512_mask_blend_ps(high, _mm512_mask_blend_ps(odd, a, b),
                              _mm512_mask_blend_ps(odd, c, d));
}

static inline __m256 gaps_of_8(__m512i query, __m512i key) {
  return _mm512_cvtepu64_ps(
      _mm512_sub_epi64(_mm512_max_epi64(query, key), _mm512_min_epi64(query, key)));
}

void hstu_bucket_row(const struct hstu_buckets *table, int64_t query, const int64_t *key, int64_t n,
                     uint8_t *row) {
  const __m512i q = _mm512_set1_epi64(query), one = _mm512_set1_epi32(1);
  struct steps steps;
  for (int k = 0; k < 8; k++) steps.part[k] = _mm512_loadu_ps(table->step + 16 * k);
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 some = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
    const __m512i low = _mm512_maskz_loadu_epi64((__mmask8)some, key + j),
                  high = _mm512_maskz_loadu_epi64((__mmask8)(some >> 8), key + j + 8);
    const __m512 d = _mm512_max_ps(
        _mm512_insertf32x8(_mm512_castps256_ps512(gaps_of_8(q, low)), gaps_of_8(q, high), 1),
        _mm512_set1_ps(1));
    const __m512i bits = _mm512_sub_epi32(_mm512_castps_si512(d), _mm512_set1_epi32(127 << 23));
    const __m512 whole = _mm512_mul_ps(_mm512_cvtepi32_ps(bits), _mm512_set1_ps(0x1p-23f));
    const __m512 m = _mm512_sub_ps(_mm512_getmant_ps(d, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src),
                                   _mm512_set1_ps(1));
    const __m512 bend = _mm512_mul_ps(m, _mm512_sub_ps(_mm512_set1_ps(1), m));
    const __m512 log2 = _mm512_add_ps(_mm512_sub_ps(whole, _mm512_set1_ps(0.0085f)),
                                      _mm512_mul_ps(bend, _mm512_set1_ps(0.344f)));
    const __m512i before = _mm512_min_epi32(
        _mm512_cvttps_epi32(_mm512_mul_ps(log2, _mm512_set1_ps((float)(M_LN2 / 0.301)))),
        _mm512_set1_epi32(BUCKETS - 2));
    const __mmask16 next = _mm512_cmp_ps_mask(d, step_of(&steps, before), _CMP_GE_OQ);
    _mm512_mask_cvtepi32_storeu_epi8(row + j, some,
                                     _mm512_mask_add_epi32(before, next, before, one));
  }
}
#else
static uint32_t part_of(float d) {
  uint32_t bits;
  memcpy(&bits, &d, sizeof bits);
  return (bits >> 20) - (127u << 3);
}

void hstu_bucket_row(const struct hstu_buckets *table, int64_t query, const int64_t *key, int64_t n,
                     uint8_t *row) {
  for (int64_t j = 0; j < n; j++) {
    uint64_t a = (uint64_t)query, b = (uint64_t)key[j];
    uint64_t gap = query > key[j] ? a - b : b - a;
    float d = (float)gap;
    d = d < 1 ? 1 : d;
    int32_t bucket = table->base[part_of(d)];
    row[j] = (uint8_t)(bucket + (d >= table->step[bucket]));
  }
}
#endif

static qn_status bucket_sequences(void *ctx, int64_t begin, int64_t end) {
  const struct pairs *s = ctx;
  for (int64_t b = begin; b < end; b++) {
    const int64_t *time = s->time + s->offsets[b];
    int64_t L = s->offsets[b + 1] - s->offsets[b];
    for (int64_t i = 0; i < L; i++) {
      uint8_t *row = s->out + (s->offsets[b] + i) * s->width;
      int64_t seen = s->causal ? i + 1 : L;
      hstu_bucket_row(&s->table, s->query[s->offsets[b] + i], time, seen, row);
      memset(row + seen, 0, (size_t)(s->width - seen));
    }
  }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *time = h->in(c, 0);
  int64_t n_seq;
  struct pairs s = {.time = time->data,
                    .query = h->in(c, 1)->data,
                    .out = h->out(c, 0)->data,
                    .width = h->arg_int(c, "width"),
                    .causal = h->arg_bool(c, "causal")};
  qn_status st = hstu_offsets(h, c, time->shape[0], &s.offsets, &n_seq);
  if (st) return st;
  for (int64_t b = 0; b < n_seq; b++)
    if (s.offsets[b + 1] - s.offsets[b] > s.width)
      return h->fail(c, QN_E_SHAPE, "sequence %lld has %lld events, width is %lld",
                     (long long)(b + 1), (long long)(s.offsets[b + 1] - s.offsets[b]),
                     (long long)s.width);
  hstu_bucket_table(&s.table);
  return h->parallel(c, n_seq, 4, bucket_sequences, &s);
}

const qn_op hstu_time_bucket_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .schema =
        "time_bucket(times: i64[T@B], query: i64[T@B], *, width: int{1..}, causal: bool = true) "
        "-> buckets: u8[T@B,width]",
    .summary = "Buckets of the time differences of a sequence's pairs, on a log scale.",
    .doc =
        "buckets[i][j] = clamp(trunc(ln(max(|query[i] - times[j]|, 1)) / 0.301), 0, 128) for "
        "events "
        "i and j of one sequence, 0 for j > i if causal. query holds the time of the event to be "
        "predicted at i, or that of event i itself. width is at least the longest sequence.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), section 3.2, and its research code",
    .example = "local t = quern.jagged(quern.i64{0, 10, 1000}, {0, 3}); "
               "print(quern.time_bucket(t, t, {width = 3}):values():select(1, "
               "3):totable()[1]) --> 22",
    .forward = forward,
};
