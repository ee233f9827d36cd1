/*
** The tape: nodes left by op calls, and the walk back over them.
**
** A node holds what backward needs and nothing more: saved views (with the
** version they had), edges to the nodes of its inputs, the call's attributes.
** Nodes are freed with the last tensor that refers to them.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_TAPE_H
#define QNI_TAPE_H

#include "registry/registry.h"

typedef struct qni_edge { /* where an input's gradient goes */
  struct qni_node *node;  /* NULL: a leaf, or nowhere */
  qn_tensor *leaf;        /* a leaf that wants a gradient */
  int32_t output;         /* of node */
} qni_edge;

typedef struct qni_saved {
  qn_tensor *tensor; /* data without history */
  uint32_t version;
  int16_t input, output; /* which input or output it is, -1: a new buffer */
} qni_saved;

typedef struct qni_node {
  atomic_int refs;
  const qn_opref *op;
  uint64_t sequence; /* order of making; backward goes from high to low */
  uint32_t instance; /* op instance for random numbers */
  uint64_t seed, step;
  int32_t n_in, n_out;
  bool released;           /* saved tensors were given back by a backward */
  bool reached;            /* in the walk that is under way: leads to a target */
  uint64_t walk;           /* the last walk that saw it */
  qn_tensor **pending;     /* [n_out] gradients gathered by the walk */
  struct qni_hook **hooks; /* [n_out] of the outputs, or NULL */
  struct qni_node *next;   /* in the list of nodes to be freed */
  qni_edge *edge;          /* [n_in] */
  qn_view *in_like;        /* [n_in] shapes; data NULL; dtype 0: absent */
  qn_view *out_like;       /* [n_out] */
  qn_tensor **in_offsets;  /* [n_in], entries may be NULL */
  int16_t *owner;          /* [n_in] schema parameter */
  qni_value *attrs;        /* [n_params] */
  const char *source;      /* "recipe.lua:12", or NULL */
  int32_t entry;           /* of a recording, its place + 1; 0: none */
  qni_arena memory;        /* of the node itself and what it keeps */
  int32_t n_saved;         /* slots 0..n_saved-1 hold something or NULL, the others nothing yet */
  qni_saved saved[QN_MAX_SAVED];
} qni_node;

bool qni_tape_enabled(void);
bool qni_tape_enable(bool on); /* returns the former; per thread */
qn_status qni_node_new(const qn_opref *op, int32_t n_in, int32_t n_out,
                       qni_node **node) QNI_WARN_UNUSED;
qni_node *qni_node_retain(qni_node *node);
void qni_node_free(qni_node *node);
void qni_node_save(qni_node *node, int32_t slot, qni_saved saved); /* takes over its tensor */

static inline const qni_saved *qni_node_saved(const qni_node *node, int32_t slot) {
  return slot < node->n_saved && node->saved[slot].tensor ? &node->saved[slot] : NULL;
}

/* Hooks see each gradient that reaches a tensor; may replace it (retained) or leave *grad. */
typedef qn_status (*qni_hook_fn)(void *ctx, qn_tensor **grad);
qn_status qni_tensor_hook(qn_tensor *t, qni_hook_fn fn, void *ctx,
                          void (*release)(void *ctx)) QNI_WARN_UNUSED;
void qni_hooks_free(struct qni_hook *hooks);

/* A gradient on its way: dense, or rows of a table. */
typedef struct qni_grad {
  qn_tensor *dense;
  qn_tensor *ids, *rows; /* i64[n], [n,...]; dense is NULL then */
} qni_grad;
void qni_grad_free(qni_grad *grad);

/* Runs one node backward (graph/call.c): grads_out[n_out], NULL where none flowed; fills grads_in[n_in]. */
qn_status qni_node_backward(qni_node *node, qn_tensor *const *grads_out, const bool *wanted,
                            bool create, qni_grad *grads_in) QNI_WARN_UNUSED;
/* Calls a list of hooks; *grad may be replaced. */
qn_status qni_hooks_run(struct qni_hook *hooks, qn_tensor **grad) QNI_WARN_UNUSED;

/* Row gradients (graph/rows.c): adds one to a leaf, sums equal ids in order of arrival. */
/* What a leaf's gradient looks like: bf16 is storage, its gradients are of f32. */
static inline qn_view qni_gradient_like(const qn_tensor *leaf) {
  qn_view v = leaf->view;
  if (v.dtype == QN_BF16) v.dtype = QN_F32;
  return v;
}
qn_status qni_rows_accumulate(qn_tensor *leaf, const qni_grad *grad) QNI_WARN_UNUSED;
/* As a dense tensor of the table's shape. */
qn_status qni_rows_dense(const qn_view *like, const qn_tensor *ids, const qn_tensor *rows,
                         qn_tensor **dense) QNI_WARN_UNUSED;

#endif
