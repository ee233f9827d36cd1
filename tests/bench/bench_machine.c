/*
** What the machine can do: multiply-adds by type, memory by level, latency, pages, denormals.
**
** Usage: bench_machine [--json] [--limits]     --limits: only the line that every benchmark begins with
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "bench.h"
#include "exec/cpu.h"
#include "exec/pool.h"
#include "exec/prof.h"

static void line(const struct bench *b, const char *name, double value, const char *unit) {
  if (b->json)
    printf("{\"bench\":\"machine\",\"what\":\"%s\",\"value\":%.4f,\"unit\":\"%s\"}\n", name, value,
           unit);
  else
    printf("%-44s %9.2f %s\n", name, value, unit);
  fflush(stdout);
}

/* ---- Rates of other multiply-adds ---- */

#if defined(__x86_64__)
#include <cpuid.h>
enum { TIMES = 50000, CHAINS = 12 };
#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)
#define CLOBBER                                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"
#define CHAIN(name, level, text)                                                                   \
  __attribute__((target(level))) static void name(void *ctx) {                                     \
    (void)ctx;                                                                                     \
    for (int i = 0; i < TIMES; i++) __asm__ volatile(EACH(text) : : : CLOBBER);                    \
  }
#define BF16(i) "vdpbf16ps %%zmm14, %%zmm15, %%zmm" #i "\n"
#define INT8(i) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #i "\n"
#define FP16(i) "vfmadd231ph %%zmm14, %%zmm15, %%zmm" #i "\n"
#define AVX2(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"
CHAIN(chain_avx2, "avx2,fma", AVX2)
CHAIN(chain_bf16, "avx512f", BF16)
CHAIN(chain_int8, "avx512f", INT8)
CHAIN(chain_fp16, "avx512f", FP16)

/* A feature bit of CPUID, on processors that have AVX-512 at all. */
static int has(unsigned leaf, unsigned sub, char reg, int bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx512f") || !__get_cpuid_count(leaf, sub, &a, &b, &c, &d)) return 0;
  return (int)((reg == 'a' ? a : reg == 'c' ? c : d) >> bit & 1);
}

static void rates(const struct bench *b) {
  const struct {
    const char *name;
    int there;
    void (*run)(void *);
    double lanes; /* multiply-adds of one instruction */
  } kinds[] = {
      {"AVX2 fp32 FMA, 1 thread", __builtin_cpu_supports("fma"), chain_avx2, 8},
      {"bf16 dot product (vdpbf16ps), 1 thread", has(7, 1, 'a', 5), chain_bf16, 32},
      {"int8 dot product (vpdpbusd), 1 thread", has(7, 0, 'c', 11), chain_int8, 64},
      {"fp16 FMA (vfmadd231ph), 1 thread", has(7, 0, 'd', 23), chain_fp16, 32},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].there) {
      const double ms = bench_best(kinds[i].run, NULL, 0.05);
      line(b, kinds[i].name, 2.0 * kinds[i].lanes * CHAINS * TIMES / ms / 1e6, "GF/s");
    } else if (!b->json) {
      printf("%-44s %9s (the processor has none)\n", kinds[i].name, "-");
    }
}
#else
static void rates(const struct bench *b) { (void)b; }
#endif

/* ---- Memory ---- */

struct stream {
  float *x, *y, *z;
  int64_t n; /* elements of an array */
};

static void stream_read(void *ctx) {
  const struct stream *s = ctx;
  float sum[64] = {0};
  for (int64_t i = 0; i + 64 <= s->n; i += 64)
    for (int l = 0; l < 64; l++) sum[l] += s->x[i + l];
  volatile float sink = sum[0] + sum[63];
  (void)sink;
}
static void stream_copy(void *ctx) {
  const struct stream *s = ctx;
  memcpy(s->y, s->x, (size_t)s->n * sizeof(float));
}
static void stream_triad(void *ctx) {
  const struct stream *s = ctx;
  for (int64_t i = 0; i < s->n; i++) s->y[i] = s->x[i] + 0.5f * s->z[i];
}
static void stream_update(void *ctx) {
  const struct stream *s = ctx;
  for (int64_t i = 0; i < s->n; i++) s->x[i] *= 1.0001f;
}

