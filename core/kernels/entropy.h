/*
** Cross-entropy of rows against all rows of a table, with both gradients, and no matrix of scores.
**
**   Z = scale H W';  l_n = lse(z_n) - (1 - s) z_n,t - s mean(z_n)
**   dZ = coef (softmax(Z) - (1 - s) [t] - s / V);  dH = scale dZ W,  dW = scale dZ' H
**
** Scores of a chunk of rows against a block of items stay in the second cache.
** One block (small tables): a chunk's scores, their exponentials in place, and both gradients at once:
** three products. Rows are cut into lanes, each with a dW of its own, joined in order.
** Several blocks: first the largest score and the sum of exponentials of each row and block; then, with lse
** known, the scores again and the gradients: four products. A block's rows of dW have one owner; blocks are
** cut into lanes, each with a dH of its own. SPDX-License-Identifier: MIT
*/
#ifndef QNI_ENTROPY_H
#define QNI_ENTROPY_H

#include "kernels/kernel.h"
#include "quern/abi.h"

enum { QNI_ENTROPY_PANEL = 64, QNI_ENTROPY_ROWS = 48 };

typedef struct qni_entropy_job {
  int64_t n, items, width;
  const void *h, *w;     /* [n,width], [items,width] */
  const int64_t *target; /* [n] */
  const uint8_t *skip;   /* [n]: rows left out; NULL: none */
  double scale, smoothing;
  const void *coef;         /* [n]; d result / d loss of a row */
  void *loss;               /* [n] */
  void *columns;            /* [panels][width][PANEL] of w', last panel padded with zeros */
  int64_t block, n_blocks;  /* items of a block: all, or a multiple of PANEL */
  int64_t lanes, each;      /* rows or blocks of a lane */
  void *dh, *dw;            /* NULL: not wanted */
  void *more;               /* lanes 1..: [lanes-1] of dw (one block) or of dh */
  void *top, *sum, *linear; /* several blocks: [n_blocks][n] of largest, exponentials, scores */
  void *lse;                /* [n] */
} qni_entropy_job;

/* Index 0 is f32, 1 is f64. `work` is 64-byte aligned memory of work() bytes. */
typedef struct qni_entropy_table {
  int64_t (*work[2])(const qni_entropy_job *j);
  qn_range_fn pack[2]; /* over panels */
  void (*rows[2])(const qni_entropy_job *j, int64_t lane,
                  void *work); /* one block: all of a lane */
  void (*sums[2])(const qni_entropy_job *j, int64_t block, void *work);
  qn_range_fn join_sums[2]; /* over rows: loss and lse */
  void (*slopes[2])(const qni_entropy_job *j, int64_t lane, void *work);
  qn_range_fn join_lanes[2]; /* over rows of dw or dh */
} qni_entropy_table;

const qni_entropy_table *qni_entropy(void);

#endif
