/*
** May a recording be cut into slices of the batch? What follows the batch, entry by entry.
**
** A size is batched when it grows with the samples or their rows. Of memory with a batched
** size each view must have exactly one batched dimension, a whole multiple of the batch:
** two are pairs of samples, none or a part means that single samples were picked. What an
** op makes without a batched dimension out of something batched is a sum over the samples
** if the op is a sum; it may then go, through linear ops, to the loss alone. In backward all is
** linear in the gradient, so sums go where they like.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "graph/program.h"

static const char *const eager_hint =
    "train this model eagerly, or move what couples samples out of the step";

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

/* A view on memory that grows with the batch. */
static qn_status check_view(const qni_program *p, const qni_entry *e, int32_t view) {
  if (view < 0 || p->view[view].buffer < 0) return QN_OK;
  const qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  if (!qni_affine_batched(function(p, b->bytes))) return QN_OK;
  bool odd = false;
  int32_t n = qni_view_batched(p, view, &odd);
  if (n > 1)
    return qni_program_refuse(e, eager_hint,
                              "the step compares samples of the batch with each other");
  if (n == 1 && !odd) return QN_OK;
  return qni_program_refuse(e, "give what is special about some samples as a tensor of the batch",
                            b->kind == QNI_BUFFER_OFFSETS
                                ? "the step computes with the offsets of sequences"
                                : "the step picks some samples or rows out of the batch");
}

static qn_status check_list(const qni_program *p, const qni_entry *e, const int32_t *views,
                            int32_t n) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < n; i++) st = check_view(p, e, views[i]);
  return st;
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
  static const char *const always[] = {"full", "sum_to", "sum", "mean", "stack", NULL};
  static const char *const by_dim[] = {
      "prod",    "max",    "min",    "var",         "std",          "logsumexp", "all",
      "any",     "argmax", "argmin", "max_dim",     "min_dim",      "cumsum",    "sort",
      "argsort", "topk",   "gather", "scatter_add", "index_select", "index_add", NULL};
  if (!is_core(e)) return false;
  if (is_one_of(e->op->name, always)) return true;
  return is_one_of(e->op->name, by_dim) && !along_batch(p, e);
}

static qn_status check_op(const qni_program *p, const qni_entry *e) {
  bool row_op = e->op->op->batch != QN_BATCH_COUPLED;
  if (!row_op && !harmless(p, e))
    return qni_program_refuse(e, eager_hint, "%s couples the samples of a batch", e->op->name);
  int32_t dim = qni_schema_param(e->op->schema, "dim");
  if (row_op && dim >= 0 && e->attrs[dim].kind == QN_ARG_INT && strcmp(e->op->name, "concat") &&
      along_batch(p, e))
    return qni_program_refuse(e, eager_hint, "%s works along the samples of a batch", e->op->name);
  return QN_OK;
}

static bool is_linear(const qni_entry *e) {
  static const char *const names[] = {"add",        "sub",  "neg", "mul",  "div", "clone",
                                      "contiguous", "cast", "sum", "mean", NULL};
  return e->kind == QNI_ENTRY_COPY || (e->op && is_core(e) && is_one_of(e->op->name, names));
}

/* ---- What follows the slice ---- */

struct found {
  bool varies, batched, summed;
  int32_t n_summed;
};

static void look_at(const qni_program *p, int32_t view, struct found *f) {
  if (view < 0 || p->view[view].buffer < 0) return;
  const qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  f->varies |= b->varies;
  f->summed |= b->summed;
  f->n_summed += b->summed;
  f->batched |= qni_affine_batched(function(p, b->bytes));
}

static bool patched(const qni_program *p, int32_t entry) {
  for (int32_t i = 0; i < p->n_patches; i++)
    if (p->patch[i].entry == entry) return true;
  return false;
}

static qn_status check_sums(const qni_entry *e, const struct found *f) {
  if (e->backward || !f->summed) return QN_OK;
  bool product = e->op && (!strcmp(e->op->name, "mul")) && f->n_summed > 1;
  if (is_linear(e) && !product && !f->batched) return QN_OK;
  return qni_program_refuse(
      e, "a loss must be a sum or a mean over the samples; per-sample results may be used freely",
      "%s is computed from a sum over the batch", e->op ? e->op->name : "a copy");
}

