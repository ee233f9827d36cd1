/*
** Gradient lanes: a fixed number of accumulators, so that sums do not depend on workers.
**
** Slice i belongs to lane i mod QNI_LANES; a lane's slices come in order. A dense part is
** added to the lane's array (the first of a step is copied), rows of tables are listed with
** their slice. At the end of a step lanes are added in lane order, rows in slice order,
** each by one owner, and stored in the leaves as backward would have done.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_LANES_H
#define QNI_LANES_H

#include "graph/program.h"
#include "graph/rows.h"

typedef struct qni_row_part {
  int64_t slice, first, n;
} qni_row_part;

typedef struct qni_row_list { /* of one leaf in one lane; capacities stay from step to step */
  int64_t *ids;
  char *rows;
  qni_row_part *part;
  int64_t n, max, n_parts, max_parts;
} qni_row_list;

typedef struct qni_leaf_sum {
  int32_t buffer; /* of the program */
  qn_tensor *leaf;
  qn_view like;            /* of its gradient (qni_gradient_like) */
  void *lane[QNI_LANES];   /* dense; NULL: no part came yet */
  bool touched[QNI_LANES]; /* in this step */
  qni_row_list rows[QNI_LANES];
  qn_tensor *grad, *grad_ids, *grad_rows; /* given to the leaf, used again when it let go */
  void *flat;                             /* the whole gradient, when it must be clipped first */
  double *part;                           /* and sums of squares of its chunks */
} qni_leaf_sum;

typedef struct qni_lanes {
  qni_leaf_sum *leaf;
  int32_t n;
  int32_t n_segments; /* of the program */
  int32_t *of_buffer; /* leaf by buffer, -1 */
  qni_arena memory, sorting;
} qni_lanes;

qn_status qni_lanes_start(const qni_program *p, qni_lanes *l) QNI_WARN_UNUSED;
void qni_lanes_stop(qni_lanes *l);
void qni_lanes_open(qni_lanes *l); /* a step begins */
qn_status qni_lanes_add(qni_lanes *l, int32_t lane, int32_t buffer,
                        const qn_view *part) QNI_WARN_UNUSED;
qn_status qni_lanes_add_rows(qni_lanes *l, int32_t lane, int64_t slice, int32_t buffer,
                             const int64_t *ids, const qn_view *rows) QNI_WARN_UNUSED;
/* Memory of all lanes for the leaves that programs write to directly. */
qn_status qni_lanes_reserve(const qni_program *p, qni_lanes *l) QNI_WARN_UNUSED;
/* Adds scale * sums to the leaves' gradients (gradient.c). Not from inside a parallel range. */
qn_status qni_lanes_deliver(qni_lanes *l, int64_t n_slices, double scale) QNI_WARN_UNUSED;

enum { QNI_SQUARES_CHUNK = 16384 }; /* elements whose squares are summed together */
/* Takes memory for flat and part; NULL if there is none. */
void *qni_lanes_flat(qni_leaf_sum *s);

/* ---- Rows of a leaf, by id (gradient.c) ---- */

typedef struct qni_row_groups {
  const qni_leaf_sum *s;
  const qni_row_pair *sorted;
  const int64_t *first; /* [n + 1] places in sorted */
  int64_t n, width;     /* different ids; elements of a row */
  size_t row;           /* bytes */
  double scale;
} qni_row_groups;

/* All rows listed in a step, in order of slices; valid until the next call. */
qn_status qni_row_groups_make(qni_lanes *l, qni_leaf_sum *s, int64_t n_slices, double scale,
                              qni_row_groups *g) QNI_WARN_UNUSED;
/* Adds scale times the rows of group k to `to`; returns their id. */
int64_t qni_row_groups_add(const qni_row_groups *g, int64_t k, void *to);

#endif
