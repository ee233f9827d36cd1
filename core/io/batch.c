/*
** Batches: the sequences of some rows, end to end in jagged tensors.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>

#include "io/sequences.h"

/* What is being filled, and from what. */
struct maker {
  const qni_split *split;
  const qni_interactions *x;
  int32_t phase;
  const int64_t *rows;
  int64_t B, T;
  qn_tensor *offsets, *long_offsets; /* i64[B+1]: of inputs, and of inputs with their target */
};

static int64_t *ints(qn_tensor *t) { return t->view.data; }

static qn_status make_offsets(struct maker *m, qni_batch *b) {
  qn_status st = qni_tensor_empty(QN_I64, 1, (int64_t[]){m->B + 1}, &m->offsets);
  if (!st) st = qni_tensor_empty(QN_I64, 1, (int64_t[]){m->B + 1}, &m->long_offsets);
  if (st) return st;
  int64_t at = 0;
  for (int64_t i = 0; i < m->B; i++) {
    qni_row row = qni_split_row(m->split, m->phase, m->rows[i]);
    int64_t n = row.end - row.begin;
    ints(m->offsets)[i] = at;
    ints(m->long_offsets)[i] = at + i;
    at += n;
    if (n > b->longest) b->longest = n;
  }
  ints(m->offsets)[m->B] = m->T = at;
  ints(m->long_offsets)[m->B] = at + m->B;
  b->n_sequences = m->B, b->n_tokens = at;
  return QN_OK;
}

/*
** A jagged tensor of one column of the interactions: events begin+shift .. end-1+shift of
** each row, and `extra` ones behind. i32 becomes i64.
*/
static qn_status gather(const struct maker *m, const void *column, int32_t dtype, int64_t shift,
                        int64_t extra, qn_tensor **t) {
  if (!column) return QN_OK;
  int64_t n = m->T + extra * m->B, k = 0;
  qn_status st = qni_tensor_empty(dtype == QN_F32 ? QN_F32 : QN_I64, 1, &n, t);
  if (st) return st;
  for (int64_t i = 0; i < m->B; i++) {
    qni_row row = qni_split_row(m->split, m->phase, m->rows[i]);
    int64_t begin = row.begin + shift, count = row.end - row.begin + extra;
    const char *from = (const char *)column + (size_t)begin * qni_dtype_size(dtype);
    char *to = (char *)(*t)->view.data + (size_t)k * qni_dtype_size((*t)->view.dtype);
    qni_dtype_convert(count, dtype, from, (*t)->view.dtype, to);
    k += count;
  }
  (*t)->offsets = qn_tensor_retain(extra ? m->long_offsets : m->offsets);
  return QN_OK;
}

static qn_status per_sequence(const struct maker *m, qni_batch *b) {
  qn_status st = qni_tensor_empty(QN_I64, 1, &m->B, &b->users);
  if (!st) st = qni_tensor_empty(QN_I64, 1, &m->B, &b->last_targets);
  for (int64_t i = 0; i < m->B && !st; i++) {
    qni_row row = qni_split_row(m->split, m->phase, m->rows[i]);
    ints(b->users)[i] = row.user + 1;
    ints(b->last_targets)[i] = m->x->item[row.end];
  }
  return st;
}

static qn_status fill(struct maker *m, qni_batch *b) {
  const qni_interactions *x = m->x;
  qn_status st = make_offsets(m, b);
  if (!st) st = gather(m, x->item, QN_I32, 0, 0, &b->items);
  if (!st) st = gather(m, x->item, QN_I32, 1, 0, &b->targets);
  if (!st) st = gather(m, x->time, QN_I64, 0, 0, &b->times);
  if (!st) st = gather(m, x->time, QN_I64, 1, 0, &b->next_times);
  if (!st) st = gather(m, x->time, QN_I64, 0, 1, &b->all_times);
  if (!st) st = gather(m, x->rating, QN_F32, 0, 0, &b->ratings);
  if (!st) st = gather(m, x->rating, QN_F32, 1, 0, &b->target_ratings);
  if (!st) st = gather(m, x->behaviour, QN_I32, 0, 0, &b->behaviours);
  if (!st) st = gather(m, x->behaviour, QN_I32, 1, 0, &b->target_behaviours);
  return st ? st : per_sequence(m, b);
}

qn_status qni_batch_new(const qni_split *split, int32_t phase, const int64_t *rows, int64_t n,
                        qni_batch **batch) {
  *batch = NULL;
  for (int64_t i = 0; i < n; i++)
    if (rows[i] < 0 || rows[i] >= qni_split_rows(split, phase))
      return qni_fail(QN_E_ARG, "row %" PRId64 " is outside the split's %" PRId64, rows[i] + 1,
                      qni_split_rows(split, phase));
  qni_batch *b = qni_mem_zalloc(1, sizeof *b);
  if (!b) return QN_E_NOMEM;
  struct maker m = {
      .split = split, .x = qni_split_interactions(split), .phase = phase, .rows = rows, .B = n};
  qn_status st = fill(&m, b);
  qn_tensor_free(m.offsets);
  qn_tensor_free(m.long_offsets);
  if (st)
    qni_batch_free(b);
  else
    *batch = b;
  return st;
}

void qni_batch_free(qni_batch *b) {
  if (!b) return;
  qn_tensor *tensors[] = {b->items,          b->targets,     b->times,
                          b->next_times,     b->all_times,   b->ratings,
                          b->target_ratings, b->behaviours,  b->target_behaviours,
                          b->users,          b->last_targets};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) qn_tensor_free(tensors[i]);
  qni_mem_free(b);
}
