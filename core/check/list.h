/* The single checks, by the file that has them. SPDX-License-Identifier: MIT */
#ifndef QNI_CHECK_LIST_H
#define QNI_CHECK_LIST_H

#include "check/check.h"

extern const qni_check qni_check_symbols, qni_check_load, qni_check_versions,
    qni_check_schema; /* library.c */
extern const qni_check qni_check_shape, qni_check_dtype, qni_check_strides,
    qni_check_aliasing, /* values.c */
    qni_check_numbers;
extern const qni_check qni_check_gradient, qni_check_needs;     /* gradient.c */
extern const qni_check qni_check_bounds, qni_check_determinism; /* runs.c */
extern const qni_check qni_check_random, qni_check_threads;     /* threads.c */
extern const qni_check qni_check_memory, qni_check_cancel;      /* memory.c */
extern const qni_check qni_check_state;                         /* state.c */
extern const qni_check qni_check_fuzz;                          /* fuzz.c */
extern const qni_check qni_check_docs;                          /* documents.c */
extern const qni_check qni_check_speed;                         /* speed.c */

#endif
