/*
** The segments of a program, and what goes from one to another.
**
** Segments run one after the other: even ones slice by slice, odd ones on the whole batch with
** all workers at each op. An entry belongs to the first segment of its kind that comes after
** all that it reads was written, and after all that it overwrites was read. Between segments
** go: tensors with samples, as memory of the whole batch of which a slice sees its part;
** numbers of the whole batch; and, in backward, sums of the slices' parts. Entries that
** would need anything else are forced to run on the whole batch.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "graph/program.h"

enum { AFTER_ALL = INT32_MAX - 1 }; /* where results are looked at */

static bool is_whole(const qni_program *p, int32_t i) { return p->when[i] == QNI_WHEN_WHOLE; }

/* ---- In which segment ---- */

struct levels {
  int32_t *written, *read; /* by buffer: last segment that did; -1 */
};

static int32_t after(int32_t level, bool whole) {
  return level < 0 ? (whole ? 1 : 0) : (level & 1) == whole ? level : level + 1;
}

static void look(const qni_program *p, const struct levels *l, const int32_t *views, int32_t n,
                 bool writes, bool whole, int32_t *level) {
  for (int32_t i = 0; i < n; i++) {
    if (views[i] < 0 || p->view[views[i]].buffer < 0) continue;
    int32_t b = p->view[views[i]].buffer, w = after(l->written[b], whole);
    if (w > *level) *level = w;
    int32_t r = writes ? after(l->read[b], whole) : -1;
    if (r > *level) *level = r;
  }
}

static void note(const qni_program *p, int32_t *list, const int32_t *views, int32_t n,
                 int32_t level) {
  for (int32_t i = 0; i < n; i++)
    if (views[i] >= 0 && p->view[views[i]].buffer >= 0 && list[p->view[views[i]].buffer] < level)
      list[p->view[views[i]].buffer] = level;
}

static void place_entry(qni_program *p, const struct levels *l, int32_t i) {
  const qni_entry *e = &p->entry[i];
  if (e->kind == QNI_ENTRY_SINK_ROWS) {
    p->segment[i] = p->segment[qni_program_maker(p, i)];
    return;
  }
  bool back = e->kind == QNI_ENTRY_BACKWARD, whole = is_whole(p, i);
  int32_t n_in = back ? e->n_out : e->n_in, n_out = back ? e->n_in : e->n_out;
  int32_t level = after(-1, whole), saved = QN_MAX_SAVED;
  look(p, l, e->in, n_in, false, whole, &level);
  look(p, l, e->saved, saved, false, whole, &level);
  look(p, l, e->out, n_out, true, whole, &level);
  for (int32_t k = 0; k < n_in; k++)
    if (!back && qni_entry_writes(e, k)) look(p, l, &e->in[k], 1, true, whole, &level);
  p->segment[i] = level;
  note(p, l->read, e->in, n_in, level);
  for (int32_t k = 0; k < n_in; k++)
    if (!back && qni_entry_writes(e, k)) note(p, l->written, &e->in[k], 1, level);
  note(p, back ? l->read : l->written, e->saved, saved, level);
  note(p, l->written, e->out, n_out, level);
}

static void place_entries(qni_program *p, const struct levels *l) {
  bool forward = true;
  for (int32_t b = 0; b < p->n_buffers; b++) l->written[b] = l->read[b] = -1;
  for (int32_t i = 0; i < p->n_entries; i++) {
    p->segment[i] = -1;
    if (forward && p->entry[i].backward) { /* backward starts where the loss is made */
      forward = false;
      for (int32_t b = 0; b < p->n_buffers; b++)
        if (p->buffer[b].kind == QNI_BUFFER_SEED)
          l->written[b] = l->written[p->view[p->root].buffer];
    }
    if (p->when[i] == QNI_WHEN_SLICE || is_whole(p, i)) place_entry(p, l, i);
  }
}

/* ---- What goes from one to another ---- */

static bool made_here(const qni_pbuffer *b) {
  return b->kind == QNI_BUFFER_TEMP || b->kind == QNI_BUFFER_SEED || b->uniform;
}

static bool batched_size(const qni_program *p, const qni_pbuffer *b) {
  return qni_affine_batched(&p->affines.list[b->bytes]);
}

/* A part of it that belongs to a slice is one piece, which begins at a multiple of its first sample. */
static bool can_cross(const qni_program *p, const qni_pbuffer *b) {
  const qni_affine *f = &p->affines.list[b->bytes];
  return !b->dynamic && !f->add && (f->monomial == QNI_M_B || f->monomial == QNI_M_N);
}

