/*
** Ops that work along one dimension: their input seen as A x B lines of R elements,
** `B` apart. Lines are independent, so they are what is spread over the workers.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_REDUCE_LINE_H
#define QNI_REDUCE_LINE_H

#include "elementwise_map.h"

typedef struct qni_lines {
  int64_t A, R, B;
} qni_lines;

/* Of a contiguous tensor; a 0-d one is a single line of one element. */
static inline qni_lines qni_lines_of(const qn_view *x, int32_t dim) {
  qni_lines l = {1, 1, 1};
  for (int32_t d = 0; d < x->ndim; d++) *(d < dim ? &l.A : d == dim ? &l.R : &l.B) *= x->shape[d];
  return l;
}

/* Offset of the first element of line i. */
static inline int64_t qni_lines_start(const qni_lines *l, int64_t i) {
  return i / l->B * l->R * l->B + i % l->B;
}

/* Lines per chunk: QNI_MAP_GRAIN elements, at least one line. */
static inline int64_t qni_lines_grain(const qni_lines *l) { return 1 + QNI_MAP_GRAIN / (l->R + 1); }

/* Element i of a vector of any type, as a number to compare. */
double qni_line_value(int32_t dtype, const void *data, int64_t i);

#endif
