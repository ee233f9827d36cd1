/*
** Rows of tables: fetching them, and summing what flows back into them.
**
** For sums, positions come sorted by id (ops/embedding_group.h): group g is
** positions order[first[g]] .. order[first[g+1]-1], in order of arrival, and has
** one owner. Position p reads row p / per of `rows`, times coef[p] if given.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_EMBEDDING_H
#define QNI_EMBEDDING_H

#include "quern/abi.h"
#include "kernels/kernel.h"

typedef struct qni_gather_job {
  const void *table;
  const int64_t *ids64; /* one of the two */
  const int32_t *ids32;
  void *out; /* [n, width] */
  int64_t width;
} qni_gather_job;

typedef struct qni_group_job {
  const void *rows, *coef;
  int64_t per, width;
  const int64_t *order, *first;
  const int64_t *row_of; /* [groups] row of out that group g fills; NULL: row g */
  void *out;
  int32_t add; /* onto what out holds */
} qni_group_job;

/* Index 0 is f32, 1 is f64; ctx is the job; items are rows, or groups. */
typedef struct qni_embedding_table {
  qn_range_fn gather[2], group_sum[2];
} qni_embedding_table;

const qni_embedding_table *qni_embedding(void);

#endif
