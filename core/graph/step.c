/*
** A captured step.
**
** The batch is cut in order: a slice takes samples while the memory that grows with it stays
** within the budget, and while it has no more than its fair part of the rows, so that
** every lane has as much work. The cut is a function of the batch and the budget alone. What does not
** depend on the batch runs first, over all workers; then segments one after the other: in even
** ones workers take lanes, in odd ones all work on one op of the whole batch at a time.
** SPDX-License-Identifier: MIT
*/
#include "graph/step.h"

#include <stddef.h>
#include <string.h>

#include "exec/pool.h"

/* ---- Life ---- */

qn_status qni_runner_start(qni_program *p, int64_t budget, qni_runner *r) {
  *r = (qni_runner){.p = p, .budget = budget, .split = QNI_LANES, .packs.p = p};
  return qni_lanes_start(p, &r->lanes);
}

static void stop_workers(qni_runner *r) {
  for (int32_t i = 0; i < r->n_workers; i++) qni_worker_stop(&r->worker[i]);
  qni_mem_free(r->worker);
  r->worker = NULL;
  r->n_workers = 0;
}

void qni_runner_renew(qni_runner *r) {
  stop_workers(r);
  if (r->whole_started) qni_worker_stop(&r->whole);
  r->whole_started = false;
  r->most = (qni_extent){0};
  r->n_reduced = 0;
  r->part_bytes = 0;
}

