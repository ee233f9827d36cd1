/*
** Checks of shared use: one op called by eight threads at once, and where random numbers
** come from.
** SPDX-License-Identifier: MIT
*/
#include <string.h>
#include <time.h>

#include "check/list.h"
#include "exec/pool.h"
#include "exec/rng.h"
#include "graph/call.h"
#include "graph/tape.h"

/* ---- threads: eight at once give what one gives ---- */

enum { THREADS = 8, ROUNDS = 4 };

struct crowd {
  const qn_opref *op;
  const qni_sample *sample;
  const qni_outputs *expected;
  atomic_int arrived, wrong, failed;
};

/* Waits until all are there, so that they call together; not for ever, should one be kept away. */
static void meet(struct crowd *w) {
  struct timespec pause = {.tv_nsec = 20000};
  int32_t round = atomic_fetch_add(&w->arrived, 1) / THREADS + 1;
  for (int32_t i = 0; i < 10000 && atomic_load(&w->arrived) < round * THREADS; i++)
    nanosleep(&pause, NULL);
}

static bool same_outputs(const qni_outputs *a, const qni_outputs *b) {
  bool same = a->n == b->n;
  for (int32_t i = 0; same && i < a->n; i++) same = qni_check_equal(a->t[i], b->t[i]);
  return same;
}

static qn_status one_of_many(void *ctx, int64_t begin, int64_t end) {
  struct crowd *w = ctx;
  for (int64_t i = begin; i < end; i++) {
    qni_outputs out = {0};
    bool tape = qni_tape_enable(false);
    meet(w);
    if (qn_op_call(w->op, w->sample->arg, w->sample->n_args, out.t, QN_MAX_TENSORS, &out.n))
      atomic_fetch_add(&w->failed, 1);
    else if (!(w->op->op->flags & QN_OP_RANDOM) && !same_outputs(&out, w->expected))
      atomic_fetch_add(&w->wrong, 1);
    qni_outputs_free(&out);
    qni_tape_enable(tape);
  }
  return QN_OK;
}

static void crowd_agrees(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_outputs alone = {0};
  char text[1024];
  if (qni_check_writes(op) || qni_check_call(op, sample, &alone)) return;
  x->n_judged++;
  struct crowd w = {.op = op, .sample = sample, .expected = &alone};
  qn_status st = QN_OK;
  for (int32_t r = 0; !st && r < (x->quick ? 1 : ROUNDS); r++)
    st = qni_pool_run(THREADS, 1, one_of_many, &w);
  const char *say = st || w.failed ? "fails" : w.wrong ? "gives other results" : NULL;
  if (say)
    qni_check_find(x,
                   "%s: %s when %d threads call it at once; keep no state between or beside calls "
                   "(static variables, shared buffers)",
                   qni_check_describe(op, sample, text, sizeof text), say, THREADS);
  qni_outputs_free(&alone);
}

static qn_status run_threads(qni_check_context *x) {
  qni_sample_options o = {.max_size = 16};
  qni_check_context few = *x;
  qn_status st = qni_pool_resize(THREADS);
  few.samples = x->quick ? 1 : 12;
  qni_pool_shake(true);
  if (!st) st = qni_check_each(&few, &o, crowd_agrees);
  qni_pool_shake(false);
  return st;
}

const qni_check qni_check_threads = {"threads", "L3", "eight threads may call an op at once", true,
                                     run_threads};

/* ---- random: a function of seed, step and op instance alone ---- */

/* What was seen of one op over its samples. */
struct seen {
  int32_t calls;                         /* with enough numbers in them to tell */
  int32_t by_seed, by_step, by_instance; /* how many differed */
};

static qn_status draw(const qn_opref *op, const qni_sample *sample, uint64_t seed, uint64_t step,
                      int32_t earlier, qni_outputs *out) {
  qn_status st = QN_OK;
  qn_random_seed(seed);
  qn_random_step(step);
  for (int32_t i = 0; !st && i <= earlier; i++) {
    qni_outputs_free(out);
    qni_error_reset();
    st = qn_op_call(op, sample->arg, sample->n_args, out->t, QN_MAX_TENSORS, &out->n);
  }
  return st;
}

static bool enough(const qni_outputs *out) {
  int64_t n = 0;
  for (int32_t i = 0; i < out->n; i++) n += qni_tensor_count(out->t[i]);
  return n >= 16;
}

static void judge_draws(qni_check_context *x, const qn_opref *op, qni_sample *sample,
                        struct seen *seen) {
  static const struct {
    uint64_t seed, step;
    int32_t earlier;
  } keys[] = {{7, 1, 0}, {7, 1, 0}, {8, 1, 0}, {7, 2, 0}, {7, 1, 1}};
  qni_outputs out[5] = {{{0}, 0}};
  char text[1024];
  bool drawn = true;
  for (int32_t k = 0; drawn && k < 5; k++)
    drawn = !draw(op, sample, keys[k].seed, keys[k].step, keys[k].earlier, &out[k]);
  if (drawn && !same_outputs(&out[0], &out[1]))
    qni_check_find(x,
                   "%s: the same seed, step and place give other numbers; h->random is the only "
                   "source there may be",
                   qni_check_describe(op, sample, text, sizeof text));
  if (drawn && enough(&out[0])) {
    seen->calls++;
    seen->by_seed += !same_outputs(&out[0], &out[2]);
    seen->by_step += !same_outputs(&out[0], &out[3]);
    seen->by_instance += !same_outputs(&out[0], &out[4]);
  }
  for (int32_t k = 0; k < 5; k++) qni_outputs_free(&out[k]);
}

static qn_status judge_op(qni_check_context *x, const qn_opref *op) {
  struct seen seen = {0};
  size_t before = strlen(x->text);
  for (uint64_t i = 0; i < 24 && strlen(x->text) == before; i++) {
    qni_sample sample;
    qni_sample_options o = {.seed = x->seed * 31 + i, .max_size = 33};
    qn_status st = qni_schema_sample(op->schema, &o, &sample);
    if (st == QN_E_UNSUPPORTED) return QN_OK;
    if (st) return st;
    if (!qni_check_writes(op)) judge_draws(x, op, &sample, &seen);
    qni_sample_free(&sample);
  }
  bool random = op->op->flags & QN_OP_RANDOM;
  if (random && seen.calls >= 4 && (!seen.by_seed || !seen.by_step || !seen.by_instance))
    qni_check_find(x,
                   "%s says QN_OP_RANDOM, but its numbers stay the same for another %s; draw them "
                   "with h->random",
                   op->name,
                   !seen.by_seed   ? "seed"
                   : !seen.by_step ? "step"
                                   : "call of the same step");
  if (!random && (seen.by_seed || seen.by_step || seen.by_instance))
    qni_check_find(x, "%s draws random numbers, but does not say QN_OP_RANDOM", op->name);
  x->n_judged += seen.calls;
  return QN_OK;
}

static qn_status run_random(qni_check_context *x) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < x->n_ops; i++) st = judge_op(x, x->ops[i]);
  return st;
}

const qni_check qni_check_random = {
    "random", "L3", "random numbers are a function of seed, step and call, and of nothing else",
    true, run_random};
