/*
** Replay of a program for one slice.
**
** A worker has one tensor header per view and one node per backward entry, made once.
** For a slice the program's functions are evaluated, headers get their addresses and
** sizes, and the entries' ops are called one after the other through the same host table
** as in eager calls. Nothing is allocated but when scratch memory grows.
** SPDX-License-Identifier: MIT
*/
#include "graph/replay.h"

#include <string.h>

#include "exec/rng.h"
#include "exec/prof.h"
#include "graph/finite.h"
#include "graph/share.h"
#include "graph/witness.h"
#include "kernels/bf16.h"

/* ---- Making a worker ---- */

static void *zeroed(qni_arena *arena, int32_t n, size_t size) {
  size_t bytes = (size_t)(n > 0 ? n : 1) * size;
  void *list = qni_arena_alloc(arena, bytes);
  return list ? memset(list, 0, bytes) : NULL;
}

static qn_status make_lists(const qni_program *p, qni_worker *w) {
  w->value = zeroed(&w->memory, p->affines.n, sizeof *w->value);
  w->base = zeroed(&w->memory, p->n_buffers, sizeof *w->base);
  w->part = zeroed(&w->memory, p->n_buffers, sizeof *w->part);
  w->tensor = zeroed(&w->memory, p->n_views, sizeof *w->tensor);
  w->node = zeroed(&w->memory, p->n_entries, sizeof *w->node);
  w->attr_of = zeroed(&w->memory, p->n_entries, sizeof *w->attr_of);
  return w->value && w->base && w->part && w->tensor && w->node && w->attr_of ? QN_OK : QN_E_NOMEM;
}

static void make_tensors(const qni_program *p, qni_worker *w) {
  for (int32_t v = 0; v < p->n_views; v++) {
    const qni_pview *x = &p->view[v];
    w->tensor[v].view.dtype = x->dtype;
    w->tensor[v].view.ndim = x->ndim;
    if (x->offsets >= 0) w->tensor[v].offsets = &w->tensor[x->offsets];
  }
}

static qn_tensor *at(qni_worker *w, int32_t view) { return view < 0 ? NULL : &w->tensor[view]; }

static qn_status make_node(qni_worker *w, const qni_entry *e, qni_node *n) {
  n->op = e->op;
  n->n_in = e->n_in;
  n->n_out = e->n_out;
  n->owner = e->owner;
  n->source = e->source;
  n->in_like = zeroed(&w->memory, e->n_in, sizeof *n->in_like);
  n->in_offsets = zeroed(&w->memory, e->n_in, sizeof *n->in_offsets);
  if (!n->in_like || !n->in_offsets) return QN_E_NOMEM;
  for (int32_t i = 0; i < e->n_in; i++)
    if (e->like[i] >= 0) n->in_offsets[i] = w->tensor[e->like[i]].offsets;
  n->n_saved = QN_MAX_SAVED;
  for (int32_t s = 0; s < QN_MAX_SAVED; s++) n->saved[s].tensor = at(w, e->saved[s]);
  return QN_OK;
}

/* A private copy of the arguments of an entry that has patches. */
static qn_status own_attrs(const qni_program *p, qni_worker *w, int32_t entry) {
  const qni_entry *e = &p->entry[entry];
  int32_t n = e->op->schema->n_params;
  qni_value *copy = zeroed(&w->memory, n, sizeof *copy);
  if (!copy) return QN_E_NOMEM;
  memcpy(copy, e->attrs, (size_t)n * sizeof *copy);
  for (int32_t i = 0; i < n; i++) {
    if (copy[i].kind != QN_ARG_INTS) continue;
    int64_t *list = zeroed(&w->memory, copy[i].count, sizeof *list);
    if (!list) return QN_E_NOMEM;
    memcpy(list, copy[i].v.ints, (size_t)copy[i].count * sizeof *list);
    copy[i].v.ints = list;
  }
  w->attr_of[entry] = copy;
  return QN_OK;
}

qn_status qni_worker_start(const qni_program *p, qni_worker *w) {
  memset(w, 0, sizeof *w);
  qn_status st = make_lists(p, w);
  if (st) return st;
  make_tensors(p, w);
  for (int32_t i = 0; i < p->n_entries; i++) w->attr_of[i] = p->entry[i].attrs;
  for (int32_t i = 0; !st && i < p->n_patches; i++)
    if (w->attr_of[p->patch[i].entry] == p->entry[p->patch[i].entry].attrs)
      st = own_attrs(p, w, p->patch[i].entry);
  for (int32_t i = 0; !st && i < p->n_entries; i++)
    if (p->entry[i].kind == QNI_ENTRY_BACKWARD) st = make_node(w, &p->entry[i], &w->node[i]);
  w->frame.held = w->frame.held_first;
  w->frame.max_held = (int32_t)(sizeof w->frame.held_first / sizeof w->frame.held_first[0]);
  w->frame.replay = &w->replay;
  return st;
}

