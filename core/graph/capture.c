/*
** Captured steps from first batch to last.
** SPDX-License-Identifier: MIT
*/
#include "graph/capture_own.h"

#include <math.h>
#include <string.h>

#include "exec/cpu.h"
#include "exec/rng.h"
#include "graph/compare.h"
#include "graph/hold.h"
#include "graph/trial.h"
#include "graph/watch.h"

/* ---- The batch ---- */

static qn_status bad_input(int32_t i, const char *what, const char *hint) {
  qni_fail(QN_E_SHAPE, "tensor %d of the batch %s", (int)i + 1, what);
  if (hint) qni_error_hint("%s", hint);
  return QN_E_SHAPE;
}

static const char *const shared_hint =
    "tensors that belong to the whole batch and not to one sample are named in the option shared";

static int64_t samples(const qn_tensor *t) {
  return t->offsets ? t->offsets->view.shape[0] - 1 : t->view.shape[0];
}

static qn_status check_input(const qni_batch *batch, const qn_tensor *t, int32_t i) {
  if (!qni_view_contiguous(&t->view))
    return bad_input(i, "is not contiguous", "call contiguous() on it");
  if (t->requires_grad) return bad_input(i, "has a gradient", "only parameters of the model may");
  if (samples(t) != batch->B)
    return bad_input(i, "has another number of samples than those before it", shared_hint);
  if (!t->offsets) return QN_OK;
  const int64_t *at = t->offsets->view.data;
  if (at[0] != 0 ||
      (batch->offsets && memcmp(at, batch->offsets, (size_t)(batch->B + 1) * sizeof *at)))
    return bad_input(i, "has sequences of other lengths than those before it",
                     "all jagged tensors of a captured batch share their lengths");
  return QN_OK;
}

static qn_status read_batch(qn_tensor *const *inputs, const bool *shared, int32_t n,
                            qni_batch *batch) {
  qn_status st = QN_OK;
  *batch = (qni_batch){
      .input = inputs, .B = -1, .step = qni_rng_current_step(), .instance = qni_rng_peek()};
  for (int32_t i = 0; !st && i < n; i++) {
    if (shared[i]) continue;
    if (batch->B < 0) batch->B = samples(inputs[i]);
    st = check_input(batch, inputs[i], i);
    if (!st && inputs[i]->offsets) batch->offsets = inputs[i]->offsets->view.data;
  }
  if (!st && batch->B < 0) {
    qni_fail(QN_E_ARG,
             "a captured step needs a batch with at least one tensor that is cut into samples");
    qni_error_hint("pass the batch to the step as arguments, not through upvalues");
    return QN_E_ARG;
  }
  return st;
}

static qn_status same_kind(const qni_capture *c, qn_tensor *const *inputs, int32_t n) {
  if (n != c->n)
    return qni_fail(QN_E_SHAPE, "the batch has %d tensors, the captured one had %d", (int)n,
                    (int)c->n);
  for (int32_t i = 0; i < n; i++) {
    const qn_view *a = &c->like[i], *b = &inputs[i]->view;
    bool same =
        a->dtype == b->dtype && a->ndim == b->ndim && c->jagged[i] == (inputs[i]->offsets != NULL);
    for (int32_t d = c->shared[i] ? 0 : 1; same && d < a->ndim; d++)
      same = a->shape[d] == b->shape[d];
    if (!same)
      return bad_input(i, "is of another kind than the one that was captured",
                       "capture the step again");
    if (!qni_view_contiguous(b))
      return bad_input(i, "is not contiguous", "call contiguous() on it");
  }
  return QN_OK;
}

/* ---- New ---- */

static qn_status make_lists(qni_capture *c, qn_tensor *const *inputs, const bool *shared,
                            int32_t n) {
  c->n = n;
  c->shared = qni_arena_alloc(&c->memory, (size_t)n + 1);
  c->jagged = qni_arena_alloc(&c->memory, (size_t)n + 1);
  c->like = qni_arena_alloc(&c->memory, (size_t)(n + 1) * sizeof *c->like);
  if (!c->shared || !c->jagged || !c->like) return QN_E_NOMEM;
  for (int32_t t = 0; t < QNI_TRIALS; t++) {
    c->trial[t] = qni_arena_alloc(&c->memory, (size_t)(n + 1) * sizeof *c->trial[t]);
    if (!c->trial[t]) return QN_E_NOMEM;
    memset(c->trial[t], 0, (size_t)(n + 1) * sizeof *c->trial[t]);
  }
  for (int32_t i = 0; i < n; i++) {
    c->shared[i] = shared[i] || inputs[i]->view.ndim == 0;
    c->jagged[i] = inputs[i]->offsets != NULL;
    c->like[i] = inputs[i]->view;
  }
  return QN_OK;
}

