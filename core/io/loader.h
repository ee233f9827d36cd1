/*
** The loader: batches of a split, made ahead by a thread of its own.
**
** Which rows make up batch i of an epoch is a function of (seed, epoch, options)
** alone. One thread makes the batches in that order into a bounded queue, so timing
** cannot change it. Length buckets: the shuffled rows are cut into windows of 64 batches,
** sorted by length inside each, cut into batches, and the batches are shuffled again.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_LOADER_H
#define QNI_LOADER_H

#include "io/ahead.h"
#include "io/sequences.h"

typedef struct qni_loader_options {
  int32_t phase; /* enum qni_phase */
  int64_t batch; /* sequences per batch, > 0 */
  uint64_t seed;
  bool shuffle;     /* otherwise in order of users */
  bool bucket;      /* by length; needs shuffle */
  bool drop_last;   /* leaves out an incomplete last batch */
  int32_t prefetch; /* batches made ahead; 0: no thread */
} qni_loader_options;

typedef struct qni_loader qni_loader;

/* `split` must outlive the loader. Starts at epoch 0, batch 0. */
qn_status qni_loader_new(const qni_split *split, const qni_loader_options *options,
                         qni_loader **loader) QNI_WARN_UNUSED;
void qni_loader_free(qni_loader *loader);
/* Its position. */
qni_ahead *qni_loader_ahead(qni_loader *loader);
/* The next batch, the caller's; NULL once at the end of each epoch, then the next begins. */
qn_status qni_loader_next(qni_loader *loader, qni_batch **batch) QNI_WARN_UNUSED;

/* Row numbers of an epoch, n = rows of the phase, batch by batch: what the loader follows. */
qn_status qni_loader_order(const qni_split *split, const qni_loader_options *options, int64_t epoch,
                           int64_t *rows) QNI_WARN_UNUSED;

#endif
