/*
** Chooses the element-by-element and reduction kernels for this CPU.
** SPDX-License-Identifier: MIT
*/
#include "exec/cpu.h"
#include "kernels/pointwise.h"
#include "kernels/reduce.h"

QNI_DISPATCH(pointwise, qni_pointwise_table)
QNI_DISPATCH(reduce, qni_reduce_table)
