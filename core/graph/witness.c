/*
** The witness: hashes of what op calls gave.
**
** hash = sum over the call's tensors of mix(mix(... word_1) ... word_n) with the tensor's place
** and the slice's first row; sums are modulo 2^64, so their order does not matter.
** SPDX-License-Identifier: MIT
*/
#include "graph/witness.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

enum { MOST_ENTRIES = 4096, MOST_CALLS = 16384 };

struct seen {
  _Atomic(const char *) op;
  atomic_bool backward;
  _Atomic uint64_t sum;
};

bool qni_witness_on;
static struct seen *entries, *calls;
static int32_t n_calls;

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ (hash >> 29);
}

static uint64_t mix_bytes(uint64_t hash, const char *data, size_t n) {
  uint64_t word;
  for (; n >= 8; data += 8, n -= 8) {
    memcpy(&word, data, 8);
    hash = mix(hash, word);
  }
  word = n;
  memcpy(&word, data, n);
  return n ? mix(hash, word) : hash;
}

static uint64_t hash_view(uint64_t hash, const qn_view *v) {
  int64_t n = qni_view_count(v), size = (int64_t)qni_dtype_size(v->dtype);
  hash = mix(hash, (uint64_t)n);
  if (qni_view_contiguous(v)) return mix_bytes(hash, v->data, (size_t)(n * size));
  for (int64_t i = 0; i < n; i++) {
    int64_t offset = 0, rest = i;
    for (int32_t d = v->ndim - 1; d >= 0; rest /= v->shape[d--])
      offset += rest % v->shape[d] * v->stride[d];
    hash = mix_bytes(hash, (const char *)v->data + offset * size, (size_t)size);
  }
  return hash;
}

void qni_witness_reset(void) {
  if (!qni_witness_on) return;
  for (int32_t i = 0; i < MOST_ENTRIES; i++)
    if (entries[i].op) memset(&entries[i], 0, sizeof entries[i]);
  memset(calls, 0, (size_t)n_calls * sizeof *calls);
  n_calls = 0;
}

qn_status qni_witness_start(bool on) {
  qni_mem_free(entries);
  qni_mem_free(calls);
  entries = calls = NULL;
  n_calls = 0;
  qni_witness_on = false;
  if (!on) return QN_OK;
  entries = qni_mem_zalloc(MOST_ENTRIES, sizeof *entries);
  calls = qni_mem_zalloc(MOST_CALLS, sizeof *calls);
  qni_witness_on = entries && calls;
  return qni_witness_on ? QN_OK : QN_E_NOMEM;
}

void qni_witness_call(const qn_call *c, int32_t entry) {
  struct seen *s;
  if (entry >= MOST_ENTRIES || (entry < 0 && n_calls == MOST_CALLS)) return;
  s = entry < 0 ? &calls[n_calls++] : &entries[entry];
  bool backward = c->phase == QNI_PHASE_BACKWARD;
  uint64_t sum = 0, row = (uint64_t)c->first_row;
  for (int32_t o = 0; !backward && o < c->n_out; o++)
    if (c->output[o]) sum += hash_view(mix(row, (uint64_t)o + 1), &c->output[o]->view);
  for (int32_t i = 0; backward && i < c->n_in; i++)
    if (c->grad_in[i].dense)
      sum += hash_view(mix(row, (uint64_t)i + 101), &c->grad_in[i].dense->view);
  s->op = c->op->name;
  s->backward = backward;
  atomic_fetch_add_explicit(&s->sum, sum, memory_order_relaxed);
}

bool qni_witness_at(int32_t i, qni_witnessed *w) {
  if (!qni_witness_on) return false;
  const struct seen *s = NULL;
  for (int32_t k = 0, at = 0; k < MOST_ENTRIES && !s; k++)
    if (entries[k].op && at++ == i) s = &entries[k];
  if (!s) {
    for (int32_t k = 0; k < MOST_ENTRIES; k++) i -= entries[k].op != NULL;
    if (i >= n_calls) return false;
    s = &calls[i];
  }
  *w = (qni_witnessed){s->op, s->backward, s->sum};
  return true;
}
