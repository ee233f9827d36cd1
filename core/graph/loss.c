/*
** What kind of sum the loss is, and what backward starts from in a slice.
**
** The loss of the whole batch is made of slices' losses l_s by their shares D_s:
**   sum                  l = sum_s l_s                     (D_s = 1, not divided)
**   mean over elements   l = sum_s D_s l_s / sum_s D_s     (D_s: elements)
**   weighted mean        alike                             (D_s: sum of weights that count)
**   sum / sum            alike                             (D_s: the divisor)
** Backward of a slice starts from D_s, gradients are divided by sum_s D_s when the slices'
** are added up. So no share need be known before its slice runs. Between the loss and the
** ops that sum over samples only linear ops may stand; all of these must share alike.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "graph/program.h"

struct walk {
  qni_program *p;
  qni_loss loss;
  bool found, constant;
};

static const char *const mixed_hint = "let all losses of the step be means over the same weights, "
                                      "or all be sums (reduction = \"sum\")";

static qn_status add_term(struct walk *w, const qni_entry *e, const qni_loss *term) {
  const qni_affines *a = &w->p->affines;
  if (!w->found) {
    w->loss = *term;
    w->found = true;
    return QN_OK;
  }
  bool same = w->loss.kind == term->kind && w->loss.weights == term->weights &&
              w->loss.labels == term->labels && w->loss.ignore == term->ignore;
  if (same && term->kind == QNI_LOSS_COUNT)
    same = a->list[w->loss.count].monomial == a->list[term->count].monomial;
  return same ? QN_OK
              : qni_program_refuse(e, mixed_hint,
                                   "the losses of the step are not averaged over the same thing");
}

/* The function of the first batched size of a view; -1: there is none. */
static int32_t batched_size(const qni_program *p, int32_t view) {
  const qni_pview *v = &p->view[view];
  for (int32_t d = 0; d < v->ndim; d++)
    if (qni_affine_batched(&p->affines.list[v->shape[d]])) return v->shape[d];
  return -1;
}

static const qni_value *argument(const qni_entry *e, const char *name) {
  int32_t at = qni_schema_param(e->op->schema, name);
  return at < 0 || e->op->schema->param[at].kind == QNI_TENSOR ? NULL : &e->attrs[at];
}

/* Weights: a list of numbers, one for each row, called w...; labels: integers for rows. */
static void find_shares(const qni_program *p, const qni_entry *e, qni_loss *term) {
  const qni_value *ignore = argument(e, "ignore_index");
  for (int32_t i = 0; i < e->n_in; i++) {
    if (e->in[i] < 0) continue;
    const qni_pview *v = &p->view[e->in[i]];
    if (qni_view_batched(p, e->in[i], NULL) != 1) continue;
    if (e->op->schema->param[e->owner[i]].name[0] == 'w' && qni_dtype_floating(v->dtype))
      term->weights = e->in[i];
    if (ignore && ignore->kind == QN_ARG_INT && v->dtype == QN_I64 && term->labels < 0) {
      term->labels = e->in[i];
      term->ignore = ignore->v.i;
    }
  }
}

/* An op of ours or a plugin's that is a sum over rows, or their mean. */
static qn_status loss_op(struct walk *w, const qni_entry *e) {
  const qni_value *how = argument(e, "reduction");
  qni_loss term = {.kind = QNI_LOSS_COUNT, .weights = -1, .labels = -1};
  if (how && how->kind == QN_ARG_STR && !strcmp(how->v.s, "sum")) {
    term.kind = QNI_LOSS_SUM;
    return add_term(w, e, &term);
  }
  find_shares(w->p, e, &term);
  if (term.weights >= 0 || term.labels >= 0) term.kind = QNI_LOSS_WEIGHTS;
  for (int32_t i = 0; i < e->n_in && !term.count; i++)
    if (e->in[i] >= 0)
      term.count = batched_size(w->p, e->in[i]) > 0 ? batched_size(w->p, e->in[i]) : 0;
  return add_term(w, e, &term);
}

