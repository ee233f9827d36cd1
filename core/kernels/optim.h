/*
** Optimizer steps in one pass over memory: weight, gradient and state are read once
** and written once.
**
** With g' = scale g + l2 w in every formula:
**   sgd       m = momentum m + g';  d = m, or g' + momentum m (Nesterov), or g' without m;
**             w = decay w - rate d
**   adam      m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2;
**             w = decay w - rate m / (root sqrt(v) + eps),
**             rate = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t)  (Kingma & Ba 2015);
**             l2 is the coupled decay, decay = 1 - lr wd the decoupled one (Loshchilov & Hutter
**             2019)
**   rowwise   adam with one v for each row: g'^2 becomes its mean over the row
**   adagrad   v += mean of g'^2 over the row;  w = decay w - rate g' / (sqrt(v) + eps)
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_OPTIM_H
#define QNI_OPTIM_H

#include "quern/abi.h"
#include "kernels/kernel.h"

typedef struct qni_optim_job {
  void *w, *m, *v; /* m, v: NULL where the method has none */
  const void *g;
  const uint8_t *mask; /* elements where it is 0 stay as they are; or NULL; dense steps only */
  const int64_t *ids;  /* row r of g belongs to row ids[r]; NULL: to row r; row steps only */
  int64_t width;       /* elements in a row */
  double rate, decay, l2, scale, beta1, beta2, root, eps;
  int32_t nesterov;
} qni_optim_job;

/* Each for f32 and f64. The first two take elements as items, the others rows of g. */
typedef struct qni_optim_table {
  qn_range_fn sgd[2], adam[2];
  qn_range_fn adam_rows[2], rowwise_rows[2], adagrad_rows[2];
  double (*sum_square[2])(int64_t n, const void *x); /* in double, order set by n alone */
} qni_optim_table;

const qni_optim_table *qni_optim(void);

#endif