/* B, N and L must not be functions a x + b of each other, or sizes could be mistaken. */
static qn_status check_extents(const qni_capture *c) {
  const qni_extent *e = c->extent;
  bool jagged = false;
  for (int32_t i = 0; i < c->n; i++) jagged |= c->jagged[i] && !c->shared[i];
  if (!jagged || (e[1].N - e[0].N) * (e[2].B - e[0].B) != (e[2].N - e[0].N) * (e[1].B - e[0].B))
    return QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "the sequences of this batch are too short to capture a step with");
  qni_error_hint("capture it on a batch that has a sequence of two rows or more");
  return QN_E_UNSUPPORTED;
}

/* The extent of the longest sample. */
static qni_extent longest_of(const qni_batch *batch) {
  qni_extent e = {1, 1, 1};
  for (int64_t b = 0; batch->offsets && b < batch->B; b++)
    if (batch->offsets[b + 1] - batch->offsets[b] > e.N)
      e.N = e.L = batch->offsets[b + 1] - batch->offsets[b];
  return e;
}

static qn_status start(qni_capture *c, qn_tensor *const *inputs, const bool *shared, int32_t n) {
  qni_batch batch = {0};
  qn_status st = make_lists(c, inputs, shared, n);
  if (!st) st = read_batch(inputs, c->shared, n, &batch);
  if (!st && batch.B < 1) st = qni_fail(QN_E_ARG, "a step cannot be captured on an empty batch");
  c->one = longest_of(&batch);
  for (int32_t t = 0; !st && t < QNI_TRIALS; t++)
    st = qni_trial_make(inputs, c->shared, n, batch.B, t, c->trial[t], &c->extent[t]);
  return st ? st : check_extents(c);
}

qn_status qni_capture_new(qn_tensor *const *inputs, const bool *shared, int32_t n, int64_t budget,
                          qni_capture **capture) {
  qni_capture *c = *capture = qni_mem_zalloc(1, sizeof *c);
  if (!c) return QN_E_NOMEM;
  c->budget = budget;
  qn_status st = start(c, inputs, shared, n);
  if (!st) return QN_OK;
  qni_capture_free(c);
  *capture = NULL;
  return st;
}

static void free_trial(qni_capture *c, int32_t t) {
  for (int32_t i = 0; c->trial[t] && i < c->n; i++) {
    qn_tensor_free(c->trial[t][i]);
    c->trial[t][i] = NULL;
  }
}

void qni_capture_choose(qni_capture *c, const qni_choices *choices) { c->choices = *choices; }

void qni_capture_free(qni_capture *c) {
  if (!c) return;
  qni_capture_forget(c);
  if (c->started) qni_runner_stop(&c->runner);
  qni_program_free(c->program);
  for (int32_t t = 0; t < QNI_TRIALS; t++) qni_trace_free(c->trace[t]);
  for (int32_t t = 0; t < QNI_TRIALS; t++) free_trial(c, t);
  qn_tensor_free(c->loss);
  qni_arena_free(&c->memory);
  qni_mem_free(c);
}

/* ---- Recording ---- */

qn_tensor *const *qni_capture_inputs(const qni_capture *c, int32_t trial, qni_extent *extent) {
  *extent = c->extent[trial];
  return c->trial[trial];
}

qn_status qni_capture_begin(qni_capture *c, int32_t trial) {
  if (qni_recorder) return qni_fail(QN_E_STATE, "a step is being captured already");
  qni_trace_free(c->trace[trial]);
  qn_status st = qni_trace_new(&c->trace[trial]);
  for (int32_t i = 0; !st && i < c->n; i++)
    st = qni_trace_input(c->trace[trial], c->trial[trial][i], i);
  if (!st) qni_record_begin(c->trace[trial]);
  return st;
}

/* Is the tensor that the step returned the one that backward started from? */
static bool is_root(const qni_trace *t, const qn_tensor *loss) {
  if (t->root < 0) return true; /* said later, with more words */
  const qni_trace_view *v = &t->view[t->root];
  const qni_storage *s = t->buffer[v->buffer].holder->storage;
  return loss->storage == s && (const char *)loss->view.data == (const char *)s->data + v->offset;
}

qn_status qni_capture_end(qni_capture *c, int32_t trial, const qn_tensor *loss) {
  qn_status st = qni_record_end(c->trace[trial]);
  if (st || !loss || is_root(c->trace[trial], loss)) return st;
  qni_fail(QN_E_UNSUPPORTED, "a captured step must return the loss that backward() was called on");
  qni_error_hint("other results cannot come out of it yet; compute them in a step of their own");
  return QN_E_UNSUPPORTED;
}

qn_status qni_capture_end_outputs(qni_capture *c, int32_t trial, qn_tensor *const *outputs,
                                  int32_t n) {
  qn_status st = qni_trace_outputs(c->trace[trial], outputs, n);
  qn_status end = qni_record_end(c->trace[trial]);
  return st ? st : end;
}

