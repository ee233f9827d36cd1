/*
** One op call, after its arguments were bound: unify, infer, allocate, record, run.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "exec/prof.h"
#include "exec/rng.h"
#include "graph/arguments.h"
#include "graph/finite.h"
#include "graph/record.h"
#include "graph/witness.h"

static bool check_finite;
static const char *(*source_now)(void);

void qni_call_check_finite(bool on) { check_finite = on; }
bool qni_finite_on(void) { return check_finite; }
void qni_call_source(const char *(*source)(void)) { source_now = source; }
const char *qni_call_source_now(void) { return source_now ? source_now() : NULL; }

/* ---- Inputs and outputs ---- */

static void copy_back(qni_binder *b) {
  qn_call *c = b->c;
  for (int32_t i = 0; i < c->n_in; i++) {
    if (!c->input[i] || !b->s->param[b->owner[i]].written) continue;
    if (c->dense[i] != c->input[i]) qni_view_copy(&c->dense[i]->view, &c->input[i]->view);
    qni_tensor_touch(c->input[i]);
  }
}

static int32_t input_of(const qni_binder *b, int32_t param) {
  for (int32_t i = 0; i < b->c->n_in; i++)
    if (b->owner[i] == param) return i;
  return -1;
}

static qn_status infer(qni_binder *b) {
  qn_call *c = b->c;
  const qn_view *views[QN_MAX_TENSORS];
  int64_t n_seq[QN_MAX_TENSORS];
  qni_binding binding;
  for (int32_t i = 0; i < c->n_in; i++) {
    views[i] = c->dense[i] ? &c->dense[i]->view : NULL;
    n_seq[i] = c->input[i] && c->input[i]->offsets ? c->input[i]->offsets->view.shape[0] - 1 : -1;
  }
  qn_status st = qni_schema_unify(b->s, c->n_in, views, b->owner, n_seq, b->attrs, &binding);
  bool all_decided = true;
  c->n_out = b->s->n_outputs;
  for (int32_t o = 0; o < c->n_out; o++) c->output[o] = NULL;
  for (int32_t o = 0; !st && o < c->n_out; o++) {
    bool decided = true;
    const qni_output *out = &b->s->output[o];
    int32_t i = out->alias >= 0 ? input_of(b, out->alias) : -1;
    if (i >= 0)
      c->out_view[o] = *views[i];
    else
      st = qni_schema_output(b->s, o, &binding, views, b->owner, c->n_in, b->attrs, &c->out_view[o],
                             &decided);
    all_decided = all_decided && decided;
  }
  if (st) return st;
  if (c->op->op->infer) {
    c->phase = QNI_PHASE_INFER;
    st = c->op->op->infer(&qni_host, c);
    c->phase = QNI_PHASE_FORWARD;
    return st;
  }
  return all_decided
             ? QN_OK
             : qni_fail(QN_E_PLUGIN, "%s has an output [?] but no infer function", b->s->name);
}

static bool same_rows(const qn_view *in, const qn_view *out) {
  return in->ndim > 0 && out->ndim > 0 && in->shape[0] == out->shape[0];
}

/* Whether output o of the call keeps the sequences of jagged input i. */
static bool keeps_sequences(const qni_binder *b, int32_t o, int32_t i) {
  const qn_call *c = b->c;
  const qni_output *out = &b->s->output[o];
  const qni_tensor_type *t = &out->tensor;
  const qn_view *in = &c->input[i]->view, *v = &c->out_view[o];
  if (!c->input[i]->offsets || !same_rows(in, v)) return false;
  if (out->alias >= 0) return b->owner[i] == out->alias && v->stride[0] == in->stride[0];
  if (t->like >= 0) return b->owner[i] == t->like || b->s->param[t->like].tensor.jagged >= 0;
  if (t->jagged >= 0) return b->s->param[b->owner[i]].tensor.jagged >= 0;
  if (t->lead == QNI_LEAD_ANY) return c->op->op->batch == QN_BATCH_ROWS;
  int16_t lead = b->s->param[b->owner[i]].tensor.lead;
  return t->lead == QNI_LEAD_SHARED && (lead == QNI_LEAD_SHARED || lead == QNI_LEAD_BROADCAST);
}

static void attach_offsets(const qni_binder *b, int32_t o) {
  qn_call *c = b->c;
  for (int32_t i = 0; i < c->n_in; i++)
    if (c->input[i] && keeps_sequences(b, o, i)) {
      c->output[o]->offsets = qn_tensor_retain(c->input[i]->offsets);
      return;
    }
}

