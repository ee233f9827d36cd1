/*
** GF/s of matrix products: ours beside the BLAS that was found and oneDNN, in turns, on one thread and on all.
**
** Usage: bench_gemm [--json] [text in the shape's name]
** On one thread the libraries are called item by item. On all threads the best of two ways counts: the library's
** own threads (oneDNN), or single-threaded calls for items and stripes under our pool.
** error: the largest difference from sums in double, over the largest sum of absolute products.
** SPDX-License-Identifier: MIT
*/
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench.h"
#include "exec/blas.h"
#include "exec/cpu.h"
#include "exec/gemm.h"
#include "exec/pool.h"
#include "exec/prof.h"

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
    {"fwd 512x512", 16384, 512, 512, 1, 0, 1},
    {"dX 1024x256", 25600, 256, 1024, 1, 0, 1},
    {"dX 200x50", 25600, 50, 200, 1, 0, 1},
    {"dW 50x200", 50, 200, 25600, 1, 1, 0},
    {"dW 50x50", 50, 50, 25600, 1, 1, 0},
    {"dW 64x256", 64, 256, 25600, 1, 1, 0},
    {"dW 256x256", 256, 256, 25600, 1, 1, 0},
    {"dW 256x1024", 256, 1024, 25600, 1, 1, 0},
    {"dW 512x512", 512, 512, 16384, 1, 1, 0},
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

enum { N_SHAPES = sizeof shapes / sizeof *shapes, STRIPES = 16, SAMPLES = 64 };
static const double SECONDS = 0.03;

/* ---- oneDNN, where the system has it ---- */

typedef int (*sgemm_fn)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                        const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                        float *c, int64_t ldc);
static sgemm_fn dnnl_sgemm;
static void (*omp_threads)(int);

/* By dlopen; POSIX wants this way of taking a function's address. */
static void open_dnnl(void) {
  void *lib = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!lib) lib = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
  if (!lib) return;
  *(void **)&dnnl_sgemm = dlsym(lib, "dnnl_sgemm");
  *(void **)&omp_threads = dlsym(lib, "omp_set_num_threads");
}

static void run_dnnl(const qn_gemm *g) {
  const bool ta = g->a_col != 1, tb = g->b_col != 1;
  dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', g->m, g->n, g->k, 1, g->a, ta ? g->a_col : g->a_row,
             g->b, tb ? g->b_col : g->b_row, 0, g->c, g->c_row);
}

/* ---- Ways to run a product ---- */

typedef void (*one_fn)(const qn_gemm *g);

struct way {
  const qn_gemm *g;
  one_fn one;
  int64_t stripe;  /* rows of a piece */
  int64_t stripes; /* pieces of an item */
};

static qn_gemm item(const qn_gemm *g, int64_t i) {
  qn_gemm one = *g;
  one.a = (const float *)g->a + i * g->a_batch;
  one.b = (const float *)g->b + i * g->b_batch;
  one.c = (float *)g->c + i * g->c_batch;
  one.batch = 1;
  return one;
}

static void run_ours(void *ctx) {
  const struct way *w = ctx;
  if (qni_gemm(w->g)) exit(1);
}

static void run_serial(void *ctx) {
  const struct way *w = ctx;
  for (int64_t i = 0; i < w->g->batch; i++) {
    const qn_gemm one = item(w->g, i);
    w->one(&one);
  }
}

static qn_status pieces(void *ctx, int64_t begin, int64_t end) {
  const struct way *w = ctx;
  for (int64_t x = begin; x < end; x++) {
    qn_gemm one = item(w->g, x / w->stripes);
    const int64_t at = x % w->stripes * w->stripe, left = one.m - at;
    one.m = left < w->stripe ? left : w->stripe;
    one.a = (const float *)one.a + at * one.a_row;
    one.c = (float *)one.c + at * one.c_row;
    w->one(&one);
  }
  return QN_OK;
}

static void run_striped(void *ctx) {
  const struct way *w = ctx;
  if (qni_pool_run(w->stripes * w->g->batch, 1, pieces, ctx)) exit(1);
}