/* ---- Building ---- */

static qn_status check_recording(qni_capture *c) {
  qni_batch batch = {0};
  qni_keep state = {0};
  qn_status st = read_batch(c->trial[QNI_TRIALS - 1], c->shared, c->n, &batch);
  batch.check = true;
  batch.instance = c->trace[0] ? c->trace[0]->first_instance : c->program->trace[0]->first_instance;
  qni_slice slice = {.extent = c->extent[QNI_TRIALS - 1]};
  if (!st) st = qni_capture_keep(c, &state);
  if (!st) st = qni_compare_recording(&c->runner, &batch, &slice);
  qni_keep_restore(&state);
  qni_keep_free(&state);
  return st;
}

/* Bytes of parameters that each slice reads and of gradients that it adds to. */
static int64_t streamed(const qni_program *p) {
  int64_t bytes = 0;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    const qni_pbuffer *x = &p->buffer[b];
    if (x->live && x->direct) bytes += 2 * p->affines.list[x->bytes].add;
  }
  return bytes;
}

/*
** 70 % of the L2 cache. Where what does not grow with the slice (gradients of large tables, weights
** beyond the cache) fills much of it already, every slice streams that from memory: slices are then
** large beside it.
*/
static int64_t usual_budget(const qni_program *p) {
  int64_t cache = qni_cpu_l2() / 10 * 7, fixed = qni_plan_bytes(p, &(qni_extent){0, 0, 1});
  int64_t budget = 2 * fixed < cache ? cache : 4 * fixed > cache ? 4 * fixed : cache;
  if (streamed(p) > 2 * cache && budget < 8 * cache) budget = 8 * cache;
  return (budget + 1023) / 1024 * 1024; /* so that slice_kib says it in full */
}

qn_status qni_capture_build(qni_capture *c) {
  qni_trace *traces[QNI_TRIALS];
  memcpy(traces, c->trace, sizeof traces);
  memset(c->trace, 0, sizeof c->trace);
  qn_status st = qni_program_new(traces, c->extent, &c->choices, &c->program);
  if (!st && c->budget <= 0) c->budget = usual_budget(c->program);
  if (!st) st = qni_program_hold(c->program, &c->one, c->budget);
  if (!st) st = qni_runner_start(c->program, c->budget, &c->runner);
  c->started = c->program != NULL;
  if (!st) st = check_recording(c);
  for (int32_t t = 1; c->program && t < QNI_TRIALS; t++) {
    qni_trace_free(c->program->trace[t]);
    c->program->trace[t] = NULL;
  }
  qni_trace *first = c->program ? c->program->trace[0] : NULL;
  for (int32_t b = 0; first && b < first->n_buffers; b++) { /* what was recorded may go */
    qn_tensor_free(first->buffer[b].holder);
    first->buffer[b].holder = NULL;
  }
  for (int32_t t = 1; t < QNI_TRIALS; t++) free_trial(c, t);
  return st;
}

qn_status qni_capture_narrow(qni_capture *c) {
  if (!c->program->n_narrow) return QN_OK;
  qn_status st = qni_program_narrow(c->program);
  qni_runner_renew(&c->runner);
  return st;
}

/* ---- Watching ---- */

qn_status qni_capture_watch_begin(qni_capture *c) {
  qn_status st = qni_capture_begin(c, 0);
  if (st) return st;
  c->trace[0]->watch = true;
  c->trace[0]->dry = qni_watch_dry(c->program);
  return QN_OK;
}

qn_status qni_capture_watch_end(qni_capture *c, qn_tensor *const *results, int32_t n, bool *same,
                                qni_error_copy *why) {
  qn_status st = c->program->n_outputs ? qni_capture_end_outputs(c, 0, results, n)
                                       : qni_capture_end(c, 0, n ? results[0] : NULL);
  *same = false;
  if (st)
    qni_error_take(why);
  else if (n)
    st = qni_watch_compare(c->program, c->trace[0], same, why);
  qni_trace_free(c->trace[0]);
  c->trace[0] = NULL;
  return st == QN_E_NOMEM ? st : QN_OK;
}

/* ---- Steps ---- */

static void touch_states(const qni_capture *c) {
  for (int32_t b = 0; b < c->program->n_buffers; b++)
    if (c->program->buffer[b].state) qni_tensor_touch(c->program->buffer[b].holder);
}

qn_status qni_capture_batch(qni_capture *c, qn_tensor *const *inputs, int32_t n, double *loss,
                            double *divisor) {
  qni_batch batch = {0};
  qn_status st = same_kind(c, inputs, n);
  if (!st) st = read_batch(inputs, c->shared, n, &batch);
  if (!st) st = qni_runner_step(&c->runner, &batch, loss, divisor);
  if (!st) qni_rng_rewind(batch.instance + c->program->trace[0]->n_instances);
  touch_states(c);
  return st;
}

