/*
** Ahead: batches made in their order by a thread of its own, into a bounded queue.
**
** What a batch is, is the owner's: make(ctx, epoch, index) is called for index 0, 1, ...
** n_batches - 1 of epoch 0, 1, ..., always in that order and never twice at a time, so
** timing cannot change what is made. The position is (epoch, index).
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_AHEAD_H
#define QNI_AHEAD_H

#include <stdbool.h>

#include "base/status.h"

typedef struct qni_ahead qni_ahead;

typedef struct qni_ahead_source {
  qn_status (*make)(void *ctx, int64_t epoch, int64_t index, void **batch);
  void (*drop)(void *batch);
  void *ctx;
  int64_t n_batches;
  int32_t prefetch; /* batches made ahead, 0 to 1024; 0: no thread, made when asked for */
} qni_ahead_source;

/* Stands at epoch 0, batch 0. */
qn_status qni_ahead_new(const qni_ahead_source *source, qni_ahead **ahead) QNI_WARN_UNUSED;
void qni_ahead_free(qni_ahead *ahead); /* NULL is fine */
/* The next batch, the caller's; NULL once at the end of each epoch, then the next begins. */
qn_status qni_ahead_next(qni_ahead *ahead, void **batch) QNI_WARN_UNUSED;
void qni_ahead_tell(const qni_ahead *ahead, int64_t *epoch, int64_t *index);
/* QN_E_ARG unless 0 <= epoch and 0 <= index <= n_batches (the end of an epoch). */
qn_status qni_ahead_check(const qni_ahead *ahead, int64_t epoch, int64_t index) QNI_WARN_UNUSED;
/* Waits for the thread and drops what it made; then the source may be changed. */
void qni_ahead_stop(qni_ahead *ahead);
/* Goes on at a position that check has passed, after stop. */
void qni_ahead_start(qni_ahead *ahead, int64_t epoch, int64_t index);

#endif