static qn_status mark_output(qni_program *p, int32_t entry, int32_t view, const struct found *f) {
  if (view < 0) return QN_OK;
  const qni_entry *e = &p->entry[entry];
  qni_pbuffer *b = &p->buffer[p->view[view].buffer];
  if (b->kind != QNI_BUFFER_TEMP)
    return qni_program_refuse(e, "do it after the step, outside the captured function",
                              "the step writes into a tensor that outlives it");
  if (b->producer >= 0 && f->varies && !b->varies)
    return qni_program_refuse(
        e, "use the form of the op that makes a new tensor",
        "what is the same for all slices is changed in place by something that is not");
  if (b->producer < 0) b->producer = entry;
  bool batched = qni_affine_batched(function(p, b->bytes));
  b->varies |= f->varies || batched;
  b->summed |= !batched && f->varies && (f->batched || f->summed);
  return QN_OK;
}

static void look_at_all(const qni_program *p, const qni_entry *e, struct found *f) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  for (int32_t i = 0; i < (back ? e->n_out : e->n_in); i++) look_at(p, e->in[i], f);
  for (int32_t s = 0; back && s < QN_MAX_SAVED; s++) look_at(p, e->saved[s], f);
}

static qn_status analyse_entry(qni_program *p, int32_t i) {
  const qni_entry *e = &p->entry[i];
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  struct found f = {.varies = patched(p, i)};
  look_at_all(p, e, &f);
  qn_status st = check_list(p, e, e->in, back ? e->n_out : e->n_in);
  if (!st && back) st = check_list(p, e, e->saved, QN_MAX_SAVED);
  for (int32_t o = 0; !back && o < e->n_out; o++)
    f.varies |= qni_view_batched(p, e->out[o], NULL) > 0;
  if (!st && e->op && f.varies) st = check_op(p, e);
  if (!st) st = check_sums(e, &f);
  for (int32_t o = 0; !st && o < (back ? e->n_in : e->n_out); o++) {
    st = mark_output(p, i, e->out[o], &f);
    if (!st) st = check_view(p, e, e->out[o]);
  }
  for (int32_t s = 0; !st && !back && s < QN_MAX_SAVED; s++)
    st = mark_output(p, i, e->saved[s], &f);
  p->when[i] = f.varies ? QNI_WHEN_SLICE : QNI_WHEN_STEP;
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
static qn_status find_rows(qni_program *p, int32_t i) {
  const qni_entry *e = &p->entry[i];
  p->row[i] = -1;
  if (!e->op || !(e->op->op->flags & QN_OP_RANDOM) || p->when[i] != QNI_WHEN_SLICE) return QN_OK;
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  int32_t f = batched_rows(p, back ? e->like : e->in, e->n_in);
  if (f < 0 && !back) f = batched_rows(p, e->out, e->n_out);
  if (f >= 0 && function(p, f)->monomial != QNI_M_B && function(p, f)->monomial != QNI_M_N) f = -1;
  p->row[i] = f;
  if (f >= 0) return QN_OK;
  return qni_program_refuse(
      e, "let the first dimension be that of the samples, or of their rows",
      "%s draws random numbers along something that is not a row of the batch", e->op->name);
}

/* ---- All ---- */

static qn_status start(qni_program *p) {
  p->entry = p->trace[0]->entry;
  p->n_entries = p->trace[0]->n_entries;
  size_t n = (size_t)p->n_entries + 2; /* room for the seed */
  p->when = qni_arena_alloc(&p->memory, n);
  p->row = qni_arena_alloc(&p->memory, n * sizeof *p->row);
  if (!p->when || !p->row) return QN_E_NOMEM;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    qni_pbuffer *x = &p->buffer[b];
    x->varies = x->kind == QNI_BUFFER_OFFSETS || x->kind == QNI_BUFFER_SEED || x->uniform ||
                (x->kind == QNI_BUFFER_INPUT && qni_affine_batched(function(p, x->bytes)));
  }
  return QN_OK;
}

qn_status qni_program_analyse(qni_program *p) {
  qn_status st = start(p);
  for (int32_t i = 0; !st && i < p->n_entries; i++) {
    st = analyse_entry(p, i);
    if (!st) st = find_rows(p, i);
  }
  return st;
}