static void memory(const struct bench *b) {
  static const struct {
    const char *name;
    int64_t bytes; /* of all arrays of a pass */
  } levels[] = {{"L1 16 KiB", 16 << 10},
                {"L2 512 KiB", 512 << 10},
                {"L3 8 MiB", 8 << 20},
                {"memory 256 MiB", 256 << 20}};
  static const struct {
    const char *name;
    void (*run)(void *);
    int arrays, passes; /* passes: times that a byte of an array is moved, over arrays */
  } loops[] = {{"read", stream_read, 1, 1},
               {"copy", stream_copy, 2, 2},
               {"triad", stream_triad, 3, 3},
               {"in place", stream_update, 1, 2}};
  const size_t most = 256 << 20;
  char *block = qni_mem_buffer(most);
  if (!block) return;
  memset(block, 0, most);
  for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
    for (size_t k = 0; k < sizeof loops / sizeof *loops; k++) {
      const int64_t each = levels[l].bytes / loops[k].arrays / 256 * 256;
      struct stream s = {.x = (float *)(void *)block, .n = each / 4};
      s.y = s.x + (loops[k].arrays > 1 ? s.n : 0);
      s.z = s.x + (loops[k].arrays > 2 ? 2 * s.n : 0);
      char name[64];
      snprintf(name, sizeof name, "%s, %s, 1 thread", loops[k].name, levels[l].name);
      const double ms = bench_best(loops[k].run, &s, 0.05);
      line(b, name, (double)(each * loops[k].passes) / ms / 1e6, "GB/s");
    }
  qni_mem_buffer_free(block, most);
}

/* A chain of loads through every line of `bytes`, in random order. */
struct walk {
  void **at;
  int64_t steps;
};

static void walk_chain(void *ctx) {
  struct walk *w = ctx;
  void **p = w->at;
  for (int64_t i = 0; i < w->steps; i++) p = *p;
  w->at = p;
}

static void latency(const struct bench *b) {
  static const int64_t sizes[] = {16 << 10, 512 << 10, 4 << 20, 16 << 20, 64 << 20};
  const size_t most = 64 << 20, line_bytes = 64;
  char *block = qni_mem_buffer(most);
  int64_t *order = malloc(most / line_bytes * sizeof *order);
  if (!block || !order) return;
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    const int64_t n = sizes[s] / (int64_t)line_bytes;
    uint64_t seed = 88172645463325252u;
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      const int64_t j = (int64_t)(seed % (uint64_t)(i + 1)), t = order[i];
      order[i] = order[j], order[j] = t;
    }
    for (int64_t i = 0; i < n; i++)
      *(void **)(void *)(block + order[i] * 64) = block + order[(i + 1) % n] * 64;
    struct walk w = {(void **)(void *)block, 200000};
    char name[64];
    snprintf(name, sizeof name, "load to load, %lld KiB", (long long)(sizes[s] >> 10));
    line(b, name, bench_best(walk_chain, &w, 0.1) * 1e6 / 200000, "ns");
  }
  free(order);
  qni_mem_buffer_free(block, most);
}

static void pages(const struct bench *b) {
  const size_t bytes = 64 << 20;
  for (int huge = 0; huge < 2; huge++) {
    double best = 1e30;
    for (int round = 0; round < 3; round++) {
      char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED) return;
      madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
      const int64_t begin = qni_prof_now();
      for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
      const double spent = (double)(qni_prof_now() - begin) / 1e3 / 64;
      if (spent < best) best = spent;
      munmap(p, bytes);
    }
    line(b, huge ? "first touch, huge pages" : "first touch, 4 KiB pages", best, "us/MiB");
  }
}

static void denormal_sum(void *ctx) {
  volatile float *x = ctx;
  for (int i = 0; i < 4096; i++) x[i % 64] = x[i % 64] * 0.999f;
}

static void denormals(const struct bench *b) {
  float x[64];
  double ns[2];
  for (int flush = 0; flush < 2; flush++) {
    const uint32_t before = qni_cpu_flush_denormals(flush);
    double best = 1e30;
    for (int round = 0; round < 50; round++) {
      for (int i = 0; i < 64; i++) x[i] = 1e-38f;
      const double ms = bench_best(denormal_sum, x, 0);
      if (ms < best) best = ms;
    }
    ns[flush] = best;
    qni_cpu_fp_restore(before);
  }
  line(b, "a product with a denormal result, against flushed", ns[0] / ns[1], "times");
}

int main(int argc, char **argv) {
  struct bench b;
  if (!bench_open(&b, "machine", argc, argv)) return 1;
  if (!b.brief && !qni_pool_resize(1)) {
    rates(&b);
    memory(&b);
    latency(&b);
    pages(&b);
    denormals(&b);
  }
  bench_close(&b);
  return 0;
}
