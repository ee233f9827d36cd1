/*
** The hstu plugin: Hierarchical Sequential Transduction Units (Zhai et al. 2024).
** Each op stands in its own file; README.md has the map. SPDX-License-Identifier: MIT
*/
#include "hstu.h"

static const qn_op *const ops[] = {&hstu_sequence_embedding_op,
                                   &hstu_time_bucket_op,
                                   &hstu_attention_op,
                                   &hstu_norm_gate_op,
                                   &hstu_mixer_op,
                                   &hstu_sampled_softmax_op,
                                   &hstu_sampled_bce_op,
                                   &hstu_rank_targets_op,
                                   &hstu_rank_scores_op,
                                   &hstu_extend_attention_op,
                                   &hstu_stochastic_length_op,
                                   &hstu_pooled_embedding_op,
                                   &hstu_sequence_places_op,
                                   &hstu_age_bucket_op,
                                   &hstu_sequence_last_op,
                                   NULL};

static const char *const requires_ids[] = {"qn.math/1", NULL};

QN_EXPORT extern const qn_plugin qn_plugin_entry;
const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = 0,
    .build = QN_BUILD,
    .id = "org.quern.hstu",
    .name = "hstu",
    .version = "1.0.0",
    .requires_ids = requires_ids,
    .ops = ops,
};
