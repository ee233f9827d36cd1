/*
** Memory runs out at every place, in every op: the call says so, gives everything back, and the
** next one is as good as new.
**
** Each op is called, forward and backward, on drawn inputs with allocation 1, 2, 3, ... failing:
** that one alone, and all from it on. A run that makes fewer allocations ends the row.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include "check/check.h"
#include "graph/tape.h"
#include "quern/quern.h"

enum { SAMPLES = 8, SEEDS = 300, MAX_FLOATS = 16, MOST_ALLOCATIONS = 4000 };

static uint64_t mixed(uint64_t hash, const void *data, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
  return hash;
}

static uint64_t digest(uint64_t hash, const qn_tensor *t) {
  qn_tensor *dense;
  if (!t) return mixed(hash, "absent", 6);
  assert_ok(qni_tensor_contiguous((qn_tensor *)(uintptr_t)t, &dense));
  size_t bytes = (size_t)qni_tensor_count(dense) * qni_dtype_size(dense->view.dtype);
  hash = mixed(hash, dense->view.shape, sizeof *dense->view.shape * (size_t)dense->view.ndim);
  hash = mixed(hash, dense->view.data, bytes);
  qn_tensor_free(dense);
  return hash;
}

/* 1, -1/2, 1/3, ...: a seed gradient in which no two entries stand for each other. */
static qn_status seed_like(const qn_tensor *t, qn_tensor **seed) {
  qn_status st = qni_tensor_empty(t->view.dtype, t->view.ndim, t->view.shape, seed);
  size_t size = qni_dtype_size(t->view.dtype);
  for (int64_t i = 0; !st && i < qni_tensor_count(t); i++)
    qni_dtype_store(t->view.dtype, (char *)(*seed)->view.data + (size_t)i * size, (i % 2 ? -1.0 : 1.0) / (double)(i + 1));
  return st;
}

struct subject {
  const qn_opref *op;
  qni_sample sample;
  qn_tensor *floats[MAX_FLOATS];
  int32_t n_floats;
  uint64_t bits; /* of outputs and gradients of the last run that succeeded */
};

static qn_status call_and_return(const struct subject *s, qni_outputs *out) {
  qn_status st = qni_check_call(s->op, &s->sample, out);
  for (int32_t o = 0; !st && o < out->n; o++) {
    qn_tensor *seed = NULL;
    if (!qn_tensor_requires_grad(out->t[o])) continue;
    st = seed_like(out->t[o], &seed);
    if (!st) st = qn_backward(out->t[o], seed, QN_BACKWARD_KEEP);
    qn_tensor_free(seed);
  }
  return st;
}

/* Forward and backward with allocation `at` failing; 0: none. *made: how many there were. */
static qn_status run(struct subject *s, int64_t at, int onward, int64_t *made) {
  qni_outputs out = {0};
  int64_t before = qni_mem_count();
  qni_mem_fail_after(at, onward);
  qn_status st = call_and_return(s, &out);
  qni_mem_fail_after(0, 0);
  *made = qni_mem_count() - before;
  if (!st) {
    s->bits = 0xcbf29ce484222325u;
    for (int32_t o = 0; o < out.n; o++) s->bits = digest(s->bits, out.t[o]);
    for (int32_t i = 0; i < s->n_floats; i++) {
      s->bits = digest(s->bits, s->floats[i]->grad);
      s->bits = digest(s->bits, s->floats[i]->grad_ids);
      s->bits = digest(s->bits, s->floats[i]->grad_rows);
    }
  }
  qni_outputs_free(&out);
  for (int32_t i = 0; i < s->n_floats; i++) qn_tensor_clear_grad(s->floats[i]);
  return st;
}

static int64_t live(void) {
  qn_memory m;
  qn_memory_stats(&m);
  return m.live;
}

/* Returns false when the op refuses this sample. */
static bool survives(struct subject *s) {
  int64_t made = 0, at = 1;
  char text[1024];
  if (run(s, 0, 0, &made)) return false;
  const uint64_t bits = s->bits;
  const int64_t held = live();
  qni_check_describe(s->op, &s->sample, text, sizeof text);
  for (int onward = 0; onward < 2; onward++)
    for (at = 1, made = 1; at <= made + 1 && at < MOST_ALLOCATIONS; at++) {
      qn_status st = run(s, at, onward, &made);
      if (st == QN_OK ? s->bits != bits : st != QN_E_NOMEM)
        fail_msg("%s: allocation %d failed and the call gave %d: %s", text, (int)at, (int)st, qn_error_last()->what);
      if (st && !strstr(qn_error_last()->what, "memory")) fail_msg("%s: the error says '%s'", text, qn_error_last()->what);
      if (qn_threads() == 1 && live() != held) /* else a worker may have kept its first local memory */
        fail_msg("%s: %d bytes lost after allocation %d", text, (int)(live() - held), (int)at);
    }
  assert_ok(run(s, 0, 0, &made));
  if (s->bits != bits) fail_msg("%s: other bits after memory had run out", text);
  return true;
}

static bool try_sample(const qn_opref *op, uint64_t seed) {
  struct subject s = {.op = op};
  const qni_sample_options options = {.seed = seed, .max_size = seed % 2 ? 33 : 7};
  qni_error_reset();
  if (qni_schema_sample(op->schema, &options, &s.sample)) return false;
  if (qni_check_differentiable(op)) {
    s.n_floats = qni_check_floats(&s.sample, s.floats, MAX_FLOATS);
    for (int32_t i = 0; i < s.n_floats; i++) assert_ok(qn_tensor_require_grad(s.floats[i], 1));
  }
  bool ran = survives(&s);
  qni_sample_free(&s.sample);
  return ran;
}

static void try_every_op(void) {
  int32_t tried = 0, differentiable = 0;
  for (int32_t i = 0; i < qni_registry_op_count(); i++) {
    const qn_opref *op = qni_registry_op(i);
    int32_t ran = 0;
    if (qni_check_writes(op)) continue; /* a run changes its inputs: no two runs are alike */
    for (uint64_t seed = 0; ran < SAMPLES && seed < SEEDS; seed++) ran += try_sample(op, seed);
    tried += ran > 0;
    differentiable += ran > 0 && qni_check_differentiable(op);
    if (!ran) print_message("%s takes none of the drawn inputs\n", op->name);
  }
  assert_true(tried > 100 && differentiable > 60);
}

static void every_op_survives_every_failed_allocation(void **state) {
  (void)state;
  assert_ok(qn_threads_set(1));
  try_every_op();
}

static void failures_inside_workers_are_no_different(void **state) {
  (void)state;
  assert_ok(qn_threads_set(3));
  const int64_t held = live(); /* other threads than before: no local memory yet */
  try_every_op();
  assert_ok(qn_threads_set(1));
  assert_int_equal(live(), held);
}

static int start(void **state) {
  (void)state;
  return qn_start(NULL);
}

static int stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_op_survives_every_failed_allocation),
      cmocka_unit_test(failures_inside_workers_are_no_different),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