static qn_status reduction(struct walk *w, const qni_entry *e, bool mean) {
  qni_loss term = {.kind = mean ? QNI_LOSS_COUNT : QNI_LOSS_SUM, .weights = -1, .labels = -1};
  if (mean) term.count = batched_size(w->p, e->in[0]);
  return add_term(w, e, &term);
}

static qn_status visit(struct walk *w, int32_t view);

static qn_status ratio(struct walk *w, const qni_entry *e) {
  struct walk above = {.p = w->p}, below = {.p = w->p};
  qn_status st = visit(&above, e->in[0]);
  if (!st) st = visit(&below, e->in[1]);
  if (st) return st;
  if (!above.found || !below.found || above.loss.kind != QNI_LOSS_SUM ||
      below.loss.kind != QNI_LOSS_SUM || above.constant || below.constant)
    return qni_program_refuse(e, "divide a sum over samples by a sum over samples",
                              "the loss divides by something that is not a plain sum");
  return add_term(w, e, &(qni_loss){.kind = QNI_LOSS_RATIO, .weights = e->in[1], .labels = -1});
}

static qn_status visit_linear(struct walk *w, const qni_entry *e) {
  qn_status st = QN_OK;
  bool factor = e->op && (!strcmp(e->op->name, "mul") || !strcmp(e->op->name, "div"));
  for (int32_t i = 0; !st && i < e->n_in; i++) {
    bool summed = e->in[i] >= 0 && w->p->view[e->in[i]].buffer >= 0 &&
                  w->p->buffer[w->p->view[e->in[i]].buffer].summed;
    if (e->in[i] >= 0 && (summed || !factor)) st = visit(w, e->in[i]);
  }
  return st;
}

static bool is_batched(const qni_program *p, int32_t view) {
  return view >= 0 && qni_view_batched(p, view, NULL) > 0;
}

static bool summed(const qni_program *p, int32_t view) {
  return p->buffer[p->view[view].buffer].summed;
}

static qn_status visit(struct walk *w, int32_t view) {
  const qni_pbuffer *b = &w->p->buffer[w->p->view[view].buffer];
  if (!b->varies) return w->constant = true, QN_OK;
  const qni_entry *e = b->producer < 0 ? NULL : &w->p->entry[b->producer];
  if (!e || !b->summed)
    return qni_program_refuse(e, "reduce it with sum() or mean(), or use a loss op",
                              "the loss is not a sum over the batch");
  if (e->kind == QNI_ENTRY_COPY) return visit(w, e->in[0]);
  if (e->op->op->batch == QN_BATCH_SUM) return loss_op(w, e);
  const char *name = e->op->name;
  bool from_rows = is_batched(w->p, e->in[0]);
  if (from_rows && (!strcmp(name, "sum") || !strcmp(name, "sum_to"))) return reduction(w, e, false);
  if (from_rows && !strcmp(name, "mean")) return reduction(w, e, true);
  if (from_rows)
    return qni_program_refuse(e, "reduce with sum() or mean(), or use a loss op",
                              "%s sums over the batch", name);
  if (!strcmp(name, "div") && e->in[1] >= 0 && summed(w->p, e->in[1])) return ratio(w, e);
  return visit_linear(w, e);
}

/* ---- The seed entry ---- */

static int32_t seed_view(const qni_program *p) {
  for (int32_t v = 0; v < p->n_views; v++)
    if (p->view[v].buffer >= 0 && p->buffer[p->view[v].buffer].kind == QNI_BUFFER_SEED) return v;
  return -1;
}

static int32_t first_backward(const qni_program *p) {
  int32_t i = 0;
  while (i < p->n_entries && !p->entry[i].backward) i++;
  return i;
}

