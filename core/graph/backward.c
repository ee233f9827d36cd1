/*
** The walk back over the tape.
**
** Nodes reachable from the root are gathered, sorted by the order of their
** making (a topological order, newest first), and each is run once, when all
** that follows it has contributed. Contributions to one tensor are added in that
** order, so the bits do not depend on anything else. With targets given, only nodes
** that lead to one are run.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "graph/call.h"
#include "graph/record.h"
#include "graph/tape.h"

struct walk {
  uint64_t id;
  qni_node **nodes;
  int64_t n, max;
  qn_tensor *const *targets; /* NULL: all leaves, gradients are stored in them */
  int32_t n_targets;
  qn_tensor **found; /* [n_targets] */
  bool create;
};

/* ---- Gathering ---- */

static qn_status push(struct walk *w, qni_node *node) {
  if (!node || node->walk == w->id) return QN_OK;
  if (w->n == w->max) {
    int64_t max = w->max ? 2 * w->max : 256;
    qni_node **grown = qni_mem_realloc(w->nodes, (size_t)max * sizeof(qni_node *));
    if (!grown) return QN_E_NOMEM;
    w->nodes = grown;
    w->max = max;
  }
  node->walk = w->id;
  node->reached = false;
  w->nodes[w->n++] = node;
  return QN_OK;
}

static int newest_first(const void *a, const void *b) {
  uint64_t x = (*(qni_node *const *)a)->sequence, y = (*(qni_node *const *)b)->sequence;
  return x < y ? 1 : x > y ? -1 : 0;
}

static qn_status gather(struct walk *w, qni_node *root) {
  static atomic_ullong walks;
  w->id = atomic_fetch_add(&walks, 1) + 1;
  qn_status st = push(w, root);
  for (int64_t i = 0; !st && i < w->n; i++)
    for (int32_t e = 0; !st && e < w->nodes[i]->n_in; e++) st = push(w, w->nodes[i]->edge[e].node);
  if (!st) qsort(w->nodes, (size_t)w->n, sizeof *w->nodes, newest_first);
  return st;
}

/* ---- Targets ---- */

static int32_t leaf_target(const struct walk *w, const qn_tensor *leaf) {
  for (int32_t i = 0; i < w->n_targets; i++)
    if (w->targets[i] == leaf) return i;
  return -1;
}

static bool node_target(const struct walk *w, const qni_node *node) {
  for (int32_t i = 0; i < w->n_targets; i++)
    if (w->targets[i]->node == node) return true;
  return false;
}

static bool edge_wanted(const struct walk *w, const qni_edge *e) {
  if (e->leaf) return !w->targets || leaf_target(w, e->leaf) >= 0;
  return e->node && e->node->reached;
}

/* From the oldest on: a node is reached if one of its edges is wanted, or it is a target itself. */
static void mark_reached(struct walk *w) {
  for (int64_t i = w->n - 1; i >= 0; i--) {
    qni_node *node = w->nodes[i];
    node->reached = w->targets && node_target(w, node);
    for (int32_t e = 0; e < node->n_in && !node->reached; e++)
      node->reached = edge_wanted(w, &node->edge[e]);
  }
}

/* ---- Adding gradients ---- */

static bool only_ours(const qn_tensor *t) {
  return atomic_load(&t->refs) == 1 && atomic_load(&t->storage->refs) == 1 &&
         qni_view_contiguous(&t->view) && t->storage->release;
}

/* *sum += grad; takes over grad. */
static qn_status add_dense(bool create, qn_tensor **sum, qn_tensor *grad) {
  if (!*sum) {
    *sum = grad;
    return QN_OK;
  }
  qn_tensor *total = NULL;
  qn_status st;
  qn_arg args[2] = {{.kind = QN_ARG_TENSOR, .v.tensor = *sum},
                    {.kind = QN_ARG_TENSOR, .v.tensor = grad}};
  bool before = qni_tape_enable(create);
  bool in_place = !create && only_ours(*sum);
  st = qni_call_named(in_place ? "add_" : "add", args, 2, &total, 1);
  qni_tape_enable(before);
  qn_tensor_free(grad);
  if (st) return st;
  qn_tensor_free(*sum);
  *sum = total;
  return QN_OK;
}

