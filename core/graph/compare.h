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
/* The gradient that a leaf has against a replayed one; index: for the message. */
/* Root mean square of a leaf's gradient. */
double qni_gradient_size(const qn_tensor *leaf);
/* size: the largest of all leaves' qni_gradient_size; what is far below it may differ by its rounding. */
qn_status qni_compare_gradient(const qn_tensor *leaf, const qni_grad *replayed, int32_t index,
                               double size) QNI_WARN_UNUSED;

#endif
