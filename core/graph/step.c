/*
** A captured step.
**
** The batch is cut in order: a slice takes samples while the memory that grows with it stays
** within the budget, and while it has no more than its fair part of the samples, so that
** every lane has work. The cut is a function of the batch and the budget alone. What does not
** depend on the slice runs first, over all workers; then workers take lanes.
** SPDX-License-Identifier: MIT
*/
#include "graph/step.h"

#include <string.h>

#include "exec/pool.h"

/* ---- Life ---- */

qn_status qni_runner_start(qni_program *p, int64_t budget, qni_runner *r) {
  *r = (qni_runner){.p = p, .budget = budget, .split = QNI_LANES};
  return qni_lanes_start(p, &r->lanes);
}

static void stop_workers(qni_runner *r) {
  for (int32_t i = 0; i < r->n_workers; i++) qni_worker_stop(&r->worker[i]);
  qni_mem_free(r->worker);
  r->worker = NULL;
  r->n_workers = 0;
}

void qni_runner_stop(qni_runner *r) {
  stop_workers(r);
  qni_lanes_stop(&r->lanes);
  qni_mem_free(r->slice);
  qni_mem_buffer_free(r->step_memory, r->step_bytes);
  *r = (qni_runner){0};
}

/* ---- Cutting ---- */

static qn_status add_slice(qni_runner *r, const qni_slice *s) {
  if (r->n_slices == r->max_slices) {
    int64_t max = 2 * r->max_slices + 64;
    qni_slice *grown = qni_mem_realloc(r->slice, (size_t)max * sizeof *grown);
    if (!grown) return QN_E_NOMEM;
    r->slice = grown;
    r->max_slices = max;
  }
  r->slice[r->n_slices++] = *s;
  return QN_OK;
}

/* A slice with one sample more. */
static qni_extent longer(const qni_slice *s, const qni_batch *batch) {
  qni_extent e = s->extent;
  int64_t b = s->first_sample + e.B,
          n = batch->offsets ? batch->offsets[b + 1] - batch->offsets[b] : 1;
  e.B++;
  e.N += n;
  if (n > e.L) e.L = n;
  return e;
}

static qn_status cut(qni_runner *r, const qni_batch *batch) {
  int64_t fair = (batch->B + r->split - 1) / r->split,
          fixed = qni_plan_bytes(r->p, &(qni_extent){0, 0, 1});
  qni_slice s = {.extent = {0, 0, 1}};
  qn_status st = QN_OK;
  r->n_slices = 0;
  while (!st && s.first_sample + s.extent.B < batch->B) {
    qni_extent e = longer(&s, batch);
    if (s.extent.B > 0 && (e.B > fair || qni_plan_bytes(r->p, &e) - fixed > r->budget)) {
      st = add_slice(r, &s);
      s = (qni_slice){.first_sample = s.first_sample + s.extent.B,
                      .first_row = s.first_row + s.extent.N,
                      .extent = {0, 0, 1}};
    } else {
      s.extent = e;
    }
  }
  return st || !s.extent.B ? st : add_slice(r, &s);
}

/* ---- Memory ---- */

static bool holds(const qni_extent *a, const qni_extent *b) {
  return a->B >= b->B && a->N >= b->N && a->L >= b->L;
}

static void grow(qni_extent *a, const qni_extent *b) {
  if (b->B > a->B) a->B = b->B;
  if (b->N > a->N) a->N = b->N + b->N / 8;
  if (b->L > a->L) a->L = b->L + b->L / 8;
}

static qn_status layout(qni_runner *r) {
  qn_status st = qni_plan_layout(r->p, &r->most, &r->arena_bytes);
  if (st || r->p->step_bytes <= r->step_bytes) return st;
  qni_mem_buffer_free(r->step_memory, r->step_bytes);
  r->step_bytes = 0;
  r->step_memory = qni_mem_buffer(r->p->step_bytes);
  if (!r->step_memory) return QN_E_NOMEM;
  r->step_bytes = r->p->step_bytes;
  return QN_OK;
}

static qn_status start_workers(qni_runner *r, int32_t n) {
  qn_status st = QN_OK;
  if (n <= r->n_workers) return QN_OK;
  stop_workers(r);
  r->worker = qni_mem_zalloc((size_t)n, sizeof *r->worker);
  if (!r->worker) return QN_E_NOMEM;
  for (; !st && r->n_workers < n; r->n_workers++)
    st = qni_worker_start(r->p, &r->worker[r->n_workers]);
  for (int32_t i = 0; i < r->n_workers; i++) r->worker[i].lanes = &r->lanes;
  return st;
}

