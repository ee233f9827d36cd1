/*
** What the network ops share: sizes of views, the vector kernels, a gradient's
** element type as an index (0: f32, 1: f64), sums of columns.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_NETWORK_H
#define QNI_NETWORK_H

#include "quern/abi.h"

static inline int qni_net_is64(const qn_view *v) { return v->dtype == QN_F64; }
static inline int64_t qni_net_size(const qn_view *v) { return v->dtype == QN_F64 ? 8 : 4; }
static inline void *qni_net_at(const void *base, int64_t element, int64_t size) {
  return (char *)(uintptr_t)base + element * size;
}

int64_t qni_net_count(const qn_view *v);
/* Elements of the last dimension, and of all before it. */
int64_t qni_net_cols(const qn_view *v);
int64_t qni_net_rows(const qn_view *v);
double qni_net_scalar(const qn_view *v); /* of a view of one element */
void qni_net_set_scalar(qn_view *v, double value);
void qni_net_fill_zero(qn_view *v); /* contiguous */
/* "f32[2,3]" */
const char *qni_net_shape_text(const qn_view *v, char *buf, size_t size);

/* A grain that makes chunks of about `work` elements out of items of `item` elements. */
int64_t qni_net_grain(int64_t item, int64_t work);

const qn_math *qni_net_math(const qn_host *h);

/*
** A dimension argument, 1-based or negative from the end, as an index from 0. The view
** becomes [outer, size, inner].
*/
typedef struct qni_net_axis {
  int32_t dim;
  int64_t outer, size, inner;
} qni_net_axis;
qn_status qni_net_axis_of(const qn_host *h, qn_call *c, const qn_view *v, int64_t dim,
                          qni_net_axis *a);

/* out[cols] = sum over rows of x (rows `stride` apart), in a fixed order. */
qn_status qni_net_column_sums(const qn_host *h, qn_call *c, int is64, int64_t rows, int64_t cols,
                              int64_t stride, const void *x, void *out);

#endif
