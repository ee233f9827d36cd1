/*
** May a recording be cut into slices of the batch? What follows the batch, entry by entry.
**
** A size is batched when it grows with the samples or their rows. Of memory with a batched
** size each view must have exactly one batched dimension, a whole multiple of the batch:
** two are pairs of samples, none or a part means that single samples were picked. Memory that
** an op saves for its own backward may have any size: nobody else sees it. What an
** op makes without a batched dimension out of something batched is a sum over the samples
** if the op is a sum; it may then go, through linear ops, to the loss alone. In backward all is
** linear in the gradient, so sums go where they like.
**
** An entry that breaks these rules runs on the whole batch, between segments of slices
** (segment.c), and so does the backward of such an entry. Backward of what ran once per step
** waits until the slices' gradients are added up. Forcing one entry changes what others see,
** so the analysis is repeated until nothing is forced any more.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <string.h>

#include "graph/program.h"

enum { MOST_SEGMENTS = 16 }; /* of a step that is cut into slices */

/* ---- Dimensions ---- */

static const qni_affine *function(const qni_program *p, int32_t f) { return &p->affines.list[f]; }

int32_t qni_view_batched(const qni_program *p, int32_t view, bool *odd) {
  const qni_pview *v = &p->view[view];
  int32_t n = 0;
  for (int32_t d = 0; d < v->ndim; d++) {
    const qni_affine *f = function(p, v->shape[d]);
    if (!qni_affine_batched(f)) continue;
    n++;
    if (odd && f->add) *odd = true;
  }
  return n;
}

static bool dim_batched(const qni_program *p, const qni_pview *v, int64_t dim) {
  int64_t d = dim < 0 ? v->ndim + dim : dim - 1;
  return d >= 0 && d < v->ndim && qni_affine_batched(function(p, v->shape[d]));
}

static const char *coupling_view(const qni_program *p, int32_t view) {
  if (view < 0 || p->view[view].buffer < 0) return NULL;
  const qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  if (b->loose || !qni_affine_batched(function(p, b->bytes))) return NULL;
  bool odd = false;
  int32_t n = qni_view_batched(p, view, &odd);
  if (n > 1) return "it compares samples with each other";
  if (n == 1 && !odd) return NULL;
  return b->kind == QNI_BUFFER_OFFSETS ? "it computes with the offsets of sequences"
                                       : "it picks some samples or rows";
}

static const char *coupling_list(const qni_program *p, const int32_t *views, int32_t n) {
  const char *why = NULL;
  for (int32_t i = 0; !why && i < n; i++) why = coupling_view(p, views[i]);
  return why;
}

/* ---- Ops ---- */

static bool is_one_of(const char *name, const char *const *list) {
  for (; *list; list++)
    if (!strcmp(name, *list)) return true;
  return false;
}

static bool is_core(const qni_entry *e) { return !e->op->plugin || !e->op->plugin->entry; }

/* The first tensor that the forward was given, as a view; -1 if none. */
static int32_t first_input(const qni_entry *e) {
  return e->n_in == 0 ? -1 : e->kind == QNI_ENTRY_BACKWARD ? e->like[0] : e->in[0];
}

/* Does argument dim name a batched dimension of the first input, or leave all to be taken? */
static bool along_batch(const qni_program *p, const qni_entry *e) {
  int32_t at = qni_schema_param(e->op->schema, "dim"), first = first_input(e);
  if (at < 0 || first < 0) return true;
  const qni_value *v = &e->attrs[at];
  const qni_pview *x = &p->view[first];
  if (v->kind == QN_ARG_INT) return dim_batched(p, x, v->v.i);
  for (int32_t i = 0; v->kind == QN_ARG_INTS && i < v->count; i++)
    if (dim_batched(p, x, v->v.ints[i])) return true;
  return v->kind != QN_ARG_INTS && qni_view_batched(p, first, NULL) > 0;
}

/* Core ops that may couple samples, but not when called like this. */
static bool harmless(const qni_program *p, const qni_entry *e) {
  static const char *const always[] = {"full", "sum_to", "sum", "stack", NULL};
  static const char *const given[] = {"batch_norm", "batch_norm_act", NULL};
  enum { GIVEN_MEAN = 3 };
  static const char *const by_dim[] = {
      "prod",    "max",    "min",    "var",         "std",          "logsumexp", "all",
      "any",     "argmax", "argmin", "max_dim",     "min_dim",      "cumsum",    "sort",
      "argsort", "topk",   "gather", "scatter_add", "index_select", "index_add", NULL};
  if (!is_core(e)) return false;
  if (is_one_of(e->op->name, always)) return true;
  if (!strcmp(e->op->name, "mean")) /* composed into backward it is no sum */
    return e->kind == QNI_ENTRY_BACKWARD || !e->backward || !along_batch(p, e);
  if (is_one_of(e->op->name, given)) /* statistics that are given are the batch's no more */
    return (e->kind == QNI_ENTRY_BACKWARD ? e->like : e->in)[GIVEN_MEAN] >= 0;
  return is_one_of(e->op->name, by_dim) && !along_batch(p, e);
}

