/*
** A step that was captured, called again: are its calls still the same?
**
** What Lua decides (a schedule in a factor, a layer that is switched on, model.training) stands
** in the program as a constant. So the function is called before each step as eager training
** would, on the first trial slice and without running kernels, and its calls are held
** against the recorded ones: ops, arguments, sizes, who reads what. A tensor that the
** function makes anew each time, a number in Lua for instance, may have another value:
** the program takes it over. Anything else is a difference, and the step is captured again.
** SPDX-License-Identifier: MIT
*/
#include "graph/watch.h"

#include <string.h>

struct watch {
  qni_program *p;
  const qni_trace *now;
  int32_t *buffer; /* program's buffer by the trace's, -1: not met */
  const qni_entry *at;
};

bool qni_watch_dry(const qni_program *p) {
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->entry[i].op && p->entry[i].op->op->flags & QN_OP_READS_DATA) return false;
  return true;
}

static qn_status differs(const struct watch *w, const char *what) {
  return qni_program_refuse(w->at, NULL, "the step is not what was captured: %s", what);
}

/* ---- Constants ---- */

static bool all_equal(const qni_storage *s, size_t size) {
  for (size_t at = size; at + size <= s->bytes; at += size)
    if (memcmp(s->data, (const char *)s->data + at, size)) return false;
  return s->bytes >= size;
}

/* Made by the function itself: its value counts, whatever it was when recorded. */
static qn_status take_constant(struct watch *w, qni_pbuffer *b, qn_tensor *holder) {
  const qni_storage *s = holder->storage;
  if (b->uniform) {
    if (!all_equal(s, (size_t)b->size))
      return s->bytes ? differs(w, "a constant tensor has several values now") : QN_OK;
    memcpy(b->value, s->data, (size_t)b->size);
    return QN_OK;
  }
  if (b->holder->storage == s) return QN_OK;
  if (b->holder->storage->bytes != s->bytes)
    return differs(w, "a tensor that is not of the batch has another size");
  if (!memcmp(b->holder->storage->data, s->data, s->bytes)) return QN_OK;
  if (b->persistent) return differs(w, "another tensor takes the place of one that it read");
  qn_tensor_free(b->holder);
  b->holder = qn_tensor_retain(holder);
  return QN_OK;
}

/* ---- Views ---- */

static qn_status match_buffer(struct watch *w, int32_t id, int32_t want) {
  const qni_trace_buffer *x = &w->now->buffer[id];
  qni_pbuffer *b = &w->p->buffer[want];
  if (w->buffer[id] >= 0)
    return w->buffer[id] == want ? QN_OK : differs(w, "an op is given another tensor");
  w->buffer[id] = want;
  if (b->kind == QNI_BUFFER_LEAF) {
    if (b->holder->hooks) return differs(w, "a parameter has a gradient hook now");
    return b->holder->storage == x->holder->storage ? QN_OK : differs(w, "another parameter");
  }
  if (b->kind == QNI_BUFFER_INPUT || b->kind == QNI_BUFFER_OFFSETS)
    return x->kind == b->kind && x->input == b->input ? QN_OK
                                                      : differs(w, "another tensor of the batch");
  if (b->kind == QNI_BUFFER_TEMP)
    return x->kind == b->kind ? QN_OK : differs(w, "an op is given another tensor");
  return take_constant(w, b, x->holder);
}

static qn_status match_view(struct watch *w, int32_t id, int32_t want) {
  if (id < 0 || want < 0)
    return id < 0 && want < 0 ? QN_OK : differs(w, "a tensor is given or not");
  const qni_trace_view *v = &w->now->view[id];
  const qni_pview *x = &w->p->view[want];
  const qni_affines *a = &w->p->affines;
  const qni_extent *e = &a->trial[0];
  bool same = v->view.ndim == x->ndim && v->view.dtype == x->dtype &&
              v->offset == qni_affine_value(&a->list[x->offset], e);
  for (int32_t d = 0; same && d < x->ndim; d++)
    same = v->view.shape[d] == qni_affine_value(&a->list[x->shape[d]], e) &&
           v->view.stride[d] == qni_affine_value(&a->list[x->stride[d]], e);
  return same ? match_buffer(w, v->buffer, x->buffer) : differs(w, "a tensor has another size");
}

static qn_status match_views(struct watch *w, const int32_t *now, const int32_t *want, int32_t n) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < n; i++) st = match_view(w, now[i], want[i]);
  return st;
}

/* ---- Entries ---- */

static bool same_value(const qni_value *a, const qni_value *b) {
  if (a->kind != b->kind || a->count != b->count) return false;
  switch (a->kind) {
  case QN_ARG_STR: return !strcmp(a->v.s, b->v.s);
  case QN_ARG_NUMS:
  case QN_ARG_INTS: return !memcmp(a->v.ints, b->v.ints, (size_t)a->count * 8);
  case QN_ARG_NUM: return !memcmp(&a->v.f, &b->v.f, 8);
  case QN_ARG_INT:
  case QN_ARG_BOOL: return a->v.i == b->v.i;
  default: return true;
  }
}

static qn_status match_entry(struct watch *w, const qni_entry *now, const qni_entry *want) {
  w->at = now;
  if (now->kind != want->kind || now->op != want->op || now->n_in != want->n_in ||
      now->n_out != want->n_out || now->needs != want->needs || now->instance != want->instance)
    return differs(w, "another op is called here, or with other gradients wanted");
  for (int32_t i = 0; now->op && i < now->op->schema->n_params; i++)
    if (!same_value(&now->attrs[i], &want->attrs[i]))
      return qni_program_refuse(now, NULL, "argument '%s' of %s has another value now",
                                now->op->schema->param[i].name, now->op->name);
  qn_status st = match_views(w, now->in, want->in, now->n_in);
  return st ? st : match_views(w, now->out, want->out, now->n_out);
}

static qn_status match_all(struct watch *w) {
  const qni_trace *t = w->now;
  const qni_program *p = w->p;
  qn_status st = QN_OK;
  const qni_trace *was = p->trace[0]; /* what the plan put in is not among its entries */
  for (int32_t i = 0; i < t->n_buffers; i++) w->buffer[i] = -1;
  if (t->root < 0 && p->root >= 0) return differs(w, "it does not call backward()");
  for (int32_t i = 0; !st && i < t->n_forward; i++) {
    if (i >= was->n_forward) return differs(w, "it calls more ops");
    st = match_entry(w, &t->entry[i], &was->entry[i]);
  }
  w->at = NULL;
  if (!st && t->n_forward != was->n_forward) return differs(w, "it calls fewer ops");
  if (st || p->root >= 0) return st ? st : match_view(w, t->root, p->root);
  if (t->n_outputs != p->n_outputs) return differs(w, "it returns more or fewer tensors");
  return match_views(w, t->output, p->output, p->n_outputs);
}

qn_status qni_watch_compare(qni_program *p, const qni_trace *now, bool *same, qni_error_copy *why) {
  struct watch w = {.p = p, .now = now};
  *same = false;
  w.buffer = qni_mem_alloc((size_t)(now->n_buffers + 1) * sizeof *w.buffer);
  if (!w.buffer) return QN_E_NOMEM;
  *same = match_all(&w) == QN_OK;
  if (!*same) qni_error_take(why);
  qni_mem_free(w.buffer);
  return QN_OK;
}
