/*
** Tensors: reference-counted storage, strided views on it, jagged ones with offsets.
**
** A tensor is a view plus the storage it keeps alive, plus what autograd needs.
** A jagged tensor holds the rows of all its sequences in the first dimension and
** `offsets`, i64[B+1]: sequence b is rows offsets[b] .. offsets[b+1]-1.
** In C, dimensions and positions count from 0; Lua's count from 1.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_TENSOR_H
#define QNI_TENSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/mem.h"
#include "tensor/dtype.h"

typedef struct qni_storage {
  atomic_int refs;
  uint32_t version; /* counts writes in place; autograd compares */
  void *data;
  size_t bytes;
  void (*release)(void *ctx, void *data, size_t bytes); /* NULL: data was wrapped, is not ours */
  void *ctx;
} qni_storage;

struct qni_node; /* graph/tape.h */
struct qni_hook;

struct qn_tensor {
  atomic_int refs;
  bool requires_grad; /* a leaf that wants a gradient, or has a node */
  int32_t node_out;   /* which output of `node` this is */
  qn_view view;
  qni_storage *storage;
  qn_tensor *offsets;              /* i64[B+1] of a jagged tensor, or NULL */
  struct qni_node *node;           /* the call that made it; NULL for leaves */
  qn_tensor *grad;                 /* dense gradient of a leaf, or NULL */
  qn_tensor *grad_ids, *grad_rows; /* row-sparse gradient of a leaf, coalesced, or NULL */
  struct qni_hook *hooks;          /* called with each gradient that arrives */
};

/* Gives up one reference; whether it was the last. Who holds the only one need not tell others. */
static inline bool qni_unref(atomic_int *refs) {
  return atomic_load_explicit(refs, memory_order_acquire) == 1 || atomic_fetch_sub(refs, 1) == 1;
}

/* Gives back node and hooks of a dying tensor; the tape sets it. */
extern void (*qni_tensor_drop_history)(qn_tensor *t);

/* Bytes of a dense tensor; QN_E_SHAPE for negative sizes, too many dimensions, overflow. */
qn_status qni_shape_bytes(int32_t dtype, int32_t ndim, const int64_t *shape,
                          size_t *bytes) QNI_WARN_UNUSED;
int64_t qni_shape_count(int32_t ndim, const int64_t *shape);
/* Writes "f32[2,3]" or "[2,3]" (dtype 0); always NUL-ended. Returns buf. */
char *qni_shape_text(char *buf, size_t size, int32_t dtype, int32_t ndim, const int64_t *shape);

/* New tensors belong to the caller. */
qn_status qni_tensor_empty(int32_t dtype, int32_t ndim, const int64_t *shape,
                           qn_tensor **t) QNI_WARN_UNUSED;
qn_status qni_tensor_zeros(int32_t dtype, int32_t ndim, const int64_t *shape,
                           qn_tensor **t) QNI_WARN_UNUSED;
/* Shares base's storage under another view; no autograd history. offsets are not copied. */
qn_status qni_tensor_alias(const qn_tensor *base, const qn_view *view,
                           qn_tensor **t) QNI_WARN_UNUSED;
/* Same data, offsets too, without history. */
qn_status qni_tensor_detach(const qn_tensor *t, qn_tensor **out) QNI_WARN_UNUSED;
/* A contiguous tensor of the same values: t itself, retained, if it is contiguous. */
qn_status qni_tensor_contiguous(qn_tensor *t, qn_tensor **out) QNI_WARN_UNUSED;
/* A converted copy. */
qn_status qni_tensor_cast(const qn_tensor *t, int32_t dtype, qn_tensor **out) QNI_WARN_UNUSED;
/* On memory from elsewhere (a mapped file); release may be NULL. */
qn_status qni_tensor_adopt(int32_t dtype, int32_t ndim, const int64_t *shape, void *data,
                           size_t bytes, void (*release)(void *, void *, size_t), void *ctx,
                           qn_tensor **t) QNI_WARN_UNUSED;
void qni_tensor_touch(qn_tensor *t);          /* its data was written in place */
int64_t qni_tensor_count(const qn_tensor *t); /* elements */
/* Jagged to [B,L,...] with `fill` (L 0: the longest), and back. No history. */
qn_status qni_tensor_to_padded(const qn_tensor *t, int64_t length, double fill,
                               qn_tensor **out) QNI_WARN_UNUSED;
qn_status qni_tensor_from_padded(const qn_tensor *t, const qn_tensor *lengths,
                                 qn_tensor **out) QNI_WARN_UNUSED;

/* ---- Views: all return QN_E_ARG or QN_E_SHAPE with text, and share memory ---- */

bool qni_view_contiguous(const qn_view *v);
int64_t qni_view_count(const qn_view *v);
void qni_view_dense(qn_view *v, void *data, int32_t dtype, int32_t ndim,
                    const int64_t *shape); /* row-major */
/* One size may be -1. Fails when the strides do not allow it without a copy. */
qn_status qni_view_reshape(const qn_view *v, int32_t ndim, const int64_t *shape,
                           qn_view *out) QNI_WARN_UNUSED;
qn_status qni_view_transpose(const qn_view *v, int32_t a, int32_t b, qn_view *out) QNI_WARN_UNUSED;
qn_status qni_view_permute(const qn_view *v, const int32_t *order, qn_view *out) QNI_WARN_UNUSED;
qn_status qni_view_narrow(const qn_view *v, int32_t dim, int64_t start, int64_t length,
                          qn_view *out) QNI_WARN_UNUSED;
qn_status qni_view_select(const qn_view *v, int32_t dim, int64_t index,
                          qn_view *out) QNI_WARN_UNUSED;
qn_status qni_view_expand(const qn_view *v, int32_t ndim, const int64_t *shape,
                          qn_view *out) QNI_WARN_UNUSED;
/* Element-wise copy with conversion between equal shapes. */
void qni_view_copy(const qn_view *from, qn_view *to);

#endif