void qni_worker_stop(qni_worker *w) {
  qni_mem_buffer_free(w->arena, w->arena_bytes);
  qni_mem_free(w->offsets);
  qni_arena_free(&w->frame.memory);
  qni_arena_free(&w->replay.row_memory);
  qni_arena_free(&w->replay.loose_memory);
  qni_arena_free(&w->memory);
}

qn_status qni_worker_reserve(qni_worker *w, size_t arena_bytes, int64_t samples) {
  if (arena_bytes > w->arena_bytes) {
    qni_mem_buffer_free(w->arena, w->arena_bytes);
    w->arena_bytes = 0;
    w->arena = qni_mem_buffer(arena_bytes);
    if (!w->arena) return QN_E_NOMEM;
    w->arena_bytes = arena_bytes;
  }
  if (samples + 1 > w->max_offsets) {
    int64_t *grown = qni_mem_realloc(w->offsets, (size_t)(samples + 1) * sizeof *grown);
    if (!grown) return QN_E_NOMEM;
    w->offsets = grown;
    w->max_offsets = samples + 1;
  }
  return QN_OK;
}

/* ---- Binding a slice ---- */

static size_t row_bytes(const qn_view *v) {
  return (size_t)qni_shape_count(v->ndim - 1, v->shape + 1) * qni_dtype_size(v->dtype);
}

static char *input_base(const qni_pbuffer *b, const qni_batch *batch, const qni_slice *s) {
  const qn_tensor *t = batch->input[b->input];
  if (!b->varies) return t->view.data;
  int64_t first = t->offsets ? s->first_row : s->first_sample;
  return (char *)t->view.data + (size_t)first * row_bytes(&t->view);
}

/* Bytes of a tensor of the batch that belong to samples before the slice. */
static int64_t before_slice(const qni_program *p, const qni_pbuffer *b, const qni_slice *s) {
  const qni_affine *f = &p->affines.list[b->bytes];
  return f->scale * (f->monomial == QNI_M_N ? s->first_row : s->first_sample);
}

static char *base_of(const qni_program *p, const qni_worker *w, const qni_pbuffer *b,
                     const qni_batch *batch, const qni_slice *s, char *step) {
  if (b->kind == QNI_BUFFER_INPUT) return input_base(b, batch, s);
  if (b->direct) return w->lanes->leaf[w->lanes->of_buffer[b->leaf]].lane[w->lane];
  if (b->kind == QNI_BUFFER_OFFSETS) return (char *)w->offsets;
  if (b->onto && !w->whole) return w->part[b - p->buffer];
  if (qni_plan_in_batch(b) && (w->whole || !b->reduced))
    return w->batch_memory + b->wide_place + (b->crosses ? before_slice(p, b, s) : 0);
  if (qni_plan_in_step(b)) return step + b->place;
  if (qni_plan_in_arena(b)) return w->arena + b->place;
  return b->holder ? b->holder->storage->data : NULL;
}

static void bind_view(const qni_program *p, qni_worker *w, int32_t id) {
  const qni_pview *x = &p->view[id];
  qn_view *v = &w->tensor[id].view;
  v->data = x->buffer < 0 || !w->base[x->buffer] ? NULL : w->base[x->buffer] + w->value[x->offset];
  for (int32_t d = 0; d < x->ndim; d++) {
    v->shape[d] = w->value[x->shape[d]];
    v->stride[d] = w->value[x->stride[d]];
  }
}

static void bind_patches(const qni_program *p, qni_worker *w) {
  for (int32_t i = 0; i < p->n_patches; i++) {
    const qni_patch *x = &p->patch[i];
    qni_value *v = (qni_value *)(uintptr_t)&w->attr_of[x->entry][x->param]; /* our own copy */
    if (x->at < 0)
      v->v.i = w->value[x->value];
    else
      ((int64_t *)(uintptr_t)v->v.ints)[x->at] = w->value[x->value];
  }
}