static void drop_outputs(qn_call *c) {
  for (int32_t o = 0; o < c->n_out; o++) {
    qn_tensor_free(c->output[o]);
    c->output[o] = NULL;
  }
}

static qn_status allocate(qni_binder *b) {
  qn_call *c = b->c;
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < c->n_out; o++) {
    const qni_output *out = &b->s->output[o];
    qn_view *v = &c->out_view[o];
    int32_t i = out->alias >= 0 ? input_of(b, out->alias) : -1;
    if (out->same) {
      c->output[o] = qn_tensor_retain(c->input[i]);
      continue;
    }
    if (i >= 0)
      st = qni_tensor_alias(c->dense[i], v, &c->output[o]);
    else
      st = qni_tensor_empty(v->dtype, v->ndim, v->shape, &c->output[o]);
    if (st) break;
    *v = c->output[o]->view;
    attach_offsets(b, o);
  }
  return st;
}

/* ---- Recording ---- */

/* An op leaves a node when a floating input has a history and the tape is on. */
static qn_status grad_wanted(qni_binder *b, bool *wanted) {
  qn_call *c = b->c;
  *wanted = false;
  if (!qni_tape_enabled() || (c->op->op->flags & QN_OP_NO_GRAD)) return QN_OK;
  bool written = false;
  for (int32_t i = 0; i < c->n_in; i++) {
    written = written || b->s->param[b->owner[i]].written;
    if (c->input[i] && c->input[i]->requires_grad) *wanted = true, c->needs |= 1ull << i;
  }
  if (!*wanted || !written) return QN_OK;
  qni_fail(QN_E_STATE, "%s would change a tensor in place while gradients are being recorded",
           b->s->name);
  qni_error_hint("run it under no_grad, or use the form without the underscore");
  return QN_E_STATE;
}

static qn_status copy_attrs(qni_node *node, const qni_value *attrs, int32_t n) {
  memcpy(node->attrs, attrs, (size_t)n * sizeof *attrs);
  for (int32_t i = 0; i < n; i++) {
    qni_value *v = &node->attrs[i];
    size_t bytes = v->kind == QN_ARG_STR                              ? strlen(v->v.s) + 1
                   : v->kind == QN_ARG_INTS || v->kind == QN_ARG_NUMS ? (size_t)v->count * 8
                                                                      : 0;
    if (!bytes) continue;
    void *copy = qni_arena_alloc(&node->memory, bytes);
    if (!copy) return QN_E_NOMEM;
    memcpy(copy, v->v.s, bytes);
    v->v.s = copy;
  }
  return QN_OK;
}

static void link_input(qni_node *node, int32_t i, qn_tensor *t, const qn_tensor *dense) {
  node->in_like[i] = t ? dense->view : (qn_view){0};
  node->in_like[i].data = NULL;
  if (!t) return;
  if (t->offsets) node->in_offsets[i] = qn_tensor_retain(t->offsets);
  if (!t->requires_grad) return;
  if (t->node)
    node->edge[i] = (qni_edge){.node = qni_node_retain(t->node), .output = t->node_out};
  else
    node->edge[i] = (qni_edge){.leaf = qn_tensor_retain(t)};
}

static qn_status record(qni_binder *b) {
  qn_call *c = b->c;
  qn_status st = qni_node_new(c->op, c->n_in, c->n_out, &c->node);
  if (st) return st;
  if ((st = copy_attrs(c->node, b->attrs, b->s->n_params))) return st;
  memcpy(c->node->owner, b->owner, (size_t)c->n_in * sizeof *b->owner);
  for (int32_t i = 0; i < c->n_in; i++) link_input(c->node, i, c->input[i], c->dense[i]);
  c->node->instance = c->instance;
  c->node->step = c->step;
  c->node->seed = c->seed;
  c->node->source = qni_call_source_now();
  return QN_OK;
}

/* Floating outputs become the node's; if none is floating, nothing can flow back. */
static void adopt_outputs(qn_call *c) {
  for (int32_t o = 0; o < c->n_out; o++) {
    c->node->out_like[o] = c->output[o]->view;
    c->node->out_like[o].data = NULL;
    if (!qni_dtype_floating(c->output[o]->view.dtype)) continue;
    c->output[o]->node = qni_node_retain(c->node);
    c->output[o]->node_out = o;
    c->output[o]->requires_grad = true;
  }
}

