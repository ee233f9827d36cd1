/*
** Same values, other tensor: cast (another element type), contiguous, clone, detach.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "unary.h"
#include "reduce_fold.h"

static const char *const dtype_names[] = {"f32", "f64", "bf16", "i64", "i32", "u8", "bool"};

static qn_status cast_infer(const qn_host *h, qn_call *c) {
  const char *name = h->arg_str(c, "dtype");
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  *y = *x;
  for (int32_t i = 0; i < 7; i++)
    if (!strcmp(name, dtype_names[i])) return y->dtype = i + 1, QN_OK;
  return h->fail(c, QN_E_ARG, "dtype is '%s'; it must be f32, f64, bf16, i64, i32, u8 or bool",
                 name);
}

static qn_status copy_forward(const qn_host *h, qn_call *c) {
  return qni_fold_copy(h, c, h->out(c, 0), h->in(c, 0));
}

/* A gradient passes between floating types only; others have none. */
static qn_status cast_backward(const qn_host *h, qn_call *c) {
  return h->out(c, 0) ? qni_fold_copy(h, c, h->out(c, 0), h->in(c, 0)) : QN_OK;
}

static qn_status cast_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_arg dtype = qni_arg_str("dtype", dtype_names[h->like(c, 0)->dtype - 1]);
  qni_build_set(&b, 0,
                qni_build_op(&b, "cast", 2, (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)), dtype}));
  return b.status;
}

static qn_status same_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0, qni_build_flow(&b));
  return b.status;
}

QNI_OP(cast_op, QN_BATCH_ROWS, "cast(x: any[?] strided, dtype: str) -> y: any[?]",
       "A copy with another element type.",
       "y = x as dtype: f32, f64, bf16, i64, i32, u8 or bool. Floating to integer goes toward 0, "
       "NaN to 0, what "
       "is too large to the largest i64; i32 and u8 keep the low bits; bool is x ~= 0. Gradient: "
       "dx = dy.",
       "print(quern.cast(quern.tensor{1.5, -2.5}, \"i64\"))", .flags = QN_OP_NAN_STOPS,
       .infer = cast_infer, .forward = copy_forward, .backward = cast_backward,
       .compose = cast_compose);
QNI_OP(contiguous_op, QN_BATCH_ROWS, "contiguous(x: t[...] strided) -> y: t[...]",
       "A copy whose elements lie in row-major order.", "y = x. Gradient: dx = dy.",
       "print(quern.contiguous(quern.transpose(quern.tensor{{1,2},{3,4}}, 1, 2)))",
       .forward = copy_forward, .backward = cast_backward, .compose = same_compose);
QNI_OP(clone_op, QN_BATCH_ROWS, "clone(x: t[...] strided) -> y: t[...]",
       "A copy with memory of its own.", "y = x. Gradient: dx = dy.",
       "print(quern.clone(quern.tensor{1,2}))", .forward = copy_forward, .backward = cast_backward,
       .compose = same_compose);
QNI_OP(detach_op, QN_BATCH_ROWS, "detach(x: t[...] strided) -> y&x: t[...]",
       "The same data without history: no gradient flows through.", "y = x, sharing its memory.",
       "print(quern.detach(quern.tensor{1,2}))", .flags = QN_OP_NO_GRAD);

const qn_op *const qni_ops_unary_copy[] = {&cast_op, &contiguous_op, &clone_op, &detach_op, NULL};
