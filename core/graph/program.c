/*
** From recordings to one program: entries, views and buffers must correspond one to one,
** and every number in them must be the same or follow the slice (affine.h).
**
** A tensor that no entry makes and that is not of the slice either is the same memory in all
** recordings (a parameter, a buffer of the model: read where it lies, whatever it holds
** by then), or was made anew in each. Those must hold equal bytes, and are kept; or, when
** their size follows the slice, one value everywhere, and are filled anew.
** SPDX-License-Identifier: MIT
*/
#include "graph/program.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Words ---- */

static const char *phase_of(const qni_entry *e) {
  if (e->again) return e->op ? "again: " : "kept as ";
  return e->kind == QNI_ENTRY_BACKWARD ? "the backward of " : "";
}

const char *qni_entry_text(const qni_entry *e, char *buf, size_t size) {
  static const char *const kinds[] = {
      "", "", "copy", "sum into a gradient", "sum of rows into a gradient", "seed"};
  const char *name = e->op ? e->op->name : kinds[e->kind];
  if (e->again) name = e->op ? e->op->name : "bf16";
  snprintf(buf, size, e->source[0] ? "%s%s (%s)" : "%s%s%s", phase_of(e), name, e->source);
  return buf;
}

bool qni_entry_writes(const qni_entry *e, int32_t i) {
  return e->kind == QNI_ENTRY_FORWARD && e->in[i] >= 0 && e->op->schema->param[e->owner[i]].written;
}

bool qni_entry_puts(const qni_program *p, const qni_entry *e, int32_t buffer) {
  const int32_t n = e->kind == QNI_ENTRY_BACKWARD ? e->n_in : e->n_out;
  for (int32_t o = 0; o < n; o++)
    if (e->out[o] >= 0 && p->view[e->out[o]].buffer == buffer) return true;
  return false;
}

qn_status qni_program_refuse(const qni_entry *e, const char *hint, const char *what, ...) {
  char text[160];
  va_list args;
  va_start(args, what);
  qni_failv(QN_E_UNSUPPORTED, what, args);
  va_end(args);
  if (e) qni_error_detail("at %s", qni_entry_text(e, text, sizeof text));
  if (hint) qni_error_hint("%s", hint);
  return QN_E_UNSUPPORTED;
}

static qn_status differ(const qni_entry *e, const char *what) {
  return qni_program_refuse(
      e, "a captured step must call the same ops whatever the batch holds; train it eagerly",
      "the step does not do the same for every slice: %s", what);
}

/* ---- Numbers ---- */

struct merge {
  qni_program *p;
  qni_trace *const *t;
  const qni_entry *at; /* for messages */
};

static qn_status number(struct merge *m, const int64_t *values, const char *what,
                        int32_t *function) {
  qn_status st = qni_affine_fit(&m->p->affines, values, function);
  if (st || *function >= 0) return st;
  const qni_extent *e = m->p->affines.trial;
  qni_program_refuse(m->at,
                     "sizes in a captured step may be multiples of the number of samples, of rows, "
                     "or of the longest "
                     "sequence",
                     "%s follows the data in a way that cannot be captured", what);
  for (int32_t i = 0; i < QNI_TRIALS; i++)
    qni_error_detail("it is %" PRId64 " for %" PRId64 " samples, %" PRId64
                     " rows, longest %" PRId64,
                     values[i], e[i].B, e[i].N, e[i].L);
  return QN_E_UNSUPPORTED;
}

/* ---- Views ---- */