/* ---- Running ---- */

static int64_t bytes_moved(const qn_call *c) {
  int64_t bytes = 0;
  for (int32_t i = 0; i < c->n_in; i++)
    if (c->dense[i])
      bytes +=
          qni_view_count(&c->dense[i]->view) * (int64_t)qni_dtype_size(c->dense[i]->view.dtype);
  for (int32_t o = 0; o < c->n_out; o++)
    bytes += qni_view_count(&c->out_view[o]) * (int64_t)qni_dtype_size(c->out_view[o].dtype);
  return bytes;
}

static qn_status run_forward(qn_call *c) {
  const qn_op *op = c->op->op;
  if (!op->forward || (qni_recorder && qni_recorder->dry)) return QN_OK;
  if (!qni_prof_on) return op->forward(&qni_host, c);
  int64_t begin = qni_prof_now();
  qn_status st = op->forward(&qni_host, c);
  qni_prof_add(c->op->name, false, begin, qni_prof_now(), bytes_moved(c),
               op->flops ? op->flops(&qni_host, c) : 0);
  return st;
}

static qn_status execute(qni_binder *b) {
  qn_call *c = b->c;
  bool wanted = false;
  qn_status st = infer(b);
  if (!st) st = grad_wanted(b, &wanted);
  if (!st && (c->op->op->flags & QN_OP_RANDOM)) c->instance = qni_rng_instance();
  if (!st) st = allocate(b);
  if (!st && wanted) st = record(b);
  if (!st && qni_recorder) st = qni_record_before(c);
  if (!st) st = run_forward(c);
  if (c->pending) st = c->pending;
  bool dry = qni_recorder && qni_recorder->dry;
  if (!st && check_finite && !dry) st = qni_finite_outputs(c);
  if (!st && qni_witness_on && !dry) qni_witness_call(c, -1);
  if (!st && !dry) copy_back(b);
  if (!st && qni_recorder) st = qni_record_forward(c);
  if (!st && c->node) adopt_outputs(c);
  if (st) drop_outputs(c);
  qni_node_free(c->node);
  c->node = NULL;
  return st;
}

static void hand_over(qn_call *c, qn_tensor **outs, int32_t max_outs, int32_t *n_outs) {
  for (int32_t o = 0; o < c->n_out; o++) {
    if (o < max_outs)
      outs[o] = c->output[o];
    else
      qn_tensor_free(c->output[o]);
  }
  *n_outs = c->n_out < max_outs ? c->n_out : max_outs;
}

qn_status qni_call_of(struct qni_thing *thing, const qn_opref *op, const qn_arg *args,
                      int32_t n_args, qn_tensor **outs, int32_t max_outs, int32_t *n_outs) {
  qn_call c;
  qni_binder b;
  *n_outs = 0;
  qni_frame_init(&c, op, QNI_PHASE_FORWARD);
  c.thing = thing;
  qni_binder_init(&b, &c);
  qn_status st = qni_binder_bind(&b, args, n_args);
  if (!st) st = execute(&b);
  if (st)
    qni_frame_explain(&c, st);
  else
    hand_over(&c, outs, max_outs, n_outs);
  qni_frame_free(&c);
  return st;
}

qn_status qni_call(const qn_opref *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                   int32_t max_outs, int32_t *n_outs) {
  return qni_call_of(NULL, op, args, n_args, outs, max_outs, n_outs);
}

qn_status qni_call_kink(const qn_opref *op, const qn_arg *args, int32_t n_args) {
  qn_call c;
  qni_binder b;
  if (!op->op->kink) return QN_OK;
  qni_frame_init(&c, op, QNI_PHASE_FORWARD);
  qni_binder_init(&b, &c);
  qn_status st = qni_binder_bind(&b, args, n_args);
  if (!st) st = infer(&b);
  if (!st) st = op->op->kink(&qni_host, &c);
  qni_frame_free(&c);
  return st;
}

qn_status qni_call_named(const char *name, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                         int32_t n_outs) {
  int32_t made = 0;
  const qn_opref *op = qni_registry_find(name);
  if (!op) return QN_E_NOT_FOUND;
  qn_status st = qni_call(op, args, n_args, outs, n_outs, &made);
  if (!st && made != n_outs) {
    while (made > 0) qn_tensor_free(outs[--made]);
    return qni_fail(QN_E_PLUGIN, "%s does not have %d outputs", name, (int)n_outs);
  }
  return st;
}