/* Room for these slices and for all workers; no work when there is. */
static qn_status reserve(qni_runner *r, const qni_slice *slices, int64_t n) {
  bool fits = r->most.B > 0;
  for (int64_t i = 0; i < n && fits; i++) fits = holds(&r->most, &slices[i].extent);
  for (int64_t i = 0; i < n && !fits; i++) grow(&r->most, &slices[i].extent);
  qn_status st = fits ? QN_OK : layout(r);
  if (!st) st = qni_lanes_reserve(r->p, &r->lanes);
  if (!st) st = start_workers(r, qni_pool_threads());
  for (int32_t i = 0; !st && i < r->n_workers; i++)
    st = qni_worker_reserve(&r->worker[i], r->arena_bytes, r->most.B);
  return st;
}

/* ---- Lanes ---- */

struct lane_work {
  qni_runner *r;
  const qni_batch *batch;
};

struct place { /* where the parts of a slice go */
  qni_lanes *lanes;
  int32_t lane;
  int64_t slice;
};

static qn_status add_dense(void *ctx, int32_t leaf, const qn_view *part) {
  const struct place *at = ctx;
  return qni_lanes_add(at->lanes, at->lane, leaf, part);
}

static qn_status add_rows(void *ctx, int32_t leaf, const int64_t *ids, const qn_view *rows) {
  const struct place *at = ctx;
  return qni_lanes_add_rows(at->lanes, at->lane, at->slice, leaf, ids, rows);
}

static qn_status run_lanes(void *ctx, int64_t begin, int64_t end) {
  const struct lane_work *x = ctx;
  qni_runner *r = x->r;
  qni_worker *w = &r->worker[qni_pool_worker() < r->n_workers ? qni_pool_worker() : 0];
  qn_status st = QN_OK;
  for (int64_t lane = begin; lane < end; lane++)
    for (int64_t i = lane; !st && i < r->n_slices; i += QNI_LANES) {
      struct place at = {&r->lanes, (int32_t)lane, i};
      qni_collector to = {&at, add_dense, add_rows, NULL};
      w->lane = (int32_t)lane;
      qni_worker_bind(r->p, w, x->batch, &r->slice[i], r->step_memory);
      st = qni_worker_run(r->p, w, x->batch, &r->slice[i], QNI_WHEN_SLICE, &to);
    }
  return st;
}

/* ---- Steps ---- */

static qn_status check_lengths(const qni_runner *r) {
  int64_t L = r->p->affines.trial[0].L;
  for (int64_t i = 0; r->p->fixed_L && r->p->jagged && i < r->n_slices; i++)
    if (r->slice[i].extent.L != L)
      return qni_fail(QN_E_STATE, "the step was captured on sequences of one length only, %lld",
                      (long long)L);
  return QN_OK;
}

static qn_status run_step_entries(qni_runner *r, const qni_batch *batch, qni_slice *s) {
  qni_worker_bind(r->p, &r->worker[0], batch, s, r->step_memory);
  return qni_worker_run(r->p, &r->worker[0], batch, s, QNI_WHEN_STEP, NULL);
}

qn_status qni_runner_step(qni_runner *r, const qni_batch *batch, double *loss, double *divisor) {
  *loss = *divisor = 0;
  qni_lanes_open(&r->lanes);
  qn_status st = cut(r, batch);
  if (!st) st = check_lengths(r);
  if (!st && r->n_slices) st = reserve(r, r->slice, r->n_slices);
  if (!st && r->n_slices) st = run_step_entries(r, batch, &r->slice[0]);
  struct lane_work work = {r, batch};
  int64_t lanes = r->n_slices < QNI_LANES ? r->n_slices : QNI_LANES;
  if (!st) st = qni_pool_run(lanes, 1, run_lanes, &work);
  if (st) return st;
  for (int64_t i = 0; i < r->n_slices; i++) {
    *loss += r->slice[i].loss;
    *divisor += r->slice[i].share;
  }
  if (r->p->loss.kind == QNI_LOSS_SUM || *divisor == 0) *divisor = 1;
  *loss /= *divisor;
  return QN_OK;
}

qn_status qni_runner_one(qni_runner *r, const qni_batch *batch, qni_slice *slice,
                         const qni_collector *to) {
  qn_status st = reserve(r, slice, 1);
  if (st) return st;
  r->worker[0].lane = 0;
  qni_worker_bind(r->p, &r->worker[0], batch, slice, r->step_memory);
  st = qni_worker_run(r->p, &r->worker[0], batch, slice, QNI_WHEN_STEP, to);
  return st ? st : qni_worker_run(r->p, &r->worker[0], batch, slice, QNI_WHEN_SLICE, to);
}
