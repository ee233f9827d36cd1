/*
** Trial slices: small, different, and of sizes that tell B, N and L apart.
**
** Slice k takes 3, 5 or 2 samples in turn, the longest sequence first. It is cut to 8, 6 or 7
** rows, later ones to one less each, as far as they reach: 21, 20 and 13 rows if all are
** long. So N is no function a B + c of B, unless all sequences have one row; then the batch
** cannot serve, and the caller is told.
** SPDX-License-Identifier: MIT
*/
#include "graph/trial.h"

#include <string.h>

enum { MOST_ROWS = 8 };
static const int64_t n_samples[QNI_TRIALS] = {3, 5, 2}, less[QNI_TRIALS] = {0, 2, 1};

struct cut {
  const int64_t *from; /* offsets of the batch, or NULL */
  int64_t B, n, first; /* samples of the batch and of the slice; where the slice begins */
  int64_t to[8];       /* offsets of the slice */
};

static int64_t sample_of(const struct cut *c, int64_t b) { return (c->first + b) % c->B; }

static int64_t length(const struct cut *c, int64_t b) { return c->from[b + 1] - c->from[b]; }

static void choose_lengths(struct cut *c, int32_t trial) {
  for (int64_t b = 0; b < c->B; b++)
    if (length(c, b) > length(c, c->first)) c->first = b;
  int64_t longest = length(c, c->first), most = longest < MOST_ROWS ? longest : MOST_ROWS;
  c->to[0] = 0;
  for (int64_t b = 0; b < c->n; b++) {
    int64_t limit = most - less[trial] - b, n = length(c, sample_of(c, b));
    if (limit < 1) limit = 1;
    c->to[b + 1] = c->to[b] + (n < limit ? n : limit);
  }
}

static size_t row_bytes(const qn_view *v) {
  return (size_t)qni_shape_count(v->ndim - 1, v->shape + 1) * qni_dtype_size(v->dtype);
}

static qn_status make_input(const struct cut *c, const qn_tensor *x, qn_tensor *offsets,
                            qn_tensor **made) {
  int64_t shape[QN_MAX_DIMS];
  memcpy(shape, x->view.shape, sizeof shape);
  shape[0] = x->offsets ? c->to[c->n] : c->n;
  qn_status st = qni_tensor_empty(x->view.dtype, x->view.ndim, shape, made);
  if (st) return st;
  size_t row = row_bytes(&x->view);
  char *to = (*made)->view.data;
  const char *from = x->view.data;
  for (int64_t b = 0; b < c->n; b++) {
    int64_t s = sample_of(c, b);
    if (x->offsets)
      memcpy(to + (size_t)c->to[b] * row, from + (size_t)c->from[s] * row,
             (size_t)(c->to[b + 1] - c->to[b]) * row);
    else
      memcpy(to + (size_t)b * row, from + (size_t)s * row, row);
  }
  if (x->offsets) (*made)->offsets = qn_tensor_retain(offsets);
  return QN_OK;
}

/* The same memory without history, so that the batch's own tensor is not what is recorded. */
static qn_status make_shared(qn_tensor *x, qn_tensor **made) { return qni_tensor_detach(x, made); }

static qn_status make_offsets(const struct cut *c, qn_tensor **offsets) {
  int64_t n = c->n + 1;
  qn_status st = qni_tensor_empty(QN_I64, 1, &n, offsets);
  if (!st) memcpy((*offsets)->view.data, c->to, (size_t)n * sizeof *c->to);
  return st;
}

qn_status qni_trial_make(qn_tensor *const *inputs, const bool *shared, int32_t n, int64_t B,
                         int32_t trial, qn_tensor **made, qni_extent *extent) {
  struct cut c = {.B = B, .n = n_samples[trial]};
  qn_tensor *offsets = NULL;
  qn_status st = QN_OK;
  for (int32_t i = 0; i < n && !c.from; i++)
    if (!shared[i] && inputs[i]->offsets) c.from = inputs[i]->offsets->view.data;
  if (c.from) choose_lengths(&c, trial);
  if (c.from) st = make_offsets(&c, &offsets);
  int32_t done = 0;
  for (; !st && done < n; done++)
    st = shared[done] ? make_shared(inputs[done], &made[done])
                      : make_input(&c, inputs[done], offsets, &made[done]);
  qn_tensor_free(offsets);
  for (int32_t i = 0; st && i < done; i++) {
    qn_tensor_free(made[i]);
    made[i] = NULL;
  }
  if (st) return st;
  *extent = (qni_extent){.B = c.n, .N = c.from ? c.to[c.n] : c.n, .L = 1};
  for (int64_t b = 0; c.from && b < c.n; b++)
    if (b == 0 || c.to[b + 1] - c.to[b] > extent->L) extent->L = c.to[b + 1] - c.to[b];
  return QN_OK;
}
