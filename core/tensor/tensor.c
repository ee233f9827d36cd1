/*
** Tensors: creation, sharing and release; copies, casts.
** SPDX-License-Identifier: MIT
*/
#include "tensor/tensor.h"

#include <string.h>

static void no_history(qn_tensor *t) { (void)t; }
void (*qni_tensor_drop_history)(qn_tensor *t) = no_history;

static void release_buffer(void *ctx, void *data, size_t bytes) {
  (void)ctx;
  qni_mem_buffer_free(data, bytes);
}

/* ---- Storage ---- */

/*
** A storage lies in one block with the tensor that it is made for, and with its data if that is
** small. The storage is freed last, so the block is its; views made later are blocks of their own.
*/
struct block {
  _Alignas(64) qni_storage storage;
  _Alignas(64) qn_tensor tensor;
  _Alignas(64) unsigned char data[];
};
enum { SMALL = 448 };

static struct block *block_of(qni_storage *s) { return (struct block *)(void *)s; }

static size_t block_bytes(qni_storage *s) {
  const bool behind = s->data == block_of(s)->data;
  return sizeof(struct block) + (behind ? s->bytes : 0);
}

static void storage_free(qni_storage *s) {
  if (!s || !qni_unref(&s->refs)) return;
  const size_t bytes = block_bytes(s);
  if (s->release) s->release(s->ctx, s->data, s->bytes);
  qni_mem_buffer_free(s, bytes);
}

/* A tensor on new storage. data NULL: behind it. */
static qn_tensor *tensor_with(const qni_storage *like) {
  struct block *b = qni_mem_buffer(sizeof *b + (like->data ? 0 : like->bytes));
  if (!b) return NULL;
  b->storage = *like;
  b->storage.refs = 1;
  if (!like->data) b->storage.data = b->data;
  b->tensor = (qn_tensor){.refs = 1, .storage = &b->storage};
  return &b->tensor;
}

/* ---- Creation ---- */

qn_status qni_tensor_adopt(int32_t dtype, int32_t ndim, const int64_t *shape, void *data,
                           size_t bytes, void (*release)(void *, void *, size_t), void *ctx,
                           qn_tensor **t) {
  size_t needed;
  *t = NULL;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &needed);
  if (st) return st;
  if (needed > bytes)
    return qni_fail(QN_E_SHAPE, "the shape needs %zu bytes, the memory holds %zu", needed, bytes);
  *t = tensor_with(&(qni_storage){.data = data, .bytes = bytes, .release = release, .ctx = ctx});
  if (!*t) return QN_E_NOMEM;
  qni_view_dense(&(*t)->view, data, dtype, ndim, shape);
  return QN_OK;
}

qn_status qni_tensor_empty(int32_t dtype, int32_t ndim, const int64_t *shape, qn_tensor **t) {
  qni_storage like = {0};
  *t = NULL;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &like.bytes);
  if (st) return st;
  if (like.bytes > SMALL || qni_mem_guarding()) {
    like.release = release_buffer;
    like.data = qni_mem_buffer(like.bytes);
    if (!like.data) return QN_E_NOMEM;
  }
  *t = tensor_with(&like);
  if (!*t) {
    qni_mem_buffer_free(like.data, like.bytes);
    return QN_E_NOMEM;
  }
  qni_view_dense(&(*t)->view, (*t)->storage->data, dtype, ndim, shape);
  return QN_OK;
}

qn_status qni_tensor_zeros(int32_t dtype, int32_t ndim, const int64_t *shape, qn_tensor **t) {
  qn_status st = qni_tensor_empty(dtype, ndim, shape, t);
  if (!st) memset((*t)->storage->data, 0, (*t)->storage->bytes);
  return st;
}

qn_status qn_tensor_new(int32_t dtype, int32_t ndim, const int64_t *shape, qn_tensor **t) {
  qni_error_reset();
  return qni_tensor_zeros(dtype, ndim, shape, t);
}

qn_status qn_tensor_wrap(int32_t dtype, int32_t ndim, const int64_t *shape, void *data,
                         qn_tensor **t) {
  size_t bytes;
  qni_error_reset();
  *t = NULL;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &bytes);
  return st ? st : qni_tensor_adopt(dtype, ndim, shape, data, bytes, NULL, NULL, t);
}

const qn_view *qn_tensor_view(const qn_tensor *t) { return &t->view; }

qn_tensor *qn_tensor_offsets(const qn_tensor *t) { return t->offsets; }

qn_status qni_tensor_alias(const qn_tensor *base, const qn_view *view, qn_tensor **t) {
  *t = qni_mem_buffer(sizeof **t);
  if (!*t) return QN_E_NOMEM;
  atomic_fetch_add(&base->storage->refs, 1);
  **t = (qn_tensor){.refs = 1, .view = *view, .storage = base->storage};
  return QN_OK;
}

qn_status qni_tensor_detach(const qn_tensor *t, qn_tensor **out) {
  qn_status st = qni_tensor_alias(t, &t->view, out);
  if (!st && t->offsets) (*out)->offsets = qn_tensor_retain(t->offsets);
  return st;
}

/* ---- Release ---- */

qn_tensor *qn_tensor_retain(qn_tensor *t) {
  atomic_fetch_add(&t->refs, 1);
  return t;
}

void qn_tensor_free(qn_tensor *t) {
  if (!t || !qni_unref(&t->refs)) return;
  qn_tensor_free(t->offsets);
  qn_tensor_free(t->grad);
  qn_tensor_free(t->grad_ids);
  qn_tensor_free(t->grad_rows);
  qni_tensor_drop_history(t);
  qni_storage *storage = t->storage;
  if (t != &block_of(storage)->tensor) qni_mem_buffer_free(t, sizeof *t);
  storage_free(storage);
}

/* ---- Copies ---- */

static qn_status copy_as(const qn_tensor *t, int32_t dtype, qn_tensor **out) {
  qn_status st = qni_tensor_empty(dtype, t->view.ndim, t->view.shape, out);
  if (st) return st;
  qni_view_copy(&t->view, &(*out)->view);
  if (t->offsets) (*out)->offsets = qn_tensor_retain(t->offsets);
  return QN_OK;
}

qn_status qni_tensor_contiguous(qn_tensor *t, qn_tensor **out) {
  if (!qni_view_contiguous(&t->view)) return copy_as(t, t->view.dtype, out);
  *out = qn_tensor_retain(t);
  return QN_OK;
}

qn_status qni_tensor_cast(const qn_tensor *t, int32_t dtype, qn_tensor **out) {
  return copy_as(t, dtype, out);
}

void qni_tensor_touch(qn_tensor *t) { t->storage->version++; }

int64_t qni_tensor_count(const qn_tensor *t) { return qni_view_count(&t->view); }
