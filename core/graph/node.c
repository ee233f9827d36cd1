/*
** Running one tape node backward: the op's own backward, or, when the walk itself
** is to be differentiable (or the op has nothing else), its composed one.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>

#include "exec/prof.h"
#include "graph/finite.h"
#include "graph/frame.h"
#include "graph/record.h"
#include "graph/witness.h"

void qni_grad_free(qni_grad *grad) {
  qn_tensor_free(grad->dense);
  qn_tensor_free(grad->ids);
  qn_tensor_free(grad->rows);
  *grad = (qni_grad){0};
}

static const char *saved_name(const qni_node *n, const qni_saved *s) {
  const qni_schema *schema = n->op->schema;
  if (s->input >= 0) return schema->param[n->owner[s->input]].name;
  return s->output >= 0 && s->output < schema->n_outputs ? schema->output[s->output].name
                                                         : "a buffer";
}

static qn_status check_versions(const qni_node *n) {
  for (int32_t i = 0; i < n->n_saved; i++) {
    const qni_saved *s = &n->saved[i];
    if (!s->tensor || (s->input < 0 && s->output < 0) || s->version == s->tensor->storage->version)
      continue;
    qni_fail(
        QN_E_STATE,
        "'%s' of %s was changed in place after %s had run, and its gradient needs the old values",
        saved_name(n, s), n->op->name, n->op->name);
    if (n->source) qni_error_detail("recorded at %s", n->source);
    qni_error_hint("use the form of the later op that makes a new tensor, or clone() first");
    return QN_E_STATE;
  }
  return QN_OK;
}

/* Kernels get dense gradients of every output: absent ones as zeros, strided ones as copies. */
static qn_status take_gradients(qn_call *c, qn_tensor *const *grads, bool as_they_lie) {
  qn_status st = QN_OK;
  for (int32_t o = 0; o < c->n_out; o++) c->grad_out[o] = NULL;
  for (int32_t o = 0; !st && o < c->n_out; o++) {
    const qn_view *like = &c->node->out_like[o];
    if (grads[o] && as_they_lie)
      c->grad_out[o] = qn_tensor_retain(grads[o]);
    else if (grads[o])
      st = qni_tensor_contiguous(grads[o], &c->grad_out[o]);
    else if (!as_they_lie && qni_dtype_floating(like->dtype))
      st = qni_tensor_zeros(like->dtype, like->ndim, like->shape, &c->grad_out[o]);
  }
  return st;
}

static qn_status run_compose(qn_call *c, qn_tensor *const *grads, bool create) {
  c->phase = QNI_PHASE_COMPOSE;
  qn_status st = take_gradients(c, grads, true);
  if (st) return st;
  bool before = qni_tape_enable(create);
  st = c->op->op->compose(&qni_host, c);
  qni_tape_enable(before);
  return c->pending ? c->pending : st; /* the op may have named a consequence of it */
}

/* So that out(i) is NULL in no kernel because memory is short. */
static qn_status take_memory(qn_call *c) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < c->n_in; i++) {
    const qn_view *like = &c->node->in_like[i];
    if (c->needs >> i & 1)
      st = qni_tensor_empty(like->dtype, like->ndim, like->shape, &c->grad_in[i].dense);
  }
  return st;
}

static void drop_unwritten(qn_call *c) {
  for (int32_t i = 0; i < c->n_in; i++) {
    if (c->written >> i & 1) continue;
    qn_tensor_free(c->grad_in[i].dense);
    c->grad_in[i].dense = NULL;
  }
}

static qn_status run_backward(qn_call *c, qn_tensor *const *grads) {
  c->phase = QNI_PHASE_BACKWARD;
  qn_status st = take_gradients(c, grads, false);
  if (!st && !(c->op->op->flags & QN_OP_ROW_GRADS)) st = take_memory(c);
  if (st) return st;
  int64_t begin = qni_prof_on ? qni_prof_now() : 0;
  st = c->op->op->backward(&qni_host, c);
  if (qni_prof_on) qni_prof_add(c->op->name, true, begin, qni_prof_now(), 0, 0);
  drop_unwritten(c);
  return c->pending ? c->pending : st;
}

