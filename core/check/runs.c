/*
** Checks of how results come about: memory bounds, and equal bits for any number of workers.
** SPDX-License-Identifier: MIT
*/
#include "base/mem.h"
#include "check/list.h"
#include "exec/pool.h"

/* ---- bounds: buffers end at a guard page, then begin at one ---- */

static void stays_inside(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_result r;
  char text[1024];
  qn_status st = qni_check_both(op, sample, &r);
  qni_result_free(&r);
  if (st) return;
  x->n_judged++;
  int64_t damaged = qni_mem_guard_damage();
  if (damaged)
    qni_check_find(x, "%s writes outside its buffers (%lld of them)",
                   qni_check_describe(op, sample, text, sizeof text), (long long)damaged);
}

static qn_status run_bounds(qni_check_context *x) {
  qn_status st = QN_OK;
  for (int mode = QNI_GUARD_END; !st && mode <= QNI_GUARD_BEGIN; mode++) {
    qni_mem_trim();
    qni_mem_guard(mode);
    qni_sample_options o = {.max_size = 33, .allow_empty = true};
    st = qni_check_each(x, &o, stays_inside);
    o = (qni_sample_options){.max_size = 33, .layout = QNI_LAYOUT_OFFSET}; /* unaligned starts */
    if (!st) st = qni_check_each(x, &o, stays_inside);
  }
  qni_mem_guard(QNI_GUARD_OFF);
  return st;
}

const qni_check qni_check_bounds = {
    "bounds", "L3", "reads and writes stay inside the buffers, forward and backward", true,
    run_bounds};

/* ---- determinism: 1, 2, 3, 7 workers, shaken schedules, repeats ---- */

static void compare(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                    qn_tensor *const *a, qn_tensor *const *b, int32_t n, const char *what,
                    int32_t workers) {
  char text[1024];
  for (int32_t i = 0; i < n; i++)
    if (!qni_check_equal(a[i], b[i]))
      qni_check_find(x, "%s: %s %d has other bits with %d workers",
                     qni_check_describe(op, sample, text, sizeof text), what, (int)i + 1,
                     (int)workers);
}

static void bits_agree(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  static const int32_t workers[] = {1, 2, 3, 7, 2, 7, 1, 3, 2, 7};
  qni_result first, again;
  if (op->op->det != QN_DET_BITWISE || qni_check_writes(op) || qni_pool_resize(1)) return;
  qn_status st = qni_check_both(op, sample, &first);
  for (int32_t i = 0; !st && i < (x->quick ? 4 : 10); i++) {
    if (qni_pool_resize(workers[i])) break;
    qni_pool_shake(i > 1);
    st = qni_check_both(op, sample, &again);
    if (!st && again.n_grads == first.n_grads) {
      compare(x, op, sample, first.out.t, again.out.t, first.out.n, "output", workers[i]);
      compare(x, op, sample, first.grad, again.grad, first.n_grads, "gradient", workers[i]);
      x->n_judged++;
    }
    qni_result_free(&again);
  }
  qni_pool_shake(false);
  qni_result_free(&first);
}

static qn_status run_determinism(qni_check_context *x) {
  qni_sample_options o = {.max_size = 33};
  return qni_check_each(x, &o, bits_agree);
}

const qni_check qni_check_determinism = {
    "determinism", "L2", "equal bits with 1, 2, 3 and 7 workers, forward and backward", true,
    run_determinism};
