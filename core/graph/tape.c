/*
** Tape nodes and gradient hooks: making, sharing, freeing.
**
** Freeing a node may free the nodes before it; a list instead of recursion
** keeps a graph of any length off the C stack.
** SPDX-License-Identifier: MIT
*/
#include "graph/tape.h"

#include <stddef.h>
#include <string.h>

static _Thread_local bool enabled = true;
static atomic_ullong next_sequence = 1;

bool qni_tape_enabled(void) { return enabled; }

bool qni_tape_enable(bool on) {
  bool before = enabled;
  enabled = on;
  return before;
}

int32_t qn_grad_enable(int32_t on) { return qni_tape_enable(on != 0); }

/* ---- Nodes ---- */

static void *zeroed(qni_arena *arena, size_t bytes) {
  void *block = qni_arena_alloc(arena, bytes);
  return block ? memset(block, 0, bytes) : NULL;
}

/* A node and its arrays lie in one block; shapes, owners, arguments are not cleared: calls fill them. */
qn_status qni_node_new(const qn_opref *op, int32_t n_in, int32_t n_out, qni_node **node) {
  *node = NULL;
  qni_node *n;
  const size_t in = (size_t)n_in, out = (size_t)n_out, params = (size_t)op->schema->n_params;
  const size_t links = in * (sizeof *n->edge + sizeof *n->in_offsets) + out * sizeof *n->pending;
  const size_t shapes = (in + out) * sizeof *n->in_like;
  qni_arena memory = {0};
  n = qni_arena_alloc(&memory, sizeof *n + links + shapes + params * sizeof *n->attrs +
                                   in * sizeof *n->owner);
  if (!n) return QN_E_NOMEM;
  memset(n, 0, offsetof(qni_node, saved));
  memset(n + 1, 0, links);
  atomic_init(&n->refs, 1);
  n->op = op;
  n->sequence = atomic_fetch_add(&next_sequence, 1);
  n->n_in = n_in;
  n->n_out = n_out;
  n->edge = (qni_edge *)(n + 1);
  n->in_offsets = (qn_tensor **)(n->edge + in);
  n->pending = n->in_offsets + in;
  n->in_like = (qn_view *)(n->pending + out);
  n->out_like = n->in_like + in;
  n->attrs = (qni_value *)(n->out_like + out);
  n->owner = (int16_t *)(n->attrs + params);
  n->memory = memory;
  *node = n;
  return QN_OK;
}

qni_node *qni_node_retain(qni_node *node) {
  atomic_fetch_add(&node->refs, 1);
  return node;
}

void qni_node_save(qni_node *node, int32_t slot, qni_saved saved) {
  while (node->n_saved <= slot)
    node->saved[node->n_saved++] = (qni_saved){.input = -1, .output = -1};
  qn_tensor_free(node->saved[slot].tensor);
  node->saved[slot] = saved;
}

static void destroy(qni_node *n) {
  for (int32_t i = 0; i < n->n_in; i++) {
    qni_node_free(n->edge[i].node);
    qn_tensor_free(n->edge[i].leaf);
    qn_tensor_free(n->in_offsets[i]);
  }
  for (int32_t i = 0; i < n->n_saved; i++) qn_tensor_free(n->saved[i].tensor);
  for (int32_t o = 0; o < n->n_out; o++) {
    qn_tensor_free(n->pending[o]);
    if (n->hooks) qni_hooks_free(n->hooks[o]);
  }
  qni_arena memory = n->memory; /* which holds the node, too */
  qni_arena_free(&memory);
}

void qni_node_free(qni_node *node) {
  static _Thread_local qni_node *dying;
  static _Thread_local bool busy;
  if (!node || !qni_unref(&node->refs)) return;
  node->next = dying;
  dying = node;
  if (busy) return;
  busy = true;
  while (dying) {
    qni_node *n = dying;
    dying = n->next;
    destroy(n);
  }
  busy = false;
}

/* ---- Hooks ---- */

struct qni_hook {
  struct qni_hook *next;
  qni_hook_fn fn;
  void *ctx;
  void (*release)(void *ctx);
};

/* Where a tensor's hooks are kept: with its node, so that they outlive the tensor, or on the leaf. */
static struct qni_hook **hook_list(qn_tensor *t) {
  if (!t->node) return &t->hooks;
  if (!t->node->hooks)
    t->node->hooks = zeroed(&t->node->memory, (size_t)t->node->n_out * sizeof *t->node->hooks);
  return t->node->hooks ? &t->node->hooks[t->node_out] : NULL;
}

qn_status qni_tensor_hook(qn_tensor *t, qni_hook_fn fn, void *ctx, void (*release)(void *ctx)) {
  if (!t->requires_grad) {
    qni_fail(QN_E_STATE, "a gradient hook was put on a tensor that gets no gradient");
    qni_error_hint("call requires_grad_(true) on it first");
    return QN_E_STATE;
  }
  struct qni_hook **at = hook_list(t), *hook = at ? qni_mem_alloc(sizeof *hook) : NULL;
  if (!hook) return QN_E_NOMEM;
  while (*at) at = &(*at)->next;
  *hook = (struct qni_hook){.fn = fn, .ctx = ctx, .release = release};
  *at = hook;
  return QN_OK;
}

qn_status qni_hooks_run(struct qni_hook *hooks, qn_tensor **grad) {
  qn_status st = QN_OK;
  for (struct qni_hook *h = hooks; h && !st; h = h->next) st = h->fn(h->ctx, grad);
  return st;
}

void qni_hooks_free(struct qni_hook *hooks) {
  while (hooks) {
    struct qni_hook *next = hooks->next;
    if (hooks->release) hooks->release(hooks->ctx);
    qni_mem_free(hooks);
    hooks = next;
  }
}

/* ---- Tensors' side ---- */

static void drop_history(qn_tensor *t) {
  qni_node_free(t->node);
  qni_hooks_free(t->hooks);
}

__attribute__((constructor)) static void install(void) { qni_tensor_drop_history = drop_history; }

qn_status qn_tensor_require_grad(qn_tensor *t, int32_t on) {
  qni_error_reset();
  if (t->node) {
    qni_fail(QN_E_STATE, "requires_grad can be set on leaves only; this tensor is the result of %s",
             t->node->op->name);
    qni_error_hint("detach() it first");
    return QN_E_STATE;
  }
  if (on && !qni_dtype_floating(t->view.dtype))
    return qni_fail(QN_E_DTYPE, "a tensor of type %s cannot have a gradient",
                    qni_dtype_name(t->view.dtype));
  t->requires_grad = on != 0;
  return QN_OK;
}

int32_t qn_tensor_requires_grad(const qn_tensor *t) { return t->requires_grad; }

qn_tensor *qn_tensor_grad(const qn_tensor *t) { return t->grad; }

int32_t qn_tensor_grad_rows(const qn_tensor *t, qn_tensor **ids, qn_tensor **rows) {
  *ids = t->grad_ids;
  *rows = t->grad_rows;
  return t->grad_ids != NULL;
}

void qn_tensor_clear_grad(qn_tensor *t) {
  qn_tensor_free(t->grad);
  qn_tensor_free(t->grad_ids);
  qn_tensor_free(t->grad_rows);
  t->grad = t->grad_ids = t->grad_rows = NULL;
}