void qni_worker_bind(const qni_program *p, qni_worker *w, const qni_batch *batch,
                     const qni_slice *s, char *step_memory) {
  for (int32_t f = 0; f < p->affines.n; f++)
    w->value[f] = qni_affine_value(&p->affines.list[f], &s->extent);
  for (int64_t b = 0; batch->offsets && b <= s->extent.B; b++)
    w->offsets[b] = batch->offsets[s->first_sample + b] - s->first_row;
  for (int32_t b = 0; b < p->n_buffers; b++)
    w->base[b] = base_of(p, w, &p->buffer[b], batch, s, step_memory);
  for (int32_t v = 0; v < p->n_views; v++) bind_view(p, w, v);
  bind_patches(p, w);
  qni_arena_reset(&w->replay.loose_memory);
}

/* ---- Entries ---- */

struct run {
  const qni_program *p;
  qni_worker *w;
  const qni_batch *batch;
  qni_slice *slice;
  const qni_collector *to;
};

static int64_t first_row(const struct run *r, int32_t entry) {
  if (r->p->row[entry] < 0) return 0;
  const qni_affine *f = &r->p->affines.list[r->p->row[entry]];
  return f->scale * (f->monomial == QNI_M_N ? r->slice->first_row : r->slice->first_sample);
}

static qn_call *open_frame(const struct run *r, int32_t entry) {
  const qni_entry *e = &r->p->entry[entry];
  qn_call *c = &r->w->frame;
  c->op = e->op;
  c->n_in = e->n_in;
  c->n_out = e->n_out;
  c->node = NULL;
  c->attrs = r->w->attr_of[entry];
  c->owner = e->owner;
  c->needs = e->needs;
  c->seed = qni_rng_current_seed();
  c->step = r->batch->step;
  c->instance = r->batch->instance + e->instance;
  c->first_row = first_row(r, entry);
  c->pending = QN_OK;
  return c;
}

static qn_status check_finite(const qn_call *c) {
  if (c->phase == QNI_PHASE_FORWARD) return qni_finite_outputs(c);
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->n_in; i++)
    if (c->grad_in[i].dense) st = qni_finite_gradient(c, i, c->grad_in[i].dense);
  return st;
}

static qn_status close_frame(qn_call *c, int32_t entry, qn_status st, int64_t begin) {
  if (!st) st = c->pending;
  if (!st && qni_finite_on()) st = check_finite(c);
  if (!st && qni_witness_on) qni_witness_call(c, entry);
  if (st) {
    if (qn_error_last()->status == QN_OK) qni_fail(st, "%s failed without saying why", c->op->name);
    qni_frame_explain(c, st);
  }
  qni_arena_reset(&c->memory);
  if (qni_prof_on)
    qni_prof_add(c->op->name, c->phase == QNI_PHASE_BACKWARD, begin, qni_prof_now(), 0,
                 c->phase == QNI_PHASE_FORWARD && c->op->op->flops ? c->op->op->flops(&qni_host, c)
                                                                   : 0);
  return st;
}

static void give_tensors(qni_worker *w, const qni_entry *e, qn_call *c) {
  c->phase = QNI_PHASE_FORWARD;
  for (int32_t i = 0; i < e->n_in; i++) c->input[i] = c->dense[i] = at(w, e->in[i]);
  for (int32_t o = 0; o < e->n_out; o++) {
    c->output[o] = at(w, e->out[o]);
    c->out_view[o] = c->output[o]->view;
  }
}

int64_t qni_worker_flops(const qni_program *p, qni_worker *w, int32_t entry) {
  const qni_entry *e = &p->entry[entry];
  const qni_batch none = {0};
  qni_slice slice = {0};
  if (e->kind != QNI_ENTRY_FORWARD || !e->op->op->flops) return 0;
  qn_call *c = open_frame(&(struct run){.p = p, .w = w, .batch = &none, .slice = &slice}, entry);
  give_tensors(w, e, c);
  return e->op->op->flops(&qni_host, c);
}

static qn_status run_forward(const struct run *r, int32_t entry) {
  const qni_entry *e = &r->p->entry[entry];
  qn_call *c = open_frame(r, entry);
  give_tensors(r->w, e, c);
  for (int32_t s = 0; s < QN_MAX_SAVED; s++) {
    r->w->replay.saved[s] = at(r->w, e->saved[s]);
    r->w->replay.loose[s] = e->saved[s] >= 0 && r->p->buffer[r->p->view[e->saved[s]].buffer].loose;
  }
  int64_t begin = qni_prof_on ? qni_prof_now() : 0;
  return close_frame(c, entry, e->op->op->forward(&qni_host, c), begin);
}

