/* The list of the core's op tables; a new file of ops adds one line here. SPDX-License-Identifier: MIT */
#include "ops/ops.h"

#define TABLES(X)                                                                                  \
  X(attention)                                                                                     \
  X(batch_norm)                                                                                    \
  X(batch_norm_act)                                                                                \
  X(bits)                                                                                          \
  X(compare)                                                                                       \
  X(conv)                                                                                          \
  X(dropout)                                                                                       \
  X(elementwise)                                                                                   \
  X(elementwise_inplace)                                                                           \
  X(elementwise_pow)                                                                               \
  X(embedding)                                                                                     \
  X(index)                                                                                         \
  X(linear)                                                                                        \
  X(loss)                                                                                          \
  X(linear_topk)                                                                                   \
  X(loss_linear)                                                                                   \
  X(loss_pointwise)                                                                                \
  X(loss_sampled)                                                                                  \
  X(matmul)                                                                                        \
  X(norm)                                                                                          \
  X(optim)                                                                                         \
  X(optim_rows)                                                                                    \
  X(pool)                                                                                          \
  X(random)                                                                                        \
  X(reduce)                                                                                        \
  X(reduce_dim)                                                                                    \
  X(rope)                                                                                          \
  X(shape_join)                                                                                    \
  X(shape_make)                                                                                    \
  X(shape_view)                                                                                    \
  X(softmax)                                                                                       \
  X(sort)                                                                                          \
  X(unary)                                                                                         \
  X(unary_act)                                                                                     \
  X(unary_copy)                                                                                    \
  X(upsample)

#define DECLARED(name) extern const qn_op *const qni_ops_##name[];
#define LISTED(name) qni_ops_##name,

TABLES(DECLARED)

const qn_op *const *const qni_ops_tables[] = {TABLES(LISTED) NULL};
