/*
** Softmax attention of one (sequence, head), tile by tile.
**
**   S = Q K' scale + bias, P = softmax over the keys a query sees, O = P V
**   dV = P' dO,  dP = dO V',  dS = P (dP - rowsum(dO O)),  dbias = dS
**   dQ = dS K scale,  dK = dS' Q scale
**
** A tile is some queries by the keys that they see; nothing of size T x S is kept. Keys (and
** values in backward), across, are packed once for all tiles of a unit. Backward computes S
** again and takes P from the saved lse. All rows of a unit are strided windows of the op's
** tensors; a unit alone writes its rows.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ATTENTION_TILES_H
#define QNI_ATTENTION_TILES_H

#include "kernels/attention.h"

/* What all units of a call share. */
typedef struct qni_attention_call {
  const qn_host *h;
  qn_call *c;
  const qn_math *math;
  int64_t size, D, E; /* bytes of an element; width of q and k, of v and o */
  int64_t q_row, k_row, v_row, o_row, lse_row; /* steps between positions */
  int32_t dtype, causal;
  double scale;
} qni_attention_call;

/* One sequence and head. Gradients that are NULL are not wanted; dk and dv start at zero. */
typedef struct qni_attention_unit {
  int64_t T, S; /* queries, keys */
  const void *q, *k, *v, *o, *do_;
  void *out, *lse; /* lse: written forward, read backward */
  void *dq, *dk, *dv, *dbias;
  const void *bias;
  const uint8_t *mask;
  int64_t bias_row, bias_col, mask_row, mask_col, dbias_row, dbias_col;
} qni_attention_unit;

/* Inside a range. */
qn_status qni_attention_forward(const qni_attention_call *a, const qni_attention_unit *u);
qn_status qni_attention_backward(const qni_attention_call *a, const qni_attention_unit *u);

#endif
