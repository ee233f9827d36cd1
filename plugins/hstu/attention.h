/*
** Attention of heads of one sequence, shared by hstu_attention and hstu_mixer.
** attention.c has the arithmetic and its formulas. SPDX-License-Identifier: MIT
*/
#ifndef HSTU_ATTENTION_H
#define HSTU_ATTENTION_H

#include "hstu.h"

/* A [T,H,D] matrix as it lies; strides in elements. data NULL: not there, or not wanted. */
struct hstu_mat {
  void *data;
  int64_t row, head, col;
};

/* One call, forward or backward. */
struct hstu_attn {
  const qn_host *h;
  qn_call *c;
  const qn_math *math;
  int32_t dtype;
  bool softmax, causal;
  int64_t n_seq, T, H, D, E; /* sequences, tokens, heads, d_qk, d_v */
  int64_t together, groups;  /* heads worked on together, groups of them */
  int64_t n;                 /* the constant of the division and of bp's centre */
  int64_t bucket_row;        /* width of the bucket matrix */
  double alpha, scale, dropout;
  const int64_t *offsets;
  struct hstu_mat q, k, v;
  const void *bp, *bt;            /* biases [2n-1], [BUCKET_ROOM], or NULL */
  const uint8_t *bucket;          /* [T,bucket_row], or NULL */
  struct hstu_mat y;              /* forward: written */
  struct hstu_mat dy, dq, dk, dv; /* backward */
  int64_t dy_first;               /* token whose gradient is row 0 of dy */
  int64_t P, K;                   /* lengths of their gradients */
  void *dbp, *dbt;                /* gradients to be written, or NULL */
  struct hstu_cut cut;            /* units (sequence, group of heads) to chunks */
  void *partial;                  /* [chunks][P + K] sums of dbp and dbt */
};

/* Bytes of work memory for a unit of `length` tokens. */
int64_t hstu_attn_work(const struct hstu_attn *a, int64_t length, bool backward);
/* Unit: sequence * groups + group. `work` has that many bytes, 64-byte aligned. */
void hstu_attn_forward(const struct hstu_attn *a, int64_t unit, void *work);
/* Adds bias gradients to bias[P + K] if that is not NULL. */
void hstu_attn_backward(const struct hstu_attn *a, int64_t unit, void *work, void *bias);

/* The largest of all lengths. */
int64_t hstu_attn_longest(const struct hstu_attn *a);
/* Takes and zeroes `partial`, if a bias wants its gradient. */
qn_status hstu_attn_partials(struct hstu_attn *a);
/* Partial sums of chunk i, or NULL. */
void *hstu_attn_partial(const struct hstu_attn *a, int64_t chunk);
/* dbp and dbt: the partial sums, added in the order of the chunks. */
void hstu_attn_reduce(const struct hstu_attn *a);
/*
** Input i of the call: from the call in forward, where `keep` also saves it in slot i for
** backward, and from slot i there. NULL: an optional one that was not given.
*/
const qn_view *hstu_input(const qn_host *h, qn_call *c, int32_t i, bool backward);
qn_status hstu_save_inputs(const qn_host *h, qn_call *c, int32_t n);
/* Fills and checks what both ops share; the biases are inputs first .. first+2. */
qn_status hstu_attn_open(struct hstu_attn *a, const qn_host *h, qn_call *c, int32_t first,
                         bool backward);

#endif
