/* The activations of linear on their own, and their slopes. SPDX-License-Identifier: MIT */
#ifndef QNI_LINEAR_ACT_H
#define QNI_LINEAR_ACT_H

#include "quern/abi.h"

/* y = act(z) for silu and gelu. */
qn_status qni_linear_act(const qn_host *h, qn_call *c, int32_t act, const qn_view *z, void *y);
/* g = dy act'(z); for relu, z is the output. */
qn_status qni_linear_act_grad(const qn_host *h, qn_call *c, int32_t act, const qn_view *z,
                              const void *dy, void *g);

#endif
