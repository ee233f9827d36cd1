/*
** The record of one running op call, behind the ABI's opaque qn_call.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_FRAME_H
#define QNI_FRAME_H

#include "graph/call.h"
#include "graph/tape.h"

struct qni_thing; /* graph/thing.h */

enum qni_phase { QNI_PHASE_INFER, QNI_PHASE_FORWARD, QNI_PHASE_BACKWARD, QNI_PHASE_COMPOSE };

/* Memory that a replayed call finds instead of taking it (graph/replay.c). */
typedef struct qni_replay {
  qn_tensor *saved[QN_MAX_SAVED]; /* for save_new; NULL: nobody reads that slot */
  bool loose[QN_MAX_SAVED];       /* of saved: another size than planned may be asked for */
  qni_arena loose_memory;         /* of such, as long as the slice */
  qn_view spare[QN_MAX_SAVED];
  int64_t *row_ids[QN_MAX_TENSORS]; /* gradients by rows of the last backward */
  qn_view rows[QN_MAX_TENSORS];
  qni_arena row_memory;
  struct qni_packs *packs; /* weights packed for this step */
  uint64_t adds;           /* bit i: the gradient of input i goes onto the sum that is there */
} qni_replay;

struct qn_call {
  const qn_opref *op;
  enum qni_phase phase;
  int32_t n_in, n_out;    /* of forward, in every phase */
  qni_node *node;         /* where saves go; NULL: nobody will ask for a gradient */
  const qni_value *attrs; /* [n_params] */
  const int16_t *owner;   /* [n_in] */
  uint64_t needs;         /* bit i: gradient of input i is asked for */
  uint64_t written;       /* bit i: backward called out(i) */
  uint64_t seed, step;
  uint32_t instance;
  int64_t first_row;       /* of the slice of the batch that runs */
  qni_replay *replay;      /* NULL: the call is run for itself */
  qn_status pending;       /* a failure that its function could not return */
  struct qni_thing *thing; /* whose function this is; NULL: an op's call */

  /* forward */
  qn_tensor *input[QN_MAX_TENSORS]; /* as given; NULL: absent */
  qn_tensor *dense[QN_MAX_TENSORS]; /* what the kernel sees: input, or a contiguous copy */
  qn_tensor *output[QN_MAX_TENSORS];
  qn_view out_view[QN_MAX_TENSORS];

  /* backward */
  qn_tensor *grad_out[QN_MAX_TENSORS];
  qni_grad grad_in[QN_MAX_TENSORS];

  qn_tensor **held; /* tensors that live as long as the call */
  int32_t n_held, max_held;
  qn_tensor *held_first[32];
  qni_arena memory;
};

void qni_frame_init(qn_call *c, const qn_opref *op, enum qni_phase phase);
void qni_frame_free(qn_call *c);
/* Takes over t, which then lives as long as the call; frees it when there is no memory. */
qn_status qni_frame_hold(qn_call *c, qn_tensor *t) QNI_WARN_UNUSED;
/* save_new, out in backward, and grad_rows under replay (graph/replay_host.c). */
qn_status qni_replay_save_new(qn_call *c, int32_t slot, int32_t dtype, int32_t ndim,
                              const int64_t *shape, qn_view **view) QNI_WARN_UNUSED;
qn_status qni_replay_rows(qn_call *c, int32_t input, int64_t n, int64_t **ids,
                          qn_view **rows) QNI_WARN_UNUSED;
qn_status qni_replay_unplanned(const qn_call *c, const char *what) QNI_WARN_UNUSED;
/* Adds the arguments' shapes, op and plugin to the current error; returns `status`. */
qn_status qni_frame_explain(const qn_call *c, qn_status status);

#endif
