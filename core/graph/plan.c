/*
** What of a program runs, when, and where its memory lies.
**
** Entries that nothing counts on are dropped, those that do not depend on the slice run
** once per step. Each temporary of a slice takes memory from its first entry to its last;
** all are placed in one arena for the largest slice, large ones first, each at the lowest
** offset that is free while it lives. Smaller slices use the same places.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "graph/program.h"

enum { ALIGN = 64, PIECE_BYTES = QNI_PIECE * 8 /* of the widest type */ };

/* ---- What counts ---- */

static void need(qni_program *p, int32_t view) {
  if (view < 0 || p->view[view].buffer < 0) return;
  p->buffer[p->view[view].buffer].live = true;
}

static bool gives_live(const qni_program *p, const qni_entry *e) {
  bool back = e->kind == QNI_ENTRY_BACKWARD, live = false;
  for (int32_t o = 0; o < (back ? e->n_in : e->n_out); o++) {
    const qni_pbuffer *b = e->out[o] < 0 ? NULL : &p->buffer[p->view[e->out[o]].buffer];
    live |= b && (b->live || b->kind != QNI_BUFFER_TEMP); /* the others outlive the step */
  }
  for (int32_t s = 0; !back && s < QN_MAX_SAVED; s++)
    live |= e->saved[s] >= 0 && p->buffer[p->view[e->saved[s]].buffer].live;
  return live;
}

/* All that an entry touches must have memory, also results that nobody reads. */
static void need_all(qni_program *p, const qni_entry *e) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  for (int32_t i = 0; i < (back ? e->n_out : e->n_in); i++) need(p, e->in[i]);
  for (int32_t o = 0; o < (back ? e->n_in : e->n_out); o++) need(p, e->out[o]);
  for (int32_t s = 0; s < QN_MAX_SAVED; s++) need(p, e->saved[s]);
}

void qni_program_live(qni_program *p) {
  bool rows_wanted = false;
  for (int32_t b = 0; b < p->n_buffers; b++) p->buffer[b].live = false;
  if (p->root >= 0) need(p, p->root);
  for (int32_t k = 0; k < p->n_outputs; k++) need(p, p->output[k]);
  for (int32_t i = p->n_entries - 1; i >= 0; i--) {
    const qni_entry *e = &p->entry[i];
    bool sink = e->kind == QNI_ENTRY_SINK || e->kind == QNI_ENTRY_SINK_ROWS;
    bool rows = rows_wanted && e->kind == QNI_ENTRY_BACKWARD;
    if (rows) rows_wanted = false;
    if (e->kind == QNI_ENTRY_SINK_ROWS) rows_wanted = true;
    bool live = sink || rows || gives_live(p, e);
    p->when[i] = live ? QNI_WHEN_STEP : QNI_WHEN_DEAD; /* analysis says more */
    if (live) need_all(p, e);
  }
}

/* ---- Gradients that go to the lanes by themselves ---- */

static int32_t uses_of(const qni_program *p, int32_t buffer) {
  int32_t n = 0;
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    if (p->when[i] == QNI_WHEN_DEAD) continue;
    for (int32_t k = 0; k < (back ? e->n_out : e->n_in); k++)
      n += e->in[k] >= 0 && p->view[e->in[k]].buffer == buffer;
    for (int32_t k = 0; k < (back ? e->n_in : e->n_out); k++)
      n += e->out[k] >= 0 && p->view[e->out[k]].buffer == buffer;
    for (int32_t s = 0; s < QN_MAX_SAVED; s++)
      n += e->saved[s] >= 0 && p->view[e->saved[s]].buffer == buffer;
  }
  return n;
}

static bool is_whole(const qni_program *p, const qni_pview *v, const qn_view *leaf) {
  const qni_affine *f = p->affines.list;
  bool same = v->dtype == leaf->dtype && v->ndim == leaf->ndim && f[v->offset].add == 0;
  for (int32_t d = 0; same && d < v->ndim; d++)
    same = f[v->shape[d]].monomial == QNI_M_ONE && f[v->shape[d]].add == leaf->shape[d] &&
           f[v->stride[d]].monomial == QNI_M_ONE && f[v->stride[d]].add == leaf->stride[d];
  return same && qni_view_contiguous(leaf);
}