static qn_status merge_view(struct merge *m, int32_t id) {
  const qni_trace_view *v[QNI_TRIALS];
  qni_pview *out = &m->p->view[id];
  int64_t values[QNI_TRIALS];
  for (int32_t i = 0; i < QNI_TRIALS; i++) v[i] = &m->t[i]->view[id];
  for (int32_t i = 1; i < QNI_TRIALS; i++)
    if (v[i]->buffer != v[0]->buffer || v[i]->offsets != v[0]->offsets ||
        v[i]->view.ndim != v[0]->view.ndim || v[i]->view.dtype != v[0]->view.dtype)
      return differ(m->at, "tensors correspond in some recordings only");
  *out = (qni_pview){.buffer = v[0]->buffer,
                     .offsets = v[0]->offsets,
                     .ndim = v[0]->view.ndim,
                     .dtype = v[0]->view.dtype};
  if (out->buffer >= 0 && m->p->buffer[out->buffer].dynamic) return QN_OK;
  for (int32_t i = 0; i < QNI_TRIALS; i++) values[i] = v[i]->offset;
  qn_status st = number(m, values, "the place of a view", &out->offset);
  for (int32_t d = 0; !st && d < out->ndim; d++) {
    for (int32_t i = 0; i < QNI_TRIALS; i++) values[i] = v[i]->view.shape[d];
    st = number(m, values, "a tensor's size", &out->shape[d]);
    for (int32_t i = 0; i < QNI_TRIALS; i++) values[i] = v[i]->view.stride[d];
    if (!st) st = number(m, values, "a tensor's stride", &out->stride[d]);
  }
  return st;
}

/* ---- Entries ---- */

static bool same_ids(const int32_t *a, const int32_t *b, int32_t n) {
  return (!a && !b) || (a && b && !memcmp(a, b, (size_t)n * sizeof *a));
}

static bool corresponds(const qni_entry *a, const qni_entry *b) {
  bool back = a->kind == QNI_ENTRY_BACKWARD;
  if (a->kind != b->kind || a->op != b->op || a->n_in != b->n_in || a->n_out != b->n_out ||
      a->needs != b->needs || a->instance != b->instance || a->slot != b->slot ||
      a->leaf != b->leaf || a->backward != b->backward)
    return false;
  return same_ids(a->in, b->in, back ? a->n_out : a->n_in) &&
         same_ids(a->out, b->out, back ? a->n_in : a->n_out) &&
         same_ids(a->like, b->like, a->n_in) && same_ids(a->saved, b->saved, QN_MAX_SAVED) &&
         (!a->owner || !memcmp(a->owner, b->owner, (size_t)a->n_in * sizeof *a->owner));
}

static qn_status add_patch(qni_program *p, const qni_patch *patch) {
  if (p->n_patches == p->max_patches) {
    int32_t max = p->max_patches ? 2 * p->max_patches : 16;
    qni_patch *grown = qni_mem_realloc(p->patch, (size_t)max * sizeof *grown);
    if (!grown) return QN_E_NOMEM;
    p->patch = grown;
    p->max_patches = max;
  }
  p->patch[p->n_patches++] = *patch;
  return QN_OK;
}

static qn_status merge_int(struct merge *m, int32_t entry, int32_t param, int32_t at) {
  int64_t values[QNI_TRIALS];
  int32_t function;
  char what[QNI_NAME + 64];
  for (int32_t i = 0; i < QNI_TRIALS; i++) {
    const qni_value *v = &m->t[i]->entry[entry].attrs[param];
    values[i] = at < 0 ? v->v.i : v->v.ints[at];
  }
  if (values[0] == values[1] && values[0] == values[2]) return QN_OK;
  snprintf(what, sizeof what, "argument '%s' of %s", m->at->op->schema->param[param].name,
           m->at->op->name);
  qn_status st = number(m, values, what, &function);
  return st ? st : add_patch(m->p, &(qni_patch){entry, param, at, function});
}

static bool same_value(const qni_value *a, const qni_value *b) {
  if (a->kind != b->kind || a->count != b->count) return false;
  switch (a->kind) {
  case QN_ARG_STR: return !strcmp(a->v.s, b->v.s);
  case QN_ARG_NUMS: return !memcmp(a->v.nums, b->v.nums, (size_t)a->count * 8);
  case QN_ARG_NUM: return !memcmp(&a->v.f, &b->v.f, 8);
  default: return true; /* integers follow the slice, or not: merge_int */
  }
}

