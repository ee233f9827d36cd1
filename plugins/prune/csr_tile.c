/* The tile kernels of csr.h for float and double. SPDX-License-Identifier: MIT */
#include "csr.h"
#include "square.h"

#define PRUNE_FILE "csr_typed.h"
#include "prune_real.h"
