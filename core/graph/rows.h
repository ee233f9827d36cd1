/* Sorting rows of gradients by the row of the table they belong to. SPDX-License-Identifier: MIT */
#ifndef QNI_ROWS_H
#define QNI_ROWS_H

#include "graph/tape.h"

typedef struct qni_row_pair {
  int64_t id, at; /* row of the table; where its gradient lies */
} qni_row_pair;

/* Sorts pairs by id, equal ones stay in order; returns the array that holds the result, a or b. */
qni_row_pair *qni_rows_sort(qni_row_pair *a, qni_row_pair *b, int64_t n, int64_t top);

#endif
