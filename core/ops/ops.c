/* The list of the core's op tables; a new file of ops adds one line here. SPDX-License-Identifier: MIT */
#include "ops/ops.h"

#define TABLES(X)         \
  X(compare)              \
  X(elementwise)          \
  X(elementwise_inplace)  \
  X(elementwise_pow)      \
  X(norm)                 \
  X(optim)                \
  X(optim_rows)           \
  X(softmax)              \
  X(unary)                \
  X(unary_act)            \
  X(unary_copy)

#define DECLARED(name) extern const qn_op *const qni_ops_##name[];
#define LISTED(name) qni_ops_##name,

TABLES(DECLARED)

const qn_op *const *const qni_ops_tables[] = {TABLES(LISTED) NULL};
