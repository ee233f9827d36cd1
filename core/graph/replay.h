/*
** Running a program's entries for one slice, in a worker's own memory.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_REPLAY_H
#define QNI_REPLAY_H

#include "graph/lanes.h"

/* A part of the batch: samples first_sample on, whose rows begin at first_row. */
typedef struct qni_slice {
  int64_t first_sample, first_row;
  qni_extent extent;
  double loss, share; /* results: l_s D_s, D_s */
} qni_slice;

typedef struct qni_batch { /* what a step is given */
  qn_tensor *const *input; /* contiguous */
  const int64_t *offsets;  /* of all jagged inputs; NULL: none */
  int64_t B;
  uint64_t step; /* keys of random numbers */
  uint32_t instance;
  bool check; /* as in a recording: backward starts from 1, gradients are not added up */
} qni_batch;

typedef struct qni_worker qni_worker;

/* Gets the parts of gradients; view or rows of a call that is over when it returns. */
typedef struct qni_collector {
  void *ctx;
  qn_status (*dense)(void *ctx, int32_t leaf, const qn_view *part);
  qn_status (*rows)(void *ctx, int32_t leaf, const int64_t *ids, const qn_view *rows);
  qn_status (*after)(void *ctx, const qni_worker *w, int32_t entry); /* of each; may be NULL */
} qni_collector;

struct qni_worker {
  int64_t *value;            /* of the program's functions, for the slice */
  char **base;               /* [buffers] */
  qn_tensor *tensor;         /* [views] */
  qni_node *node;            /* [entries], used by backward ones */
  qni_value *attrs;          /* of patched entries */
  const qni_value **attr_of; /* [entries] */
  int64_t *offsets;          /* [B+1] of the slice */
  int64_t max_offsets;
  qni_lanes *lanes; /* and the one whose slices run now */
  int32_t lane;
  bool whole;         /* runs what is of the whole batch, or once per step */
  char *batch_memory; /* of what crosses segments */
  char **part;        /* [buffers] the lane's part of a sum that ops add to themselves */
  bool begins;        /* the slice is its lane's first */
  char *arena;
  size_t arena_bytes;
  qn_call frame;
  qni_replay replay;
  qni_arena memory;
};

qn_status qni_worker_start(const qni_program *p, qni_worker *w) QNI_WARN_UNUSED;
void qni_worker_stop(qni_worker *w);
/* Memory for slices of so many bytes and samples. */
qn_status qni_worker_reserve(qni_worker *w, size_t arena_bytes, int64_t samples) QNI_WARN_UNUSED;
/* Points all views at the slice. step_memory: where hoisted results lie. */
void qni_worker_bind(const qni_program *p, qni_worker *w, const qni_batch *batch,
                     const qni_slice *slice, char *step_memory);
/* Runs bound entries in order. */
qn_status qni_worker_run(const qni_program *p, qni_worker *w, const qni_batch *batch,
                         qni_slice *slice, const qni_segment *entries,
                         const qni_collector *collector) QNI_WARN_UNUSED;
/* Floating operations of a forward entry at the sizes that are bound; 0: the op does not say. */
int64_t qni_worker_flops(const qni_program *p, qni_worker *w, int32_t entry);
/* Fills tensors of one value that several segments look at; the worker is of the whole batch. */
void qni_worker_fill(const qni_program *p, qni_worker *w);

#endif