void qni_runner_stop(qni_runner *r) {
  qni_runner_renew(r);
  qni_lanes_stop(&r->lanes);
  qni_packs_stop(&r->packs);
  qni_mem_free(r->slice);
  qni_mem_buffer_free(r->step_memory, r->step_bytes);
  qni_mem_buffer_free(r->batch_memory, r->batch_bytes);
  qni_arena_free(&r->memory);
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

static int64_t rows_before(const qni_batch *batch, int64_t sample) {
  return batch->offsets ? batch->offsets[sample] : sample;
}

/*
** May slice number `at` take the sample e ends with? Of n slices of equal rows it may when the middle of the
** sample lies before the slice's end; n 0: when it is no more than a fair part of the samples.
*/
static bool takes(const qni_runner *r, const qni_batch *batch, const qni_slice *s,
                  const qni_extent *e, int64_t at, int64_t n) {
  if (!n) return e->B <= (batch->B + r->split - 1) / r->split;
  const int64_t end = s->first_sample + e->B;
  const int64_t twice = rows_before(batch, end - 1) + rows_before(batch, end);
  return twice * n <= 2 * (at + 1) * rows_before(batch, batch->B);
}

static qn_status cut_into(qni_runner *r, const qni_batch *batch, int64_t n) {
  const int64_t fixed = qni_plan_bytes(r->p, &(qni_extent){0, 0, 1});
  qni_slice s = {.extent = {0, 0, 1}};
  qn_status st = QN_OK;
  r->n_slices = 0;
  while (!st && s.first_sample + s.extent.B < batch->B) {
    qni_extent e = longer(&s, batch);
    if (s.extent.B > 0 && (!takes(r, batch, &s, &e, r->n_slices, n) ||
                           qni_plan_bytes(r->p, &e) - fixed > r->budget)) {
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

/* As many slices as the budget asks for; then so many more that all lanes have as many, of equal rows. */
static qn_status cut(qni_runner *r, const qni_batch *batch) {
  qn_status st = cut_into(r, batch, 0);
  const int64_t even = (r->n_slices + r->split - 1) / r->split * r->split;
  return st || even >= batch->B ? st : cut_into(r, batch, even);
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

static qn_status enlarge(char **memory, size_t *bytes, size_t wanted) {
  if (wanted <= *bytes) return QN_OK;
  qni_mem_buffer_free(*memory, *bytes);
  *bytes = 0;
  *memory = qni_mem_buffer(wanted);
  if (!*memory) return QN_E_NOMEM;
  *bytes = wanted;
  return QN_OK;
}

static qn_status layout(qni_runner *r) {
  qn_status st = qni_plan_layout(r->p, &r->most, &r->arena_bytes);
  return st ? st : enlarge(&r->step_memory, &r->step_bytes, r->p->step_bytes);
}

/* Sums that cross segments: their size does not depend on the slice. */
static qn_status find_reduced(qni_runner *r) {
  const qni_program *p = r->p;
  r->reduced = qni_arena_alloc(&r->memory, (size_t)(p->n_buffers + 1) * sizeof *r->reduced);
  r->part = qni_arena_alloc(&r->memory, (size_t)(p->n_buffers + 1) * sizeof *r->part);
  if (!r->reduced || !r->part) return QN_E_NOMEM;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    if (!p->buffer[b].reduced || !qni_plan_in_batch(&p->buffer[b])) continue;
    r->reduced[r->n_reduced] = b;
    r->part[r->n_reduced++] = r->part_bytes;
    r->part_bytes += ((size_t)p->affines.list[p->buffer[b].bytes].add + 63) / 64 * 64 * QNI_LANES;
  }
  return QN_OK;
}

static qn_status layout_batch(qni_runner *r) {
  if (r->p->n_segments <= 1 && r->p->n_outputs == 0) return QN_OK;
  if (r->batch_memory && holds(&r->batch_most, &r->batch.extent)) return QN_OK;
  grow(&r->batch_most, &r->batch.extent);
  qn_status st = qni_plan_layout_batch(r->p, &r->batch_most);
  return st ? st
            : enlarge(&r->batch_memory, &r->batch_bytes, r->p->batch_bytes + r->part_bytes + 64);
}

static qn_status start_workers(qni_runner *r, int32_t n) {
  qn_status st = QN_OK;
  if (n <= r->n_workers) return QN_OK;
  stop_workers(r);
  r->worker = qni_mem_zalloc((size_t)n, sizeof *r->worker);
  if (!r->worker) return QN_E_NOMEM;
  for (; !st && r->n_workers < n; r->n_workers++)
    st = qni_worker_start(r->p, &r->worker[r->n_workers]);
  for (int32_t i = 0; i < r->n_workers; i++) {
    r->worker[i].lanes = &r->lanes;
    r->worker[i].replay.packs = &r->packs;
  }
  return st;
}

static qn_status start_whole(qni_runner *r) {
  if (r->whole_started) return QN_OK;
  r->whole_started = true;
  qn_status st = qni_worker_start(r->p, &r->whole);
  r->whole.whole = true;
  r->whole.lanes = &r->lanes;
  r->whole.replay.packs = &r->packs;
  return st ? st : find_reduced(r);
}

static qn_status level(const qni_runner *r, size_t at) {
  int64_t most = 0;
  for (int32_t i = 0; i < r->n_workers; i++) {
    int64_t room =
        qni_arena_room((const qni_arena *)(const void *)((const char *)&r->worker[i] + at));
    if (room > most) most = room;
  }
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < r->n_workers; i++)
    st = qni_arena_begin((qni_arena *)(void *)((char *)&r->worker[i] + at), most);
  return st;
}

/* A worker that was late in all steps so far has what the others took, before it needs it. */
static qn_status level_all(const qni_runner *r) {
  qn_status st = level(r, offsetof(qni_worker, frame.memory));
  if (!st) st = level(r, offsetof(qni_worker, replay.row_memory));
  return st ? st : level(r, offsetof(qni_worker, replay.loose_memory));
}

/* Room for the slices and for all workers; no work when there is. */
static qn_status reserve(qni_runner *r) {
  bool fits = r->most.B > 0;
  for (int64_t i = 0; i < r->n_slices && fits; i++) fits = holds(&r->most, &r->slice[i].extent);
  for (int64_t i = 0; i < r->n_slices && !fits; i++) grow(&r->most, &r->slice[i].extent);
  qn_status st = fits ? QN_OK : layout(r);
  if (!st) st = start_whole(r);
  if (!st) st = layout_batch(r);
  if (!st) st = qni_lanes_reserve(r->p, &r->lanes);
  if (!st) st = start_workers(r, qni_pool_threads());
  if (!st) st = qni_worker_reserve(&r->whole, 0, r->batch.extent.B);
  r->whole.batch_memory = r->batch_memory;
  for (int32_t i = 0; !st && i < r->n_workers; i++) {
    r->worker[i].batch_memory = r->batch_memory;
    st = qni_worker_reserve(&r->worker[i], r->arena_bytes, r->most.B);
  }
  return st ? st : level_all(r);
}

/* ---- Sums that cross segments ---- */

static char *part_of(const qni_runner *r, int32_t k, int64_t lane) {
  int64_t bytes = r->p->affines.list[r->p->buffer[r->reduced[k]].bytes].add;
  return r->batch_memory + r->p->batch_bytes + r->part[k] +
         (size_t)lane * (((size_t)bytes + 63) / 64 * 64);
}

static int32_t dtype_of(const qni_program *p, int32_t buffer) {
  int32_t v = 0;
  while (p->view[v].buffer != buffer) v++;
  return p->view[v].dtype;
}

static void add_bytes(int32_t dtype, int64_t bytes, const void *x, void *sum) {
  if (dtype == QN_F64)
    for (int64_t i = 0; i < bytes / 8; i++) ((double *)sum)[i] += ((const double *)x)[i];
  else
    for (int64_t i = 0; i < bytes / 4; i++) ((float *)sum)[i] += ((const float *)x)[i];
}

/* Where the lane's parts are that ops add to. */
static void bind_parts(const qni_runner *r, qni_worker *w, int64_t lane) {
  for (int32_t k = 0; k < r->n_reduced; k++) w->part[r->reduced[k]] = part_of(r, k, lane);
}

/* A slice's parts go to its lane; the lane's first slice begins the sum. */
static void collect(const qni_runner *r, const qni_worker *w, int32_t segment, int64_t lane,
                    bool first) {
  for (int32_t k = 0; k < r->n_reduced; k++) {
    const qni_pbuffer *b = &r->p->buffer[r->reduced[k]];
    int64_t bytes = r->p->affines.list[b->bytes].add;
    if (b->from != segment || b->onto) continue;
    if (first)
      memcpy(part_of(r, k, lane), w->base[r->reduced[k]], (size_t)bytes);
    else
      add_bytes(dtype_of(r->p, r->reduced[k]), bytes, w->base[r->reduced[k]], part_of(r, k, lane));
  }
}

static void reduce(const qni_runner *r, int32_t segment, int64_t lanes) {
  for (int32_t k = 0; k < r->n_reduced; k++) {
    const qni_pbuffer *b = &r->p->buffer[r->reduced[k]];
    int64_t bytes = r->p->affines.list[b->bytes].add;
    char *to = r->batch_memory + b->wide_place;
    if (b->from != segment) continue;
    memcpy(to, part_of(r, k, 0), (size_t)bytes);
    for (int64_t lane = 1; lane < lanes; lane++)
      add_bytes(dtype_of(r->p, r->reduced[k]), bytes, part_of(r, k, lane), to);
  }
}

/* ---- Lanes ---- */

struct lane_work {
  qni_runner *r;
  const qni_batch *batch;
  int32_t segment;
  const qni_collector *to; /* of a check; NULL: gradients go to the lanes */
};

struct place { /* where the parts of a slice go */
  qni_lanes *lanes;
  int32_t lane;
  int64_t order; /* of rows: segments one after the other, slices in each */
};

static qn_status add_dense(void *ctx, int32_t leaf, const qn_view *part) {
  const struct place *at = ctx;
  return qni_lanes_add(at->lanes, at->lane, leaf, part);
}

static qn_status add_rows(void *ctx, int32_t leaf, const int64_t *ids, const qn_view *rows) {
  const struct place *at = ctx;
  return qni_lanes_add_rows(at->lanes, at->lane, at->order, leaf, ids, rows);
}

static qn_status run_slice(const struct lane_work *x, qni_worker *w, int32_t lane, int64_t i) {
  qni_runner *r = x->r;
  struct place at = {&r->lanes, lane, x->segment * r->n_slices + i};
  qni_collector to = {&at, add_dense, add_rows, NULL};
  w->lane = lane;
  w->begins = i < QNI_LANES;
  bind_parts(r, w, lane);
  qni_worker_bind(r->p, w, x->batch, &r->slice[i], r->step_memory);
  qn_status st =
      qni_worker_run(r->p, w, x->batch, &r->slice[i], &r->p->list[x->segment], x->to ? x->to : &to);
  if (!st) collect(r, w, x->segment, lane, i < QNI_LANES);
  return st;
}

static qn_status run_lanes(void *ctx, int64_t begin, int64_t end) {
  const struct lane_work *x = ctx;
  qni_runner *r = x->r;
  qni_worker *w = &r->worker[qni_pool_worker() < r->n_workers ? qni_pool_worker() : 0];
  qn_status st = QN_OK;
  for (int64_t lane = begin; lane < end; lane++)
    for (int64_t i = lane; !st && i < r->n_slices; i += QNI_LANES)
      st = run_slice(x, w, (int32_t)lane, i);
  return st;
}

/* ---- Segments ---- */

static qn_status run_segment(struct lane_work *x) {
  qni_runner *r = x->r;
  int64_t lanes = r->n_slices < QNI_LANES ? r->n_slices : QNI_LANES;
  if (x->segment & 1) {
    struct place at = {&r->lanes, 0, x->segment * r->n_slices};
    qni_collector to = {&at, add_dense, add_rows, NULL};
    return qni_worker_run(r->p, &r->whole, x->batch, &r->batch, &r->p->list[x->segment],
                          x->to ? x->to : &to);
  }
  if (!r->p->list[x->segment].n) return QN_OK;
  qn_status st = x->to ? run_lanes(x, 0, lanes) : qni_pool_run(lanes, 1, run_lanes, x);
  if (!st) reduce(r, x->segment, lanes);
  return st;
}

static qn_status run_all(qni_runner *r, const qni_batch *batch, const qni_collector *to) {
  struct lane_work x = {.r = r, .batch = batch, .to = to};
  qn_status st = reserve(r);
  if (st) return st;
  r->batch.loss = r->batch.share = 0;
  qni_worker_bind(r->p, &r->whole, batch, &r->batch, r->step_memory);
  qni_worker_fill(r->p, &r->whole);
  st = qni_worker_run(r->p, &r->whole, batch, &r->batch, &r->p->once, to);
  r->packs.base = batch->check ? r->whole.base : NULL;
  if (!st) st = qni_packs_fill(&r->packs, r->whole.base);
  for (; !st && x.segment < r->p->n_segments; x.segment++) st = run_segment(&x);
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

static qni_slice whole_batch(const qni_runner *r, const qni_batch *batch) {
  qni_slice all = {.extent = {batch->B, batch->offsets ? batch->offsets[batch->B] : batch->B, 1}};
  for (int64_t i = 0; i < r->n_slices; i++)
    if (r->slice[i].extent.L > all.extent.L) all.extent.L = r->slice[i].extent.L;
  return all;
}

qn_status qni_runner_step(qni_runner *r, const qni_batch *batch, double *loss, double *divisor) {
  *loss = *divisor = 0;
  qni_lanes_open(&r->lanes);
  qn_status st = cut(r, batch);
  if (!st) st = check_lengths(r);
  r->batch = whole_batch(r, batch);
  if (!st && r->n_slices) st = run_all(r, batch, NULL);
  if (st) return st;
  for (int64_t i = 0; i < r->n_slices; i++) {
    *loss += r->slice[i].loss;
    *divisor += r->slice[i].share;
  }
  if (r->n_slices) *loss += r->batch.loss, *divisor += r->batch.share;
  if (r->p->loss.kind == QNI_LOSS_SUM || *divisor == 0) *divisor = 1;
  *loss /= *divisor;
  return QN_OK;
}

qn_status qni_runner_one(qni_runner *r, const qni_batch *batch, const qni_slice *slice,
                         const qni_collector *to) {
  r->n_slices = 0;
  qn_status st = add_slice(r, slice);
  r->batch = *slice;
  if (!st) st = run_all(r, batch, to);
  r->n_slices = 0;
  return st;
}
