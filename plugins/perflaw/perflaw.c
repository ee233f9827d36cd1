/*
** The perflaw plugin: the Performance Law of sequential recommendation (Shen et al. 2024).
** The ops count and fit; what is asked of them stands in the Lua files. README.md has the
** map. SPDX-License-Identifier: MIT
*/
#include "perflaw.h"

static const qn_op *const ops[] = {&perflaw_apen_op,       &perflaw_gram_entropy_op,
                                   &perflaw_lz_entropy_op, &perflaw_block_entropy_op,
                                   &perflaw_law_fit_op,    NULL};

QN_EXPORT extern const qn_plugin qn_plugin_entry;
const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = 0,
    .build = QN_BUILD,
    .id = "org.quern.perflaw",
    .name = "perflaw",
    .version = "1.0.0",
    .ops = ops,
};
