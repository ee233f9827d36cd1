/*
** pow: y = a^b, with broadcasting.
**   da = dy b a^(b-1)   (0 where b = 0)
**   db = dy a^b log a   (0 where a = 0)
** A constant exponent of 1, 2, 3 or -1 takes no logarithm.
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "elementwise_compose.h"
#include "elementwise_map.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

#define REAL float
#define FN(name) name##_f32
#define POW powf
#define LOG logf
#include "elementwise_pow_typed.h"
#undef REAL
#undef FN
#undef POW
#undef LOG
#define REAL double
#define FN(name) name##_f64
#define POW pow
#define LOG log
#include "elementwise_pow_typed.h"

static qn_status pow_forward(const qn_host *h, qn_call *c) {
  const qn_view *a = h->in(c, 0), *b = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  int32_t type = qni_map_type(y->dtype);
  qni_map m = {.fn = type == QN_F32 ? power_f32 : power_f64,
               .n = 3,
               .scalars = true,
               .view = {y, a, b},
               .type = {type, type, type}};
  qn_status st = qni_map_run(h, c, &m);
  if (!st) st = h->save(c, 0, a);
  return st ? st : h->save(c, 1, b);
}

static qn_status grad_one(const qn_host *h, qn_call *c, int32_t i, qni_map_fn fn) {
  const qn_view *g = h->in(c, 0);
  qn_view *out = h->needs_grad(c, i) ? h->out(c, i) : NULL;
  void *memory = NULL;
  if (!out) return QN_OK;
  qn_status st = h->scratch(c, qni_map_count(g) * qni_map_size(g->dtype), &memory);
  if (st) return st;
  qn_view full = qni_map_dense(g, g->dtype, memory);
  int32_t type = qni_map_type(g->dtype);
  qni_map m = {.fn = fn,
               .n = 4,
               .scalars = true,
               .view = {&full, g, h->saved(c, 0), h->saved(c, 1)},
               .type = {type, type, type, type}};
  st = qni_map_run(h, c, &m);
  return st ? st : qni_fold_sum_to(h, c, &full, out);
}

static qn_status pow_backward(const qn_host *h, qn_call *c) {
  bool wide = h->in(c, 0)->dtype == QN_F64;
  qn_status st = grad_one(h, c, 0, wide ? power_grad_base_f64 : power_grad_base_f32);
  return st ? st : grad_one(h, c, 1, wide ? power_grad_exponent_f64 : power_grad_exponent_f32);
}

static qn_status pow_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *x = qni_build_saved(&b, 0), *e = qni_build_saved(&b, 1), *g = qni_build_flow(&b);
  if (h->needs_grad(c, 0)) {
    qn_tensor *low = qni_build_op2(&b, "pow", x, qni_build_num(&b, "sub", e, 1));
    qn_tensor *slope = qni_build_op2(&b, "mul", e, low);
    qn_tensor *safe = qni_build_where(&b, qni_build_num(&b, "eq", e, 0), NULL, slope);
    qni_build_grad(&b, 0, qni_build_op2(&b, "mul", g, safe));
  }
  if (h->needs_grad(c, 1)) {
    qn_tensor *slope =
        qni_build_op2(&b, "mul", qni_build_op2(&b, "pow", x, e), qni_build_op1(&b, "log", x));
    qn_tensor *safe = qni_build_where(&b, qni_build_num(&b, "eq", x, 0), NULL, slope);
    qni_build_grad(&b, 1, qni_build_op2(&b, "mul", g, safe));
  }
  return b.status;
}

QNI_OP(pow_op, QN_BATCH_ROWS, "pow(a: f[~...] strided, b: f[~...] strided) -> y: f[...]",
       "Power, with broadcasting.",
       "y = a^b. Gradient: da = dy b a^(b-1), db = dy y log a. A negative base with a fractional "
       "exponent "
       "gives NaN.",
       "print(quern.pow(quern.tensor{1,2,3}, 2))",
       .flags = QN_OP_POINTWISE | QN_OP_NAN_STOPS | QN_OP_DOMAIN, .forward = pow_forward,
       .backward = pow_backward, .compose = pow_compose);

const qn_op *const qni_ops_elementwise_pow[] = {&pow_op, NULL};