/* Do the view's strides and offset stay the same when the slice grows? */
static bool view_can_cross(const qni_program *p, const qni_pview *v) {
  const qni_affine *f = p->affines.list;
  bool fixed = f[v->offset].monomial == QNI_M_ONE;
  for (int32_t d = 0; fixed && d < v->ndim; d++) fixed = f[v->stride[d]].monomial == QNI_M_ONE;
  return fixed;
}

static bool can_be_added(const qni_program *p, int32_t buffer) {
  if (p->affines.list[p->buffer[buffer].bytes].monomial != QNI_M_ONE) return false;
  for (int32_t v = 0; v < p->n_views; v++)
    if (p->view[v].buffer == buffer)
      return p->view[v].dtype == QN_F32 || p->view[v].dtype == QN_F64;
  return false;
}

static void meet(qni_program *p, const int32_t *views, int32_t n, int32_t level) {
  for (int32_t i = 0; i < n; i++) {
    if (views[i] < 0 || p->view[views[i]].buffer < 0) continue;
    qni_pbuffer *b = &p->buffer[p->view[views[i]].buffer];
    if (level < b->from) b->from = level;
    if (level > b->to) b->to = level;
  }
}

static void find_spans(qni_program *p) {
  for (int32_t b = 0; b < p->n_buffers; b++) p->buffer[b].from = INT32_MAX, p->buffer[b].to = -1;
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    if (p->segment[i] < 0) continue;
    meet(p, e->in, back ? e->n_out : e->n_in, p->segment[i]);
    meet(p, e->out, back ? e->n_in : e->n_out, p->segment[i]);
    meet(p, e->saved, QN_MAX_SAVED, p->segment[i]);
  }
  for (int32_t k = 0; k < p->n_outputs; k++) meet(p, &p->output[k], 1, AFTER_ALL);
  for (int32_t b = 0; b < p->n_buffers; b++) {
    qni_pbuffer *x = &p->buffer[b];
    if (!made_here(x) || x->to < 0) continue;
    bool leaves = x->from != x->to || x->from & 1 || x->to == AFTER_ALL;
    x->crosses = leaves && x->varies && batched_size(p, x);
    x->reduced = leaves && x->varies && !batched_size(p, x);
  }
}

/* One view of an entry that runs in slices. */
static bool check_view(qni_program *p, int32_t i, int32_t view) {
  if (view < 0 || p->view[view].buffer < 0) return false;
  const qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  if (b->crosses && (!can_cross(p, b) || !view_can_cross(p, &p->view[view])))
    return qni_program_force(p, i, "another segment needs a tensor that cannot be cut");
  if (!b->reduced || p->segment[i] == b->from) return false;
  return p->entry[i].backward || b->producer < 0
             ? qni_program_force(p, i, "it needs a sum over the batch")
             : qni_program_force(p, b->producer, "a later segment needs its sum over the batch");
}

static bool check_sums(qni_program *p) {
  bool forced = false;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    const qni_pbuffer *x = &p->buffer[b];
    if (!x->reduced || x->producer < 0 || can_be_added(p, b)) continue;
    forced |= qni_program_force(p, x->producer, "its result cannot be added up over slices");
  }
  return forced;
}

/* What is returned is returned in full. */
static bool check_outputs(qni_program *p) {
  bool forced = false;
  for (int32_t k = 0; k < p->n_outputs; k++) {
    int32_t view = p->output[k];
    const qni_pbuffer *b = view < 0 ? NULL : &p->buffer[p->view[view].buffer];
    if (!b || b->producer < 0 || p->when[b->producer] != QNI_WHEN_SLICE) continue;
    if (b->reduced || !can_cross(p, b))
      forced |= qni_program_force(p, b->producer, "its result is returned");
  }
  return forced;
}

static bool check_entries(qni_program *p) {
  bool forced = false;
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    if (p->when[i] != QNI_WHEN_SLICE) continue;
    for (int32_t k = 0; k < (back ? e->n_out : e->n_in); k++) forced |= check_view(p, i, e->in[k]);
    for (int32_t k = 0; k < (back ? e->n_in : e->n_out); k++) forced |= check_view(p, i, e->out[k]);
    for (int32_t s = 0; s < QN_MAX_SAVED; s++) forced |= check_view(p, i, e->saved[s]);
  }
  return forced;
}

qn_status qni_program_cut(qni_program *p, bool *again) {
  qni_arena memory = {0};
  size_t bytes = (size_t)(p->n_buffers + 1) * sizeof(int32_t);
  struct levels l = {qni_arena_alloc(&memory, bytes), qni_arena_alloc(&memory, bytes)};
  if (!l.written || !l.read) return qni_arena_free(&memory), QN_E_NOMEM;
  place_entries(p, &l);
  find_spans(p);
  *again = check_entries(p);
  *again |= check_sums(p);
  *again |= check_outputs(p);
  qni_arena_free(&memory);
  return QN_OK;
}
