/*
** How the op files fill their tables: QNI_OP(variable, batch class, schema, summary, doc,
** example, other fields...). Ops defined this way give the same bits for any number of
** workers; `flags` and others are given by name.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ELEMENTWISE_TABLE_H
#define QNI_ELEMENTWISE_TABLE_H

#include "quern/abi.h"

#define QNI_OP(variable, batch_class, schema_text, summary_text, doc_text, example_text, ...)      \
  static const qn_op variable = {.struct_size = sizeof(qn_op),                                     \
                                 .det = QN_DET_BITWISE,                                            \
                                 .batch = batch_class,                                             \
                                 .schema = schema_text,                                            \
                                 .summary = summary_text,                                          \
                                 .doc = doc_text,                                                  \
                                 .example = example_text,                                          \
                                 __VA_ARGS__}

#endif
