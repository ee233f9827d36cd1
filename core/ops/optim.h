/* What the dense and the row-wise optimizer steps share. SPDX-License-Identifier: MIT */
#ifndef QNI_OPS_OPTIM_H
#define QNI_OPS_OPTIM_H

#include "kernels/optim.h"

enum { QNI_OPTIM_GRAIN = 16384 }; /* elements in a chunk of a dense step, and of the norm's sums */

/* The arguments of a step, as the ops have them. */
typedef struct qni_optim_settings {
  double lr, weight_decay, scale, max_norm, momentum, beta1, beta2, eps;
  int64_t step;
  int32_t decoupled, nesterov;
} qni_optim_settings;

/*
** Numbers that every step has: lr, weight_decay, decoupled, and the factor on the gradient:
** scale, times max_norm / norm where the norm exceeds max_norm > 0.
*/
void qni_optim_numbers(const qni_optim_settings *s, double norm_sq, qni_optim_job *job);
/* beta1, beta2, eps and the bias corrections of the step. */
void qni_optim_moments(const qni_optim_settings *s, qni_optim_job *job);

/* ---- From the arguments of a call ---- */

/* lr, weight_decay, decoupled, scale and max_norm; norm_sq is an input, or NULL. */
qn_status qni_optim_common(const qn_host *h, qn_call *c, int32_t norm_input, qni_optim_job *job);
void qni_optim_adam_arguments(const qn_host *h, qn_call *c, qni_optim_job *job);

#endif