static qni_leaf_sum *direct_sum(const struct run *r, int32_t view) {
  if (view < 0) return NULL;
  const qni_pbuffer *b = &r->p->buffer[r->p->view[view].buffer];
  return b->direct ? &r->w->lanes->leaf[r->w->lanes->of_buffer[b->leaf]] : NULL;
}

static bool is_onto(const struct run *r, int32_t view) {
  return view >= 0 && r->p->buffer[r->p->view[view].buffer].onto && !r->w->whole;
}

/* Which gradients are added to what the lane holds; after the call all of them are there. */
static uint64_t onto_sums(const struct run *r, const qni_entry *e) {
  uint64_t adds = 0;
  for (int32_t i = 0; i < e->n_in; i++) {
    qni_leaf_sum *s = direct_sum(r, e->out[i]);
    if (is_onto(r, e->out[i]) && !r->w->begins && !r->batch->check) adds |= 1ull << i;
    if (!s) continue;
    if (s->touched[r->w->lane] && !r->batch->check) adds |= 1ull << i;
    s->touched[r->w->lane] = true;
  }
  return adds;
}

static qn_status run_backward(const struct run *r, int32_t entry) {
  const qni_entry *e = &r->p->entry[entry];
  qn_call *c = open_frame(r, entry);
  c->phase = QNI_PHASE_BACKWARD;
  c->node = &r->w->node[entry];
  c->node->attrs = (qni_value *)(uintptr_t)c->attrs;
  qni_arena_reset(&r->w->replay.row_memory);
  r->w->replay.adds = onto_sums(r, e);
  for (int32_t o = 0; o < e->n_out; o++) c->grad_out[o] = at(r->w, e->in[o]);
  for (int32_t i = 0; i < e->n_in; i++) {
    c->grad_in[i] = (qni_grad){.dense = at(r->w, e->out[i])};
    r->w->replay.row_ids[i] = NULL;
    if (e->like[i] < 0) continue;
    c->node->in_like[i] = r->w->tensor[e->like[i]].view;
    c->node->in_like[i].data = NULL;
  }
  int64_t begin = qni_prof_on ? qni_prof_now() : 0;
  return close_frame(c, entry, e->op->op->backward(&qni_host, c), begin);
}

static qn_status run_sink(const struct run *r, const qni_entry *e) {
  if (e->kind == QNI_ENTRY_SINK)
    return r->to->dense(r->to->ctx, e->leaf, &r->w->tensor[e->in[0]].view);
  const qni_replay *x = &r->w->replay;
  return x->row_ids[e->slot]
             ? r->to->rows(r->to->ctx, e->leaf, x->row_ids[e->slot], &x->rows[e->slot])
             : QN_OK;
}

static void run_seed(const struct run *r, const qni_entry *e) {
  const qn_view *root = &r->w->tensor[e->in[0]].view;
  double share =
      qni_loss_share(&r->p->loss, r->w->value, e->in[1] < 0 ? NULL : &r->w->tensor[e->in[1]].view,
                     e->in[2] < 0 ? NULL : &r->w->tensor[e->in[2]].view);
  r->slice->share = share;
  r->slice->loss = share * qni_dtype_load(root->dtype, root->data);
  if (e->out[0] < 0) return;
  qn_view *seed = &r->w->tensor[e->out[0]].view;
  qni_dtype_store(seed->dtype, seed->data, r->batch->check ? 1 : share);
}

static void copy(const qn_view *from, qn_view *to) {
  bool rows = qni_view_contiguous(from) && qni_view_contiguous(to);
  if (rows && from->dtype == QN_F32 && to->dtype == QN_BF16)
    qni_bf16()->nearest(qni_view_count(from), from->data, to->data);
  else if (rows && from->dtype == QN_BF16 && to->dtype == QN_F32)
    qni_bf16()->widen(qni_view_count(from), from->data, to->data);
  else
    qni_view_copy(from, to);
}

static qn_status run_entry(const struct run *r, int32_t i) {
  const qni_entry *e = &r->p->entry[i];
  switch (e->kind) {
  case QNI_ENTRY_FORWARD: return run_forward(r, i);
  case QNI_ENTRY_BACKWARD: return run_backward(r, i);
  case QNI_ENTRY_COPY:
    return copy(&r->w->tensor[e->in[0]].view, &r->w->tensor[e->out[0]].view), QN_OK;
  case QNI_ENTRY_SEED: return run_seed(r, e), QN_OK;
  default: return run_sink(r, e);
  }
}

