/*
** The check of speed: nanoseconds per byte of each op's forward, as a multiple of what a plain
** loop over the same bytes takes here and now. Only an op that got more than three times slower
** than its recorded multiple fails; the manifest records it as speed = { op = 2.5 }.
** SPDX-License-Identifier: MIT
*/
#include <string.h>
#include <time.h>

#include "check/list.h"
#include "exec/pool.h"
#include "graph/tape.h"

enum { REPEATS = 7 };
static const double SHORTEST = 2e-4; /* seconds that one measurement lasts at least */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The reference: y = 2 x + 1 over floats, as a compiler makes it. */
static __attribute__((noinline)) void reference(const float *x, float *y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = 2 * x[i] + 1;
  __asm__ volatile("" ::: "memory");
}

static double reference_seconds(int64_t bytes) {
  int64_t n = bytes / 8 + 1, calls = 0;
  double best = 1e9;
  float *memory = qni_mem_zalloc((size_t)(2 * n), sizeof *memory);
  for (int32_t r = 0; memory && r < REPEATS; r++) {
    double begin = now(), end;
    calls = 0;
    do {
      reference(memory, memory + n, n);
      calls++;
    } while ((end = now()) - begin < SHORTEST);
    if ((end - begin) / (double)calls < best) best = (end - begin) / (double)calls;
  }
  qni_mem_free(memory);
  return best;
}

static double op_seconds(const qn_opref *op, const qni_sample *sample) {
  double best = 1e9;
  for (int32_t r = 0; r < REPEATS; r++) {
    int64_t calls = 0;
    double begin = now(), end;
    do {
      qni_outputs out = {0};
      if (qn_op_call(op, sample->arg, sample->n_args, out.t, QN_MAX_TENSORS, &out.n)) return -1;
      qni_outputs_free(&out);
      calls++;
    } while ((end = now()) - begin < SHORTEST);
    if ((end - begin) / (double)calls < best) best = (end - begin) / (double)calls;
  }
  return best;
}

static int64_t bytes_of(const qn_tensor *t) {
  return qni_tensor_count(t) * (int64_t)qni_dtype_size(t->view.dtype);
}

static int64_t sample_bytes(const qni_sample *sample) {
  int64_t bytes = 0;
  for (int32_t i = 0; i < sample->n_held; i++) bytes += bytes_of(sample->held[i]);
  return bytes;
}

/* The largest of a few f32 samples that the op takes; false if it takes none. */
static bool large_sample(const qni_check_context *x, const qn_opref *op, qni_sample *best) {
  bool found = false;
  for (uint64_t i = 0; i < 24; i++) {
    qni_sample sample;
    qni_outputs out = {0};
    qni_sample_options o = {.seed = x->seed * 97 + i, .dtype = QN_F32, .max_size = 33};
    if (qni_schema_sample(op->schema, &o, &sample)) break;
    bool better = !found || sample_bytes(&sample) > sample_bytes(best);
    if (better && !qni_check_call(op, &sample, &out)) {
      if (found) qni_sample_free(best);
      *best = sample;
      found = true;
    } else {
      qni_sample_free(&sample);
    }
    qni_outputs_free(&out);
  }
  return found;
}

static void measure(qni_check_context *x, const qn_opref *op) {
  qni_sample sample;
  qni_outputs out = {0};
  if (qni_check_writes(op) || !large_sample(x, op, &sample)) return;
  int64_t bytes = sample_bytes(&sample);
  if (!qni_check_call(op, &sample, &out))
    for (int32_t i = 0; i < out.n; i++) bytes += bytes_of(out.t[i]);
  qni_outputs_free(&out);
  double seconds = op_seconds(op, &sample), plain = reference_seconds(bytes);
  qni_sample_free(&sample);
  if (seconds < 0) return;
  double times = seconds / plain, recorded = qni_check_recorded(x, op->name);
  x->n_judged++;
  qni_check_note(x, "%s: %.1f us, %.2f ns/byte, %.1f times a plain loop over its %lld bytes",
                 op->name, seconds * 1e6, seconds * 1e9 / (double)bytes, times, (long long)bytes);
  if (recorded > 0 && times > 3 * recorded)
    qni_check_find(x,
                   "%s takes %.1f times a plain loop over its %lld bytes; %.1f were recorded in "
                   "plugin.lua (speed), and three times that is the limit",
                   op->name, times, (long long)bytes, recorded);
}

static qn_status run_speed(qni_check_context *x) {
  bool tape = qni_tape_enable(false);
  qn_status st = qni_pool_resize(1);
  for (int32_t i = 0; !st && i < x->n_ops; i++) measure(x, x->ops[i]);
  qni_tape_enable(tape);
  return st;
}

const qni_check qni_check_speed = {
    "speed", "L4", "no op is three times slower than its manifest records", true, run_speed};
