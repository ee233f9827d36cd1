/*
** Losses by element and by row of scores.
**
**   square        (x - t)^2
**   absolute      |x - t|
**   smooth        d^2 / (2 beta) for |d| < beta, else |d| - beta / 2;  d = x - t
**   logistic      max(x, 0) - x t + log(1 + exp(-|x|))            (t: the target probability)
**   pair          -log sigmoid(x - t)                             (t: the other's score)
**   class         lse(x) - (1 - s) x_target - s mean(x)           (rows; s: label smoothing)
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_LOSS_H
#define QNI_LOSS_H

#include "quern/abi.h"
#include "kernels/kernel.h"

enum qni_loss_kind {
  QNI_LOSS_SQUARE,
  QNI_LOSS_ABSOLUTE,
  QNI_LOSS_SMOOTH,
  QNI_LOSS_LOGISTIC,
  QNI_LOSS_PAIR
};
enum { QNI_LOSS_CHUNK = 4096 };

/* Items are chunks of QNI_LOSS_CHUNK elements of n. */
typedef struct qni_loss_job {
  const qn_math *math;
  int32_t kind;
  int64_t n;
  double beta;
  const void *x, *t, *w; /* w: NULL or [n] */
  void *out;             /* forward: losses [n]; NULL: only sums */
  double *sums;          /* forward: one of each chunk; NULL: only losses */
  double scale;          /* backward: of all elements */
  const void *dy;        /* backward: of each element; NULL: 1 */
  void *dx, *dt, *dw;    /* NULL: not wanted */
} qni_loss_job;

/* Items are rows. */
typedef struct qni_class_job {
  const qn_math *math;
  int64_t cols;
  double smoothing;
  const void *x; /* [rows, cols] scores */
  const int64_t *target;
  const uint8_t *skip; /* rows left out; NULL: none */
  void *loss, *lse;    /* forward out [rows]; lse is backward's input */
  const void *coef;    /* [rows] d result / d loss of the row */
  void *dx;            /* coef (p - q); may be x itself */
} qni_class_job;

/* Items are rows: one target and `negatives` others, each a row of w. */
typedef struct qni_sampled_job {
  const qn_math *math;
  const void *h, *w;           /* [n, width], [V, width] */
  const int64_t *target, *ids; /* ids: [n, negatives], or [negatives] when shared */
  int64_t n_rows, negatives, width;
  int32_t shared, drop; /* drop: negatives equal to the target are left out */
  int32_t
      by_products; /* shared: the scores stand in slope, and dh lacks what comes from the negatives */
  double scale;    /* of the scores: 1 / temperature */
  void *loss;      /* [n] */
  void *slope;     /* [n, 1 + negatives] d loss / d (h w'); work memory when no gradient follows */
  void *pull;      /* [n, width] dh without coef, from forward; NULL: backward makes it */
  const void *coef; /* backward: [n] */
  void *dh;         /* backward: [n, width], NULL: not wanted */
  void *scaled;     /* backward: slope times coef, or NULL */

  /* Gradient of the table: pairs of block_rows rows sorted by item, as many blocks as there are. */
  int64_t items, block_rows;
  int32_t *start; /* [blocks][items + 1] where an item's entries begin in its block */
  void *entries;  /* [n (1 + negatives)] place in the block and coefficient: 8 or 16 bytes */
  void *dw;       /* [items, width] */
  int32_t add;    /* onto what dw holds */
} qni_sampled_job;

/* Index 0 is f32, 1 is f64. Items of sampled_sort are blocks, of sampled_table rows of w. */
typedef struct qni_loss_table {
  qn_range_fn forward[2], backward[2];
  qn_range_fn class_forward[2], class_backward[2];
  qn_range_fn sampled_forward[2], sampled_backward[2], sampled_sort[2], sampled_table[2];
} qni_loss_table;

const qni_loss_table *qni_loss(void);

#endif
