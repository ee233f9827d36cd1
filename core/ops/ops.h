/* The core's op tables: one NULL-ended array per file of core/ops. SPDX-License-Identifier: MIT */
#ifndef QNI_OPS_H
#define QNI_OPS_H

#include "quern/abi.h"

/* NULL-ended list of NULL-ended tables. */
extern const qn_op *const *const qni_ops_tables[];

#endif
