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

static qni_storage *storage_new(void *data, size_t bytes, void (*release)(void *, void *, size_t),
                                void *ctx) {
  qni_storage *s = qni_mem_buffer(sizeof *s);
  if (s)
    *s = (qni_storage){.refs = 1, .data = data, .bytes = bytes, .release = release, .ctx = ctx};
  return s;
}

/* Small data lies behind its storage, in one buffer. */
enum { SMALL = 448, HEAD = 64 };
_Static_assert(sizeof(qni_storage) <= HEAD, "data begins on a line of its own");

static void release_with_storage(void *ctx, void *data, size_t bytes) {
  (void)ctx, (void)data, (void)bytes;
}

static void *behind(qni_storage *s) { return (char *)s + HEAD; }

static qni_storage *storage_with_data(size_t bytes) {
  qni_storage *s = qni_mem_buffer(HEAD + bytes);
  if (s)
    *s = (qni_storage){
        .refs = 1, .data = behind(s), .bytes = bytes, .release = release_with_storage};
  return s;
}

static void storage_free(qni_storage *s) {
  if (!s || atomic_fetch_sub(&s->refs, 1) > 1) return;
  const size_t own = s->data == behind(s) ? HEAD + s->bytes : sizeof *s;
  if (s->release) s->release(s->ctx, s->data, s->bytes);
  qni_mem_buffer_free(s, own);
}

/* Takes over one reference of `storage`, also on failure. */
static qn_status tensor_on(qni_storage *storage, const qn_view *view, qn_tensor **t) {
  qn_tensor *made = storage ? qni_mem_buffer(sizeof *made) : NULL;
  if (!made) {
    storage_free(storage);
    return QN_E_NOMEM;
  }
  *made = (qn_tensor){.refs = 1, .view = *view, .storage = storage};
  *t = made;
  return QN_OK;
}

/* ---- Creation ---- */

qn_status qni_tensor_adopt(int32_t dtype, int32_t ndim, const int64_t *shape, void *data,
                           size_t bytes, void (*release)(void *, void *, size_t), void *ctx,
                           qn_tensor **t) {
  qn_view view;
  size_t needed;
  *t = NULL;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &needed);
  if (st) return st;
  if (needed > bytes)
    return qni_fail(QN_E_SHAPE, "the shape needs %zu bytes, the memory holds %zu", needed, bytes);
  qni_view_dense(&view, data, dtype, ndim, shape);
  qni_storage *s = storage_new(data, bytes, release, ctx);
  return s ? tensor_on(s, &view, t) : QN_E_NOMEM;
}

qn_status qni_tensor_empty(int32_t dtype, int32_t ndim, const int64_t *shape, qn_tensor **t) {
  size_t bytes;
  *t = NULL;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &bytes);
  if (st) return st;
  qni_storage *s;
  if (bytes <= SMALL && !qni_mem_guarding()) {
    s = storage_with_data(bytes);
  } else {
    void *data = qni_mem_buffer(bytes);
    s = data ? storage_new(data, bytes, release_buffer, NULL) : NULL;
    if (!s) qni_mem_buffer_free(data, bytes);
  }
  if (!s) return QN_E_NOMEM;
  qn_view view;
  qni_view_dense(&view, s->data, dtype, ndim, shape);
  return tensor_on(s, &view, t);
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
  *t = NULL;
  atomic_fetch_add(&base->storage->refs, 1);
  return tensor_on(base->storage, view, t);
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
  if (!t || atomic_fetch_sub(&t->refs, 1) > 1) return;
  qn_tensor_free(t->offsets);
  qn_tensor_free(t->grad);
  qn_tensor_free(t->grad_ids);
  qn_tensor_free(t->grad_rows);
  qni_tensor_drop_history(t);
  storage_free(t->storage);
  qni_mem_buffer_free(t, sizeof *t);
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
