/*
** What handing work over costs: fork-join of the pool, workers awake and asleep; memory for an op.
**
** Usage: bench_dispatch [--json]
** SPDX-License-Identifier: MIT
*/
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "bench.h"
#include "exec/pool.h"
#include "exec/prof.h"

enum { HOT = 2000, COLD = 30 };

/* Each piece waits for all others to be begun, so that no worker can do two. */
static qn_status meet(void *ctx, int64_t begin, int64_t end) {
  atomic_int *left = ctx;
  atomic_fetch_sub(left, (int)(end - begin));
  while (atomic_load(left) > 0) {
  }
  return QN_OK;
}

static void line(const struct bench *b, const char *name, double ns) {
  if (b->json)
    printf("{\"bench\":\"dispatch\",\"what\":\"%s\",\"value\":%.1f,\"unit\":\"ns\"}\n", name, ns);
  else
    printf("%-44s %9.0f ns\n", name, ns);
}

static int compare(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static double fork_join(int32_t threads, int times, long rest_ns) {
  int64_t spent[HOT];
  for (int i = 0; i < times; i++) {
    if (rest_ns) nanosleep(&(struct timespec){.tv_nsec = rest_ns}, NULL);
    atomic_int left = threads;
    const int64_t begin = qni_prof_now();
    if (qni_pool_run(threads, 1, meet, &left)) return 0;
    spent[i] = qni_prof_now() - begin;
  }
  qsort(spent, (size_t)times, sizeof *spent, compare);
  return (double)spent[times / 2];
}

static void buffer(void *ctx) {
  const size_t bytes = *(const size_t *)ctx;
  qni_mem_buffer_free(qni_mem_buffer(bytes), bytes);
}

int main(int argc, char **argv) {
  struct bench b;
  if (!bench_open(&b, "dispatch", argc, argv)) return 1;
  line(&b, "fork-join, workers awake", fork_join(b.threads, HOT, 0));
  line(&b, "fork-join after 2 ms of rest", fork_join(b.threads, COLD, 2000000));
  line(&b, "fork-join after 20 ms of rest", fork_join(b.threads, COLD, 20000000));
  size_t bytes = 64;
  line(&b, "a tensor's memory, 64 bytes", 1e6 * bench_best(buffer, &bytes, 0.05));
  bytes = 64 << 20;
  line(&b, "a tensor's memory, 64 MiB", 1e6 * bench_best(buffer, &bytes, 0.05));
  bench_close(&b);
  return 0;
}
