/* The arguments of an op call, bound to its schema. SPDX-License-Identifier: MIT */
#ifndef QNI_ARGUMENTS_H
#define QNI_ARGUMENTS_H

#include "graph/frame.h"

/* Its arrays are filled as far as the schema and the call use them. */
typedef struct qni_binder {
  qn_call *c;
  const qni_schema *s;
  const qn_arg *given[QN_MAX_PARAMS]; /* by parameter */
  qni_value attrs[QN_MAX_PARAMS];
  int16_t owner[QN_MAX_TENSORS];
} qni_binder;

/* Binds to a frame: its attrs and owner become the binder's, which must outlive it. */
void qni_binder_init(qni_binder *b, qn_call *c);
/* Fills the frame's inputs, as given and as the kernel takes them, and the attributes. */
qn_status qni_binder_bind(qni_binder *b, const qn_arg *args, int32_t n_args) QNI_WARN_UNUSED;

#endif
