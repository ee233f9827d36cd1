/* Chooses the table of vector functions by instruction level. SPDX-License-Identifier: MIT */
#include "kernels/math.h"

#include "exec/cpu.h"

QNI_DISPATCH(math, qn_math)
