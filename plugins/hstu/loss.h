/*
** Losses on candidates of a catalogue: what the files of sampled_softmax_l2 and
** sampled_bce share. loss.c has the formulas and the plan. SPDX-License-Identifier: MIT
*/
#ifndef HSTU_LOSS_H
#define HSTU_LOSS_H

#include "hstu.h"

enum { SAMPLER_UNIFORM, SAMPLER_SHARED, SAMPLER_IN_BATCH, SAMPLER_FULL };
enum { MAX_LANES = 8, CHUNK_ROWS = 48, PANEL = 64, MAX_WIDTH = 4096 };

/*
** One call. The table's rows that take part are its active rows, numbered by slots
** 0..A-1; pairs and pool hold slots.
*/
struct hstu_loss {
  const qn_host *h;
  qn_call *c;
  const qn_math *math;
  int32_t dtype;
  bool bce, l2, given;                 /* which loss; unit vectors; rows of e are such already */
  bool want_o, want_e, want_w, sparse; /* gradients asked for; of e by rows */
  int64_t T, D, V, Dp;                 /* positions, width, table rows, padded width */
  const void *o, *e, *w;               /* [T,D], [V,D], weights [T] or NULL */
  const int64_t *pos;                  /* [T] */
  double temperature, total;           /* total: sum of weights */
  double beta;                         /* bce: weight of the positive's term */
  int32_t sampler;
  int64_t R; /* negatives of a position, or of the pool */

  int64_t n_ids;      /* ids to draw from, or to use all of */
  const int64_t *ids; /* [n_ids], or NULL: 1..n_ids */

  int64_t A;       /* active rows */
  int64_t *row_of; /* [A] table row of a slot, or NULL: the same */
  void *rows;      /* [A][Dp] rows by slot, of length 1 under l2 */
  void *inverse;   /* [A] 1/length, < 0: clamped; NULL if given */

  int64_t n_pair; /* per position: R negatives, then the positive; or only that */
  int32_t *pair;  /* [T][n_pair] slots */
  void *coef;     /* [T] beside a pool: d loss / d <o_i, e_pos>, unit vectors */

  int64_t P, n_panels;            /* candidates shared by all positions, in panels */
  int32_t *pool;                  /* [P] slots */
  int64_t pool_first;             /* pool is first, first + 1, ...; -1: it is not */
  void *pool_columns, *pool_rows; /* [n_panels][D][PANEL] and [n_panels][PANEL][Dp] unit rows */
  bool keep_tiles;                /* scores of a chunk stay in memory, else they are made twice */

  void *unit_o;                 /* [T][Dp] */
  int64_t n_lanes, lane_rows;   /* of a pool: lane l has positions l * lane_rows .. */
  double *lane_loss;            /* [n_lanes], or [n_blocks] without a pool */
  void *pool_grad;              /* [n_lanes][n_panels * PANEL][Dp] */
  int64_t n_blocks, block_rows; /* positions whose pairs are sorted together */
  int32_t *start;               /* [n_blocks][A + 1] where a slot's entries begin in its block */
  void *entries;                /* [T * n_pair][2] places and coefficients, sorted by slot */
  int32_t *chain, *chain_first; /* pool entries of a slot: first [A], next [P]; -1 ends */

  void *grad_o, *grad_e, *grad_w; /* [T,D], [A,D], [T]: with respect to o, rows of e, w */
  double *row_loss;               /* [T] l_i */
  double by;                      /* backward: the gradient of the loss */
  bool adds;                      /* to what grad_e holds */
};

/* Candidates: draws pairs and pool, numbers the active rows. loss_draw.c */
qn_status hstu_loss_draw(struct hstu_loss *s);
/* Values and gradients, once the candidates are known; the loss is returned. loss_sum.c */
qn_status hstu_loss_run(struct hstu_loss *s, double *loss);
/* Blocks of pairs: a function of A, n_pair and the width. */
void hstu_loss_blocks(struct hstu_loss *s);
/* Backward without a pool: grad_e from the sorted pairs. */
qn_status hstu_loss_pairs_back(struct hstu_loss *s);

static inline size_t hstu_loss_real(const struct hstu_loss *s) {
  return s->dtype == QN_F32 ? 4 : 8;
}

#endif
