/*
** The check that knows nothing: random sequences of valid calls, of all ops of the plugin, with
** extreme values, any layout and number of workers, forward and backward, in guarded memory.
** A call that comes again must give what it gave before, whatever ran in between.
** SPDX-License-Identifier: MIT
*/
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "check/list.h"
#include "exec/pool.h"

enum { KEPT = 6, ROUNDS = 40 };

static uint64_t next(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* A call that comes again: its inputs, and what it gave at first. */
struct known {
  const qn_opref *op;
  qni_sample sample;
  qni_result first;
  bool failed;
};

static bool allowed(qn_status st) {
  return st != QN_E_INTERNAL && st != QN_E_PLUGIN && st != QN_E_VERSION;
}

static bool same(const qni_result *a, const qni_result *b) {
  bool equal = a->out.n == b->out.n && a->n_grads == b->n_grads;
  for (int32_t i = 0; equal && i < a->out.n; i++) equal = qni_check_equal(a->out.t[i], b->out.t[i]);
  for (int32_t i = 0; equal && i < a->n_grads; i++) equal = qni_check_equal(a->grad[i], b->grad[i]);
  return equal;
}

static void complain(qni_check_context *x, const struct known *k, const char *what) {
  char text[1024];
  qni_check_find(x, "%s %s", qni_check_describe(k->op, &k->sample, text, sizeof text), what);
}

/* Draws a call and runs it for the first time; k->op NULL if none can be drawn. */
static qn_status meet(qni_check_context *x, uint64_t *state, struct known *k) {
  qni_sample_options o = {.seed = next(state),
                          .max_size = next(state) % 4 ? 7 : 33,
                          .layout = (int32_t)(next(state) % (QNI_LAYOUT_BROADCAST + 1)),
                          .values = next(state) % 2};
  *k = (struct known){.op = x->ops[next(state) % (uint64_t)x->n_ops]};
  qn_status st =
      qni_check_writes(k->op) ? QN_E_UNSUPPORTED : qni_schema_sample(k->op->schema, &o, &k->sample);
  if (st) {
    k->op = NULL;
    return st == QN_E_UNSUPPORTED ? QN_OK : st;
  }
  st = qni_check_both(k->op, &k->sample, &k->first);
  k->failed = st != QN_OK;
  if (!allowed(st)) complain(x, k, qn_error_last()->what);
  x->n_judged++;
  return QN_OK;
}

static void meet_again(qni_check_context *x, struct known *k) {
  qni_result now = {0};
  if (!k->op || k->op->op->det == QN_DET_NONE) return;
  qn_status st = qni_check_both(k->op, &k->sample, &now);
  if ((st != QN_OK) != k->failed)
    complain(x, k, "succeeds once and fails once; a call may depend on its arguments alone");
  else if (!st && !same(&now, &k->first))
    complain(x, k, "gives other results after other calls; keep no state between calls");
  qni_result_free(&now);
}

static void part(struct known *k) {
  qni_result_free(&k->first);
  if (k->op) qni_sample_free(&k->sample);
  k->op = NULL;
}

/* One sequence: meets some calls, then takes them up again in random order. */
static qn_status sequence(qni_check_context *x, uint64_t *state) {
  struct known known[KEPT] = {{0}};
  qn_status st = QN_OK;
  int32_t n = 0;
  for (; !st && n < KEPT; n++) st = meet(x, state, &known[n]);
  for (int32_t i = 0; !st && i < 4 * KEPT && !x->text[0]; i++)
    meet_again(x, &known[next(state) % KEPT]);
  for (int32_t i = 0; i < n; i++) part(&known[i]);
  (void)qni_mem_guard_damage(); /* slips inside the last page are the finding of bounds */
  return st;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static qn_status run_fuzz(qni_check_context *x) {
  uint64_t state = x->seed * 0x2545f4914f6cdd1du + 1;
  int32_t rounds = x->quick ? ROUNDS / 8 : ROUNDS;
  qn_status st = QN_OK;
  double until = now() + x->seconds;
  if (!x->n_ops) return QN_OK;
  for (int32_t i = 0; !st && !x->text[0] && (i < rounds || now() < until); i++) {
    qni_mem_guard(i % 2 ? QNI_GUARD_END : QNI_GUARD_BEGIN);
    st = qni_pool_resize(1 + (int32_t)(next(&state) % 3));
    if (!st) st = sequence(x, &state);
  }
  qni_mem_guard(QNI_GUARD_OFF);
  return st;
}

const qni_check qni_check_fuzz = {
    "fuzz", "L3", "random sequences of calls neither crash nor change each other's results", true,
    run_fuzz};
