/*
** Nanoseconds an element of the vector functions, inside the second cache and streaming,
** at every level, with libm's scalar function beside them.
**
** Usage: bench_math [--json]
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "exec/cpu.h"
#include "kernels/math.h"

enum { NEAR = 16 * 1024, FAR = 4 * 1024 * 1024 };

typedef void (*map_fn)(int64_t n, const float *x, float *y);

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Best of several passes over n elements, ns an element. */
static double cost(map_fn f, int64_t n, const float *x, float *y) {
  const int passes = n == NEAR ? 200 : 5;
  double best = 1e30;
  for (int i = 0; i < passes; i++) {
    const double begin = now();
    f(n, x, y);
    const double spent = now() - begin;
    if (spent < best) best = spent;
  }
  return best / (double)n;
}

static const qn_math *m;
static volatile float sink;
static void silu_grad(int64_t n, const float *x, float *y) { m->silu_grad(n, x, x, y); }
static void silu_both(int64_t n, const float *x, float *y) { m->silu_both(n / 2, x, y, y + n / 2); }
static void add(int64_t n, const float *x, float *y) { m->add(n, x, y, y); }
static void axpy(int64_t n, const float *x, float *y) { m->axpy(n, 0.5f, x, y); }
static void sum(int64_t n, const float *x, float *y) { sink = m->sum(n, x), (void)y; }
static void dot(int64_t n, const float *x, float *y) { sink = m->dot(n, x, y); }
static void max(int64_t n, const float *x, float *y) { sink = m->max(n, x), (void)y; }

#define SCALAR(name, expr)                                                                         \
  static void name(int64_t n, const float *x, float *y) {                                          \
    for (int64_t i = 0; i < n; i++) y[i] = expr;                                                   \
  }
SCALAR(libm_exp, expf(x[i]))
SCALAR(libm_log, logf(x[i]))
SCALAR(libm_tanh, tanhf(x[i]))
SCALAR(libm_erf, erff(x[i]))
SCALAR(libm_silu, x[i] / (1 + expf(-x[i])))

static void row(const char *name, map_fn f, map_fn libm, const float *x, float *y, int json) {
  const double near = cost(f, NEAR, x, y), far = cost(f, FAR, x, y);
  const double other = libm ? cost(libm, NEAR, x, y) : 0;
  if (json)
    printf("{\"function\":\"%s\",\"level\":\"%s\",\"near_ns\":%.4f,\"far_ns\":%.4f,\"libm_ns\":%."
           "4f}\n",
           name, m->isa, near, far, other);
  else if (libm)
    printf("%-8s %-10s %8.3f %8.3f %8.3f\n", m->isa, name, near, far, other);
  else
    printf("%-8s %-10s %8.3f %8.3f\n", m->isa, name, near, far);
}

int main(int argc, char **argv) {
  const int json = argc > 1 && !strcmp(argv[1], "--json");
  static const char *const levels[] = {"plain", "avx2", "avx512"};
  float *x = qni_mem_buffer(FAR * sizeof *x), *y = qni_mem_buffer(FAR * sizeof *y);
  if (!x || !y) return 1;
  for (int i = 0; i < FAR; i++) {
    x[i] = (float)(i % 1000) * 0.01f + 0.001f;
    y[i] = 0;
  }
  if (!json)
    printf("%s; ns an element\n%-8s %-10s %8s %8s %8s\n", qni_cpu_model(), "", "", "in L2",
           "stream", "libm");
  for (int l = 0; l < 3; l++) {
    if (qni_cpu_start(levels[l])) continue;
    m = qni_math();
    row("exp", m->exp, libm_exp, x, y, json);
    row("log", m->log, libm_log, x, y, json);
    row("tanh", m->tanh, libm_tanh, x, y, json);
    row("erf", m->erf, libm_erf, x, y, json);
    row("sigmoid", m->sigmoid, NULL, x, y, json);
    row("silu", m->silu, libm_silu, x, y, json);
    row("silu_grad", silu_grad, NULL, x, y, json);
    row("silu_both", silu_both, NULL, x, y, json);
    row("add", add, NULL, x, y, json);
    row("axpy", axpy, NULL, x, y, json);
    row("sum", sum, NULL, x, y, json);
    row("dot", dot, NULL, x, y, json);
    row("max", max, NULL, x, y, json);
  }
  qni_mem_buffer_free(x, FAR * sizeof *x);
  qni_mem_buffer_free(y, FAR * sizeof *y);
  return 0;
}
