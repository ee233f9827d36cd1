/*
** Positions grouped by id, stably: the order in which row gradients are summed.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_EMBEDDING_GROUP_H
#define QNI_EMBEDDING_GROUP_H

#include "quern/abi.h"

typedef struct qni_groups {
  int64_t count;        /* distinct ids */
  const int64_t *order; /* positions, sorted by id, equal ids as they came */
  const int64_t *first; /* [count + 1] into order */
  const int64_t *id;    /* [count] */
} qni_groups;

/* id_at(ctx, p): the id of position p in 0..limit-1, or -1 to leave it out. Memory of the call. */
qn_status qni_groups_make(const qn_host *h, qn_call *c, int64_t n, int64_t limit,
                          int64_t (*id_at)(const void *ctx, int64_t p), const void *ctx,
                          qni_groups *g);

/*
** Gradient of input `input`, a table [limit, width]: group g adds up its positions' rows.
** by_rows: as rows of the table, else dense with zeros elsewhere. rows, coef and per: see
** kernels/embedding.h.
*/
qn_status qni_groups_gradient(const qn_host *h, qn_call *c, const qni_groups *g, int32_t input,
                              int by_rows, const void *rows, const void *coef, int64_t per);
/* The same into memory [limit, width]. */
qn_status qni_groups_dense(const qn_host *h, qn_call *c, const qni_groups *g, qn_view *out,
                           const void *rows, const void *coef, int64_t per);

#endif
