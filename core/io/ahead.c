/*
** Ahead: batches made in their order by a thread of its own, into a bounded queue.
**
** The maker thread walks the same positions as the reader, at most `prefetch` ahead, and
** puts results, an end mark (NULL) per epoch, or an error into a ring.
** SPDX-License-Identifier: MIT
*/
#include "io/ahead.h"

#include <inttypes.h>
#include <pthread.h>

#include "base/mem.h"

struct slot {
  void *batch;
  qn_status status;
};

struct qni_ahead {
  qni_ahead_source source;
  qni_position at;   /* what the reader gets next */
  qni_position made; /* what the maker makes next */
  pthread_t thread;
  bool running, stop;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot *ring;
  int64_t head, count;
  qni_error_copy error;
};

static void step(const qni_ahead *a, qni_position *p) {
  if (p->index < a->source.n_batches)
    p->index++;
  else
    p->index = 0, p->epoch++;
}

/* The batch at a place; NULL at the end of the epoch. */
static struct slot make(const qni_ahead *a, const qni_position *p) {
  struct slot s = {0};
  if (p->index < a->source.n_batches) s.status = a->source.make(a->source.ctx, p, &s.batch);
  return s;
}

/* ---- The thread ---- */

static void *make_ahead(void *ctx) {
  qni_ahead *a = ctx;
  pthread_mutex_lock(&a->lock);
  for (bool failed = false; !a->stop && !failed;) {
    if (a->count == a->source.prefetch) {
      pthread_cond_wait(&a->changed, &a->lock);
      continue;
    }
    pthread_mutex_unlock(&a->lock);
    qni_error_reset();
    struct slot s = make(a, &a->made);
    step(a, &a->made);
    pthread_mutex_lock(&a->lock);
    if ((failed = s.status)) qni_error_take(&a->error);
    a->ring[(a->head + a->count++) % a->source.prefetch] = s;
    pthread_cond_broadcast(&a->changed);
  }
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

/* Waits for the thread and drops what it made. */
static void stop(qni_ahead *a) {
  if (!a->running) return;
  pthread_mutex_lock(&a->lock);
  a->stop = true;
  pthread_cond_broadcast(&a->changed);
  pthread_mutex_unlock(&a->lock);
  pthread_join(a->thread, NULL);
  for (; a->count > 0; a->count--) {
    struct slot *s = &a->ring[a->head++ % a->source.prefetch];
    if (s->batch) a->source.drop(s->batch);
  }
  a->head = 0;
  a->running = a->stop = false;
}

/* A machine that gives no thread gets its batches made in place. */
static void start(qni_ahead *a, const qni_position *at) {
  a->at = a->made = *at;
  if (a->source.prefetch > 0) a->running = !pthread_create(&a->thread, NULL, make_ahead, a);
}

/* ---- The reader's side ---- */

int64_t qni_ahead_count(int64_t n, int64_t size, bool drop_last) {
  return n / size + (!drop_last && n % size != 0);
}

qn_status qni_ahead_new(const qni_ahead_source *source, qni_ahead **ahead) {
  *ahead = NULL;
  if (source->prefetch < 0 || source->prefetch > 1024)
    return qni_fail(QN_E_ARG, "prefetch is %d, but must be from 0 to 1024", (int)source->prefetch);
  qni_ahead *a = qni_mem_zalloc(1, sizeof *a);
  if (!a) return QN_E_NOMEM;
  a->source = *source;
  if (!(a->ring = qni_mem_zalloc((size_t)source->prefetch + 1, sizeof *a->ring))) {
    qni_mem_free(a);
    return QN_E_NOMEM;
  }
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->changed, NULL);
  start(a, &(qni_position){.seed = source->seed});
  *ahead = a;
  return QN_OK;
}

void qni_ahead_free(qni_ahead *a) {
  if (!a) return;
  stop(a);
  pthread_cond_destroy(&a->changed);
  pthread_mutex_destroy(&a->lock);
  qni_mem_free(a->ring);
  qni_mem_free(a);
}

/* Waits for the next slot; an error stays where it is, so that it is met again. */
static struct slot take_slot(qni_ahead *a) {
  pthread_mutex_lock(&a->lock);
  while (a->count == 0) pthread_cond_wait(&a->changed, &a->lock);
  struct slot s = a->ring[a->head % a->source.prefetch];
  if (s.status) {
    qni_error_give(&a->error);
  } else {
    a->head++, a->count--;
    pthread_cond_broadcast(&a->changed);
  }
  pthread_mutex_unlock(&a->lock);
  return s;
}

qn_status qni_ahead_next(qni_ahead *a, void **batch) {
  struct slot s = a->running ? take_slot(a) : make(a, &a->at);
  *batch = s.batch;
  if (!s.status) step(a, &a->at);
  return s.status;
}

int64_t qni_ahead_batches(const qni_ahead *a) { return a->source.n_batches; }

qni_position qni_ahead_tell(const qni_ahead *a) { return a->at; }

qn_status qni_ahead_seek(qni_ahead *a, const qni_position *at) {
  if (at->epoch >= 0 && at->index >= 0 && at->index <= a->source.n_batches) {
    stop(a);
    start(a, at);
    return QN_OK;
  }
  qni_fail(QN_E_ARG, "the loader has no batch %" PRId64 " of epoch %" PRId64, at->index + 1,
           at->epoch + 1);
  qni_error_detail("batches per epoch: %" PRId64, a->source.n_batches);
  qni_error_hint("was the batch size or the data changed since this position was saved?");
  return QN_E_ARG;
}