/* A leaf's gradient must be its own memory: others may hold what arrives. */
static qn_status own(bool create, qn_tensor **grad) {
  if (create || only_ours(*grad)) return QN_OK;
  qn_tensor *copy;
  qn_status st =
      qni_tensor_empty((*grad)->view.dtype, (*grad)->view.ndim, (*grad)->view.shape, &copy);
  if (st) return st;
  qni_view_copy(&(*grad)->view, &copy->view);
  qn_tensor_free(*grad);
  *grad = copy;
  return QN_OK;
}

static qn_status add_to_leaf(struct walk *w, qn_tensor *leaf, qn_tensor *grad) {
  qn_status st = qni_hooks_run(leaf->hooks, &grad);
  int32_t target = w->targets ? leaf_target(w, leaf) : -1;
  if (!st && target >= 0) return add_dense(w->create, &w->found[target], grad);
  if (!st && leaf->grad_ids && !leaf->grad) {
    const qn_view like = qni_gradient_like(leaf);
    st = qni_rows_dense(&like, leaf->grad_ids, leaf->grad_rows, &leaf->grad);
    qn_tensor_free(leaf->grad_ids);
    qn_tensor_free(leaf->grad_rows);
    leaf->grad_ids = leaf->grad_rows = NULL;
  }
  if (!st && !leaf->grad) st = own(w->create, &grad);
  if (st) {
    qn_tensor_free(grad);
    return st;
  }
  return add_dense(w->create, &leaf->grad, grad);
}

static qn_status deliver(struct walk *w, const qni_edge *e, const qn_view *like, qni_grad *g) {
  qn_status st = QN_OK;
  if (qni_recorder && (g->rows || (e->leaf && g->dense))) {
    if (e->leaf)
      st = qni_record_leaf(e->leaf, g);
    else
      st = qni_record_refuse("a gradient by rows goes to something that is not a parameter",
                             "use sparse = false there");
    qni_grad_free(g);
    return st;
  }
  if (g->rows && e->leaf && !w->targets && !e->leaf->hooks) {
    st = qni_rows_accumulate(e->leaf, g);
    qni_grad_free(g);
    return st;
  }
  if (g->rows) st = qni_rows_dense(like, g->ids, g->rows, &g->dense);
  qn_tensor *grad = g->dense;
  g->dense = NULL;
  qni_grad_free(g);
  if (st || !grad) return st;
  return e->leaf ? add_to_leaf(w, e->leaf, grad)
                 : add_dense(w->create, &e->node->pending[e->output], grad);
}

/* ---- One node ---- */

static qn_status visit_outputs(struct walk *w, qni_node *node) {
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < node->n_out; o++) {
    if (node->pending[o] && node->hooks) st = qni_hooks_run(node->hooks[o], &node->pending[o]);
    for (int32_t i = 0; !st && node->pending[o] && i < w->n_targets; i++)
      if (w->targets[i]->node == node && w->targets[i]->node_out == o)
        st = add_dense(w->create, &w->found[i], qn_tensor_retain(node->pending[o]));
  }
  return st;
}

static void forget_saved(qni_node *node) {
  for (int32_t i = 0; i < node->n_saved; i++) {
    qn_tensor_free(node->saved[i].tensor);
    node->saved[i].tensor = NULL;
  }
  node->released = true;
}

static qn_status visit(struct walk *w, qni_node *node, bool keep) {
  bool wanted[QN_MAX_TENSORS], any = false, flowed = false;
  qni_grad grads[QN_MAX_TENSORS];
  for (int32_t o = 0; o < node->n_out; o++) flowed = flowed || node->pending[o];
  qn_status st = flowed ? visit_outputs(w, node) : QN_OK;
  for (int32_t i = 0; i < node->n_in; i++) any |= wanted[i] = edge_wanted(w, &node->edge[i]);
  if (!st && flowed && any) {
    st = qni_node_backward(node, node->pending, wanted, w->create, grads);
    for (int32_t i = 0; !st && i < node->n_in; i++)
      st = deliver(w, &node->edge[i], &node->in_like[i], &grads[i]);
    if (st)
      for (int32_t i = 0; i < node->n_in; i++) qni_grad_free(&grads[i]);
    if (!keep) forget_saved(node);
  }
  for (int32_t o = 0; o < node->n_out; o++) {
    qn_tensor_free(node->pending[o]);
    node->pending[o] = NULL;
  }
  return st;
}

