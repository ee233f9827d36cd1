/* The machine's limits: multiply-adds on registers, copying. SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/mem.h"
#include "bench.h"
#include "exec/cpu.h"
#include "exec/pool.h"
#include "exec/prof.h"

enum { CHAIN_TIMES = 50000, PEAK_ROUNDS = 40, PEAK_PATIENCE = 400, COPY_ROUNDS = 6 };
enum { COPY_BYTES = 96 * 1024 * 1024, COPY_CUT = 1024 * 1024 };

/* ---- Multiply-adds ---- */

#if defined(__x86_64__)
/* Twenty-four (AVX-512) or twelve (AVX2) chains on registers alone. */
#define STEP(reg, i) "vfmadd231ps %%" #reg "30, %%" #reg "31, %%" #reg #i "\n"
__attribute__((target("avx512f"))) static void chains_avx512(void) {
  for (int i = 0; i < CHAIN_TIMES; i++)
    __asm__ volatile(STEP(zmm, 0) STEP(zmm, 1) STEP(zmm, 2) STEP(zmm, 3) STEP(zmm, 4) STEP(zmm, 5)
                         STEP(zmm, 6) STEP(zmm, 7) STEP(zmm, 8) STEP(zmm, 9) STEP(zmm, 10)
                             STEP(zmm, 11) STEP(zmm, 12) STEP(zmm, 13) STEP(zmm, 14) STEP(zmm, 15)
                                 STEP(zmm, 16) STEP(zmm, 17) STEP(zmm, 18) STEP(zmm, 19)
                                     STEP(zmm, 20) STEP(zmm, 21) STEP(zmm, 22) STEP(zmm, 23)
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16",
                       "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23");
}
#define STEP2(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"
__attribute__((target("avx2,fma"))) static void chains_avx2(void) {
  for (int i = 0; i < CHAIN_TIMES; i++)
    __asm__ volatile(STEP2(0) STEP2(1) STEP2(2) STEP2(3) STEP2(4) STEP2(5) STEP2(6) STEP2(7)
                         STEP2(8) STEP2(9) STEP2(10) STEP2(11)
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11");
}
#endif

/* Forty-eight running sums in plain C: what a compiler makes of it. */
static void chains_plain(void) {
  float sum[48];
  volatile float seed = 1e-8f;
  const float x = seed, y = seed;
  for (int i = 0; i < 48; i++) sum[i] = x;
  for (int t = 0; t < CHAIN_TIMES; t++)
    for (int i = 0; i < 48; i++) sum[i] = sum[i] * x + y;
  for (int i = 0; i < 48; i++) seed = sum[i];
}

static double chains(void) {
#if defined(__x86_64__)
  if (qni_cpu_isa() == QNI_ISA_AVX512) return chains_avx512(), 2.0 * 24 * 16 * CHAIN_TIMES;
  if (qni_cpu_isa() == QNI_ISA_AVX2) return chains_avx2(), 2.0 * 12 * 8 * CHAIN_TIMES;
#endif
  return chains_plain(), 2.0 * 48 * CHAIN_TIMES;
}

static qn_status chain_range(void *ctx, int64_t begin, int64_t end) {
  double *flops = ctx;
  for (int64_t i = begin; i < end; i++) flops[i] = chains();
  return QN_OK;
}

double bench_peak(int32_t threads, double enough) {
  double best = 0, flops[256] = {0};
  if (threads > 256) threads = 256;
  for (int round = 0; round < PEAK_ROUNDS || (best < enough && round < PEAK_PATIENCE); round++) {
    const int64_t begin = bench_now();
    if (qni_pool_run(threads, 1, chain_range, flops)) return 0;
    const double rate = flops[0] * threads / (double)(bench_now() - begin);
    if (rate > best) best = rate;
  }
  return best;
}

/* ---- Copying ---- */

struct copy {
  char *from, *to; /* `to` NULL: in place */
};

static qn_status copy_range(void *ctx, int64_t begin, int64_t end) {
  const struct copy *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    char *from = c->from + i * COPY_CUT;
    if (c->to) {
      memcpy(c->to + i * COPY_CUT, from, COPY_CUT);
      continue;
    }
    float *x = (float *)(void *)from;
    for (int k = 0; k < COPY_CUT / 4; k++) x[k] *= 1.0001f;
  }
  return QN_OK;
}

double bench_copy(bool in_place) {
  struct copy c = {.from = qni_mem_buffer(COPY_BYTES),
                   .to = in_place ? NULL : qni_mem_buffer(COPY_BYTES)};
  double best = 0;
  if (c.from && (c.to || in_place)) {
    memset(c.from, 0, COPY_BYTES);
    if (c.to) memset(c.to, 0, COPY_BYTES);
    for (int round = 0; round < COPY_ROUNDS; round++) {
      const int64_t begin = bench_now();
      if (qni_pool_run(COPY_BYTES / COPY_CUT, 1, copy_range, &c)) break;
      const double rate = 2.0 * COPY_BYTES / (double)(bench_now() - begin);
      if (rate > best) best = rate;
    }
  }
  qni_mem_buffer_free(c.from, COPY_BYTES);
  if (c.to) qni_mem_buffer_free(c.to, COPY_BYTES);
  return best;
}

/* ---- Reading from the second cache ---- */

enum { L2_BYTES = 512 * 1024, L2_TIMES = 20 };

static qn_status l2_range(void *ctx, int64_t begin, int64_t end) {
  float *sink = ctx;
  for (int64_t i = begin; i < end; i++) {
    float *x = qni_pool_local(L2_BYTES), sum[64] = {0};
    if (!x) return QN_E_NOMEM;
    for (int t = 0; t < L2_TIMES; t++)
      for (int k = 0; k < L2_BYTES / 4; k += 64)
        for (int l = 0; l < 64; l++) sum[l] += x[k + l];
    sink[i] = sum[0] + sum[63];
  }
  return QN_OK;
}

double bench_l2(int32_t threads) {
  double best = 0;
  float sink[256];
  if (threads > 256) threads = 256;
  for (int round = 0; round < PEAK_ROUNDS; round++) {
    const int64_t begin = bench_now();
    if (qni_pool_run(threads, 1, l2_range, sink)) return 0;
    const double rate = (double)L2_BYTES * L2_TIMES * threads / (double)(bench_now() - begin);
    if (rate > best) best = rate;
  }
  return best;
}

struct bench_limits bench_measure(int32_t threads) {
  struct bench_limits l = {0};
  if (qni_pool_resize(1)) return l;
  l.peak_1t = bench_peak(1, 0);
  l.copy_1t = bench_copy(false);
  if (qni_pool_resize(threads)) return l;
  l.peak_nt = bench_peak(threads, 0.95 * l.peak_1t * threads);
  l.copy_nt = bench_copy(false);
  l.update_nt = bench_copy(true);
  l.l2_nt = bench_l2(threads);
  return l;
}
