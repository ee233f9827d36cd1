/*
** The engine of all element-by-element ops: it walks strided, broadcast operands of
** any element type and hands contiguous runs of f32, f64, i64 or bytes to a kernel.
** Element order never matters to the result, so any cut gives the same bits.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ELEMENTWISE_MAP_H
#define QNI_ELEMENTWISE_MAP_H

#include <stdbool.h>
#include "kernels/pointwise.h"
#include "quern/abi.h"

enum { QNI_MAP_OPERANDS = 4, QNI_MAP_BLOCK = 512, QNI_MAP_GRAIN = 16384 };

typedef struct qni_map {
  qni_map_fn fn;
  const void *param;
  int32_t n;                             /* operands; the first is written */
  bool scalars;                          /* fn takes step 0 */
  const qn_view *view[QNI_MAP_OPERANDS]; /* the first gives the shape, the others broadcast to it */
  int32_t type[QNI_MAP_OPERANDS];        /* what fn sees: QN_F32, QN_F64, QN_I64 or QN_BOOL */
} qni_map;

qn_status qni_map_run(const qn_host *h, qn_call *c, const qni_map *m);

/* The type kernels compute in for a stored type: bf16 as f32; i32, u8, bool as i64. */
int32_t qni_map_type(int32_t dtype);
/* The kernel of table entry `pw` for a stored type, NULL if it has none. */
qni_map_fn qni_map_kernel(int32_t pw, int32_t dtype);
/* y = kernel pw (a, b, ...), computed in y's type; the first operand of WHERE and kin is bool. */
qn_status qni_map_pw(const qn_host *h, qn_call *c, int32_t pw, const double *param, qn_view *y,
                     const qn_view *a, const qn_view *b, const qn_view *d);

int64_t qni_map_count(const qn_view *v);
bool qni_map_contiguous(const qn_view *v);
bool qni_map_same_shape(const qn_view *a, const qn_view *b);
/* A row-major view of `like`'s shape on `data`. */
qn_view qni_map_dense(const qn_view *like, int32_t dtype, void *data);
int64_t qni_map_size(int32_t dtype); /* bytes of an element */
bool qni_map_floating(int32_t dtype);

/* n elements `stride` apart, of a stored type, as consecutive ones of a kernel type; and back. */
void qni_map_load(int32_t from, const void *src, int64_t stride, int64_t n, int32_t type,
                  void *dst);
void qni_map_store(int32_t type, const void *src, int64_t n, int32_t to, void *dst, int64_t stride);

#endif
