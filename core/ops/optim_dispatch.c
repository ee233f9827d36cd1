/* Chooses the optimizer kernels for this CPU. SPDX-License-Identifier: MIT */
#include "exec/cpu.h"
#include "kernels/bf16.h"
#include "kernels/optim.h"

QNI_DISPATCH(bf16, qni_bf16_table)
QNI_DISPATCH(optim, qni_optim_table)
