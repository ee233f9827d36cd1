/* What the CPU can do, and which kernel level is used. SPDX-License-Identifier: MIT */
#ifndef QNI_CPU_H
#define QNI_CPU_H

#include <stdbool.h>
#include "base/status.h"

enum qni_isa { QNI_ISA_PLAIN, QNI_ISA_AVX2, QNI_ISA_AVX512 };

/* Chooses the best level that both CPU and build have, or the one named ("plain", "avx2", "avx512"; NULL: best). */
qn_status qni_cpu_start(const char *isa) QNI_WARN_UNUSED;
enum qni_isa qni_cpu_isa(void);
const char *qni_cpu_isa_name(void);
const char *qni_cpu_model(void);
const char *qni_cpu_features(void); /* "sse4.2 avx2 fma avx512f ..." */
int32_t qni_cpu_cores(void);
int64_t qni_cpu_l1d(void), qni_cpu_l2(void); /* bytes; sensible guesses where unknown */
bool qni_cpu_has(const char *feature);

/* Flush-to-zero and denormals-are-zero on this thread; returns the former state. */
uint32_t qni_cpu_flush_denormals(bool on);
uint32_t qni_cpu_fp_control(void); /* the control register, for comparing */
void qni_cpu_fp_restore(uint32_t control);

#endif
