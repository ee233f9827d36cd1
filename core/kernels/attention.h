/*
** The softmax of one tile of attention scores, forward and backward.
**
** A tile is `rows` queries by `cols` keys. Query i of the tile sees keys
** 0 .. first + i (causal) or all. Rows that see nothing are zeros, their lse is +infinity.
**
**   forward   s = q k' scale + bias -> p = exp(s - lse), lse = log sum exp s
**   backward  ds = p (dp - delta), delta = sum do o
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ATTENTION_H
#define QNI_ATTENTION_H

#include "quern/abi.h"
#include "kernels/kernel.h"

typedef struct qni_attention_tile {
  const qn_math *math;
  int64_t rows, cols; /* the scores are [rows, cols] */
  int64_t first;      /* last key that query 0 of the tile sees; unused if not causal */
  int32_t causal;
  void *s;           /* scores in, probabilities out */
  void *ds;          /* backward: dp in, ds out */
  void *lse;         /* [rows], lse_step apart: forward out, backward in */
  const void *delta; /* [rows] */
  int64_t lse_step;
  const void *bias;    /* of query 0 and key 0; NULL: none */
  void *dbias;         /* added to; NULL: not wanted */
  const uint8_t *mask; /* NULL: none */
  int64_t bias_row, bias_col, mask_row, mask_col, dbias_row, dbias_col;
} qni_attention_tile;

typedef struct qni_attention_table {
  void (*forward[2])(const qni_attention_tile *t);
  void (*backward[2])(const qni_attention_tile *t);
  /* out[r] = sum_e a[r,e] b[r,e]; rows `stride` apart */
  void (*row_dots[2])(int64_t rows, int64_t width, int64_t stride, const void *a, const void *b,
                      void *out);
} qni_attention_table;

const qni_attention_table *qni_attention(void);

#endif
