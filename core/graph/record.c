/*
** The recorder: turns what calls report into buffers, views and entries.
**
** Buffers are numbered in the order in which they are first seen, so that recordings of
** the same step number them alike. Each is held until the trace is freed: an address is
** never used twice within a recording, and never by two that are compared.
** SPDX-License-Identifier: MIT
*/
#include "graph/record.h"

#include <string.h>

#include "exec/rng.h"

_Thread_local qni_trace *qni_recorder;

/* ---- Life ---- */

qn_status qni_trace_new(qni_trace **trace) {
  qni_trace *t = *trace = qni_mem_zalloc(1, sizeof *t);
  if (!t) return QN_E_NOMEM;
  t->root = -1;
  return QN_OK;
}

void qni_trace_free(qni_trace *t) {
  if (!t) return;
  for (int32_t i = 0; i < t->n_buffers; i++) {
    qn_tensor_free(t->buffer[i].holder);
    qn_tensor_free(t->buffer[i].leaf);
  }
  qni_keep_free(&t->written);
  qni_mem_free(t->buffer);
  qni_mem_free(t->view);
  qni_mem_free(t->entry);
  qni_arena_free(&t->memory);
  qni_mem_free(t);
}

void qni_record_begin(qni_trace *t) {
  t->first_instance = qni_rng_peek();
  qni_recorder = t;
}

qn_status qni_record_end(qni_trace *t) {
  qni_recorder = NULL;
  t->n_instances = qni_rng_peek() - t->first_instance;
  qni_rng_rewind(t->first_instance);
  qni_keep_restore(&t->written);
  qni_keep_free(&t->written);
  if (!t->refusal.status) return QN_OK;
  qni_error_give(&t->refusal);
  return t->refusal.status;
}

/* Keeps the current error: a recipe may catch it, and the recording is useless all the same. */
static qn_status refused(qn_status status) {
  qni_error_copy copy;
  qni_error_take(&copy);
  if (!qni_recorder->refusal.status) qni_recorder->refusal = copy;
  qni_error_give(&copy);
  return status;
}

qn_status qni_record_refuse(const char *what, const char *hint) {
  qni_fail(QN_E_UNSUPPORTED, "%s", what);
  if (hint) qni_error_hint("%s", hint);
  const char *source = qni_call_source_now();
  if (source) qni_error_detail("at %s", source);
  return refused(QN_E_UNSUPPORTED);
}

qn_status qni_record_escape(const char *what) {
  if (!qni_recorder) return QN_OK;
  char text[160] = "a captured step reads a tensor's value into Lua with ";
  strncat(text, what, 60);
  return qni_record_refuse(
      text, "a replay would keep the number of the recording: compute with tensors, or read the "
            "value after the step, from what it returns");
}

/* ---- Lists ---- */

static void *room(void *list, int32_t n, int32_t *max, size_t size) {
  if (n < *max) return list;
  int32_t wanted = *max ? 2 * *max : 128;
  void *grown = qni_mem_realloc(list, (size_t)wanted * size);
  if (grown) *max = wanted;
  return grown;
}

static int32_t find_buffer(const qni_trace *t, const qni_storage *s) {
  for (int32_t i = t->n_buffers - 1; i >= 0; i--)
    if (t->buffer[i].holder->storage == s) return i;
  return -1;
}

static qn_status buffer_of(qni_trace *t, const qn_tensor *tensor, int32_t kind, int32_t *id) {
  *id = find_buffer(t, tensor->storage);
  if (*id >= 0) return QN_OK;
  qni_trace_buffer *list = room(t->buffer, t->n_buffers, &t->max_buffers, sizeof *list);
  if (!list) return QN_E_NOMEM;
  t->buffer = list;
  qni_trace_buffer *b = &list[t->n_buffers];
  *b = (qni_trace_buffer){.kind = kind, .input = -1};
  qn_view whole = {.data = tensor->storage->data,
                   .dtype = QN_U8,
                   .ndim = 1,
                   .shape = {(int64_t)tensor->storage->bytes},
                   .stride = {1}};
  qn_status st = qni_tensor_alias(tensor, &whole, &b->holder);
  if (!st) *id = t->n_buffers++;
  return st;
}

