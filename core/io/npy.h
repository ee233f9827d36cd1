/*
** NPY: NumPy's array file, header versions 1 to 3.
**
** Types <f4 <f8 <i4 <i8 |u1 |b1. Fortran order is converted to row-major while
** reading. Written is version 1, C order, crash-safe. Bad headers are refused.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_NPY_H
#define QNI_NPY_H

#include "tensor/tensor.h"

qn_status qni_npy_read(const char *path, qn_tensor **t) QNI_WARN_UNUSED;
/* The same on memory; `origin` names it in errors. */
qn_status qni_npy_parse(const void *data, size_t n_bytes, const char *origin,
                        qn_tensor **t) QNI_WARN_UNUSED;
enum { QNI_NPY_HEADER = 384 };
/* The bytes before the elements of a contiguous view; QN_E_UNSUPPORTED for types NPY lacks. */
qn_status qni_npy_header(const qn_view *v, char header[QNI_NPY_HEADER],
                         size_t *n_bytes) QNI_WARN_UNUSED;
qn_status qni_npy_write(const char *path, const qn_tensor *t) QNI_WARN_UNUSED;

#endif