static qn_status merge_attr(struct merge *m, int32_t entry, int32_t param) {
  const qni_value *v = &m->t[0]->entry[entry].attrs[param];
  for (int32_t i = 1; i < QNI_TRIALS; i++)
    if (!same_value(v, &m->t[i]->entry[entry].attrs[param]))
      return qni_program_refuse(m->at, "a number that depends on the data must stay in a tensor",
                                "argument '%s' of %s is not the same for every slice",
                                m->at->op->schema->param[param].name, m->at->op->name);
  if (v->kind == QN_ARG_INT || v->kind == QN_ARG_BOOL) return merge_int(m, entry, param, -1);
  qn_status st = QN_OK;
  for (int32_t k = 0; !st && v->kind == QN_ARG_INTS && k < v->count; k++)
    st = merge_int(m, entry, param, k);
  return st;
}

static qn_status merge_entries(struct merge *m) {
  const qni_trace *a = m->t[0];
  qn_status st = QN_OK;
  for (int32_t i = 1; i < QNI_TRIALS; i++) {
    int32_t n = a->n_entries < m->t[i]->n_entries ? a->n_entries : m->t[i]->n_entries;
    for (int32_t e = 0; e < n; e++)
      if (!corresponds(&a->entry[e], &m->t[i]->entry[e]))
        return differ(&a->entry[e], "from here on the calls are others");
    if (a->n_entries != m->t[i]->n_entries || a->n_views != m->t[i]->n_views ||
        a->n_buffers != m->t[i]->n_buffers || a->root != m->t[i]->root ||
        a->n_outputs != m->t[i]->n_outputs || !same_ids(a->output, m->t[i]->output, a->n_outputs))
      return differ(NULL, "some recordings have more calls");
  }
  for (int32_t e = 0; !st && e < a->n_entries; e++) {
    m->at = &a->entry[e];
    for (int32_t p = 0; !st && m->at->attrs && p < m->at->op->schema->n_params; p++)
      st = merge_attr(m, e, p);
  }
  return st;
}

/* ---- Buffers ---- */

/* The entry that has a view of buffer b among its inputs, for messages. */
static const qni_entry *user_of(const qni_trace *t, int32_t b) {
  for (int32_t e = 0; e < t->n_entries; e++) {
    const qni_entry *x = &t->entry[e];
    int32_t n = x->kind == QNI_ENTRY_BACKWARD ? x->n_out : x->n_in;
    for (int32_t i = 0; i < n; i++)
      if (x->in[i] >= 0 && t->view[x->in[i]].buffer == b) return x;
  }
  return NULL;
}

static size_t element_bytes(const qni_trace *t, int32_t b) {
  for (int32_t v = 0; v < t->n_views; v++)
    if (t->view[v].buffer == b) return qni_dtype_size(t->view[v].view.dtype);
  return 1;
}

/* Are all elements of the buffer, in all recordings, these bytes? */
static bool is_uniform(const struct merge *m, int32_t b, size_t size, const unsigned char *value) {
  for (int32_t i = 0; i < QNI_TRIALS; i++) {
    const qni_storage *s = m->t[i]->buffer[b].holder->storage;
    for (size_t at = 0; at + size <= s->bytes; at += size)
      if (memcmp((const char *)s->data + at, value, size)) return false;
  }
  return true;
}

static qn_status merge_constant(struct merge *m, int32_t b) {
  qni_pbuffer *out = &m->p->buffer[b];
  const qni_storage *s[QNI_TRIALS];
  for (int32_t i = 0; i < QNI_TRIALS; i++) s[i] = m->t[i]->buffer[b].holder->storage;
  out->persistent = s[0] == s[1] && s[0] == s[2];
  if (out->persistent) return QN_OK;
  bool sized = s[0]->bytes == s[1]->bytes && s[0]->bytes == s[2]->bytes;
  if (sized && !memcmp(s[0]->data, s[1]->data, s[0]->bytes) &&
      !memcmp(s[0]->data, s[2]->data, s[0]->bytes))
    return QN_OK;
  size_t size = element_bytes(m->t[0], b);
  if (s[0]->bytes >= size) memcpy(out->value, s[0]->data, size);
  if (!sized && is_uniform(m, b, size, out->value)) {
    out->uniform = true;
    out->size = (int64_t)size;
    return QN_OK;
  }
  return qni_program_refuse(
      user_of(m->t[0], b), "pass it in the batch, or compute it with ops from what is in the batch",
      "a tensor that is not of the batch has other values in every slice");
}

