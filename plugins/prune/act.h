/* Activations of csr_linear on n contiguous numbers. SPDX-License-Identifier: MIT */
#ifndef PRUNE_ACT_H
#define PRUNE_ACT_H

#include "prune.h"

enum { ACT_NONE, ACT_RELU, ACT_SILU };

/* y = act(z) on the calling thread; y may be z. */
void prune_act_f32(const qn_math *math, int32_t act, int64_t n, const float *z, float *y);
void prune_act_f64(int32_t act, int64_t n, const double *z, double *y);

/* y = act(z) */
qn_status prune_act(const qn_host *h, qn_call *c, int32_t act, int64_t n, int32_t dtype,
                    const void *z, void *y);
/* g = dy act'(z) */
qn_status prune_act_grad(const qn_host *h, qn_call *c, int32_t act, int64_t n, int32_t dtype,
                         const void *z, const void *dy, void *g);

#endif
