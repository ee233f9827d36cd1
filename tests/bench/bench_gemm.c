/*
** GF/s of matrix products: our kernels at every level and the BLAS, beside the rate of
** multiply-adds measured in the same run, on one thread and on all.
**
** Usage: bench_gemm [--json] [filter]
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "exec/blas.h"
#include "exec/cpu.h"
#include "exec/gemm.h"
#include "exec/pool.h"
#include "exec/prof.h"
#include "kernels/gemm.h"

struct shape {
  const char *name;
  int64_t m, n, k, batch;
  int a_turned, b_turned;
};

static const struct shape shapes[] = {
    {"L2 K=64", 512, 256, 64, 1, 0, 0},
    {"L2 K=256", 240, 256, 256, 1, 0, 0},
    {"fwd 50x200", 25600, 200, 50, 1, 0, 0},
    {"fwd 64x256", 25600, 256, 64, 1, 0, 0},
    {"fwd 128x512", 25600, 512, 128, 1, 0, 0},
    {"fwd 256x1024", 25600, 1024, 256, 1, 0, 0},
    {"fwd 50x50", 25600, 50, 50, 1, 0, 0},
    {"fwd 64x64", 25600, 64, 64, 1, 0, 0},
    {"fwd 256x64", 25600, 64, 256, 1, 0, 0},
    {"dX 1024x256", 25600, 256, 1024, 1, 0, 1},
    {"dX 200x50", 25600, 50, 200, 1, 0, 1},
    {"dW 50x200", 50, 200, 25600, 1, 1, 0},
    {"dW 50x50", 50, 50, 25600, 1, 1, 0},
    {"dW 64x256", 64, 256, 25600, 1, 1, 0},
    {"dW 256x256", 256, 256, 25600, 1, 1, 0},
    {"dW 256x1024", 256, 1024, 25600, 1, 1, 0},
    {"QK' 512x[50,64]", 50, 50, 64, 512, 0, 1},
    {"QK' 384x[200,16]", 200, 200, 16, 384, 0, 1},
    {"QK' 128x[200,50]", 200, 200, 50, 128, 0, 1},
    {"QK' 128x[200,64]", 200, 200, 64, 128, 0, 1},
    {"QK' 4x[2048,64]", 2048, 2048, 64, 4, 0, 1},
    {"PV 384x[200,200,16]", 200, 16, 200, 384, 0, 0},
    {"PV 128x[200,200,50]", 200, 50, 200, 128, 0, 0},
    {"PV 4x[2048,2048,64]", 2048, 64, 2048, 4, 0, 0},
    {"logits 2048x3706x64", 2048, 3706, 64, 1, 0, 1},
    {"logits 256x100000x64", 256, 100000, 64, 1, 0, 1},
    {"square 64", 64, 64, 64, 1, 0, 0},
    {"square 128", 128, 128, 128, 1, 0, 0},
    {"square 256", 256, 256, 256, 1, 0, 0},
    {"square 512", 512, 512, 512, 1, 0, 0},
    {"square 1024", 1024, 1024, 1024, 1, 0, 0},
    {"square 2048", 2048, 2048, 2048, 1, 0, 0},
};

enum { N_SHAPES = sizeof shapes / sizeof *shapes, ROUNDS = 3 };

/* On one thread its own CPU time, so that other work on the machine counts less. */
static int64_t now(void) {
  struct timespec t;
  if (qni_pool_threads() > 1) return qni_prof_now();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- The peak: 24 independent vectors, nothing but multiply-adds ---- */

enum { PEAK_ROWS = 24, PEAK_DEPTH = 256, PEAK_TIMES = 400, CHAIN_TIMES = 100000 };

/* A product whose operands stay in the first cache: as near to the peak as arithmetic gets. */
static qn_status peak_range(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  float *memory = qni_pool_local(512 * 1024);
  if (!memory) return QN_E_NOMEM;
  float *pack = memory + 32 * 1024;
  for (int i = 0; i < 32 * 1024; i++) memory[i] = 0;
  const int64_t n = 64 / (qni_cpu_isa() == QNI_ISA_AVX512 ? 1
                          : qni_cpu_isa() == QNI_ISA_AVX2 ? 4
                                                          : 8);
  const qn_gemm g = {.m = 6,
                     .n = n,
                     .k = PEAK_DEPTH / 4,
                     .batch = 1,
                     .a = memory,
                     .a_row = PEAK_DEPTH / 4,
                     .a_col = 1,
                     .b = memory + 8192,
                     .b_row = n,
                     .b_col = 1,
                     .c = memory + 24576,
                     .c_row = n,
                     .alpha = 1,
                     .dtype = QN_F32};
  for (int64_t i = begin; i < end; i++)
    for (int r = 0; r < PEAK_TIMES; r++) qni_gemm_kernels()->f32(&g, pack, 256 * 1024);
  return QN_OK;
}

#if defined(__x86_64__)
/* Twelve (AVX2) or twenty-four (AVX-512) chains of multiply-adds on registers alone. */
#define CHAINS_4(op, reg, a) op(reg, a) op(reg, a + 1) op(reg, a + 2) op(reg, a + 3)
#define STEP(reg, i) "vfmadd231ps %%" #reg "30, %%" #reg "31, %%" #reg #i "\n"
__attribute__((target("avx512f"))) static void chains_avx512(int64_t times) {
  for (int64_t i = 0; i < times; i++)
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
__attribute__((target("avx2,fma"))) static void chains_avx2(int64_t times) {
  for (int64_t i = 0; i < times; i++)
    __asm__ volatile(STEP2(0) STEP2(1) STEP2(2) STEP2(3) STEP2(4) STEP2(5) STEP2(6) STEP2(7)
                         STEP2(8) STEP2(9) STEP2(10) STEP2(11)
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11");
}

static qn_status chain_range(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  for (int64_t i = begin; i < end; i++)
    if (qni_cpu_isa() == QNI_ISA_AVX512)
      chains_avx512(CHAIN_TIMES);
    else
      chains_avx2(CHAIN_TIMES);
  return QN_OK;
}
#endif

/* Best of many, in GF/s over `threads`. */
static double peak(int32_t threads) {
  double best = 0;
  for (int round = 0; round < 100; round++) {
    int64_t begin = now();
    double flops;
#if defined(__x86_64__)
    if (qni_cpu_isa() != QNI_ISA_PLAIN) {
      const double lanes = qni_cpu_isa() == QNI_ISA_AVX512 ? 24 * 16 : 12 * 8;
      if (qni_pool_run(threads, 1, chain_range, NULL)) return 0;
      flops = 2.0 * lanes * CHAIN_TIMES * threads;
    } else
#endif
    {
      if (qni_pool_run(threads, 1, peak_range, NULL)) return 0;
      const double n = qni_cpu_isa() == QNI_ISA_AVX512 ? 64
                       : qni_cpu_isa() == QNI_ISA_AVX2 ? 16
                                                       : 8;
      flops = 2.0 * 6 * n * (PEAK_DEPTH / 4.0) * PEAK_TIMES * threads;
    }
    double got = flops / (double)(now() - begin);
    if (got > best) best = got;
  }
  return best;
}

/* ---- Shapes ---- */

static qn_gemm product_of(const struct shape *s, const float *a, const float *b, float *c) {
  return (qn_gemm){.m = s->m,
                   .n = s->n,
                   .k = s->k,
                   .batch = s->batch,
                   .a = a,
                   .b = b,
                   .c = c,
                   .a_row = s->a_turned ? 1 : s->k,
                   .a_col = s->a_turned ? s->m : 1,
                   .b_row = s->b_turned ? 1 : s->n,
                   .b_col = s->b_turned ? s->k : 1,
                   .a_batch = s->m * s->k,
                   .b_batch = s->k * s->n,
                   .c_row = s->n,
                   .c_batch = s->m * s->n,
                   .alpha = 1,
                   .dtype = QN_F32};
}

/* The library as it comes, item by item, on the calling thread. */
static qn_status run_blas(const qn_gemm *g) {
  for (int64_t i = 0; i < g->batch; i++) {
    qn_gemm one = *g;
    one.a = (const float *)g->a + i * g->a_batch;
    one.b = (const float *)g->b + i * g->b_batch;
    one.c = (float *)g->c + i * g->c_batch;
    qni_blas_run(&one);
  }
  return QN_OK;
}

/* GF/s: the best of several calls within about 0.05 s. */
static double rate(qn_status (*run)(const qn_gemm *), const qn_gemm *g) {
  const double flops = 2.0 * (double)g->m * (double)g->n * (double)g->k * (double)g->batch;
  int64_t best = INT64_MAX, start = qni_prof_now();
  int calls = 0;
  while (calls < 3 || (qni_prof_now() - start < 50000000 && calls < 1000)) {
    int64_t begin = now();
    if (run(g)) return 0;
    int64_t spent = now() - begin;
    if (spent < best) best = spent;
    calls++;
  }
  return flops / (double)best;
}

struct result {
  double own[2], blas;
};

static int measure(const struct shape *s, int32_t threads, struct result *r) {
  const size_t a = (size_t)(s->m * s->k * s->batch) * 4, b = (size_t)(s->k * s->n * s->batch) * 4;
  const size_t c = (size_t)(s->m * s->n * s->batch) * 4;
  float *pa = qni_mem_buffer(a), *pb = qni_mem_buffer(b), *pc = qni_mem_buffer(c);
  if (!pa || !pb || !pc) return 0;
  for (size_t i = 0; i < a / 4; i++) pa[i] = (float)(i % 17) * 0.1f - 0.8f;
  for (size_t i = 0; i < b / 4; i++) pb[i] = (float)(i % 13) * 0.1f - 0.6f;
  memset(pc, 0, c);
  const qn_gemm g = product_of(s, pa, pb, pc);
  *r = (struct result){{0, 0}, 0};
  for (int round = 0; round < ROUNDS; round++)
    for (int side = 0; side < 3; side++) {
      if (side < 2 && qni_pool_resize(side ? threads : 1)) return 0;
      if (side == 2 && !qni_blas_takes(&g)) continue;
      double got = rate(side < 2 ? qni_gemm : run_blas, &g);
      double *best = side < 2 ? &r->own[side] : &r->blas;
      if (got > *best) *best = got;
    }
  qni_mem_buffer_free(pa, a);
  qni_mem_buffer_free(pb, b);
  qni_mem_buffer_free(pc, c);
  return 1;
}

static void print_row(const struct shape *s, const struct result *r, double top, int json) {
  if (json)
    printf("{\"shape\":\"%s\",\"level\":\"%s\",\"peak_1t\":%.1f,\"own_1t\":%.1f,\"own_nt\":%.1f,"
           "\"blas_1t\":%.1f}\n",
           s->name, qni_cpu_isa_name(), top, r->own[0], r->own[1], r->blas);
  else
    printf("%-22s %7.1f %5.0f%% %8.1f %9.1f %7.2f\n", s->name, r->own[0], 100 * r->own[0] / top,
           r->own[1], r->blas, r->blas > 0 ? r->own[0] / r->blas : 0);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const char *filter = NULL;
  int json = 0;
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], "--json"))
      json = 1;
    else
      filter = argv[i];
  const int32_t threads = qni_cpu_cores() < 2 ? 2 : qni_cpu_cores();
  if (qni_cpu_start(getenv("QUERN_ISA")) || qni_pool_start(threads) ||
      qni_blas_start(getenv("QUERN_BLAS"))) {
    fprintf(stderr, "%s\n%s\n", qn_error_last()->what, qn_error_last()->hint);
    return 1;
  }
  const double all = peak(threads);
  if (qni_pool_resize(1)) return 1;
  const double one = peak(1);
  if (!json) {
    printf("%s, level %s, BLAS %s (%s)\n", qni_cpu_model(), qni_cpu_isa_name(),
           qni_blas_path()[0] ? qni_blas_path() : "none", qni_blas_core());
    printf("peak of multiply-adds: %.1f GF/s on 1 thread, %.1f on %d\n", one, all, threads);
    printf("%-22s %7s %6s %6s%dt %9s %7s\n", "", "own 1t", "peak", "own ", threads, "BLAS 1t",
           "ratio");
  }
  for (int i = 0; i < N_SHAPES; i++) {
    struct result r;
    if (filter && !strstr(shapes[i].name, filter)) continue;
    if (!measure(&shapes[i], threads, &r)) return 1;
    print_row(&shapes[i], &r, one, json);
  }
  qni_pool_stop();
  return 0;
}