static const char *coupling_op(const qni_program *p, const qni_entry *e) {
  bool row_op = e->op->op->batch != QN_BATCH_COUPLED;
  if (!row_op && !harmless(p, e)) return "it couples the samples of a batch";
  int32_t dim = qni_schema_param(e->op->schema, "dim");
  return row_op && dim >= 0 && e->attrs[dim].kind == QN_ARG_INT && strcmp(e->op->name, "concat") &&
                 along_batch(p, e)
             ? "it works along the samples of a batch"
             : NULL;
}

static bool is_linear(const qni_entry *e) {
  static const char *const names[] = {"add",        "sub",  "neg", "mul",  "div", "clone",
                                      "contiguous", "cast", "sum", "mean", NULL};
  return e->kind == QNI_ENTRY_COPY || (e->op && is_core(e) && is_one_of(e->op->name, names));
}

/* ---- What an entry is given ---- */

struct found {
  bool varies, wide, batched, summed;
  int32_t n_summed;
};

static void look_at(const qni_program *p, int32_t view, struct found *f) {
  if (view < 0 || p->view[view].buffer < 0) return;
  const qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  f->varies |= b->varies;
  f->wide |= b->wide;
  f->summed |= b->summed;
  f->n_summed += b->summed;
  f->batched |= qni_affine_batched(function(p, b->bytes));
}

static void look_at_all(const qni_program *p, const qni_entry *e, struct found *f) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  for (int32_t i = 0; i < (back ? e->n_out : e->n_in); i++) look_at(p, e->in[i], f);
  for (int32_t s = 0; back && s < QN_MAX_SAVED; s++) look_at(p, e->saved[s], f);
}

static bool any_batched(const qni_program *p, const int32_t *views, int32_t n) {
  for (int32_t i = 0; i < n; i++)
    if (views[i] >= 0 && qni_view_batched(p, views[i], NULL) > 0) return true;
  return false;
}

static bool patched(const qni_program *p, int32_t entry) {
  for (int32_t i = 0; i < p->n_patches; i++)
    if (p->patch[i].entry == entry) return true;
  return false;
}

/* ---- Slice, whole batch, or once ---- */

/* Does the backward of something go where its forward went? Gradients may have to be added up first. */
static const char *coupling_backward(const qni_program *p, const qni_entry *e,
                                     const struct found *f) {
  bool batched = f->batched || any_batched(p, e->out, e->n_in);
  if (e->forward >= 0 && p->when[e->forward] == QNI_WHEN_WHOLE)
    return "its forward runs on the whole batch";
  if (e->forward >= 0 && p->when[e->forward] == QNI_WHEN_STEP && f->summed && !batched)
    return "its forward runs once per step";
  return NULL;
}

/* Two gradients of which one is a slice's and the other is not cannot be added in the slice. */
static bool adds_up(const qni_program *p, const qni_entry *e, const struct found *f) {
  static const char *const names[] = {"add", "add_", "sub", "sub_", NULL};
  return e->backward && e->kind == QNI_ENTRY_FORWARD && f->wide && !f->batched &&
         !any_batched(p, e->out, e->n_out) && is_one_of(e->op->name, names);
}

static const char *coupling(const qni_program *p, const qni_entry *e, const struct found *f) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  const char *why = coupling_list(p, e->in, back ? e->n_out : e->n_in);
  if (!why && back) why = coupling_list(p, e->saved, QN_MAX_SAVED);
  if (!why) why = coupling_list(p, e->out, back ? e->n_in : e->n_out);
  if (!why && e->op) why = coupling_op(p, e);
  if (!why && back) why = coupling_backward(p, e, f);
  if (!why && adds_up(p, e, f)) why = "it adds to a gradient of the whole batch";
  return why;
}

bool qni_program_force(qni_program *p, int32_t entry, const char *why, ...) {
  if (p->why[entry]) return false;
  char text[160];
  va_list args;
  va_start(args, why);
  vsnprintf(text, sizeof text, why, args);
  va_end(args);
  char *copy = qni_arena_alloc(&p->memory, strlen(text) + 1);
  p->why[entry] = copy ? strcpy(copy, text) : "memory is short";
  return true;
}

