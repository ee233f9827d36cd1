/*
** One op call, from arguments to outputs: bind arguments to the schema, unify,
** infer, allocate, run, leave a tape node. The host table of the ABI is here.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CALL_H
#define QNI_CALL_H

#include "registry/registry.h"

struct qni_thing;

extern const qn_host qni_host; /* the table handed to plugins */

/* See qn_op_call. max_outs bounds outs; extra outputs are freed. */
qn_status qni_call(const qn_opref *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                   int32_t max_outs, int32_t *n_outs) QNI_WARN_UNUSED;
/* The same, a thing's method: the call sees its settings and state (graph/thing.h). */
qn_status qni_call_of(struct qni_thing *thing, const qn_opref *op, const qn_arg *args,
                      int32_t n_args, qn_tensor **outs, int32_t max_outs,
                      int32_t *n_outs) QNI_WARN_UNUSED;
/* By name; for code of ours that composes ops. */
qn_status qni_call_named(const char *op, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                         int32_t n_outs) QNI_WARN_UNUSED;

/* Asks the op whether these inputs lie at a non-smooth point: QN_E_NUMERIC if so. */
qn_status qni_call_kink(const qn_opref *op, const qn_arg *args, int32_t n_args) QNI_WARN_UNUSED;

/* Fails a call whose outputs are not finite (run setting check = "finite"). */
void qni_call_check_finite(bool on);
/* Provides the recipe's "file:line" for error texts and tape nodes; NULL: none. */
void qni_call_source(const char *(*source)(void));
const char *qni_call_source_now(void); /* interned; NULL: unknown */

/* Interfaces by id for qn_host.query; NULL if unknown. */
const void *qni_interface(const char *id);

#endif
