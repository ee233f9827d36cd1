/*
** Ahead: batches made in their order by a thread of its own, into a bounded queue.
**
** What a batch is, is the owner's: make(ctx, at) is called for index 0, 1, ... n_batches - 1
** of epoch 0, 1, ..., always in that order and never twice at a time, so timing cannot change
** what is made. The position is (seed, epoch, index): nothing else needs saving.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_AHEAD_H
#define QNI_AHEAD_H

#include <stdbool.h>

#include "base/status.h"

typedef struct qni_ahead qni_ahead;

typedef struct qni_position {
  uint64_t seed;        /* of the order; handed on to make */
  int64_t epoch, index; /* the batch that comes next, both from 0 */
} qni_position;

typedef struct qni_ahead_source {
  qn_status (*make)(void *ctx, const qni_position *at, void **batch);
  void (*drop)(void *batch);
  void *ctx;
  uint64_t seed;
  int64_t n_batches;
  int32_t prefetch; /* batches made ahead, 0 to 1024; 0: no thread, made when asked for */
} qni_ahead_source;

/* Batches of `size` rows that n rows make; an incomplete last one counts unless drop_last. */
int64_t qni_ahead_count(int64_t n, int64_t size, bool drop_last);

/* Stands at the source's seed, epoch 0, batch 0. */
qn_status qni_ahead_new(const qni_ahead_source *source, qni_ahead **ahead) QNI_WARN_UNUSED;
void qni_ahead_free(qni_ahead *ahead); /* NULL is fine */
/* The next batch, the caller's; NULL once at the end of each epoch, then the next begins. */
qn_status qni_ahead_next(qni_ahead *ahead, void **batch) QNI_WARN_UNUSED;
int64_t qni_ahead_batches(const qni_ahead *ahead); /* per epoch */
qni_position qni_ahead_tell(const qni_ahead *ahead);
/*
** Drops what was made ahead and goes to a position, also to index = n_batches (the end of an
** epoch); QN_E_ARG for one that there is not.
*/
qn_status qni_ahead_seek(qni_ahead *ahead, const qni_position *at) QNI_WARN_UNUSED;

#endif