static void fill_buffer(const qni_program *p, qni_worker *w, int32_t b) {
  const qni_pbuffer *x = &p->buffer[b];
  int64_t bytes = w->value[x->bytes];
  for (int64_t i = 0; i < bytes; i += x->size) memcpy(w->base[b] + i, x->value, (size_t)x->size);
}

/* Tensors of one value whose life begins here. */
static void fill_uniform(const struct run *r, int32_t entry) {
  for (int32_t b = 0; b < r->p->n_buffers; b++) {
    const qni_pbuffer *x = &r->p->buffer[b];
    if (x->uniform && x->first == entry && !x->crosses) fill_buffer(r->p, r->w, b);
  }
}

void qni_worker_fill(const qni_program *p, qni_worker *w) {
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (p->buffer[b].uniform && p->buffer[b].live && p->buffer[b].crosses) fill_buffer(p, w, b);
}

/* ---- Fused runs ---- */

enum { MOST_MOVING = 256 };

struct moving { /* the views of a run, which go over the elements together */
  int32_t n, view[MOST_MOVING];
  qn_view whole[MOST_MOVING];
  int64_t elements;
};

static void move_view(const struct run *r, int32_t id, struct moving *m) {
  if (id < 0) return;
  const qn_view *v = &r->w->tensor[id].view;
  int64_t n = qni_view_count(v);
  for (int32_t i = 0; i < m->n; i++)
    if (m->view[i] == id) return;
  if (n > m->elements) m->elements = n;
  m->whole[m->n] = *v;
  m->view[m->n++] = id;
}

static void move_entry(const struct run *r, const qni_entry *e, struct moving *m) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  for (int32_t i = 0; i < (back ? e->n_out : e->n_in); i++) move_view(r, e->in[i], m);
  for (int32_t i = 0; i < (back ? e->n_in : e->n_out); i++) move_view(r, e->out[i], m);
  for (int32_t i = 0; back && i < e->n_in; i++) move_view(r, e->like[i], m);
  for (int32_t i = 0; i < QN_MAX_SAVED; i++) move_view(r, e->saved[i], m);
}

static void show_piece(const struct run *r, const struct moving *m, int64_t begin, int64_t n) {
  for (int32_t i = 0; i < m->n; i++) {
    qn_view *v = &r->w->tensor[m->view[i]].view;
    int32_t b = r->p->view[m->view[i]].buffer;
    if (qni_view_count(&m->whole[i]) == 1 && m->elements > 1) continue; /* one number for all */
    bool piece = b >= 0 && r->p->buffer[b].piece;
    v->ndim = 1;
    v->shape[0] = n;
    v->stride[0] = 1;
    if (m->whole[i].data && !piece)
      v->data = (char *)m->whole[i].data + (size_t)begin * qni_dtype_size(v->dtype);
  }
}

static qn_status run_pieces(const struct run *r, const int32_t *entry, int32_t n) {
  struct moving m = {.n = 0};
  qn_status st = QN_OK;
  for (int32_t k = 0; k < n; k++) move_entry(r, &r->p->entry[entry[k]], &m);
  for (int64_t at = 0; !st && at < m.elements; at += QNI_PIECE) {
    show_piece(r, &m, at, m.elements - at < QNI_PIECE ? m.elements - at : QNI_PIECE);
    for (int32_t k = 0; !st && k < n; k++) st = run_entry(r, entry[k]);
  }
  for (int32_t i = 0; i < m.n; i++) r->w->tensor[m.view[i]].view = m.whole[i];
  return st;
}

qn_status qni_worker_run(const qni_program *p, qni_worker *w, const qni_batch *batch,
                         qni_slice *slice, const qni_segment *entries,
                         const qni_collector *collector) {
  struct run r = {p, w, batch, slice, collector};
  qn_status st = QN_OK;
  for (int32_t k = 0, n; !st && k < entries->n; k += n) {
    const int32_t *list = entries->entry + k;
    n = entries->run ? entries->run[k] : 1;
    for (int32_t i = 0; i < n; i++)
      if (p->fills[list[i]]) fill_uniform(&r, list[i]);
    st = n > 1 ? run_pieces(&r, list, n) : run_entry(&r, list[0]);
    for (int32_t i = 0; !st && collector && collector->after && i < n; i++)
      st = collector->after(collector->ctx, w, list[i]);
  }
  return st;
}