/*
** A gradient that one op makes for a parameter and nobody else looks at lies in the lane from the
** start, if the op can add to what is there (QN_OP_ADDS_GRADS).
*/
static void make_direct(qni_program *p, int32_t sink) {
  const qni_entry *e = &p->entry[sink];
  const qni_pview *v = &p->view[e->in[0]];
  qni_pbuffer *b = &p->buffer[v->buffer];
  if (b->kind != QNI_BUFFER_TEMP || b->producer < 0 || b->reduced ||
      p->when[b->producer] != QNI_WHEN_SLICE)
    return;
  const qni_entry *maker = &p->entry[b->producer];
  if (maker->kind != QNI_ENTRY_BACKWARD || !(maker->op->op->flags & QN_OP_ADDS_GRADS)) return;
  const qn_view like = qni_gradient_like(p->buffer[e->leaf].holder);
  if (uses_of(p, v->buffer) != 2 || !is_whole(p, v, &like)) return;
  b->direct = true;
  b->leaf = e->leaf;
  p->when[sink] = QNI_WHEN_DEAD;
}

static bool touches(const qni_program *p, const int32_t *views, int32_t n, int32_t buffer) {
  for (int32_t k = 0; k < n; k++)
    if (views[k] >= 0 && p->view[views[k]].buffer == buffer) return true;
  return false;
}

/* So does one that crosses to another segment, when nobody else in its own looks at it. */
static void make_onto(qni_program *p, int32_t buffer) {
  qni_pbuffer *b = &p->buffer[buffer];
  b->onto = false;
  if (!b->reduced || b->kind != QNI_BUFFER_TEMP || b->producer < 0 ||
      p->when[b->producer] != QNI_WHEN_SLICE)
    return;
  const qni_entry *maker = &p->entry[b->producer];
  if (maker->kind != QNI_ENTRY_BACKWARD || !(maker->op->op->flags & QN_OP_ADDS_GRADS)) return;
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    if (i == b->producer || p->when[i] == QNI_WHEN_DEAD || p->segment[i] != b->from) continue;
    if (touches(p, e->in, back ? e->n_out : e->n_in, buffer) ||
        touches(p, e->out, back ? e->n_in : e->n_out, buffer) ||
        touches(p, e->saved, QN_MAX_SAVED, buffer))
      return;
  }
  b->onto = true;
}

static void find_direct(qni_program *p) {
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->entry[i].kind == QNI_ENTRY_SINK && p->when[i] == QNI_WHEN_SLICE) make_direct(p, i);
  for (int32_t b = 0; b < p->n_buffers; b++) make_onto(p, b);
}

/* ---- Lives ---- */

static bool in_arena(const qni_pbuffer *b) {
  return b->live && b->varies && !b->dynamic && !b->direct && !b->onto && !b->crosses &&
         (b->kind == QNI_BUFFER_TEMP || b->kind == QNI_BUFFER_SEED || b->uniform);
}

static bool in_step(const qni_pbuffer *b) {
  return b->live && !b->varies && !b->wide && b->kind == QNI_BUFFER_TEMP;
}

static bool in_batch(const qni_pbuffer *b) {
  return b->live && (b->crosses || b->wide || b->reduced) && !b->dynamic && !b->direct &&
         (b->kind == QNI_BUFFER_TEMP || b->kind == QNI_BUFFER_SEED || b->uniform);
}

static void extend(qni_program *p, int32_t view, int32_t entry) {
  if (view < 0 || p->view[view].buffer < 0) return;
  qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  if (b->first < 0) b->first = entry;
  b->last = entry;
}

static void find_lives(qni_program *p) {
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    if (p->when[i] == QNI_WHEN_DEAD) continue;
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    for (int32_t k = 0; k < (back ? e->n_out : e->n_in); k++) extend(p, e->in[k], i);
    for (int32_t k = 0; k < (back ? e->n_in : e->n_out); k++) extend(p, e->out[k], i);
    for (int32_t s = 0; s < QN_MAX_SAVED; s++) extend(p, e->saved[s], i);
  }
  for (int32_t b = 0; b < p->n_buffers; b++) /* is added up when the segment ends */
    if (p->buffer[b].reduced) p->buffer[b].last = p->n_entries;
}

/* ---- Sizes ---- */

static int64_t rounded(const qni_program *p, const qni_pbuffer *b, const qni_extent *e) {
  int64_t bytes = b->piece ? PIECE_BYTES : qni_affine_value(&p->affines.list[b->bytes], e);
  return (bytes + ALIGN - 1) & ~(int64_t)(ALIGN - 1);
}

