/*
** The loader: batches of a split in an order that (seed, epoch) fixes, made ahead.
** SPDX-License-Identifier: MIT
*/
#include "io/loader.h"

#include <inttypes.h>
#include <string.h>

#include "io/mix.h"

enum { WINDOW = 64, ORDER = 1, BATCHES = 2 }; /* batches per window; purposes of random streams */

struct qni_loader {
  const qni_split *split;
  qni_loader_options options;
  int64_t n_rows;
  int64_t *order; /* of epoch order_epoch under options.seed; the maker's, like both */
  int64_t order_epoch;
  qni_ahead *ahead;
};

/* ---- The order ---- */

struct length {
  int64_t row, n;
};

static int by_length(const void *a, const void *b) {
  const struct length *x = a, *y = b;
  if (x->n != y->n) return x->n < y->n ? -1 : 1;
  return 0;
}

/* Stable: equal lengths keep the shuffled order. */
static void merge_sort(struct length *v, int64_t n, struct length *spare) {
  if (n < 2) return;
  int64_t half = n / 2, i = 0, j = half, k = 0;
  merge_sort(v, half, spare);
  merge_sort(v + half, n - half, spare);
  while (i < half && j < n) spare[k++] = by_length(&v[j], &v[i]) < 0 ? v[j++] : v[i++];
  while (i < half) spare[k++] = v[i++];
  memcpy(v, spare, (size_t)k * sizeof *v);
}

static void sort_windows(const qni_split *split, int32_t phase, int64_t window, int64_t *rows,
                         int64_t n, struct length *v) {
  for (int64_t at = 0; at < n; at += window) {
    int64_t count = n - at < window ? n - at : window;
    for (int64_t i = 0; i < count; i++) {
      qni_row row = qni_split_row(split, phase, rows[at + i]);
      v[i] = (struct length){rows[at + i], row.end - row.begin};
    }
    merge_sort(v, count, v + window);
    for (int64_t i = 0; i < count; i++) rows[at + i] = v[i].row;
  }
}

/* Moves whole batches about; an incomplete last one stays last. */
static void shuffle_batches(qni_mix *mix, int64_t batch, int64_t *rows, int64_t n) {
  for (int64_t i = n / batch - 1; i > 0; i--) {
    int64_t j = qni_mix_below(mix, i + 1);
    for (int64_t k = 0; k < batch; k++) {
      int64_t held = rows[i * batch + k];
      rows[i * batch + k] = rows[j * batch + k];
      rows[j * batch + k] = held;
    }
  }
}

qn_status qni_loader_order(const qni_split *split, const qni_loader_options *o, int64_t epoch,
                           int64_t *rows) {
  int64_t n = qni_split_rows(split, o->phase);
  for (int64_t i = 0; i < n; i++) rows[i] = i;
  if (!o->shuffle) return QN_OK;
  qni_mix mix = qni_mix_start(o->seed, ORDER, (uint64_t)epoch);
  qni_mix_shuffle(&mix, rows, n);
  if (!o->bucket) return QN_OK;
  int64_t window = o->batch > n / WINDOW ? n : o->batch * WINDOW;
  struct length *v = qni_mem_alloc(2 * (size_t)window * sizeof *v);
  if (!v) return QN_E_NOMEM;
  sort_windows(split, o->phase, window, rows, n, v);
  qni_mem_free(v);
  mix = qni_mix_start(o->seed, BATCHES, (uint64_t)epoch);
  shuffle_batches(&mix, o->batch, rows, n);
  return QN_OK;
}

/* ---- Batches ---- */

static qn_status make(void *ctx, const qni_position *at, void **batch) {
  qni_loader *l = ctx;
  qni_batch *made = NULL;
  if (l->order_epoch != at->epoch || l->options.seed != at->seed) {
    l->options.seed = at->seed, l->order_epoch = -1;
    qn_status st = qni_loader_order(l->split, &l->options, at->epoch, l->order);
    if (st) return st;
    l->order_epoch = at->epoch;
  }
  int64_t begin = at->index * l->options.batch, n = l->n_rows - begin;
  if (n > l->options.batch) n = l->options.batch;
  qn_status st = qni_batch_new(l->split, l->options.phase, l->order + begin, n, &made);
  if (!st) made->epoch = at->epoch, made->index = at->index;
  *batch = made;
  return st;
}

static void drop(void *batch) { qni_batch_free(batch); }

static qn_status check_options(const qni_loader_options *o) {
  if (o->phase < 0 || o->phase > QNI_PHASE_TEST)
    return qni_fail(QN_E_ARG, "there is no phase %d", (int)o->phase);
  if (o->batch < 1)
    return qni_fail(QN_E_ARG, "a batch of %" PRId64 " sequences cannot be made", o->batch);
  if (o->bucket && !o->shuffle)
    return qni_fail(QN_E_ARG, "length buckets need shuffle, since they change the order");
  return QN_OK;
}

qn_status qni_loader_new(const qni_split *split, const qni_loader_options *options,
                         qni_loader **loader) {
  *loader = NULL;
  qn_status st = check_options(options);
  if (st) return st;
  qni_loader *l = qni_mem_zalloc(1, sizeof *l);
  if (!l) return QN_E_NOMEM;
  l->split = split, l->options = *options, l->order_epoch = -1;
  l->n_rows = qni_split_rows(split, options->phase);
  l->order = qni_mem_alloc((size_t)l->n_rows * sizeof *l->order);
  const qni_ahead_source source = {
      .make = make,
      .drop = drop,
      .ctx = l,
      .seed = options->seed,
      .n_batches = qni_ahead_count(l->n_rows, options->batch, options->drop_last),
      .prefetch = options->prefetch};
  st = l->order ? qni_ahead_new(&source, &l->ahead) : QN_E_NOMEM;
  if (st)
    qni_loader_free(l);
  else
    *loader = l;
  return st;
}

void qni_loader_free(qni_loader *l) {
  if (!l) return;
  qni_ahead_free(l->ahead);
  qni_mem_free(l->order);
  qni_mem_free(l);
}

qni_ahead *qni_loader_ahead(qni_loader *l) { return l->ahead; }

qn_status qni_loader_next(qni_loader *l, qni_batch **batch) {
  void *made;
  qn_status st = qni_ahead_next(l->ahead, &made);
  *batch = made;
  return st;
}
