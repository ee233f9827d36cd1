/*
** How kernel files are written. Each file of core/kernels is compiled once per
** instruction level (plain, avx2, avx512) with QNI_ISA set to its name; it
** ends in one const table named QNI_KERNEL(family), and the family's header lists
** the table's struct. QNI_DISPATCH(family, type) declares the tables and defines
** `const type *qni_<family>(void)`, which returns that of the level chosen at start;
** it stands in one ordinary .c file of the core.
** Nothing else is shared between levels: no static inline function of these
** headers may be compiled into two levels under one external name.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_KERNEL_H
#define QNI_KERNEL_H

#include <stdint.h>

#define QNI_PASTE_(a, b) a##_##b
#define QNI_PASTE(a, b) QNI_PASTE_(a, b)
#define QNI_KERNEL(family) QNI_PASTE(qni_kernels_##family, QNI_ISA)

#ifdef QNI_BUILD_avx512
#define QNI_IF_AVX512(x) x
#else
#define QNI_IF_AVX512(x)
#endif
#ifdef QNI_BUILD_avx2
#define QNI_IF_AVX2(x) x
#else
#define QNI_IF_AVX2(x)
#endif

/* clang-format off */
#define QNI_DISPATCH(family, type)                                                \
  extern const type qni_kernels_##family##_plain;                                 \
  QNI_IF_AVX2(extern const type qni_kernels_##family##_avx2;)                     \
  QNI_IF_AVX512(extern const type qni_kernels_##family##_avx512;)                 \
  const type *qni_##family(void) {                                                \
    switch (qni_cpu_isa()) {                                                      \
      QNI_IF_AVX512(case QNI_ISA_AVX512: return &qni_kernels_##family##_avx512;)  \
      QNI_IF_AVX2(case QNI_ISA_AVX2: return &qni_kernels_##family##_avx2;)        \
      default: return &qni_kernels_##family##_plain;                              \
    }                                                                             \
  }
/* clang-format on */

#endif
