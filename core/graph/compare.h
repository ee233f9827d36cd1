/*
** Comparing what a replay gives with what eager execution gave.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_COMPARE_H
#define QNI_COMPARE_H

#include "graph/step.h"

/* Replays the last recording's slice; the first entry whose results differ is named. */
qn_status qni_compare_recording(qni_runner *r, const qni_batch *batch,
                                const qni_slice *slice) QNI_WARN_UNUSED;
qn_status qni_compare_loss(double eager, double replayed, int32_t dtype) QNI_WARN_UNUSED;
qn_status qni_compare_output(const qn_tensor *eager, const qn_tensor *replayed,
                             int32_t index) QNI_WARN_UNUSED;
/* What a step wrote into a tensor that outlives it. */
qn_status qni_compare_state(int32_t dtype, int64_t bytes, const void *eager,
                            const void *replayed) QNI_WARN_UNUSED;

/* ---- Gradients ---- */

typedef struct qni_gap { /* Euclidean: of a - b (NaN: they cannot be compared), and of b */
  double off, norm;
} qni_gap;
qni_gap qni_gradient_gap(const qni_grad *a, const qni_grad *b);
/* noise: how far rounding was seen to move the gradient; 0: not known. */
bool qni_gradient_close(const qni_gap *gap, int32_t dtype, double noise);
/* index: of the parameter, for the message. */
qn_status qni_gradient_refuse(const qn_tensor *leaf, int32_t index, const qni_gap *gap,
                              double noise) QNI_WARN_UNUSED;

#endif
