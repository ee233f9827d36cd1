/*
** A captured step against the eager one, on the batch that it was captured for.
**
** Eager and replayed gradients of a parameter agree when |r - g| <= 4e-6 |g| (Euclidean norm,
** f32; 4e-12 for f64). A gradient whose terms cancel (of a bias before a batch norm, of keys before
** a softmax) has no such digits, in either. How many it has is measured, on the eager side alone:
** the step runs again with every parameter moved by one unit in the last place, up or down. What that
** moves the gradient by is what rounding may do to it, and a few times as much is allowed.
** Random numbers, gradients, parameters and tensors that outlive the step are put back.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "exec/rng.h"
#include "graph/capture_own.h"
#include "graph/compare.h"

/* ---- What outlives the step ---- */

qn_status qni_capture_keep(const qni_capture *c, qni_keep *keep) {
  qn_status st = QN_OK;
  for (int32_t b = 0; !st && b < c->program->n_buffers; b++)
    if (c->program->buffer[b].state) st = qni_keep_add(keep, c->program->buffer[b].holder);
  return st;
}

static void put_back_kept(qni_keep *keep) {
  qni_keep_restore(keep);
  qni_keep_free(keep);
}

/* ---- Gradients, aside ---- */

static void swap_gradient(qn_tensor *leaf, qni_aside *a) {
  qni_aside now = {leaf->grad, leaf->grad_ids, leaf->grad_rows};
  leaf->grad = a->grad;
  leaf->grad_ids = a->ids;
  leaf->grad_rows = a->rows;
  *a = now;
}

static void swap_all(qni_capture *c, qni_aside *list) {
  for (int32_t i = 0; i < c->runner.lanes.n; i++)
    swap_gradient(c->runner.lanes.leaf[i].leaf, &list[i]);
}

static qni_aside *aside_list(const qni_capture *c) {
  return qni_mem_zalloc((size_t)c->runner.lanes.n + 1, sizeof(qni_aside));
}

static qni_grad gradient_of(const qni_aside *a) {
  return (qni_grad){.dense = a->grad, .ids = a->ids, .rows = a->rows};
}

static void free_list(const qni_capture *c, qni_aside **list) {
  for (int32_t i = 0; *list && i < c->runner.lanes.n; i++) {
    qni_grad g = gradient_of(&(*list)[i]);
    qni_grad_free(&g);
  }
  qni_mem_free(*list);
  *list = NULL;
}

void qni_capture_forget(qni_capture *c) {
  free_list(c, &c->eager);
  free_list(c, &c->replayed);
  qni_mem_free(c->noise);
  c->noise = NULL;
  qni_keep_free(&c->state);
  qni_keep_free(&c->leaves);
}

qn_status qni_capture_check_begin(qni_capture *c) {
  qni_keep_free(&c->state);
  qn_status st = qni_capture_keep(c, &c->state);
  if (!st && !(c->aside = aside_list(c))) st = QN_E_NOMEM;
  if (st) return st;
  c->instance = qni_rng_peek();
  swap_all(c, c->aside);
  return QN_OK;
}

/* The gradients set aside come back; those of the eager step go to *eager. */
static void put_back(qni_capture *c, qni_aside **eager) {
  put_back_kept(&c->state);
  swap_all(c, c->aside);
  *eager = c->aside;
  c->aside = NULL;
  qni_rng_rewind(c->instance);
}

/* ---- Comparing ---- */

/* What the eager step wrote (kept) against what the replay wrote. */
static qn_status compare_states(const qni_capture *c, const qni_keep *eager) {
  const qni_program *p = c->program;
  qn_status st = QN_OK;
  for (int32_t v = 0; !st && v < p->n_views; v++) {
    if (p->view[v].buffer < 0 || !p->buffer[p->view[v].buffer].state) continue;
    const qni_storage *s = p->buffer[p->view[v].buffer].holder->storage;
    for (int32_t i = 0; !st && i < eager->n; i++)
      if (eager->list[i].tensor->storage == s)
        st = qni_compare_state(p->view[v].dtype, (int64_t)s->bytes, eager->list[i].bytes, s->data);
  }
  return st;
}

static qni_gap gap_of(const qni_aside *a, const qni_aside *b) {
  const qni_grad x = gradient_of(a), y = gradient_of(b);
  return qni_gradient_gap(&x, &y);
}

/* The first parameter whose gradients differ by more than the noise explains; -1: none. */
static int32_t first_apart(const qni_capture *c, const qni_aside *eager, const qni_aside *replayed,
                           qni_gap *gap) {
  for (int32_t i = 0; i < c->runner.lanes.n; i++) {
    *gap = gap_of(&replayed[i], &eager[i]);
    if (!qni_gradient_close(gap, c->runner.lanes.leaf[i].like.dtype, c->noise ? c->noise[i] : 0))
      return i;
  }
  return -1;
}