static void add_form(const qni_program *p, const qni_pbuffer *b, int64_t *form, int64_t sign) {
  const qni_affine piece = {.add = PIECE_BYTES};
  const qni_affine *f = b->piece ? &piece : &p->affines.list[b->bytes];
  form[f->monomial] += sign * f->scale;
  form[QNI_M_ONE] += sign * (f->add + ALIGN - 1);
}

static bool covers(const int64_t *a, const int64_t *b) {
  for (int32_t m = 0; m < QNI_M_COUNT; m++)
    if (a[m] < b[m]) return false;
  return true;
}

/* Keeps a form unless another covers it; drops those that it covers. */
static void keep_form(qni_program *p, const int64_t *form) {
  int32_t n = 0;
  for (int32_t i = 0; i < p->n_forms; i++)
    if (covers(p->form[i], form)) return;
  for (int32_t i = 0; i < p->n_forms; i++)
    if (!covers(form, p->form[i])) memmove(p->form[n++], p->form[i], sizeof p->form[0]);
  memcpy(p->form[n++], form, sizeof p->form[0]);
  p->n_forms = n;
}

static void segment_forms(qni_program *p, const qni_segment *s) {
  int64_t now[QNI_M_COUNT] = {0};
  for (int32_t k = 0; k < s->n; k++) {
    int32_t i = s->entry[k], segment = p->segment[i];
    for (int32_t b = 0; b < p->n_buffers; b++)
      if (p->buffer[b].first == i && p->buffer[b].from == segment && in_arena(&p->buffer[b]))
        add_form(p, &p->buffer[b], now, 1);
    keep_form(p, now);
    for (int32_t b = 0; b < p->n_buffers; b++)
      if (p->buffer[b].last == i && p->buffer[b].from == segment && in_arena(&p->buffer[b]))
        add_form(p, &p->buffer[b], now, -1);
  }
}

qn_status qni_program_forms(qni_program *p) {
  p->form = qni_arena_alloc(&p->memory, (size_t)(p->n_entries + 1) * sizeof *p->form);
  if (!p->form) return QN_E_NOMEM;
  for (int32_t s = 0; s < p->n_segments; s += 2) segment_forms(p, &p->list[s]);
  return QN_OK;
}

qn_status qni_program_replan(qni_program *p) {
  for (int32_t b = 0; b < p->n_buffers; b++) {
    p->buffer[b].first = p->buffer[b].last = -1;
    p->buffer[b].piece = false;
  }
  p->n_forms = 0;
  qn_status st = qni_program_schedule(p);
  if (!st) st = qni_program_fuse(p, !p->choices.unfused);
  return st ? st : qni_program_forms(p);
}

/* ---- In which order ---- */

static qn_status list_of(qni_program *p, int32_t segment, int32_t when, qni_segment *list) {
  int32_t n = 0, *entry = qni_arena_alloc(&p->memory, (size_t)(p->n_entries + 1) * sizeof *entry);
  if (!entry) return QN_E_NOMEM;
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->when[i] == when && p->segment[i] == segment) entry[n++] = i;
  *list = (qni_segment){.entry = entry, .n = n};
  return QN_OK;
}

static qn_status make_order(qni_program *p) {
  p->n_segments = 0;
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->when[i] != QNI_WHEN_DEAD && p->segment[i] >= p->n_segments)
      p->n_segments = p->segment[i] + 1;
  p->list = qni_arena_alloc(&p->memory, (size_t)(p->n_segments + 1) * sizeof *p->list);
  qn_status st = p->list ? list_of(p, -1, QNI_WHEN_STEP, &p->once) : QN_E_NOMEM;
  for (int32_t s = 0; !st && s < p->n_segments; s++)
    st = list_of(p, s, s & 1 ? QNI_WHEN_WHOLE : QNI_WHEN_SLICE, &p->list[s]);
  return st;
}

static qn_status mark_fills(qni_program *p) {
  p->fills = qni_arena_alloc(&p->memory, (size_t)p->n_entries + 1);
  if (!p->fills) return QN_E_NOMEM;
  memset(p->fills, 0, (size_t)p->n_entries + 1);
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (p->buffer[b].uniform && p->buffer[b].first >= 0) p->fills[p->buffer[b].first] = 1;
  return QN_OK;
}

qn_status qni_program_schedule(qni_program *p) {
  if (p->seed_entry >= 0) need_all(p, &p->entry[p->seed_entry]);
  find_direct(p);
  find_lives(p);
  qn_status st = mark_fills(p);
  return st ? st : make_order(p);
}

