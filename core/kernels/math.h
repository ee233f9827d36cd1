/* The vector functions of interface "qn.math/1", one table per level. SPDX-License-Identifier: MIT */
#ifndef QNI_MATH_H
#define QNI_MATH_H

#include "kernels/kernel.h"
#include "quern/abi.h"

const qn_math *qni_math(void);

#endif