static qn_status fill_seed(qni_program *p, qni_entry *e) {
  int32_t *views = qni_arena_alloc(&p->memory, 4 * sizeof *views);
  if (!views) return QN_E_NOMEM;
  *e = (qni_entry){
      .kind = QNI_ENTRY_SEED, .n_in = 3, .n_out = 1, .backward = true, .leaf = -1, .source = ""};
  for (int32_t i = 0; i < QN_MAX_SAVED; i++) e->saved[i] = -1;
  views[0] = p->root;
  views[1] = p->loss.kind >= QNI_LOSS_WEIGHTS ? p->loss.weights : -1;
  views[2] = p->loss.kind == QNI_LOSS_WEIGHTS ? p->loss.labels : -1;
  views[3] = seed_view(p);
  e->in = views;
  e->out = views + 3;
  return QN_OK;
}

/* Puts the seed's entry before the first of backward. */
static qn_status insert_seed(qni_program *p) {
  int32_t at = first_backward(p), rest = p->n_entries - at;
  qni_entry *list = qni_arena_alloc(&p->memory, (size_t)(p->n_entries + 1) * sizeof *list);
  if (!list) return QN_E_NOMEM;
  memcpy(list, p->entry, (size_t)at * sizeof *list);
  memcpy(list + at + 1, p->entry + at, (size_t)rest * sizeof *list);
  memmove(p->when + at + 1, p->when + at, (size_t)rest);
  memmove(p->row + at + 1, p->row + at, (size_t)rest * sizeof *p->row);
  memmove(p->why + at + 1, p->why + at, (size_t)rest * sizeof *p->why);
  for (int32_t i = 0; i < p->n_patches; i++) p->patch[i].entry += p->patch[i].entry >= at;
  for (int32_t b = 0; b < p->n_buffers; b++) p->buffer[b].producer += p->buffer[b].producer >= at;
  p->entry = list;
  p->n_entries++;
  p->seed_entry = at;
  p->when[at] = p->loss.kind == QNI_LOSS_WHOLE ? QNI_WHEN_WHOLE : QNI_WHEN_SLICE;
  p->row[at] = -1;
  p->why[at] = NULL;
  qn_status st = fill_seed(p, &list[at]);
  if (!st && list[at].out[0] >= 0) p->buffer[p->view[list[at].out[0]].buffer].producer = at;
  return st;
}

/* Has all sums over samples of the forward part run on the whole batch; false: there are none. */
static bool force_all_sums(qni_program *p) {
  bool forced = false;
  for (int32_t b = 0; b < p->n_buffers; b++) {
    const qni_pbuffer *x = &p->buffer[b];
    if (!x->summed || x->producer < 0 || p->entry[x->producer].backward) continue;
    forced |= qni_program_force(p, x->producer, "the losses are not averaged over the same thing");
  }
  return forced;
}

static qn_status find_loss(qni_program *p) {
  struct walk w = {.p = p};
  const qni_pbuffer *root = &p->buffer[p->view[p->root].buffer];
  if (root->wide) {
    p->loss = (qni_loss){.kind = QNI_LOSS_WHOLE, .weights = -1, .labels = -1};
    return QN_OK;
  }
  qn_status st = visit(&w, p->root);
  if (st) return st;
  if (!w.found) return qni_program_refuse(NULL, NULL, "the loss does not depend on the batch");
  if (w.constant && w.loss.kind == QNI_LOSS_SUM)
    return qni_program_refuse(
        NULL, "use a mean over the samples, or add the gradient of that part after the step",
        "a loss that is a sum over samples has a part that does not depend on them");
  p->loss = w.loss;
  return QN_OK;
}

qn_status qni_program_loss(qni_program *p) {
  bool again = false;
  if (p->root < 0) return QN_OK; /* a step without gradients */
  qn_status st = find_loss(p);
  if (st == QN_E_UNSUPPORTED && force_all_sums(p)) {
    qni_error_reset();
    st = qni_program_analyse(p);
    if (!st) st = find_loss(p);
  }
  if (!st) st = insert_seed(p);
  if (!st) st = qni_program_cut(p, &again);
  return !st && again ? qni_program_refuse(NULL, NULL, "the loss cannot be cut into segments") : st;
}
