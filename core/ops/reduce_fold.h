/*
** Reductions over any set of dimensions, cut by shape alone.
**
** The input is seen as [A,R,B] with R reduced; where the reduced dimensions do not lie
** together, a copy with them last is made first. Pieces of R are folded separately
** and combined in order, so bits do not depend on the workers.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_REDUCE_FOLD_H
#define QNI_REDUCE_FOLD_H

#include <stdbool.h>

#include "elementwise_map.h"
#include "kernels/reduce.h"

typedef struct qni_fold {
  int64_t A, R, B;
  int32_t type;  /* QN_F32, QN_F64 or QN_I64: of x */
  const void *x; /* [A,R,B], row-major */
} qni_fold;

/* Reads argument "dim" (nil: all; 1-based, negative from the end) into a mask. */
qn_status qni_fold_dims(const qn_host *h, qn_call *c, const qn_view *x, bool *reduced);
/* One such dimension of an ndim-dimensional tensor, counted from 0. */
qn_status qni_fold_dim(const qn_host *h, qn_call *c, int32_t ndim, const char *name, int32_t *dim);
qn_status qni_fold_one_dim(const qn_host *h, qn_call *c, int32_t ndim, const char *name,
                           int64_t dim, int32_t *result);
/* Shape after reducing; keep leaves size 1. */
void qni_fold_shape(const qn_view *x, const bool *reduced, bool keep, qn_view *y);
/* A gradient of the reduced shape, seen in x's shape: reduced dimensions have stride 0. */
qn_view qni_fold_spread(const qn_view *g, const qn_view *x, const bool *reduced);

qn_status qni_fold_start(const qn_host *h, qn_call *c, const qn_view *x, const bool *reduced,
                         qni_fold *f);
/* The same, with B = 1 always. */
qn_status qni_fold_start_rows(const qn_host *h, qn_call *c, const qn_view *x, const bool *reduced,
                              qni_fold *f);
/* Folds into acc[A*B] (double or int64_t) from the neutral element. center: [A*B] or NULL. */
qn_status qni_fold_run(const qn_host *h, qn_call *c, const qni_fold *f, int32_t fold, void *acc,
                       const double *center);
/* y = scale * acc, acc being of F64 or I64. */
qn_status qni_fold_finish(const qn_host *h, qn_call *c, int32_t type, void *acc, double scale,
                          qn_view *y);
/* Sums x over its broadcast dimensions into the shape of y. */
qn_status qni_fold_sum_to(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y);
/* dst = src, broadcast and converted. */
qn_status qni_fold_copy(const qn_host *h, qn_call *c, const qn_view *dst, const qn_view *src);

#endif
