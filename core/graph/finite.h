/* Finding the first NaN or infinity that an op makes. SPDX-License-Identifier: MIT */
#ifndef QNI_FINITE_H
#define QNI_FINITE_H

#include "graph/frame.h"

/* QN_E_NUMERIC naming op, output and first position when an output of a forward call is not finite. */
qn_status qni_finite_outputs(const qn_call *c) QNI_WARN_UNUSED;
/* The same for one gradient of a backward call. */
qn_status qni_finite_gradient(const qn_call *c, int32_t input,
                              const qn_tensor *grad) QNI_WARN_UNUSED;
bool qni_finite_on(void);

#endif
