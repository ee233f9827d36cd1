/*
** The backward of batch normalisation, made of registered ops, for both of its ops.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_BATCH_NORM_COMPOSE_H
#define QNI_BATCH_NORM_COMPOSE_H

#include "quern/abi.h"

/* Inputs x, w, b, mean, var have these numbers, and saved slots are numbered alike. */
enum { QNI_BN_X, QNI_BN_W, QNI_BN_B, QNI_BN_MEAN, QNI_BN_VAR, QNI_BN_RESIDUAL };

typedef struct qni_batch_norm_slots {
  int32_t channel;  /* the channels' dimension, from 0 */
  int32_t relu;     /* the result went through relu */
  int32_t residual; /* input that was added before it, or -1 */
} qni_batch_norm_slots;

qn_status qni_batch_norm_compose(const qn_host *h, qn_call *c, const qni_batch_norm_slots *s);

#endif