/* Has what made the sums among the inputs run on the whole batch: they are needed in full. */
static bool force_sums(qni_program *p, const qni_entry *e, const int32_t *views, int32_t n) {
  bool forced = false;
  for (int32_t i = 0; i < n; i++) {
    if (views[i] < 0 || p->view[views[i]].buffer < 0) continue;
    const qni_pbuffer *b = &p->buffer[p->view[views[i]].buffer];
    bool part = b->varies && !qni_affine_batched(function(p, b->bytes)) && b->producer >= 0 &&
                p->when[b->producer] == QNI_WHEN_SLICE;
    if (part)
      forced |= qni_program_force(p, b->producer, "%s needs its sum over the batch",
                                  e->op ? e->op->name : "a copy");
  }
  return forced;
}

/* A sum over the slice may go through linear ops to the loss. */
static bool sums_allowed(const qni_entry *e, const struct found *f) {
  if (e->backward || !f->summed) return true;
  bool product = e->op && (!strcmp(e->op->name, "mul")) && f->n_summed > 1;
  return is_linear(e) && !product && !f->batched;
}

static qn_status mark_output(qni_program *p, int32_t entry, int32_t view, const struct found *f,
                             bool *again) {
  if (view < 0) return QN_OK;
  const qni_entry *e = &p->entry[entry];
  qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  bool slice = p->when[entry] == QNI_WHEN_SLICE;
  if (b->state) return b->wide = true, QN_OK;
  if (b->kind != QNI_BUFFER_TEMP)
    return qni_program_refuse(e, "do it after the step, outside the captured function",
                              "the step writes into a tensor that outlives it");
  bool batched = qni_affine_batched(function(p, b->bytes));
  if (b->producer >= 0 && slice && !b->varies)
    *again |= qni_program_force(p, entry, "it changes in place what is the same for all slices");
  if (b->producer < 0) b->producer = entry;
  b->varies |= batched || slice;
  b->wide |= !batched && p->when[entry] == QNI_WHEN_WHOLE;
  b->summed |= slice && !batched && (f->batched || f->summed);
  return QN_OK;
}

int32_t qni_program_maker(const qni_program *p, int32_t sink) {
  while (sink > 0 && p->entry[sink].kind != QNI_ENTRY_BACKWARD) sink--;
  return sink;
}

/* Does a forward entry write into a tensor that is there before and after the step? */
static bool is_state(qni_program *p, int32_t view) {
  qni_pbuffer *b = view < 0 || p->view[view].buffer < 0 ? NULL : &p->buffer[p->view[view].buffer];
  if (b && b->kind == QNI_BUFFER_FOREIGN && b->persistent) b->state = true;
  return b && b->state;
}

static bool writes_state(qni_program *p, const qni_entry *e) {
  bool found = false;
  if (e->backward || e->kind == QNI_ENTRY_SINK) return false;
  for (int32_t o = 0; o < e->n_out; o++) found |= is_state(p, e->out[o]);
  for (int32_t i = 0; i < e->n_in; i++)
    if (qni_entry_writes(e, i)) found |= is_state(p, e->in[i]);
  return found;
}

/* Entries that read it later must wait for it. */
static void mark_states(qni_program *p, const qni_entry *e) {
  for (int32_t i = 0; i < e->n_in; i++)
    if (qni_entry_writes(e, i) && is_state(p, e->in[i]))
      p->buffer[p->view[e->in[i]].buffer].wide = true;
}

static qn_status analyse_entry(qni_program *p, int32_t i, bool *again) {
  const qni_entry *e = &p->entry[i];
  if (e->kind == QNI_ENTRY_SINK_ROWS) return p->when[i] = p->when[qni_program_maker(p, i)], QN_OK;
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  if (writes_state(p, e)) qni_program_force(p, i, "it writes a tensor that outlives the step");
  struct found f = {.varies = patched(p, i)};
  look_at_all(p, e, &f);
  f.varies |= any_batched(p, e->out, back ? e->n_in : e->n_out);
  const char *why = f.varies && !p->why[i] ? coupling(p, e, &f) : NULL;
  if (why) qni_program_force(p, i, "%s", why);
  bool whole = f.wide && !f.varies;
  p->when[i] = p->why[i] || whole ? QNI_WHEN_WHOLE : f.varies ? QNI_WHEN_SLICE : QNI_WHEN_STEP;
  int32_t n_in = back ? e->n_out : e->n_in;
  if (!e->backward && (p->when[i] == QNI_WHEN_WHOLE || !sums_allowed(e, &f)))
    *again |= force_sums(p, e, e->in, n_in);
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < (back ? e->n_in : e->n_out); o++)
    st = mark_output(p, i, e->out[o], &f, again);
  for (int32_t s = 0; !st && !back && s < QN_MAX_SAVED; s++)
    st = mark_output(p, i, e->saved[s], &f, again);
  if (!st && !back) mark_states(p, e);
  return st;
}

