/* Building backward passes from registered ops. SPDX-License-Identifier: MIT */
#include "elementwise_compose.h"

#include "elementwise_map.h"

qni_build qni_build_start(const qn_host *h, qn_call *c) { return (qni_build){.h = h, .c = c}; }

qn_tensor *qni_build_flow(qni_build *b) { return b->h->ref_grad(b->c, 0); }

qn_tensor *qni_build_saved(qni_build *b, int32_t slot) {
  if (b->status) return NULL;
  qn_tensor *t = b->h->ref_saved(b->c, slot);
  if (!t) b->status = b->h->fail(b->c, QN_E_STATE, "what backward needs was not kept");
  return t;
}

qn_arg qni_arg_tensor(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }
qn_arg qni_arg_num(double x) { return (qn_arg){.kind = QN_ARG_NUM, .v.f = x}; }
qn_arg qni_arg_int(const char *name, int64_t i) {
  return (qn_arg){.name = name, .kind = QN_ARG_INT, .v.i = i};
}
qn_arg qni_arg_bool(const char *name, int32_t on) {
  return (qn_arg){.name = name, .kind = QN_ARG_BOOL, .v.i = on};
}
qn_arg qni_arg_named(const char *name, double x) {
  return (qn_arg){.name = name, .kind = QN_ARG_NUM, .v.f = x};
}
qn_arg qni_arg_str(const char *name, const char *s) {
  return (qn_arg){.name = name, .kind = QN_ARG_STR, .v.s = s};
}
qn_arg qni_arg_ints(const char *name, int32_t n, const int64_t *ints) {
  return (qn_arg){.name = name, .kind = QN_ARG_INTS, .count = n, .v.ints = ints};
}

qn_tensor *qni_build_op(qni_build *b, const char *op, int32_t n_args, const qn_arg *args) {
  qn_tensor *y = NULL;
  for (int32_t i = 0; i < n_args; i++)
    if (args[i].kind == QN_ARG_TENSOR && !args[i].v.tensor) return NULL;
  if (b->status) return NULL;
  b->status = b->h->apply(b->c, op, args, n_args, &y, 1);
  return b->status ? NULL : y;
}

qn_tensor *qni_build_op1(qni_build *b, const char *op, qn_tensor *x) {
  return qni_build_op(b, op, 1, (qn_arg[]){qni_arg_tensor(x)});
}

qn_tensor *qni_build_op2(qni_build *b, const char *op, qn_tensor *x, qn_tensor *y) {
  return qni_build_op(b, op, 2, (qn_arg[]){qni_arg_tensor(x), qni_arg_tensor(y)});
}

qn_tensor *qni_build_num(qni_build *b, const char *op, qn_tensor *x, double y) {
  return qni_build_op(b, op, 2, (qn_arg[]){qni_arg_tensor(x), qni_arg_num(y)});
}

qn_tensor *qni_build_where(qni_build *b, qn_tensor *cond, qn_tensor *x, qn_tensor *y) {
  if (!x && !y) return NULL;
  return qni_build_op(b, "where", 3,
                      (qn_arg[]){qni_arg_tensor(cond), x ? qni_arg_tensor(x) : qni_arg_num(0),
                                 y ? qni_arg_tensor(y) : qni_arg_num(0)});
}

void qni_build_set(qni_build *b, int32_t input, qn_tensor *grad) {
  if (b->status || !grad) return;
  b->status = b->h->set_grad(b->c, input, grad);
}

void qni_build_grad(qni_build *b, int32_t input, qn_tensor *grad) {
  if (b->status || !grad || !b->h->needs_grad(b->c, input)) return;
  const qn_view *like = b->h->like(b->c, input), *flow = b->h->in(b->c, 0);
  if (!flow || !qni_map_same_shape(like, flow))
    grad = qni_build_op(
        b, "sum_to", 2,
        (qn_arg[]){qni_arg_tensor(grad), qni_arg_ints("shape", like->ndim, like->shape)});
  qni_build_set(b, input, grad);
}