/* ---- Entry points ---- */

static qn_status seed_gradient(const qn_tensor *root, qn_tensor *seed, qn_tensor **grad) {
  char a[160], b[160];
  const qn_view *v = &root->view;
  if (!seed) {
    if (qni_view_count(v) != 1) {
      qni_fail(QN_E_SHAPE, "backward starts from one number, but this tensor is %s",
               qni_shape_text(a, sizeof a, v->dtype, v->ndim, v->shape));
      qni_error_hint("reduce it with sum() or mean(), or give a seed gradient of its shape");
      return QN_E_SHAPE;
    }
    qn_status st = qni_tensor_empty(v->dtype, v->ndim, v->shape, grad);
    if (!st) qni_dtype_store(v->dtype, (*grad)->view.data, 1);
    return st;
  }
  bool same = seed->view.ndim == v->ndim && seed->view.dtype == v->dtype;
  for (int32_t d = 0; same && d < v->ndim; d++) same = seed->view.shape[d] == v->shape[d];
  if (same) return *grad = qn_tensor_retain(seed), QN_OK;
  qni_fail(QN_E_SHAPE, "the seed gradient does not have the shape of the tensor");
  qni_error_detail(
      "tensor: %s, seed: %s", qni_shape_text(a, sizeof a, v->dtype, v->ndim, v->shape),
      qni_shape_text(b, sizeof b, seed->view.dtype, seed->view.ndim, seed->view.shape));
  return QN_E_SHAPE;
}

static qn_status run(struct walk *w, qn_tensor *root, qn_tensor *seed, int32_t flags) {
  qn_tensor *grad = NULL;
  bool keep = flags & (QN_BACKWARD_KEEP | QN_BACKWARD_CREATE);
  w->create = flags & QN_BACKWARD_CREATE;
  if (!root->requires_grad) {
    qni_fail(QN_E_STATE, "backward was called on a tensor that no recorded op made from something "
                         "with requires_grad");
    qni_error_hint("call requires_grad_(true) on the parameters before the forward pass, and do "
                   "not run it under no_grad");
    return QN_E_STATE;
  }
  qn_status st = seed_gradient(root, seed, &grad);
  if (!st && qni_recorder) st = qni_record_root(root, grad, !seed && !w->targets && !w->create);
  if (st || (qni_recorder && qni_recorder->watch)) {
    qn_tensor_free(grad);
    return st;
  }
  if (!root->node)
    return deliver(w, &(qni_edge){.leaf = root}, &root->view, &(qni_grad){.dense = grad});
  qni_node *start = qni_node_retain(root->node);
  st = gather(w, start);
  if (!st) mark_reached(w);
  if (!st)
    start->pending[root->node_out] = grad;
  else
    qn_tensor_free(grad);
  for (int64_t i = 0; i < w->n; i++) {
    if (!st && w->nodes[i]->reached) st = visit(w, w->nodes[i], keep);
    for (int32_t o = 0; o < w->nodes[i]->n_out;
         o++) { /* after a failure, and where nothing was wanted */
      qn_tensor_free(w->nodes[i]->pending[o]);
      w->nodes[i]->pending[o] = NULL;
    }
  }
  qni_node_free(start);
  return st;
}

qn_status qn_backward(qn_tensor *root, qn_tensor *seed, int32_t flags) {
  struct walk w = {0};
  qni_error_reset();
  qn_status st = run(&w, root, seed, flags);
  if (qni_recorder) qni_record_root_end();
  qni_mem_free(w.nodes);
  return st;
}

qn_status qn_grad(qn_tensor *root, qn_tensor *seed, qn_tensor *const *inputs, int32_t n,
                  int32_t flags, qn_tensor **grads) {
  struct walk w = {.targets = inputs, .n_targets = n, .found = grads};
  qni_error_reset();
  memset(grads, 0, (size_t)n * sizeof *grads);
  qn_status st = run(&w, root, seed, flags);
  for (int32_t i = 0; st && i < n; i++) {
    qn_tensor_free(grads[i]);
    grads[i] = NULL;
  }
  qni_mem_free(w.nodes);
  return st;
}
