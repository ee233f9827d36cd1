/*
** Contents of storages, set aside and put back.
** SPDX-License-Identifier: MIT
*/
#include "graph/keep.h"

#include <string.h>

static qn_status room(qni_keep *k) {
  if (k->n < k->max) return QN_OK;
  int32_t max = k->max ? 2 * k->max : 16;
  qni_kept *grown = qni_mem_realloc(k->list, (size_t)max * sizeof *grown);
  if (!grown) return QN_E_NOMEM;
  k->list = grown;
  k->max = max;
  return QN_OK;
}

qn_status qni_keep_add(qni_keep *k, const qn_tensor *t) {
  for (int32_t i = 0; i < k->n; i++)
    if (k->list[i].tensor->storage == t->storage) return QN_OK;
  qni_kept one = {0};
  qn_status st = room(k);
  if (!st) st = qni_tensor_alias(t, &t->view, &one.tensor);
  if (st) return st;
  one.bytes = qni_mem_alloc(t->storage->bytes + 1);
  if (!one.bytes) {
    qn_tensor_free(one.tensor);
    return QN_E_NOMEM;
  }
  memcpy(one.bytes, t->storage->data, t->storage->bytes);
  k->list[k->n++] = one;
  return QN_OK;
}

void qni_keep_restore(const qni_keep *k) {
  for (int32_t i = 0; i < k->n; i++) {
    qni_storage *s = k->list[i].tensor->storage;
    memcpy(s->data, k->list[i].bytes, s->bytes);
    qni_tensor_touch(k->list[i].tensor);
  }
}

void qni_keep_free(qni_keep *k) {
  for (int32_t i = 0; i < k->n; i++) {
    qn_tensor_free(k->list[i].tensor);
    qni_mem_free(k->list[i].bytes);
  }
  qni_mem_free(k->list);
  *k = (qni_keep){0};
}