/* Never merged with an equal one: sizes that are equal here may differ in another recording. */
static qn_status add_view(qni_trace *t, const qni_trace_view *v, int32_t *id) {
  qni_trace_view *list = room(t->view, t->n_views, &t->max_views, sizeof *list);
  if (!list) return QN_E_NOMEM;
  t->view = list;
  *id = t->n_views;
  list[t->n_views++] = *v;
  return QN_OK;
}

/* The view that a tensor is; NULL gives -1. New buffers get this kind. */
static qn_status view_of(qni_trace *t, const qn_tensor *x, int32_t kind, int32_t *id) {
  *id = -1;
  if (!x) return QN_OK;
  qni_trace_view v = {.offsets = -1, .view = x->view};
  qn_status st = x->offsets ? view_of(t, x->offsets, QNI_BUFFER_FOREIGN, &v.offsets) : QN_OK;
  if (!st) st = buffer_of(t, x, kind, &v.buffer);
  if (st) return st;
  v.offset = (const char *)x->view.data - (const char *)x->storage->data;
  v.view.data = NULL;
  return add_view(t, &v, id);
}

static qn_status shape_of(qni_trace *t, const qn_view *like, const qn_tensor *offsets,
                          int32_t *id) {
  *id = -1;
  if (!like->dtype) return QN_OK;
  qni_trace_view v = {.buffer = -1, .offsets = -1, .view = *like};
  v.view.data = NULL;
  qn_status st = offsets ? view_of(t, offsets, QNI_BUFFER_FOREIGN, &v.offsets) : QN_OK;
  return st ? st : add_view(t, &v, id);
}

static int32_t *id_list(qni_trace *t, int32_t n) {
  int32_t *list = qni_arena_alloc(&t->memory, (size_t)(n ? n : 1) * sizeof *list);
  for (int32_t i = 0; list && i < n; i++) list[i] = -1;
  return list;
}

static qn_status new_entry(qni_trace *t, int32_t kind, int32_t n_in, int32_t n_out,
                           qni_entry **entry) {
  qni_entry *list = room(t->entry, t->n_entries, &t->max_entries, sizeof *list);
  if (!list) return QN_E_NOMEM;
  t->entry = list;
  const char *source = qni_call_source_now();
  qni_entry *e = &list[t->n_entries];
  *e = (qni_entry){.kind = kind,
                   .n_in = n_in,
                   .n_out = n_out,
                   .backward = t->in_backward,
                   .forward = -1,
                   .leaf = -1,
                   .source = source ? source : ""};
  for (int32_t i = 0; i < QN_MAX_SAVED; i++) e->saved[i] = -1;
  bool reverse = kind == QNI_ENTRY_BACKWARD;
  e->in = id_list(t, reverse ? n_out : n_in);
  e->out = id_list(t, reverse ? n_in : n_out);
  if (!e->in || !e->out) return QN_E_NOMEM;
  t->n_entries++;
  *entry = e;
  return QN_OK;
}

qn_status qni_trace_input(qni_trace *t, qn_tensor *tensor, int32_t input) {
  int32_t buffer, offsets = -1;
  qn_status st = buffer_of(t, tensor, QNI_BUFFER_INPUT, &buffer);
  if (st) return st;
  t->buffer[buffer].input = input;
  return tensor->offsets ? buffer_of(t, tensor->offsets, QNI_BUFFER_OFFSETS, &offsets) : QN_OK;
}

qn_status qni_trace_outputs(qni_trace *t, qn_tensor *const *outputs, int32_t n) {
  qn_status st = QN_OK;
  t->output = id_list(t, n);
  t->n_forward = t->n_entries;
  if (!t->output) return QN_E_NOMEM;
  for (int32_t k = 0; !st && k < n; k++)
    st = view_of(t, outputs[k], QNI_BUFFER_FOREIGN, &t->output[k]);
  t->n_outputs = n;
  return st;
}

/* ---- Entries ---- */

static qn_status copy_entry(qni_trace *t, const qn_tensor *from, const qn_tensor *to,
                            int32_t kind) {
  qni_entry *e;
  int32_t in, out;
  qn_status st = view_of(t, from, QNI_BUFFER_FOREIGN, &in);
  if (!st) st = view_of(t, to, kind, &out);
  if (!st) st = new_entry(t, QNI_ENTRY_COPY, 1, 1, &e);
  if (st) return st;
  e->in[0] = in;
  e->out[0] = out;
  return QN_OK;
}

