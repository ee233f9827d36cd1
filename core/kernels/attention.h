/*
** The softmax of one tile of attention scores, forward and backward.
**
** A tile is `rows` queries by `cols` keys. Query i of the tile sees keys
** 0 .. first + i (causal) or all. Rows that see nothing are zeros, their lse is +infinity.
**
**   forward   s = q k' scale + bias -> e = exp(s - max s), norm = 1 / sum e, lse = max s - log norm
**   backward  p = exp(s - lse), ds = p (dp - delta), delta = sum do o
**
** Forward leaves e as it is: the caller multiplies the rows of e v, which are shorter, by norm.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ATTENTION_H
#define QNI_ATTENTION_H

#include "quern/abi.h"
#include "kernels/kernel.h"

typedef struct qni_attention_tile {
  int64_t rows, cols; /* the scores are [rows, cols] */
  int64_t s_row;      /* between rows of s and of ds: whole vectors, at least cols */
  int64_t first;      /* last key that query 0 of the tile sees; unused if not causal */
  int32_t causal;
  void *s;           /* scores in, e or p out */
  void *ds;          /* backward: dp in, ds out */
  void *lse;         /* [rows], lse_step apart: forward out, backward in */
  const void *delta; /* [rows] */
  int64_t lse_step;
  void *norm;          /* [rows] forward out; 0 of a row that sees nothing */
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
  /* x[r,e] *= by[r]; rows `stride` apart */
  void (*scale_rows[2])(int64_t rows, int64_t width, int64_t stride, const void *by, void *x);
} qni_attention_table;

const qni_attention_table *qni_attention(void);

#endif
