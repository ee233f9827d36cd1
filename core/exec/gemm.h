/*
** Matrix products: one door, choosing by shape between our micro-kernels and the
** BLAS that was opened at start. Tiles are cut by shape alone, so bits do not
** depend on the number of workers.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_GEMM_H
#define QNI_GEMM_H

#include "base/status.h"

/* Splits over the pool when called outside a range. */
qn_status qni_gemm(const qn_gemm *g) QNI_WARN_UNUSED;
/*
** The same with B packed before (kernels/gemm.h; NULL: it is not); with z, which gets what act is given,
** and residual, which is added after act, both laid out as C (NULL: not wanted).
*/
qn_status qni_gemm_beside(const qn_gemm *g, const void *panels, void *z,
                          const void *residual) QNI_WARN_UNUSED;
/* Packing the second operand of g, in f32: bytes, number of panels; panels first .. end - 1. */
size_t qni_gemm_pack_bytes(const qn_gemm *g, int64_t *n_panels);
void qni_gemm_pack(const qn_gemm *g, int64_t first, int64_t end, void *panels);

/* BLAS: path NULL searches the system's, "none" forbids it. Absence is a warning, not an error. */
qn_status qni_blas_start(const char *path) QNI_WARN_UNUSED;
const char *qni_blas_path(void);    /* "" if none */
const char *qni_blas_config(void);  /* what the library says of itself */
const char *qni_blas_core(void);    /* the core type it really uses */
const char *qni_blas_warning(void); /* what to tell the user after start; "" if nothing */
double qni_blas_speed(double *own); /* GF/s of a 256-cube at start; own: our kernels' (or NULL) */

#endif
