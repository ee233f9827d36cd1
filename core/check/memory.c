/*
** Checks of what happens when things go wrong: every allocation fails once, every chunk of
** every parallel range is cancelled once. The call must say so, leave nothing behind, and
** work the next time.
** SPDX-License-Identifier: MIT
*/
#include <malloc.h>
#include <string.h>

#include "base/mem.h"
#include "check/list.h"
#include "exec/pool.h"

enum { MOST_POINTS = 400, CALLS = 1000, SLACK = 8 * CALLS };

static int64_t live_bytes(void) {
  qn_memory m;
  qn_memory_stats(&m);
  return m.live;
}

/* How a fault is set, looked at, and taken away. */
struct fault {
  void (*set)(int64_t n);
  bool (*happened)(void);
  qn_status status;
  const char *what, *advice;
};

/* ---- One op, one sample, every point ---- */

static void differs(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                    const struct fault *f, int64_t n, const char *what) {
  char text[1024];
  qni_check_find(x, "%s: %s %lld %s; %s", qni_check_describe(op, sample, text, sizeof text),
                 f->what, (long long)n, what, f->advice);
}

static bool same_results(const qni_result *a, const qni_result *b) {
  bool same = a->out.n == b->out.n && a->n_grads == b->n_grads;
  for (int32_t i = 0; same && i < a->out.n; i++) same = qni_check_equal(a->out.t[i], b->out.t[i]);
  for (int32_t i = 0; same && i < a->n_grads; i++) same = qni_check_equal(a->grad[i], b->grad[i]);
  return same;
}

/* Judges the call that ran with a fault at point n; false: the fault was never reached. */
static bool judge_point(qni_check_context *x, const qn_opref *op, qni_sample *sample,
                        const qni_result *expected, const struct fault *f, int64_t n) {
  qni_result got = {0};
  int64_t before = live_bytes();
  f->set(n);
  qn_status st = qni_check_both(op, sample, &got);
  bool happened = f->happened();
  f->set(0);
  if (st && st != f->status && happened)
    differs(x, op, sample, f, n, "gives another error than it should");
  else if (!st && happened && !same_results(&got, expected))
    differs(x, op, sample, f, n, "is passed over in silence, and the results are wrong");
  qni_result_free(&got);
  if (happened && live_bytes() > before)
    differs(x, op, sample, f, n, "leaves memory behind that nobody frees");
  x->n_judged += happened;
  return happened;
}

static void every_point(qni_check_context *x, const qn_opref *op, qni_sample *sample,
                        const struct fault *f) {
  qni_result expected = {0}, again = {0};
  size_t before = strlen(x->text);
  if (qni_check_writes(op) || qni_check_both(op, sample, &expected)) {
    qni_result_free(&expected);
    return;
  }
  for (int64_t n = 1; n < MOST_POINTS && strlen(x->text) == before; n++)
    if (!judge_point(x, op, sample, &expected, f, n)) break;
  if (strlen(x->text) == before &&
      (qni_check_both(op, sample, &again) || !same_results(&again, &expected)))
    differs(x, op, sample, f, 0, "in the call before changes the results of this one");
  qni_result_free(&again);
  qni_result_free(&expected);
}

/* ---- memory ---- */

static int64_t fail_from;

static void set_failure(int64_t n) {
  if (n) fail_from = qni_mem_count() + n;
  qni_mem_fail_after(n, 0);
}

static bool failure_happened(void) { return qni_mem_count() >= fail_from; }

static void every_allocation(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  static const struct fault f = {set_failure, failure_happened, QN_E_NOMEM, "failing allocation",
                                 "return the status that scratch, local, save_new and the like "
                                 "give, and allocate nothing by yourself"};
  every_point(x, op, sample, &f);
}

static size_t heap_bytes(void) { return mallinfo2().uordblks; }

/* Memory that plugin code takes from the system is not the host's to count: the heap tells. */
static void thousand_calls(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  size_t before = 0;
  char text[1024];
  int32_t calls = x->quick ? CALLS / 10 : CALLS;
  for (int32_t i = -20; i < calls; i++) {
    qni_result r = {0};
    qn_status st = qni_check_both(op, sample, &r);
    qni_result_free(&r);
    if (st) return;
    if (i == 0) before = heap_bytes();
  }
  size_t after = heap_bytes();
  if (after > before + (size_t)(SLACK / CALLS * calls))
    qni_check_find(x, "%s: %d calls leave %zu bytes behind; give back what each call takes",
                   qni_check_describe(op, sample, text, sizeof text), (int)calls, after - before);
}

static qn_status run_memory(qni_check_context *x) {
  qni_sample_options o = {.max_size = 3};
  qni_check_context few = *x;
  qn_status st = qni_pool_resize(1);
  few.samples = x->quick ? 1 : 6;
  if (!st) st = qni_check_each(&few, &o, every_allocation);
  few.samples = 1;
  if (!st && !x->text[0]) st = qni_check_each(&few, &o, thousand_calls);
  return st;
}

const qni_check qni_check_memory = {
    "memory", "L3", "each allocation may fail: the call says so and leaves nothing behind", true,
    run_memory};

/* ---- cancel ---- */

static void set_cancel(int64_t n) {
  if (n)
    qni_pool_cancel_after(n);
  else
    qni_pool_cancel(false);
}

static void every_chunk(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  static const struct fault f = {set_cancel, qni_pool_cancelled, QN_E_CANCELLED,
                                 "stopping at chunk",
                                 "return the status that parallel and gemm give"};
  every_point(x, op, sample, &f);
}

static qn_status run_cancel(qni_check_context *x) {
  qni_sample_options o = {.max_size = 33};
  qni_check_context few = *x;
  qn_status st = qni_pool_resize(1);
  few.samples = x->quick ? 2 : 8;
  return st ? st : qni_check_each(&few, &o, every_chunk);
}

const qni_check qni_check_cancel = {"cancel", "L3",
                                    "a call stopped at any chunk says so and leaves nothing behind",
                                    true, run_cancel};
