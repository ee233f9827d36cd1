/*
** Building backward passes from registered ops. A build keeps the first error and
** turns later steps into nothing, so formulas read straight:
**   qni_build b = qni_build_start(h, c);
**   qni_build_grad(&b, 0, qni_build_op2(&b, "mul", g, x));
**   return b.status;
** A NULL tensor stands for "no gradient flowed" and makes the result NULL.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ELEMENTWISE_COMPOSE_H
#define QNI_ELEMENTWISE_COMPOSE_H

#include "quern/abi.h"

typedef struct qni_build {
  const qn_host *h;
  qn_call *c;
  qn_status status;
} qni_build;

qni_build qni_build_start(const qn_host *h, qn_call *c);
/* The gradient that flowed into output 0, or NULL. */
qn_tensor *qni_build_flow(qni_build *b);
qn_tensor *qni_build_saved(qni_build *b, int32_t slot);

/* Arguments. */
qn_arg qni_arg_tensor(qn_tensor *t);
qn_arg qni_arg_num(double x); /* 0-d operand */
qn_arg qni_arg_int(const char *name, int64_t i);
qn_arg qni_arg_bool(const char *name, int32_t on);
qn_arg qni_arg_named(const char *name, double x);
qn_arg qni_arg_str(const char *name, const char *s);
qn_arg qni_arg_ints(const char *name, int32_t n, const int64_t *ints);

qn_tensor *qni_build_op(qni_build *b, const char *op, int32_t n_args, const qn_arg *args);
qn_tensor *qni_build_op1(qni_build *b, const char *op, qn_tensor *x);
qn_tensor *qni_build_op2(qni_build *b, const char *op, qn_tensor *x, qn_tensor *y);
qn_tensor *qni_build_num(qni_build *b, const char *op, qn_tensor *x, double y); /* op(x, y) */
qn_tensor *qni_build_where(qni_build *b, qn_tensor *cond, qn_tensor *x, qn_tensor *y); /* NULL: 0 */

/* Sets the gradient of an input, which has its shape. */
void qni_build_set(qni_build *b, int32_t input, qn_tensor *grad);
/* The same for a gradient of the shape of output 0: summed where the input was broadcast. */
void qni_build_grad(qni_build *b, int32_t input, qn_tensor *grad);

#endif