static bool lists(const qni_trace *t, const int32_t *views, int32_t n, int32_t b) {
  for (int32_t i = 0; views && i < n; i++)
    if (views[i] >= 0 && t->view[views[i]].buffer == b) return true;
  return false;
}

/* Does buffer b only go from a forward to its backward? */
static bool only_saved(const qni_trace *t, int32_t b) {
  bool used =
      (t->root >= 0 && t->view[t->root].buffer == b) || lists(t, t->output, t->n_outputs, b);
  for (int32_t i = 0; i < t->n_entries && !used; i++) {
    const qni_entry *e = &t->entry[i];
    bool back = e->kind == QNI_ENTRY_BACKWARD;
    used = lists(t, e->in, back ? e->n_out : e->n_in, b) ||
           lists(t, e->out, back ? e->n_in : e->n_out, b);
  }
  return !used && t->buffer[b].kind == QNI_BUFFER_TEMP;
}

static qn_status buffer_bytes(struct merge *m, int32_t b, const int64_t *bytes) {
  qni_pbuffer *out = &m->p->buffer[b];
  out->loose = only_saved(m->t[0], b);
  if (!out->loose) return number(m, bytes, "a tensor's size", &out->bytes);
  qn_status st = qni_affine_fit(&m->p->affines, bytes, &out->bytes);
  out->dynamic = out->bytes < 0;
  if (out->dynamic) out->bytes = 0;
  return st;
}

static qn_status merge_buffer(struct merge *m, int32_t b) {
  qni_pbuffer *out = &m->p->buffer[b];
  const qni_trace_buffer *x = &m->t[0]->buffer[b];
  int64_t bytes[QNI_TRIALS];
  *out = (qni_pbuffer){.kind = x->kind, .input = x->input, .producer = -1, .first = -1, .last = -1};
  for (int32_t i = 0; i < QNI_TRIALS; i++) {
    const qni_trace_buffer *y = &m->t[i]->buffer[b];
    bytes[i] = (int64_t)y->holder->storage->bytes;
    if (y->kind != x->kind || y->input != x->input || y->leaf != x->leaf)
      return differ(NULL, "a tensor changes its part");
  }
  m->at = user_of(m->t[0], b);
  qn_status st = buffer_bytes(m, b, bytes);
  if (!st && x->kind == QNI_BUFFER_FOREIGN) st = merge_constant(m, b);
  if (st) return st;
  if (x->kind == QNI_BUFFER_LEAF) out->holder = qn_tensor_retain(x->leaf);
  if (x->kind == QNI_BUFFER_FOREIGN && !out->uniform) out->holder = qn_tensor_retain(x->holder);
  return QN_OK;
}

/* ---- Equal views become one ---- */

static bool same_pview(const qni_pview *a, const qni_pview *b) {
  bool same = a->buffer == b->buffer && a->offsets == b->offsets && a->offset == b->offset &&
              a->dtype == b->dtype && a->ndim == b->ndim;
  for (int32_t d = 0; same && d < a->ndim; d++)
    same = a->shape[d] == b->shape[d] && a->stride[d] == b->stride[d];
  return same;
}

static void renumber(int32_t *list, int32_t n, const int32_t *map) {
  for (int32_t i = 0; list && i < n; i++)
    if (list[i] >= 0) list[i] = map[list[i]];
}

static void renumber_entry(qni_entry *e, const int32_t *map) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  renumber(e->in, back ? e->n_out : e->n_in, map);
  renumber(e->out, back ? e->n_in : e->n_out, map);
  renumber(e->like, e->n_in, map);
  renumber(e->saved, QN_MAX_SAVED, map);
}