static size_t list_bytes(const qni_value *v) {
  if (v->kind == QN_ARG_STR) return strlen(v->v.s) + 1;
  return v->kind == QN_ARG_INTS || v->kind == QN_ARG_NUMS ? (size_t)v->count * 8 : 0;
}

static qn_status copy_call(qni_trace *t, const qn_call *c, qni_entry *e) {
  int32_t n = c->op->schema->n_params;
  e->op = c->op;
  e->needs = c->needs;
  e->instance = c->op->op->flags & QN_OP_RANDOM ? c->instance - t->first_instance : 0;
  e->owner = qni_arena_alloc(&t->memory, (size_t)(e->n_in ? e->n_in : 1) * sizeof *e->owner);
  e->attrs = qni_arena_alloc(&t->memory, (size_t)(n ? n : 1) * sizeof *e->attrs);
  if (!e->owner || !e->attrs) return QN_E_NOMEM;
  memcpy(e->owner, c->owner, (size_t)e->n_in * sizeof *e->owner);
  memcpy(e->attrs, c->attrs, (size_t)n * sizeof *e->attrs);
  for (int32_t p = 0; p < n; p++) {
    size_t bytes = list_bytes(&e->attrs[p]);
    if (!bytes) continue;
    void *copy = qni_arena_alloc(&t->memory, bytes);
    if (!copy) return QN_E_NOMEM;
    e->attrs[p].v.s = memcpy(copy, e->attrs[p].v.s, bytes);
  }
  return QN_OK;
}

/* Contiguous copies and conversions that the call made for its kernel. */
static qn_status copies_in(qni_trace *t, const qn_call *c) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->n_in; i++)
    if (c->dense[i] != c->input[i]) st = copy_entry(t, c->input[i], c->dense[i], QNI_BUFFER_TEMP);
  return st;
}

static qn_status copies_back(qni_trace *t, const qn_call *c) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->n_in; i++)
    if (c->dense[i] != c->input[i] && c->op->schema->param[c->owner[i]].written)
      st = copy_entry(t, c->dense[i], c->input[i], QNI_BUFFER_TEMP);
  return st;
}

static qn_status forward_views(qni_trace *t, const qn_call *c, qni_entry *e) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->n_in; i++)
    st = view_of(t, c->dense[i], QNI_BUFFER_FOREIGN, &e->in[i]);
  for (int32_t o = 0; !st && o < c->n_out; o++)
    st = view_of(t, c->output[o], QNI_BUFFER_TEMP, &e->out[o]);
  for (int32_t s = 0; !st && c->node && s < c->node->n_saved; s++)
    if (c->node->saved[s].input < 0 && c->node->saved[s].output < 0)
      st = view_of(t, c->node->saved[s].tensor, QNI_BUFFER_TEMP, &e->saved[s]);
  return st;
}

static qn_status record_forward(qni_trace *t, const qn_call *c) {
  qni_entry *e;
  qn_status st = copies_in(t, c);
  if (!c->op->op->forward) return st;
  if (!st) st = new_entry(t, QNI_ENTRY_FORWARD, c->n_in, c->n_out, &e);
  if (!st && c->node) c->node->entry = t->n_entries;
  if (!st) st = copy_call(t, c, e);
  if (!st) st = forward_views(t, c, e);
  return st ? st : copies_back(t, c);
}

static qn_status backward_views(qni_trace *t, const qn_call *c, qni_entry *e) {
  qn_status st = QN_OK;
  const qni_node *n = c->node;
  for (int32_t o = 0; !st && o < c->n_out; o++)
    st = view_of(t, c->grad_out[o], QNI_BUFFER_FOREIGN, &e->in[o]);
  for (int32_t s = 0; !st && s < n->n_saved; s++)
    st = view_of(t, n->saved[s].tensor, QNI_BUFFER_FOREIGN, &e->saved[s]);
  for (int32_t i = 0; !st && i < c->n_in; i++) {
    t->rows[i] = c->grad_in[i].rows;
    st = shape_of(t, &n->in_like[i], n->in_offsets[i], &e->like[i]);
    if (!st) st = view_of(t, c->grad_in[i].dense, QNI_BUFFER_TEMP, &e->out[i]);
  }
  return st;
}

