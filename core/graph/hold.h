/* What a slice holds between forward and backward (hold.c). SPDX-License-Identifier: MIT */
#ifndef QNI_HOLD_H
#define QNI_HOLD_H

#include "graph/program.h"

/*
** Does what the program's choices say; after it was planned, before it runs. one: the extent of one
** (long) sample, budget: bytes that may grow with a slice; ops run again by themselves where that
** brings a slice of one sample within it.
*/
qn_status qni_program_hold(qni_program *p, const qni_extent *one, int64_t budget) QNI_WARN_UNUSED;
/* From now on narrow copies are bf16. Whoever runs the program starts anew. */
qn_status qni_program_narrow(qni_program *p) QNI_WARN_UNUSED;

#endif
