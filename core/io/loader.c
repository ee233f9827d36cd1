/*
** The loader: batches of a split in an order that (seed, epoch) fixes, made ahead.
**
** The maker thread walks the same positions as the reader, at most `prefetch` ahead, and
** puts results, an end mark (NULL) per epoch, or an error into a ring. A seek stops the
** thread, empties the ring and starts it again at the new position.
** SPDX-License-Identifier: MIT
*/
#include "io/loader.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "io/mix.h"

enum { WINDOW = 64, ORDER = 1, BATCHES = 2 }; /* batches per window; purposes of random streams */

struct slot {
  qni_batch *batch;
  qn_status status;
};

struct qni_loader {
  const qni_split *split;
  qni_loader_options options;
  int64_t n_rows, n_batches;
  qni_loader_state at;   /* what the reader gets next */
  qni_loader_state made; /* what the maker makes next */
  int64_t *order;        /* of epoch order_epoch; the maker's when there is a thread */
  int64_t order_epoch;

  pthread_t thread;
  bool running, stop;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot *ring;
  int64_t head, count;
  qni_error_copy error;
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

/* ---- Making one ---- */

static void step(const qni_loader *l, qni_loader_state *s) {
  if (s->index < l->n_batches)
    s->index++;
  else
    s->index = 0, s->epoch++;
}

/* The batch at a position; NULL at the end of the epoch. */
static qn_status make(qni_loader *l, const qni_loader_state *s, qni_batch **batch) {
  *batch = NULL;
  if (s->index == l->n_batches) return QN_OK;
  if (l->order_epoch != s->epoch) {
    qn_status st = qni_loader_order(l->split, &l->options, s->epoch, l->order);
    if (st) return st;
    l->order_epoch = s->epoch;
  }
  int64_t begin = s->index * l->options.batch, n = l->n_rows - begin;
  if (n > l->options.batch) n = l->options.batch;
  qn_status st = qni_batch_new(l->split, l->options.phase, l->order + begin, n, batch);
  if (!st) (*batch)->epoch = s->epoch, (*batch)->index = s->index;
  return st;
}

/* ---- The thread ---- */

static void *make_ahead(void *ctx) {
  qni_loader *l = ctx;
  pthread_mutex_lock(&l->lock);
  for (bool failed = false; !l->stop && !failed;) {
    if (l->count == l->options.prefetch) {
      pthread_cond_wait(&l->changed, &l->lock);
      continue;
    }
    pthread_mutex_unlock(&l->lock);
    struct slot s = {0};
    qni_error_reset();
    s.status = make(l, &l->made, &s.batch);
    step(l, &l->made);
    pthread_mutex_lock(&l->lock);
    if ((failed = s.status)) qni_error_take(&l->error);
    l->ring[(l->head + l->count++) % l->options.prefetch] = s;
    pthread_cond_broadcast(&l->changed);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static void stop_thread(qni_loader *l) {
  if (!l->running) return;
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->changed);
  pthread_mutex_unlock(&l->lock);
  pthread_join(l->thread, NULL);
  for (; l->count > 0; l->count--) qni_batch_free(l->ring[l->head++ % l->options.prefetch].batch);
  l->head = 0;
  l->running = l->stop = false;
}

/* A machine that gives no thread gets its batches made in place. */
static void start_thread(qni_loader *l) {
  l->made = l->at;
  if (l->options.prefetch > 0) l->running = !pthread_create(&l->thread, NULL, make_ahead, l);
}

/* ---- The reader's side ---- */

static qn_status check_options(const qni_loader_options *o) {
  if (o->phase < 0 || o->phase > QNI_PHASE_TEST)
    return qni_fail(QN_E_ARG, "there is no phase %d", (int)o->phase);
  if (o->batch < 1)
    return qni_fail(QN_E_ARG, "a batch of %" PRId64 " sequences cannot be made", o->batch);
  if (o->prefetch < 0 || o->prefetch > 1024)
    return qni_fail(QN_E_ARG, "prefetch is %d, but must be from 0 to 1024", (int)o->prefetch);
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
  l->n_batches = l->n_rows / options->batch;
  if (!options->drop_last && l->n_rows % options->batch) l->n_batches++;
  l->at.seed = options->seed;
  l->order = qni_mem_alloc((size_t)l->n_rows * sizeof *l->order);
  l->ring = qni_mem_zalloc((size_t)options->prefetch + 1, sizeof *l->ring);
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->changed, NULL);
  if (!l->order || !l->ring) {
    qni_loader_free(l);
    return QN_E_NOMEM;
  }
  start_thread(l);
  *loader = l;
  return QN_OK;
}

void qni_loader_free(qni_loader *l) {
  if (!l) return;
  stop_thread(l);
  pthread_cond_destroy(&l->changed);
  pthread_mutex_destroy(&l->lock);
  qni_mem_free(l->order);
  qni_mem_free(l->ring);
  qni_mem_free(l);
}

int64_t qni_loader_batches(const qni_loader *l) { return l->n_batches; }

void qni_loader_tell(const qni_loader *l, qni_loader_state *state) { *state = l->at; }

/* Waits for the next slot; an error stays where it is, so that it is met again. */
static struct slot take_slot(qni_loader *l) {
  pthread_mutex_lock(&l->lock);
  while (l->count == 0) pthread_cond_wait(&l->changed, &l->lock);
  struct slot s = l->ring[l->head % l->options.prefetch];
  if (s.status) {
    qni_error_give(&l->error);
  } else {
    l->head++, l->count--;
    pthread_cond_broadcast(&l->changed);
  }
  pthread_mutex_unlock(&l->lock);
  return s;
}

qn_status qni_loader_next(qni_loader *l, qni_batch **batch) {
  struct slot s = {0};
  if (l->running)
    s = take_slot(l);
  else
    s.status = make(l, &l->at, &s.batch);
  *batch = s.batch;
  if (!s.status) step(l, &l->at);
  return s.status;
}

qn_status qni_loader_seek(qni_loader *l, const qni_loader_state *state) {
  if (state->epoch < 0 || state->index < 0 || state->index > l->n_batches) {
    qni_fail(QN_E_ARG, "the loader has no batch %" PRId64 " of epoch %" PRId64, state->index + 1,
             state->epoch + 1);
    qni_error_detail("batches per epoch: %" PRId64, l->n_batches);
    qni_error_hint("was the batch size or the data changed since this position was saved?");
    return QN_E_ARG;
  }
  stop_thread(l);
  l->at = *state;
  l->options.seed = state->seed;
  l->order_epoch = -1;
  start_thread(l);
  return QN_OK;
}
