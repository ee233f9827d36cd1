/* Chooses the optimizer kernels for this CPU. SPDX-License-Identifier: MIT */
#include "exec/cpu.h"
#include "kernels/optim.h"

QNI_DISPATCH(optim, qni_optim_table)
