/*
** The prune plugin: selection by score and sparse execution. Masks, scorers and the
** rest are Lua; README.md has the map. SPDX-License-Identifier: MIT
*/
#include "prune.h"

static const qn_op *const ops[] = {&prune_topk_select_op,   &prune_csr_linear_op,
                                   &prune_csr_embedding_op, &prune_csr_make_op,
                                   &prune_npb_kernels_op,   NULL};

static const char *const requires_ids[] = {"qn.math/1", NULL};

QN_EXPORT extern const qn_plugin qn_plugin_entry;
const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = 0,
    .build = QN_BUILD,
    .id = "org.quern.prune",
    .name = "prune",
    .version = "1.0.0",
    .requires_ids = requires_ids,
    .ops = ops,
};
