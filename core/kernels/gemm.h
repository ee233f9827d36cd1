/*
** Matrix product kernels for one thread; see gemm.c.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_GEMM_KERNEL_H
#define QNI_GEMM_KERNEL_H

#include "kernels/kernel.h"
#include "quern/abi.h"

enum { QNI_GEMM_STACK = 128 * 1024 }; /* the least `room`, in bytes */

typedef struct qni_gemm_with { /* what a product may have besides */
  const void *panels;          /* all of B, packed by `panels`; NULL: it is read where it lies */
  void *z;                     /* gets C before act, strides as C's; NULL: nobody wants it */
  const void *residual;        /* added after act, strides as C's; NULL: nothing */
} qni_gemm_with;

typedef struct qni_gemm_table {
  /*
  ** One product (batch is not looked at), whole: alpha, beta, bias, act, residual. with may be NULL. pack:
  ** work memory, 64-byte aligned, `room` bytes; the bits of C do not depend on it.
  */
  void (*f32)(const qn_gemm *g, const qni_gemm_with *with, void *pack, int64_t room);
  void (*f64)(const qn_gemm *g, const qni_gemm_with *with, void *pack, int64_t room);
  /*
  ** Z = C unless z is NULL; C = act(C) + R, R nothing if r is NULL: rows of n, c_row apart in all
  ** three, for partial sums and foreign products.
  */
  void (*act_f32)(int32_t act, int64_t m, int64_t n, float *c, float *z, const float *r,
                  int64_t c_row);
  void (*act_f64)(int32_t act, int64_t m, int64_t n, double *c, double *z, const double *r,
                  int64_t c_row);
  /* Panels of a B of n columns, and bytes of all of them; by type, f32 and f64. */
  int64_t (*n_panels[2])(int64_t n);
  size_t (*panel_bytes[2])(int64_t n, int64_t k);
  /*
  ** Packs panels first .. end - 1 of g's B (b, its strides, n and k count) to where all of them go, and
  ** notes which have nothing but zeros in a block of k: products pass over those.
  */
  void (*panels[2])(const qn_gemm *g, int64_t first, int64_t end, void *to);
} qni_gemm_table;

const qni_gemm_table *qni_gemm_kernels(void);

/* qn_math's gemm of this level: packs on the stack. */
#ifdef QNI_ISA
#define QNI_GEMM_TILE QNI_PASTE(qni_gemm_tile, QNI_ISA)
void QNI_GEMM_TILE(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_row,
                   int64_t a_col, const float *b, int64_t b_row, int64_t b_col, float *c,
                   int64_t c_row, int32_t add);
#endif

#endif
