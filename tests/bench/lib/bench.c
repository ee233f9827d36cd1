/* Starting, timing, printing; see bench.h. SPDX-License-Identifier: MIT */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/status.h"
#include "exec/blas.h"
#include "exec/cpu.h"
#include "exec/pool.h"
#include "exec/prof.h"

int64_t bench_now(void) {
  struct timespec t;
  if (qni_pool_threads() > 1) return qni_prof_now();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ns of `times` calls */
static int64_t span_of(void (*run)(void *ctx), void *ctx, int64_t times) {
  const int64_t begin = bench_now();
  for (int64_t i = 0; i < times; i++) run(ctx);
  return bench_now() - begin;
}

double bench_best(void (*run)(void *ctx), void *ctx, double seconds) {
  const int64_t start = qni_prof_now();
  int64_t best = span_of(run, ctx, 1), times = best > 20000 ? 1 : 20000 / (best + 1) + 1;
  best *= times;
  do {
    const int64_t spent = span_of(run, ctx, times);
    if (spent < best) best = spent;
  } while ((double)(qni_prof_now() - start) < seconds * 1e9);
  return (double)best / (double)times / 1e6;
}

static void print_limits(const struct bench *b) {
  const struct bench_limits *l = &b->limits;
  if (b->json)
    printf("{\"bench\":\"%s\",\"machine\":\"%s\",\"isa\":\"%s\",\"blas\":\"%s\",\"threads\":%d,"
           "\"peak_1t\":%.1f,\"peak\":%.1f,\"copy_1t\":%.1f,\"copy\":%.1f,\"update\":%.1f,\"l2\":%."
           "1f}\n",
           b->name, qni_cpu_model(), qni_cpu_isa_name(), qni_blas_core(), b->threads, l->peak_1t,
           l->peak_nt, l->copy_1t, l->copy_nt, l->update_nt, l->l2_nt);
  else
    printf("%s, %s: FMA peak %.1f GF/s on 1 thread, %.1f on %d; copy %.1f GB/s, %.1f; in place "
           "%.1f; L2 read %.0f\n",
           qni_cpu_model(), qni_cpu_isa_name(), l->peak_1t, l->peak_nt, b->threads, l->copy_1t,
           l->copy_nt, l->update_nt, l->l2_nt);
  fflush(stdout);
}

bool bench_open(struct bench *b, const char *name, int argc, char **argv) {
  *b = (struct bench){.name = name, .rounds = 3};
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], "--json"))
      b->json = true;
    else if (!strcmp(argv[i], "--limits"))
      b->json = b->brief = true;
    else if (!strcmp(argv[i], "--brief"))
      b->rounds = 2;
    else
      b->filter = argv[i];
  const char *threads = getenv("QUERN_THREADS");
  b->threads = threads ? atoi(threads) : qni_cpu_cores();
  if (b->threads < 1) b->threads = 1;
  if (qni_cpu_start(getenv("QUERN_ISA")) || qni_pool_start(b->threads) ||
      qni_blas_start(b->brief ? "none" : getenv("QUERN_BLAS"))) {
    fprintf(stderr, "%s\n%s\n", qn_error_last()->what, qn_error_last()->hint);
    return false;
  }
  b->limits = bench_measure(b->threads);
  print_limits(b);
  return true;
}

bool bench_wants(const struct bench *b, const char *row) {
  return !b->brief && (!b->filter || strstr(row, b->filter));
}

static double floor_of(const struct bench *b, const struct bench_row *r) {
  const double peak = r->threads > 1 ? b->limits.peak_nt : b->limits.peak_1t;
  const double copy = r->threads > 1 ? b->limits.copy_nt : b->limits.copy_1t;
  const double arithmetic = r->flops / peak / 1e6, memory = r->bytes / copy / 1e6;
  return arithmetic > memory ? arithmetic : memory;
}

static void print_json(const struct bench *b, const struct bench_row *r) {
  const double floor = floor_of(b, r);
  const char *comma = "";
  printf("{\"bench\":\"%s\",\"case\":\"%s, %dt\",\"ms\":%.6f,\"floor_ms\":%.6f,\"of_floor\":%.4f,"
         "\"gflops\":%.2f,\"peers\":{",
         b->name, r->name, r->threads, r->ms, floor, floor / r->ms, r->flops / r->ms / 1e6);
  for (int i = 0; i < BENCH_PEERS; i++)
    if (r->peer[i].name && r->peer[i].ms > 0) {
      printf("%s\"%s\":%.6f", comma, r->peer[i].name, r->peer[i].ms);
      comma = ",";
    }
  printf("}}\n");
}

void bench_print(const struct bench *b, const struct bench_row *r) {
  if (b->json) {
    print_json(b, r);
  } else {
    printf("%-24s %dt %9.3f ms %5.0f%% of floor", r->name, r->threads, r->ms,
           100 * floor_of(b, r) / r->ms);
    if (r->flops > 0) printf(" %7.1f GF/s", r->flops / r->ms / 1e6);
    for (int i = 0; i < BENCH_PEERS; i++)
      if (r->peer[i].name && r->peer[i].ms > 0)
        printf("  %s x%.2f", r->peer[i].name, r->peer[i].ms / r->ms);
    printf("\n");
  }
  fflush(stdout);
}

void bench_close(const struct bench *b) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  if (b->json && !b->brief)
    printf("{\"bench\":\"%s\",\"program_mib\":%ld}\n", b->name, used.ru_maxrss / 1024);
  else if (!b->json)
    printf("peak memory of the program: %ld MiB\n", used.ru_maxrss / 1024);
  qni_pool_stop();
}
