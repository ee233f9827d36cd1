/*
** The three products of a convolution, for one set of sizes:
**   image    y = conv(x, w) + b        back     dx = T(g, w)        weight   dw = G(x, g)
** conv_columns.c turns images into columns and multiplies, for every case; conv_direct.c and
** conv_direct_weight.c are for f32 with channels last and one group; conv_winograd.c for those
** of them that are 3x3 with stride 1; conv_turned.c brings channels first to channels last.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CONV_PARTS_H
#define QNI_CONV_PARTS_H

#include <stdbool.h>

#include "ops/conv_shape.h"

typedef struct qni_conv {
  qni_window w;
  int64_t groups, O;    /* O: result channels */
  int64_t cg, og, K, P; /* channels of a group on both sides; K = cg kh kw; P = OH OW */
  int64_t size;         /* bytes of an element */
  int32_t dtype;
} qni_conv;

static inline int64_t qni_divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t qni_at_most(int64_t a, int64_t most) { return a < most ? a : most; }
static inline int64_t qni_at_least(int64_t a, int64_t least) { return a > least ? a : least; }

/* Asks memory for n floats that are read or written soon. */
static inline void qni_fetch_read(const float *p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i, 0, 2);
}
static inline void qni_fetch_write(const float *p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i, 1, 2);
}

/*
** One way to do the three. All tensors contiguous; results are written in full; bias may be NULL.
*/
typedef struct qni_conv_ways {
  bool (*takes)(const qni_conv *v);
  qn_status (*image)(const qn_host *h, qn_call *c, const qni_conv *v, const void *x, const void *w,
                     const void *bias, void *y);
  qn_status (*back)(const qn_host *h, qn_call *c, const qni_conv *v, const void *g, const void *w,
                    void *dx);
  qn_status (*weight)(const qn_host *h, qn_call *c, const qni_conv *v, const void *x, const void *g,
                      void *dw);
} qni_conv_ways;

/* The best way for these sizes. */
const qni_conv_ways *qni_conv_way(const qni_conv *v);

#define QNI_CONV_WAY(way)                                                                          \
  bool qni_##way##_takes(const qni_conv *v);                                                       \
  qn_status qni_##way##_image(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,      \
                              const void *w, const void *bias, void *y);                           \
  qn_status qni_##way##_back(const qn_host *h, qn_call *c, const qni_conv *v, const void *g,       \
                             const void *w, void *dx);                                             \
  qn_status qni_##way##_weight(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,     \
                               const void *g, void *dw);
QNI_CONV_WAY(winograd)
QNI_CONV_WAY(direct)
QNI_CONV_WAY(turned)
QNI_CONV_WAY(columns)

/* db[o] = sum over images and pixels of g, channels first. */
void qni_columns_bias(const qni_conv *v, const void *g, void *db);

#endif
