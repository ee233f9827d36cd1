/*
** Running a program on batches: cutting, workers, lanes.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_STEP_H
#define QNI_STEP_H

#include "graph/lanes.h"
#include "graph/packs.h"
#include "graph/replay.h"

typedef struct qni_runner {
  qni_program *p; /* places change when slices grow */
  qni_lanes lanes;
  qni_packs packs;
  qni_worker *worker;
  int32_t n_workers;
  qni_worker whole; /* for what is of the whole batch, or once per step */
  bool whole_started;
  qni_slice batch;    /* all of the batch as one slice */
  char *batch_memory; /* of what crosses segments, then parts of sums by lane */
  size_t batch_bytes;
  qni_extent batch_most;
  int32_t *reduced; /* [n_reduced] buffers */
  size_t *part;     /* and where their parts begin in batch_memory */
  size_t part_bytes;
  int32_t n_reduced;
  qni_arena memory;
  qni_slice *slice;
  int64_t n_slices, max_slices;
  qni_extent most; /* that the layout has room for */
  size_t arena_bytes;
  char *step_memory;
  size_t step_bytes;
  int64_t budget; /* bytes of an arena that grow with the slice */
  int64_t split;  /* at least so many slices, if there are samples */
} qni_runner;

qn_status qni_runner_start(qni_program *p, int64_t budget, qni_runner *r) QNI_WARN_UNUSED;
/* The program was planned anew: workers begin anew, too. */
void qni_runner_renew(qni_runner *r);
void qni_runner_stop(qni_runner *r);
/*
** One step: gradients go to the lanes; loss and divisor (sum of shares; 1 for sums) are found.
** qni_lanes_deliver(&r->lanes, r->n_slices, 1 / divisor) then gives them to the leaves.
*/
qn_status qni_runner_step(qni_runner *r, const qni_batch *batch, double *loss,
                          double *divisor) QNI_WARN_UNUSED;
/* One slice on worker 0, for checks: `after` sees each entry. */
qn_status qni_runner_one(qni_runner *r, const qni_batch *batch, const qni_slice *slice,
                         const qni_collector *to) QNI_WARN_UNUSED;

#endif
