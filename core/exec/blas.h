/* The BLAS that was opened at start, as the matrix-product door uses it. SPDX-License-Identifier: MIT */
#ifndef QNI_BLAS_H
#define QNI_BLAS_H

#include <stdbool.h>
#include "exec/gemm.h"

/* Is one there, and can it take these strides and sizes? */
bool qni_blas_takes(const qn_gemm *g);
/* alpha A x B + beta C of one item; no bias, no act. On the calling thread. */
void qni_blas_run(const qn_gemm *g);

#endif
