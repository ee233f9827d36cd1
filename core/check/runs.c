/*
** Checks of how results come about: memory bounds, and equal bits for any number of workers.
** SPDX-License-Identifier: MIT
*/
#include "base/mem.h"
#include "check/list.h"
#include "exec/pool.h"
#include "graph/tape.h"

/* Forward and, where there is one, backward; the first output's gradient is its own value. */
static qn_status run_both(const qn_opref *op, qni_sample *sample, qni_outputs *out,
                          qn_tensor **grads, int32_t *n_grads) {
  qn_tensor *floats[QN_MAX_TENSORS];
  int32_t n = qni_check_floats(sample, floats, QN_MAX_TENSORS);
  bool differentiate = qni_check_differentiable(op);
  *n_grads = 0;
  for (int32_t i = 0; i < n; i++) {
    qn_tensor_clear_grad(floats[i]);
    floats[i]->requires_grad = differentiate;
  }
  qn_status st = qni_check_call(op, sample, out);
  for (int32_t o = 0; !st && o < out->n; o++) {
    if (!out->t[o]->requires_grad) continue;
    qn_tensor *seed = NULL;
    st = qni_tensor_detach(out->t[o], &seed);
    if (!st) st = qn_backward(out->t[o], seed, QN_BACKWARD_KEEP);
    qn_tensor_free(seed);
  }
  for (int32_t i = 0; i < n; i++) {
    qn_tensor *g = floats[i]->grad ? floats[i]->grad : floats[i]->grad_rows;
    if (!st && g) grads[(*n_grads)++] = qn_tensor_retain(g);
    qn_tensor_clear_grad(floats[i]);
    floats[i]->requires_grad = false;
  }
  return st;
}

static void free_all(qni_outputs *out, qn_tensor **grads, int32_t n) {
  qni_outputs_free(out);
  for (int32_t i = 0; i < n; i++) qn_tensor_free(grads[i]);
}

/* ---- bounds: buffers end at a guard page, then begin at one ---- */

static void stays_inside(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qni_outputs out = {0};
  qn_tensor *grads[QN_MAX_TENSORS];
  int32_t n = 0;
  char text[1024];
  if (run_both(op, sample, &out, grads, &n)) {
    qni_outputs_free(&out);
    return;
  }
  free_all(&out, grads, n);
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
  static const int32_t workers[] = {1, 2, 3, 7, 2};
  qni_outputs first = {0};
  qn_tensor *first_grads[QN_MAX_TENSORS];
  int32_t n_first = 0;
  if (op->op->det != QN_DET_BITWISE || qni_check_writes(op) || qni_pool_resize(1)) return;
  if (run_both(op, sample, &first, first_grads, &n_first)) {
    free_all(&first, first_grads, n_first);
    return;
  }
  for (int32_t i = 0; i < 5; i++) {
    qni_outputs out = {0};
    qn_tensor *grads[QN_MAX_TENSORS];
    int32_t n = 0;
    if (qni_pool_resize(workers[i])) break;
    qni_pool_shake(i > 1);
    if (!run_both(op, sample, &out, grads, &n) && n == n_first) {
      compare(x, op, sample, first.t, out.t, out.n, "output", workers[i]);
      compare(x, op, sample, first_grads, grads, n, "gradient", workers[i]);
    }
    free_all(&out, grads, n);
  }
  qni_pool_shake(false);
  free_all(&first, first_grads, n_first);
}

static qn_status run_determinism(qni_check_context *x) {
  qni_sample_options o = {.max_size = 33};
  return qni_check_each(x, &o, bits_agree);
}

const qni_check qni_check_determinism = {
    "determinism", "L2", "equal bits with 1, 2, 3 and 7 workers, forward and backward", true,
    run_determinism};
