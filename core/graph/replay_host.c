/*
** What a replayed call gets where an eager one would make tensors: places in the arena.
** An op that asks for other memory than it did in the recordings is refused: its needs
** depend on the data.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "graph/frame.h"

qn_status qni_replay_unplanned(const qn_call *c, const char *what) {
  qni_fail(QN_E_STATE,
           "%s asks in a captured step for %s that it did not ask for when the step was recorded",
           c->op->name, what);
  qni_error_hint("train this model eagerly");
  return QN_E_STATE;
}

static bool has_shape(const qn_view *v, int32_t dtype, int32_t ndim, const int64_t *shape) {
  bool same = v->dtype == dtype && v->ndim == ndim;
  for (int32_t d = 0; same && d < ndim; d++) same = v->shape[d] == shape[d];
  return same;
}

qn_status qni_replay_save_new(qn_call *c, int32_t slot, int32_t dtype, int32_t ndim,
                              const int64_t *shape, qn_view **view) {
  qni_replay *r = c->replay;
  qn_tensor *planned = r->saved[slot];
  *view = planned ? &planned->view : &r->spare[slot];
  if (planned && planned->view.data && has_shape(&planned->view, dtype, ndim, shape)) return QN_OK;
  if (planned && !r->loose[slot]) return qni_replay_unplanned(c, "another shape of saved memory");
  size_t bytes;
  qn_status st = qni_shape_bytes(dtype, ndim, shape, &bytes);
  if (st) return st;
  void *memory = qni_arena_alloc(planned ? &r->loose_memory : &c->memory, bytes);
  if (!memory) return QN_E_NOMEM;
  qni_view_dense(*view, memory, dtype, ndim, shape);
  return QN_OK;
}

qn_status qni_replay_rows(qn_call *c, int32_t i, int64_t n, int64_t **ids, qn_view **rows) {
  const qn_view *like = &c->node->in_like[i];
  qni_replay *r = c->replay;
  int64_t shape[QN_MAX_DIMS];
  size_t bytes;
  memcpy(shape, like->shape, sizeof shape);
  shape[0] = n;
  qn_status st = qni_shape_bytes(like->dtype, like->ndim, shape, &bytes);
  if (st) return st;
  r->row_ids[i] = qni_arena_alloc(&r->row_memory, (size_t)n * sizeof **ids);
  void *data = qni_arena_alloc(&r->row_memory, bytes);
  if (!r->row_ids[i] || !data) return QN_E_NOMEM;
  qni_view_dense(&r->rows[i], memset(data, 0, bytes), like->dtype, like->ndim, shape);
  *ids = r->row_ids[i];
  *rows = &r->rows[i];
  return QN_OK;
}