/* ---- The replay ---- */

/* Gradients of the replay go to the leaves while the eager ones are aside; then they swap. */
static qn_status replay_aside(qni_capture *c, qn_tensor *const *inputs, int32_t n, double eager,
                              qni_aside *list) {
  double value = 0, divisor = 1;
  uint32_t now = qni_rng_peek();
  qni_keep written = {0};
  qni_rng_rewind(c->instance);
  qn_status st = qni_capture_keep(c, &written);
  qni_keep_restore(&c->state); /* the replay begins where the eager step began */
  if (!st) st = qni_capture_batch(c, inputs, n, &value, &divisor);
  if (!st) st = compare_states(c, &written);
  qni_keep_free(&written);
  swap_all(c, list);
  if (!st) st = qni_lanes_deliver(&c->runner.lanes, c->runner.n_slices, 1 / divisor);
  swap_all(c, list);
  if (!st && qni_rng_peek() != now)
    st = qni_fail(QN_E_STATE, "the captured step draws other random numbers than the eager one");
  return st ? st : qni_compare_loss(eager, value, c->program->view[c->program->root].dtype);
}

qn_status qni_capture_check_end(qni_capture *c, qn_tensor *const *inputs, int32_t n,
                                const qn_tensor *loss, bool *doubt) {
  qni_gap gap;
  qn_status st = QN_OK;
  *doubt = false;
  qni_aside *eager, *replayed = loss ? aside_list(c) : NULL;
  if (loss && !replayed) st = QN_E_NOMEM;
  if (loss && !st)
    st = replay_aside(c, inputs, n, qni_dtype_load(loss->view.dtype, loss->view.data), replayed);
  put_back(c, &eager);
  if (loss && !st) *doubt = first_apart(c, eager, replayed, &gap) >= 0;
  if (!*doubt) {
    free_list(c, &eager);
    free_list(c, &replayed);
    return st;
  }
  c->eager = eager;
  c->replayed = replayed;
  c->noise = qni_mem_zalloc((size_t)c->runner.lanes.n, sizeof *c->noise);
  return c->noise ? QN_OK : QN_E_NOMEM;
}

/* ---- What rounding may do ---- */

/* Every element but zeros goes up or down by one unit in the last place. */
static void move(qn_tensor *leaf, uint64_t seed) {
  const qn_view *v = &leaf->view;
  for (int64_t i = 0; i < qni_view_count(v); i++) {
    uint64_t h = ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u;
    const bool up = ((h ^ h >> 29) * 0x94d049bb133111ebu) >> 63;
    if (v->dtype == QN_BF16) {
      uint16_t *x = (uint16_t *)v->data + i; /* away from zero or towards it */
      if (*x & 0x7fff) *x = (uint16_t)(up ? *x + 1 : *x - 1);
    } else if (v->dtype == QN_F64) {
      double *x = (double *)v->data + i;
      if (*x != 0) *x = nextafter(*x, up ? (double)INFINITY : -(double)INFINITY);
    } else {
      float *x = (float *)v->data + i;
      if (*x != 0) *x = nextafterf(*x, up ? INFINITY : -INFINITY);
    }
  }
  qni_tensor_touch(leaf);
}

qn_status qni_capture_noise_begin(qni_capture *c, int32_t turn) {
  qni_keep_free(&c->leaves);
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->runner.lanes.n; i++)
    st = qni_keep_add(&c->leaves, c->runner.lanes.leaf[i].leaf);
  if (!st) st = qni_capture_check_begin(c);
  for (int32_t i = 0; !st && i < c->runner.lanes.n; i++)
    move(c->runner.lanes.leaf[i].leaf, (uint64_t)turn * 64 + (uint64_t)i);
  return st;
}

void qni_capture_noise_end(qni_capture *c) {
  qni_aside *moved;
  put_back_kept(&c->leaves);
  put_back(c, &moved);
  for (int32_t i = 0; i < c->runner.lanes.n; i++) {
    qni_gap gap = gap_of(&moved[i], &c->eager[i]);
    if (gap.off > c->noise[i]) c->noise[i] = gap.off; /* NaN says nothing */
  }
  free_list(c, &moved);
}

qn_status qni_capture_judge(qni_capture *c) {
  qni_gap gap;
  int32_t apart = first_apart(c, c->eager, c->replayed, &gap);
  qn_status st = apart < 0 ? QN_OK
                           : qni_gradient_refuse(c->runner.lanes.leaf[apart].leaf, apart, &gap,
                                                 c->noise[apart]);
  qni_capture_forget(c);
  return st;
}
