/*
** The witness: a hash of what each op call of a step gave, so that two runs can be compared op by op.
**
** Eager calls count in their order. Calls of a replayed program count by their entry: hashes of its
** slices are added up, so that neither the slices' order nor the number of workers matters.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_WITNESS_H
#define QNI_WITNESS_H

#include "graph/frame.h"

typedef struct qni_witnessed {
  const char *op; /* its name */
  bool backward;
  uint64_t hash;
} qni_witnessed;

extern bool qni_witness_on;

/* Starts with nothing seen, or ends and gives the memory back. */
qn_status qni_witness_start(bool on) QNI_WARN_UNUSED;
void qni_witness_reset(void); /* nothing seen yet */
/* Outputs of a forward call, gradients of a backward one. entry < 0: an eager call. */
void qni_witness_call(const qn_call *c, int32_t entry);
/* The i-th call seen, replayed ones first; false past the last. */
bool qni_witness_at(int32_t i, qni_witnessed *w);

#endif
