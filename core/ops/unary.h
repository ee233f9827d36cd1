/* What the files of unary ops share. SPDX-License-Identifier: MIT */
#ifndef QNI_UNARY_H
#define QNI_UNARY_H

#include "elementwise_compose.h"
#include "elementwise_map.h"
#include "elementwise_table.h"
#include "unary_math.h"

enum { QNI_KEEP_NONE, QNI_KEEP_X, QNI_KEEP_Y }; /* what backward needs, in slot 0 */

/* y = table kernel pw, or math kernel um, of input 0; value: slope and the like. */
qn_status qni_unary_pw(const qn_host *h, qn_call *c, int32_t pw, const double *param, int32_t keep);
qn_status qni_unary_um(const qn_host *h, qn_call *c, int32_t um, double value, int32_t keep);
/* dx = kernel (g, saved 0). */
qn_status qni_unary_pw_grad(const qn_host *h, qn_call *c, int32_t pw, const double *param);
qn_status qni_unary_um_grad(const qn_host *h, qn_call *c, int32_t um, double value);
/* QN_E_NUMERIC if an input lies within 1e-3 of `at`. */
qn_status qni_unary_kink(const qn_host *h, qn_call *c, double at);

/* Kernels picked by number, as functions an op table can name. */
#define QNI_PW_FORWARD(name, pw, keep)                                                             \
  static qn_status name(const qn_host *h, qn_call *c) { return qni_unary_pw(h, c, pw, NULL, keep); }
#define QNI_PW_BACKWARD(name, pw)                                                                  \
  static qn_status name(const qn_host *h, qn_call *c) { return qni_unary_pw_grad(h, c, pw, NULL); }
#define QNI_UM_FORWARD(name, um, keep)                                                             \
  static qn_status name(const qn_host *h, qn_call *c) { return qni_unary_um(h, c, um, 0, keep); }
#define QNI_UM_BACKWARD(name, um)                                                                  \
  static qn_status name(const qn_host *h, qn_call *c) { return qni_unary_um_grad(h, c, um, 0); }

/* A compose with gradient g and saved tensor s at hand; `slope` is the tensor to set. */
#define QNI_COMPOSE(name, slope)                                                                   \
  static qn_status name(const qn_host *h, qn_call *c) {                                            \
    qni_build build = qni_build_start(h, c), *b = &build;                                          \
    qn_tensor *g = qni_build_flow(b), *s = qni_build_saved(b, 0);                                  \
    qni_build_set(b, 0, slope);                                                                    \
    return b->status;                                                                              \
  }
/* Short forms for formulas inside QNI_COMPOSE. */
#define QNI_B1(op, x) qni_build_op1(b, op, x)
#define QNI_B2(op, x, y) qni_build_op2(b, op, x, y)
#define QNI_BN(op, x, number) qni_build_num(b, op, x, number)

#endif