int64_t qni_plan_bytes(const qni_program *p, const qni_extent *e) {
  int64_t most = 0, by[QNI_M_COUNT];
  for (int32_t m = 0; m < QNI_M_COUNT; m++)
    by[m] = qni_affine_value(&(qni_affine){.monomial = m, .scale = 1}, e);
  for (int32_t i = 0; i < p->n_forms; i++) {
    int64_t bytes = 0;
    for (int32_t m = 0; m < QNI_M_COUNT; m++) bytes += by[m] * p->form[i][m];
    if (bytes > most) most = bytes;
  }
  return most;
}

/* ---- Places ---- */

struct piece {
  qni_pbuffer *b;
  int64_t bytes;
};

static int larger_first(const void *a, const void *b) {
  const struct piece *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->b->first != y->b->first ? (x->b->first < y->b->first ? -1 : 1)
                                    : (x->b < y->b ? -1 : x->b > y->b);
}

static bool together(const qni_pbuffer *a, const qni_pbuffer *b) {
  return a->from == b->from && a->first <= b->last && b->first <= a->last;
}

/* In a segment of the whole batch entries run in their order; slices of one do not. */
static bool together_in_batch(const qni_pbuffer *a, const qni_pbuffer *b) {
  bool one = (a->from & 1) && a->from == a->to && b->from == b->to && a->from == b->from;
  if (a->uniform || b->uniform) return true;
  if (one) return a->first <= b->last && b->first <= a->last;
  return a->from <= b->to && b->from <= a->to;
}

/* The lowest place for piece n that does not meet one of those before it. */
static size_t lowest(const struct piece *list, int32_t n, bool batch) {
  const struct piece *x = &list[n];
  size_t at = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int32_t i = 0; i < n; i++) {
      const qni_pbuffer *b = list[i].b;
      size_t begin = batch ? b->wide_place : b->place, end = begin + (size_t)list[i].bytes;
      bool meet = batch ? together_in_batch(b, x->b) : together(b, x->b);
      if (!meet || at >= end || at + (size_t)x->bytes <= begin) continue;
      at = end;
      moved = true;
    }
  }
  return at;
}

static void place_step(qni_program *p, const qni_extent *most) {
  size_t at = 0;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    if (!in_step(&p->buffer[b])) continue;
    p->buffer[b].place = at;
    at += (size_t)rounded(p, &p->buffer[b], most);
  }
  p->step_bytes = at;
}

qn_status qni_plan_layout(qni_program *p, const qni_extent *most, size_t *bytes) {
  qni_arena memory = {0};
  int32_t n = 0;
  *bytes = 0;
  struct piece *list = qni_arena_alloc(&memory, (size_t)(p->n_buffers + 1) * sizeof *list);
  if (!list) return QN_E_NOMEM;
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (in_arena(&p->buffer[b]))
      list[n++] = (struct piece){&p->buffer[b], rounded(p, &p->buffer[b], most)};
  qsort(list, (size_t)n, sizeof *list, larger_first);
  for (int32_t i = 0; i < n; i++) {
    list[i].b->place = lowest(list, i, false);
    size_t end = list[i].b->place + (size_t)list[i].bytes;
    if (end > *bytes) *bytes = end;
  }
  place_step(p, most);
  qni_arena_free(&memory);
  return QN_OK;
}

qn_status qni_plan_layout_batch(qni_program *p, const qni_extent *batch) {
  qni_arena memory = {0};
  int32_t n = 0;
  p->batch_bytes = 0;
  struct piece *list = qni_arena_alloc(&memory, (size_t)(p->n_buffers + 1) * sizeof *list);
  if (!list) return QN_E_NOMEM;
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (in_batch(&p->buffer[b]))
      list[n++] = (struct piece){&p->buffer[b], rounded(p, &p->buffer[b], batch)};
  qsort(list, (size_t)n, sizeof *list, larger_first);
  for (int32_t i = 0; i < n; i++) {
    list[i].b->wide_place = lowest(list, i, true);
    size_t end = list[i].b->wide_place + (size_t)list[i].bytes;
    if (end > p->batch_bytes) p->batch_bytes = end;
  }
  qni_arena_free(&memory);
  return QN_OK;
}

bool qni_plan_in_batch(const qni_pbuffer *b) { return in_batch(b); }
bool qni_plan_in_arena(const qni_pbuffer *b) { return in_arena(b); }
bool qni_plan_in_step(const qni_pbuffer *b) { return in_step(b); }