static qn_status record_backward(qni_trace *t, const qn_call *c, qn_tensor *const *grads) {
  qni_entry *e;
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < c->n_out; o++)
    if (grads[o] && c->grad_out[o] != grads[o])
      st = copy_entry(t, grads[o], c->grad_out[o], QNI_BUFFER_TEMP);
  if (!st) st = new_entry(t, QNI_ENTRY_BACKWARD, c->n_in, c->n_out, &e);
  if (st) return st;
  memset(t->rows, 0, sizeof t->rows);
  e->forward = c->node->entry - 1;
  e->like = id_list(t, c->n_in);
  if (!e->like) return QN_E_NOMEM;
  st = copy_call(t, c, e);
  return st ? st : backward_views(t, c, e);
}

/* What the step did not make itself is put back when recording ends. */
qn_status qni_record_before(const qn_call *c) {
  qni_trace *t = qni_recorder;
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && !t->dry && i < c->n_in; i++) {
    if (!c->input[i] || !c->op->schema->param[c->owner[i]].written) continue;
    int32_t b = find_buffer(t, c->input[i]->storage);
    if (b < 0 || t->buffer[b].kind != QNI_BUFFER_TEMP) st = qni_keep_add(&t->written, c->input[i]);
  }
  return st ? refused(st) : QN_OK;
}

qn_status qni_record_forward(const qn_call *c) {
  qn_status st = record_forward(qni_recorder, c);
  return st ? refused(st) : QN_OK;
}

qn_status qni_record_backward(const qn_call *c, qn_tensor *const *grads) {
  qn_status st = record_backward(qni_recorder, c, grads);
  return st ? refused(st) : QN_OK;
}

/* ---- Where backward begins and ends ---- */

qn_status qni_record_root(const qn_tensor *root, const qn_tensor *seed, bool plain) {
  qni_trace *t = qni_recorder;
  int32_t buffer;
  if (t->root >= 0)
    return qni_record_refuse("a captured step may call backward once",
                             "add the losses and call it on their sum");
  if (!plain)
    return qni_record_refuse(
        "a captured step calls backward() without a seed, and neither grad() nor create",
        "multiply the loss instead of giving a seed");
  qn_status st = view_of(t, root, QNI_BUFFER_FOREIGN, &t->root);
  if (!st) st = buffer_of(t, seed, QNI_BUFFER_SEED, &buffer);
  t->in_backward = true;
  t->n_forward = t->n_entries;
  return st ? refused(st) : QN_OK;
}

void qni_record_root_end(void) { qni_recorder->in_backward = false; }

static qn_status sink_rows(qni_trace *t, qni_entry *e, const qni_grad *grad) {
  for (e->slot = 0; e->slot < QN_MAX_TENSORS; e->slot++)
    if (t->rows[e->slot] == grad->rows) {
      e->kind = QNI_ENTRY_SINK_ROWS;
      return QN_OK;
    }
  return qni_fail(QN_E_INTERNAL, "a gradient by rows came from nowhere");
}

static qn_status record_leaf(qni_trace *t, qn_tensor *leaf, const qni_grad *grad) {
  qni_entry *e;
  int32_t buffer, view = -1;
  qn_status st = buffer_of(t, leaf, QNI_BUFFER_LEAF, &buffer);
  if (!st && !grad->rows) st = view_of(t, grad->dense, QNI_BUFFER_FOREIGN, &view);
  if (!st) st = new_entry(t, QNI_ENTRY_SINK, 1, 0, &e);
  if (st) return st;
  qni_trace_buffer *b = &t->buffer[buffer];
  b->kind = QNI_BUFFER_LEAF;
  if (!b->leaf) b->leaf = qn_tensor_retain(leaf);
  e->leaf = buffer;
  e->in[0] = view;
  return grad->rows ? sink_rows(t, e, grad) : QN_OK;
}

qn_status qni_record_leaf(qn_tensor *leaf, const qni_grad *grad) {
  if (leaf->hooks)
    return qni_record_refuse("a parameter of a captured step has a gradient hook",
                             "remove the hook, or change the gradient after the step");
  qn_status st = record_leaf(qni_recorder, leaf, grad);
  return st ? refused(st) : QN_OK;
}