static qn_status refuse(const qni_node *n, bool create) {
  if (create && n->op->op->backward) {
    qni_fail(QN_E_UNSUPPORTED,
             "%s has no second-order gradient: its backward is not made of registered ops",
             n->op->name);
    qni_error_hint("call backward or grad without create");
  } else {
    qni_fail(QN_E_UNSUPPORTED, "%s cannot be differentiated", n->op->name);
    qni_error_hint("detach() its inputs if no gradient is meant to flow through it");
  }
  if (n->source) qni_error_detail("recorded at %s", n->source);
  return QN_E_UNSUPPORTED;
}

static qn_status run(qn_call *c, qn_tensor *const *grads, bool create) {
  const qn_op *op = c->op->op;
  bool compose = op->compose && (create || !op->backward);
  if (!compose && (create || !op->backward)) return refuse(c->node, create);
  qn_status st = compose ? run_compose(c, grads, create) : run_backward(c, grads);
  if (!st && !compose && qni_recorder) st = qni_record_backward(c, grads);
  for (int32_t i = 0; !st && qni_finite_on() && i < c->n_in; i++)
    if (c->grad_in[i].dense) st = qni_finite_gradient(c, i, c->grad_in[i].dense);
  if (!st && qni_witness_on && !compose) qni_witness_call(c, -1);
  return st;
}

static qn_status check_shape(const qn_call *c, int32_t i) {
  const qn_view *like = &c->node->in_like[i], *got = &c->grad_in[i].dense->view;
  bool same = like->ndim == got->ndim && like->dtype == got->dtype;
  for (int32_t d = 0; same && d < like->ndim; d++) same = like->shape[d] == got->shape[d];
  if (same) return QN_OK;
  char a[160], b[160];
  qni_fail(QN_E_PLUGIN, "the gradient that %s gives for '%s' has the wrong shape", c->op->name,
           c->op->schema->param[c->owner[i]].name);
  qni_error_detail("expected %s, found %s",
                   qni_shape_text(a, sizeof a, like->dtype, like->ndim, like->shape),
                   qni_shape_text(b, sizeof b, got->dtype, got->ndim, got->shape));
  return QN_E_PLUGIN;
}

qn_status qni_node_backward(qni_node *node, qn_tensor *const *grads_out, const bool *wanted,
                            bool create, qni_grad *grads_in) {
  qn_call c;
  for (int32_t i = 0; i < node->n_in; i++) grads_in[i] = (qni_grad){0};
  if (node->released) {
    qni_fail(QN_E_STATE, "the graph of %s was already given back by an earlier backward",
             node->op->name);
    qni_error_hint("pass keep to the earlier backward to run another one");
    return QN_E_STATE;
  }
  qn_status st = check_versions(node);
  if (st) return st;
  qni_frame_init(&c, node->op, QNI_PHASE_BACKWARD);
  c.node = node;
  c.n_in = node->n_in;
  c.n_out = node->n_out;
  c.owner = node->owner;
  c.attrs = node->attrs;
  c.step = node->step;
  c.seed = node->seed;
  c.instance = node->instance;
  for (int32_t i = 0; i < c.n_in; i++) {
    c.grad_in[i] = (qni_grad){0};
    if (wanted[i] && qni_dtype_floating(node->in_like[i].dtype)) c.needs |= 1ull << i;
  }
  for (int32_t o = 0; o < c.n_out; o++) c.grad_out[o] = NULL;
  st = run(&c, grads_out, create);
  for (int32_t i = 0; !st && i < c.n_in; i++)
    if (c.grad_in[i].dense) st = check_shape(&c, i);
  if (st) qni_frame_explain(&c, st);
  for (int32_t i = 0; i < c.n_in; i++) {
    if (st) qni_grad_free(&c.grad_in[i]);
    grads_in[i] = c.grad_in[i];
  }
  for (int32_t o = 0; o < c.n_out; o++) qn_tensor_free(c.grad_out[o]);
  qni_frame_free(&c);
  return st;
}