/* ---- Random numbers ---- */

static int32_t batched_rows(const qni_program *p, const int32_t *views, int32_t n) {
  for (int32_t i = 0; i < n; i++)
    if (views[i] >= 0 && p->view[views[i]].ndim &&
        qni_affine_batched(function(p, p->view[views[i]].shape[0])))
      return p->view[views[i]].shape[0];
  return -1;
}

/* Rows of a random op are positions in the whole batch: where a slice begins must be known. */
static bool find_rows(qni_program *p, int32_t i) {
  const qni_entry *e = &p->entry[i];
  p->row[i] = -1;
  if (!e->op || !(e->op->op->flags & QN_OP_RANDOM) || p->when[i] != QNI_WHEN_SLICE) return false;
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  int32_t f = batched_rows(p, back ? e->like : e->in, e->n_in);
  if (f < 0 && !back) f = batched_rows(p, e->out, e->n_out);
  if (f >= 0 && function(p, f)->monomial != QNI_M_B && function(p, f)->monomial != QNI_M_N) f = -1;
  p->row[i] = f;
  return f < 0 &&
         qni_program_force(p, i, "it draws along something that is not a row of the batch");
}

/* ---- All ---- */

static void reset(qni_program *p) {
  for (int32_t b = 0; b < p->n_buffers; b++) {
    qni_pbuffer *x = &p->buffer[b];
    bool batched = qni_affine_batched(function(p, x->bytes));
    x->producer = -1;
    x->wide = x->summed = x->crosses = x->reduced = false;
    x->varies =
        x->kind == QNI_BUFFER_OFFSETS || x->uniform || (x->kind == QNI_BUFFER_INPUT && batched);
  }
}

/* Backward starts from the share of a slice, or from 1 where the loss is of the whole batch. */
static void start_backward(qni_program *p) {
  bool varies = p->root >= 0 && p->buffer[p->view[p->root].buffer].varies;
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (p->buffer[b].kind == QNI_BUFFER_SEED)
      p->buffer[b].varies = varies, p->buffer[b].wide = !varies;
}

static qn_status analyse_once(qni_program *p, bool *again) {
  qn_status st = QN_OK;
  bool forward = true;
  *again = false;
  reset(p);
  for (int32_t i = 0; !st && i < p->n_entries; i++) {
    if (forward && p->entry[i].backward) {
      forward = false;
      start_backward(p);
    }
    if (p->when[i] == QNI_WHEN_DEAD) continue;
    st = analyse_entry(p, i, again);
    *again |= find_rows(p, i);
  }
  if (!st && !*again) st = qni_program_cut(p, again);
  return st;
}

static qn_status start(qni_program *p) {
  p->entry = p->trace[0]->entry;
  p->n_entries = p->trace[0]->n_entries;
  size_t n = (size_t)p->n_entries + 2; /* room for the seed */
  p->when = qni_arena_alloc(&p->memory, n);
  p->row = qni_arena_alloc(&p->memory, n * sizeof *p->row);
  p->segment = qni_arena_alloc(&p->memory, n * sizeof *p->segment);
  p->why = qni_arena_alloc(&p->memory, n * sizeof *p->why);
  if (!p->when || !p->row || !p->segment || !p->why) return QN_E_NOMEM;
  memset(p->why, 0, n * sizeof *p->why);
  return QN_OK;
}

static qn_status analyse(qni_program *p) {
  bool again = true;
  qn_status st = QN_OK;
  while (!st && again) st = analyse_once(p, &again);
  return st;
}

/* Slices of a few ops each gain nothing: what they make leaves the cache before it is used. */
static const char *against_slices(const qni_program *p) {
  int32_t last = 0;
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->when[i] != QNI_WHEN_DEAD && p->segment[i] > last) last = p->segment[i];
  if (p->choices.slicing == QNI_SLICES_OFF) return "slices are switched off";
  return p->choices.slicing == QNI_SLICES_AUTO && last > MOST_SEGMENTS
             ? "the step would be cut into too many segments"
             : NULL;
}

qn_status qni_program_analyse(qni_program *p) {
  qn_status st = p->when ? QN_OK : start(p);
  if (!st) qni_program_live(p);
  if (!st) st = analyse(p);
  const char *why = st || p->all_whole ? NULL : against_slices(p);
  if (!why) return st;
  p->all_whole = true;
  for (int32_t i = 0; i < p->n_entries; i++)
    if (p->when[i] == QNI_WHEN_SLICE) qni_program_force(p, i, "%s", why);
  return analyse(p);
}