static qn_status hand_loss(qni_capture *c, double loss, qn_tensor **out) {
  if (!c->loss || atomic_load(&c->loss->refs) > 1 || atomic_load(&c->loss->storage->refs) > 1) {
    qn_tensor_free(c->loss);
    c->loss = NULL;
    const qni_pview *root = &c->program->view[c->program->root];
    qn_status st = qni_tensor_empty(root->dtype, 0, (int64_t[]){0}, &c->loss);
    if (st) return st;
  }
  qni_dtype_store(c->loss->view.dtype, c->loss->view.data, loss);
  *out = qn_tensor_retain(c->loss);
  return QN_OK;
}

qn_status qni_capture_run(qni_capture *c, qn_tensor *const *inputs, int32_t n, qn_tensor **loss,
                          double *mean_over) {
  double value;
  *loss = NULL;
  *mean_over = 0;
  c->divisor = 0; /* nothing is held */
  qn_status st = qni_capture_batch(c, inputs, n, &value, &c->divisor);
  if (st) c->divisor = 0;
  if (!st && c->program->loss.kind != QNI_LOSS_SUM) *mean_over = c->divisor;
  return st ? st : hand_loss(c, value, loss);
}

static qn_status nothing_held(void) {
  return qni_fail(QN_E_STATE, "no captured step holds gradients now");
}

qn_status qni_capture_deliver(qni_capture *c) {
  if (c->divisor == 0) return nothing_held();
  double scale = 1 / c->divisor;
  c->divisor = 0;
  return qni_lanes_deliver(&c->runner.lanes, c->runner.n_slices, scale);
}

qn_status qni_capture_update(qni_capture *c, const qni_update *updates, int32_t n, double *norm,
                             bool *done) {
  *norm = 0;
  *done = false;
  if (c->divisor == 0) return nothing_held();
  bool clip = n && updates[0].with.max_norm > 0;
  if (!qni_update_possible(&c->runner.lanes, updates, n, clip)) return qni_capture_deliver(c);
  double scale = 1 / c->divisor, norm_sq;
  c->divisor = 0;
  qn_status st = qni_update_run(&c->runner.lanes, c->runner.n_slices, scale, updates, n, &norm_sq);
  *done = !st;
  *norm = sqrt(norm_sq);
  return st;
}

qn_status qni_capture_step(qni_capture *c, qn_tensor *const *inputs, int32_t n, qn_tensor **loss,
                           double *mean_over) {
  qn_status st = qni_capture_run(c, inputs, n, loss, mean_over);
  if (!st) st = qni_capture_deliver(c);
  if (!st) return QN_OK;
  qn_tensor_free(*loss);
  *loss = NULL;
  return st;
}

/* ---- Steps without gradients ---- */

int32_t qni_capture_n_outputs(const qni_capture *c) { return c->program->n_outputs; }

static qn_tensor *batch_offsets(const qni_capture *c, qn_tensor *const *inputs) {
  for (int32_t i = 0; i < c->n; i++)
    if (!c->shared[i] && inputs[i]->offsets) return inputs[i]->offsets;
  return NULL;
}

static qn_status hand_output(const qni_capture *c, qn_tensor *const *inputs, int32_t k,
                             qn_tensor **out) {
  const qni_pview *v = &c->program->view[c->program->output[k]];
  const qn_view *from = &c->runner.whole.tensor[c->program->output[k]].view;
  qn_status st = qni_tensor_empty(from->dtype, from->ndim, from->shape, out);
  if (st) return st;
  qni_view_copy(from, &(*out)->view);
  qn_tensor *offsets = v->offsets >= 0 ? batch_offsets(c, inputs) : NULL;
  if (offsets) (*out)->offsets = qn_tensor_retain(offsets);
  return QN_OK;
}

qn_status qni_capture_infer(qni_capture *c, qn_tensor *const *inputs, int32_t n,
                            qn_tensor **outputs) {
  double value, divisor;
  int32_t made = 0;
  qn_status st = qni_capture_batch(c, inputs, n, &value, &divisor);
  if (!st && !c->runner.n_slices)
    st = qni_fail(QN_E_ARG, "a captured step without gradients was given an empty batch");
  for (; !st && made < c->program->n_outputs; made++)
    st = hand_output(c, inputs, made, &outputs[made]);
  while (st && made > 0) qn_tensor_free(outputs[--made]);
  return st;
}

qn_status qni_capture_check_outputs(qn_tensor *const *eager, qn_tensor *const *replayed,
                                    int32_t n) {
  qn_status st = QN_OK;
  for (int32_t k = 0; !st && k < n; k++) st = qni_compare_output(eager[k], replayed[k], k);
  return st;
}
