/* What the dense and the row-wise optimizer steps share. SPDX-License-Identifier: MIT */
#ifndef QNI_OPS_OPTIM_H
#define QNI_OPS_OPTIM_H

#include "kernels/optim.h"

/*
** Numbers that every step has: lr, weight_decay, decoupled, and the factor on the
** gradient: scale, times max_norm / norm where norm_sq (input i, or NULL) exceeds max_norm^2.
*/
qn_status qni_optim_common(const qn_host *h, qn_call *c, int32_t norm_input, qni_optim_job *job);
/* beta1, beta2, eps and the bias corrections of step t. */
void qni_optim_moments(const qn_host *h, qn_call *c, qni_optim_job *job);

#endif
