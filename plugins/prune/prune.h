/*
** What the files of this plugin share: its op tables and small helpers.
** Typed loops stand in NAME_typed.h, included for float and for double by
** prune_real.h. SPDX-License-Identifier: MIT
*/
#ifndef PRUNE_H
#define PRUNE_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "quern/abi.h"

extern const qn_op prune_topk_select_op, prune_csr_linear_op, prune_csr_embedding_op;
extern const qn_op prune_csr_make_op, prune_npb_kernels_op;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t count_of(const qn_view *v) {
  int64_t n = 1;
  for (int32_t i = 0; i < v->ndim; i++) n *= v->shape[i];
  return n;
}

#endif
