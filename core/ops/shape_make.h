/* What ops that make tensors from a shape share. SPDX-License-Identifier: MIT */
#ifndef QNI_SHAPE_MAKE_H
#define QNI_SHAPE_MAKE_H

#include "quern/abi.h"

/* The infer function of ops whose output has the shape of argument `shape`. */
qn_status qni_shape_infer(const qn_host *h, qn_call *c);

#endif
