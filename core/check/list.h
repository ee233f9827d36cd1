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

#endif