/* A tensor's offsets come before it, so they have their new number when it is looked at. */
static qn_status unite_views(qni_program *p) {
  int32_t n = 0, *map = qni_arena_alloc(&p->memory, (size_t)(p->n_views + 1) * sizeof *map);
  if (!map) return QN_E_NOMEM;
  for (int32_t v = 0; v < p->n_views; v++) {
    qni_pview x = p->view[v];
    x.origin = v;
    if (x.offsets >= 0) x.offsets = map[x.offsets];
    for (map[v] = 0; map[v] < n && !same_pview(&p->view[map[v]], &x);) map[v]++;
    if (map[v] == n) p->view[n++] = x;
  }
  p->n_views = n;
  for (int32_t e = 0; e < p->trace[0]->n_entries; e++) renumber_entry(&p->trace[0]->entry[e], map);
  p->root = p->trace[0]->root < 0 ? -1 : map[p->trace[0]->root];
  p->output = p->trace[0]->output;
  p->n_outputs = p->trace[0]->n_outputs;
  renumber(p->output, p->n_outputs, map);
  return QN_OK;
}

/* ---- All ---- */

static void *zeroed(qni_arena *arena, int32_t n, size_t size) {
  void *list = qni_arena_alloc(arena, (size_t)(n + 1) * size);
  return list ? memset(list, 0, (size_t)(n + 1) * size) : NULL;
}

static qn_status make_room(qni_program *p, const qni_trace *t) {
  p->n_views = t->n_views;
  p->n_buffers = t->n_buffers;
  p->view = zeroed(&p->memory, t->n_views, sizeof *p->view);
  p->buffer = zeroed(&p->memory, t->n_buffers, sizeof *p->buffer);
  return p->view && p->buffer ? QN_OK : QN_E_NOMEM;
}

static qn_status merge_all(struct merge *m) {
  qni_program *p = m->p;
  const qni_trace *t = m->t[0];
  if (t->root < 0 && !t->n_outputs)
    return qni_program_refuse(NULL, "end the step with loss:backward() and return the loss",
                              "a captured step does not call backward()");
  qn_status st = merge_entries(m);
  if (!st) st = make_room(p, t);
  for (int32_t b = 0; !st && b < t->n_buffers; b++) st = merge_buffer(m, b);
  m->at = NULL;
  for (int32_t v = 0; !st && v < t->n_views; v++) st = merge_view(m, v);
  if (!st) st = unite_views(p);
  for (int32_t b = 0; !st && b < t->n_buffers; b++) {
    if (t->buffer[b].kind == QNI_BUFFER_OFFSETS) p->jagged = true;
    if (t->buffer[b].input >= p->n_inputs) p->n_inputs = t->buffer[b].input + 1;
  }
  return st;
}

qn_status qni_program_new(qni_trace *const *traces, const qni_extent *extents,
                          const qni_choices *choices, qni_program **program) {
  qni_program *p = *program = qni_mem_zalloc(1, sizeof *p);
  if (!p) {
    for (int32_t i = 0; i < QNI_TRIALS; i++) qni_trace_free(traces[i]);
    return QN_E_NOMEM;
  }
  memcpy(p->trace, traces, sizeof p->trace);
  p->seed_entry = -1;
  p->choices = *choices;
  p->fixed_L = extents[0].L == extents[1].L && extents[0].L == extents[2].L;
  struct merge m = {.p = p, .t = p->trace};
  qn_status st = qni_affines_start(&p->affines, extents);
  if (!st) st = merge_all(&m);
  if (!st) st = qni_program_analyse(p);
  if (!st) st = qni_program_loss(p);
  if (!st) st = qni_program_schedule(p);
  if (!st) st = qni_program_fuse(p, !choices->unfused);
  if (!st) st = qni_program_forms(p);
  if (!st) return QN_OK;
  qni_program_free(p);
  *program = NULL;
  return st;
}

void qni_program_free(qni_program *p) {
  if (!p) return;
  for (int32_t b = 0; p->buffer && b < p->n_buffers; b++) qn_tensor_free(p->buffer[b].holder);
  for (int32_t i = 0; i < QNI_TRIALS; i++) qni_trace_free(p->trace[i]);
  qni_affines_free(&p->affines);
  qni_mem_free(p->patch);
  qni_arena_free(&p->memory);
  qni_mem_free(p);
}