static struct way way_of(const qn_gemm *g, one_fn one) {
  struct way w = {.g = g, .one = one};
  const int64_t wanted = g->batch >= STRIPES ? 1 : STRIPES / g->batch;
  w.stripe = (g->m + wanted - 1) / wanted;
  w.stripes = (g->m + w.stripe - 1) / w.stripe;
  return w;
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

/* The largest error of some elements of C, relative to the sum of absolute products. */
static double error_of(const qn_gemm *g) {
  double worst = 0;
  for (int64_t s = 0; s < SAMPLES; s++) {
    const int64_t x = s * 7919 % (g->batch * g->m * g->n), i = x / g->n % g->m, j = x % g->n;
    const qn_gemm one = item(g, x / (g->m * g->n));
    const float *a = one.a, *b = one.b;
    double sum = 0, size = 1e-30;
    for (int64_t p = 0; p < g->k; p++) {
      const double t =
          (double)a[i * g->a_row + p * g->a_col] * (double)b[p * g->b_row + j * g->b_col];
      sum += t;
      size += fabs(t);
    }
    const double e = fabs(sum - (double)((const float *)one.c)[i * g->c_row + j]) / size;
    if (e > worst) worst = e;
  }
  return worst;
}

static void keep_best(double *best, double ms) {
  if (*best == 0 || ms < *best) *best = ms;
}

/* Ours and the peers in turns; the best of each. */
static int measure(const struct bench *b, const qn_gemm *g, struct bench_row *r) {
  const bool blas = qni_blas_takes(g);
  struct way ours = way_of(g, NULL), by_blas = way_of(g, qni_blas_run),
             by_dnnl = way_of(g, run_dnnl);
  r->peer[0].name = "OpenBLAS";
  r->peer[1].name = "oneDNN";
  if (qni_pool_resize(r->threads)) return 0;
  for (int round = 0; round < b->rounds; round++) {
    keep_best(&r->ms, bench_best(run_ours, &ours, SECONDS));
    if (blas)
      keep_best(&r->peer[0].ms,
                bench_best(r->threads > 1 ? run_striped : run_serial, &by_blas, SECONDS));
    if (!dnnl_sgemm) continue;
    if (omp_threads) omp_threads(1);
    keep_best(&r->peer[1].ms,
              bench_best(r->threads > 1 ? run_striped : run_serial, &by_dnnl, SECONDS));
    if (r->threads == 1 || !omp_threads) continue;
    omp_threads(r->threads);
    keep_best(&r->peer[1].ms, bench_best(run_serial, &by_dnnl, SECONDS));
  }
  return 1;
}

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Ours against the better library. */
static double ratio_of(const struct bench_row *r) {
  double best = 0;
  for (int i = 0; i < 2; i++)
    if (r->peer[i].ms > 0 && (best == 0 || r->peer[i].ms < best)) best = r->peer[i].ms;
  return best / r->ms;
}

static int run_shape(const struct bench *b, const struct shape *s, int32_t threads, double *ratio,
                     double *error) {
  const size_t a = (size_t)(s->m * s->k * s->batch) * 4, n = (size_t)(s->k * s->n * s->batch) * 4;
  const size_t c = (size_t)(s->m * s->n * s->batch) * 4;
  float *pa = qni_mem_buffer(a), *pb = qni_mem_buffer(n), *pc = qni_mem_buffer(c);
  if (!pa || !pb || !pc) return 0;
  for (size_t i = 0; i < a / 4; i++) pa[i] = (float)(i % 17) * 0.1f - 0.8f;
  for (size_t i = 0; i < n / 4; i++) pb[i] = (float)(i % 13) * 0.1f - 0.6f;
  memset(pc, 0, c);
  const qn_gemm g = product_of(s, pa, pb, pc);
  struct bench_row r = {.name = s->name,
                        .threads = threads,
                        .flops =
                            2.0 * (double)s->m * (double)s->n * (double)s->k * (double)s->batch};
  const int ok = measure(b, &g, &r);
  run_ours(&(struct way){.g = &g});
  *error = error_of(&g);
  *ratio = ratio_of(&r);
  if (ok) bench_print(b, &r);
  qni_mem_buffer_free(pa, a);
  qni_mem_buffer_free(pb, n);
  qni_mem_buffer_free(pc, c);
  return ok;
}

int main(int argc, char **argv) {
  struct bench b;
  open_dnnl();
  if (!bench_open(&b, "gemm", argc, argv)) return 1;
  if (!b.json)
    printf("peers: OpenBLAS %s (%s), oneDNN %s\n", qni_blas_path()[0] ? qni_blas_path() : "none",
           qni_blas_core(), dnnl_sgemm ? "dnnl_sgemm" : "not installed, skipped");
  for (int32_t threads = 1; threads <= b.threads; threads += b.threads > 1 ? b.threads - 1 : 1) {
    double ratios[N_SHAPES], worst = 0;
    size_t n = 0;
    for (int i = 0; i < N_SHAPES; i++) {
      double error;
      if (!bench_wants(&b, shapes[i].name)) continue;
      if (!run_shape(&b, &shapes[i], threads, &ratios[n], &error)) return 1;
      if (error > worst) worst = error;
      n++;
    }
    qsort(ratios, n, sizeof *ratios, compare);
    if (n && !b.json)
      printf("%d threads, against the better library: median %.2f, lowest %.2f; error %.1e\n",
             threads, ratios[n / 2], ratios[0], worst);
  }
  bench_close(&b);
  return 0;
}
