/*
** Elementary functions of one tensor: neg abs exp log log1p sqrt rsqrt square reciprocal
** sin cos erf floor ceil round sign clamp. Each says its gradient in its doc.
** floor, ceil, round and sign are flat between their jumps: no gradient flows.
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "unary.h"

QNI_PW_FORWARD(neg_forward, QNI_PW_NEG, QNI_KEEP_NONE)
QNI_PW_FORWARD(abs_forward, QNI_PW_ABS, QNI_KEEP_X)
QNI_PW_FORWARD(sqrt_forward, QNI_PW_SQRT, QNI_KEEP_Y)
QNI_PW_FORWARD(rsqrt_forward, QNI_PW_RSQRT, QNI_KEEP_Y)
QNI_PW_FORWARD(square_forward, QNI_PW_SQUARE, QNI_KEEP_X)
QNI_PW_FORWARD(reciprocal_forward, QNI_PW_RECIPROCAL, QNI_KEEP_Y)
QNI_PW_FORWARD(floor_forward, QNI_PW_FLOOR, QNI_KEEP_NONE)
QNI_PW_FORWARD(ceil_forward, QNI_PW_CEIL, QNI_KEEP_NONE)
QNI_PW_FORWARD(round_forward, QNI_PW_ROUND, QNI_KEEP_NONE)
QNI_PW_FORWARD(sign_forward, QNI_PW_SIGN, QNI_KEEP_NONE)
QNI_UM_FORWARD(exp_forward, QNI_UM_EXP, QNI_KEEP_Y)
QNI_UM_FORWARD(log_forward, QNI_UM_LOG, QNI_KEEP_X)
QNI_UM_FORWARD(log1p_forward, QNI_UM_LOG1P, QNI_KEEP_X)
QNI_UM_FORWARD(sin_forward, QNI_UM_SIN, QNI_KEEP_X)
QNI_UM_FORWARD(cos_forward, QNI_UM_COS, QNI_KEEP_X)
QNI_UM_FORWARD(erf_forward, QNI_UM_ERF, QNI_KEEP_X)

static qn_status neg_backward(const qn_host *h, qn_call *c) {
  return qni_map_pw(h, c, QNI_PW_NEG, NULL, h->out(c, 0), h->in(c, 0), NULL, NULL);
}
QNI_PW_BACKWARD(abs_backward, QNI_PW_ABS_GRAD)
QNI_PW_BACKWARD(sqrt_backward, QNI_PW_SQRT_GRAD)
QNI_PW_BACKWARD(rsqrt_backward, QNI_PW_RSQRT_GRAD)
QNI_PW_BACKWARD(square_backward, QNI_PW_SQUARE_GRAD)
QNI_PW_BACKWARD(reciprocal_backward, QNI_PW_RECIPROCAL_GRAD)
QNI_PW_BACKWARD(exp_backward, QNI_PW_MUL)
QNI_PW_BACKWARD(log_backward, QNI_PW_DIV)
QNI_PW_BACKWARD(log1p_backward, QNI_PW_LOG1P_GRAD)
QNI_UM_BACKWARD(sin_backward, QNI_UM_SIN_GRAD)
QNI_UM_BACKWARD(cos_backward, QNI_UM_COS_GRAD)
QNI_UM_BACKWARD(erf_backward, QNI_UM_ERF_GRAD)

static qn_status neg_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0, qni_build_op1(&b, "neg", qni_build_flow(&b)));
  return b.status;
}
QNI_COMPOSE(abs_compose, QNI_B2("mul", g, QNI_B1("sign", s)))
QNI_COMPOSE(exp_compose, QNI_B2("mul", g, s))
QNI_COMPOSE(log_compose, QNI_B2("div", g, s))
QNI_COMPOSE(log1p_compose, QNI_B2("div", g, QNI_BN("add", s, 1)))
QNI_COMPOSE(sqrt_compose, QNI_B2("div", QNI_BN("mul", g, 0.5), s))
QNI_COMPOSE(rsqrt_compose,
            QNI_B2("mul", QNI_BN("mul", g, -0.5), QNI_B2("mul", s, QNI_B1("square", s))))
QNI_COMPOSE(square_compose, QNI_B2("mul", QNI_BN("mul", g, 2), s))
QNI_COMPOSE(reciprocal_compose, QNI_B1("neg", QNI_B2("mul", g, QNI_B1("square", s))))
QNI_COMPOSE(sin_compose, QNI_B2("mul", g, QNI_B1("cos", s)))
QNI_COMPOSE(cos_compose, QNI_B1("neg", QNI_B2("mul", g, QNI_B1("sin", s))))
QNI_COMPOSE(erf_compose, QNI_B2("mul", QNI_BN("mul", g, 1.12837916709551257390),
                                QNI_B1("exp", QNI_B1("neg", QNI_B1("square", s)))))

static qn_status zero_kink(const qn_host *h, qn_call *c) { return qni_unary_kink(h, c, 0); }

/* ---- clamp ---- */

static qn_status clamp_bounds(const qn_host *h, qn_call *c, double *v) {
  v[0] = h->has_arg(c, "min") ? h->arg_num(c, "min") : -INFINITY;
  v[1] = h->has_arg(c, "max") ? h->arg_num(c, "max") : INFINITY;
  if (v[0] <= v[1]) return QN_OK;
  return h->fail(c, QN_E_ARG, "min is %g, which is not at most max, %g", v[0], v[1]);
}
static qn_status clamp_forward(const qn_host *h, qn_call *c) {
  double v[2];
  qn_status st = clamp_bounds(h, c, v);
  return st ? st : qni_unary_pw(h, c, QNI_PW_CLAMP, v, QNI_KEEP_X);
}
static qn_status clamp_backward(const qn_host *h, qn_call *c) {
  double v[2];
  qn_status st = clamp_bounds(h, c, v);
  return st ? st : qni_unary_pw_grad(h, c, QNI_PW_CLAMP_GRAD, v);
}
static qn_status clamp_compose(const qn_host *h, qn_call *c) {
  double v[2];
  qn_status st = clamp_bounds(h, c, v);
  qni_build b = qni_build_start(h, c);
  qn_tensor *x = qni_build_saved(&b, 0);
  qn_tensor *inside = qni_build_op2(&b, "logical_and", qni_build_num(&b, "ge", x, v[0]),
                                    qni_build_num(&b, "le", x, v[1]));
  qni_build_set(&b, 0, qni_build_where(&b, inside, qni_build_flow(&b), NULL));
  return st ? st : b.status;
}
static qn_status clamp_kink(const qn_host *h, qn_call *c) {
  double v[2];
  qn_status st = clamp_bounds(h, c, v);
  if (!st) st = qni_unary_kink(h, c, v[0]);
  return st ? st : qni_unary_kink(h, c, v[1]);
}

/* ---- Tables ---- */

#define UNARY(name, class, summary, doc, ...)                                                      \
  QNI_OP(name##_op, QN_BATCH_ROWS, #name "(x: " class "[...] strided) -> y: " class "[...]",       \
         summary, doc, "print(quern." #name "(quern.tensor{0.25, 0.5, 1}))",                       \
         .forward = name##_forward, __VA_ARGS__)

UNARY(neg, "t", "Minus x.", "y = -x. Gradient: dx = -dy.", .backward = neg_backward,
      .compose = neg_compose, .flags = QN_OP_POINTWISE);
UNARY(abs, "t", "Absolute value.", "y = |x|. Gradient: dx = sign(x) dy, 0 at 0.",
      .backward = abs_backward, .compose = abs_compose, .kink = zero_kink,
      .flags = QN_OP_POINTWISE);
UNARY(exp, "f", "Exponential.", "y = e^x. Gradient: dx = y dy.", .backward = exp_backward,
      .compose = exp_compose, .flags = QN_OP_POINTWISE);
UNARY(log, "f", "Natural logarithm.", "y = ln x; -inf at 0, NaN below. Gradient: dx = dy / x.",
      .flags = QN_OP_POINTWISE | QN_OP_DOMAIN, .backward = log_backward, .compose = log_compose);
UNARY(log1p, "f", "ln(1 + x), exact for small x.", "y = ln(1 + x). Gradient: dx = dy / (1 + x).",
      .flags = QN_OP_POINTWISE | QN_OP_DOMAIN, .backward = log1p_backward,
      .compose = log1p_compose);
UNARY(sqrt, "f", "Square root.", "y = sqrt x; NaN below 0. Gradient: dx = dy / (2 y).",
      .flags = QN_OP_POINTWISE | QN_OP_DOMAIN, .backward = sqrt_backward, .compose = sqrt_compose);
UNARY(rsqrt, "f", "One over the square root.", "y = 1 / sqrt x. Gradient: dx = -y^3 dy / 2.",
      .flags = QN_OP_POINTWISE | QN_OP_DOMAIN, .backward = rsqrt_backward,
      .compose = rsqrt_compose);
UNARY(square, "t", "x times x.", "y = x^2. Gradient: dx = 2 x dy.", .backward = square_backward,
      .compose = square_compose, .flags = QN_OP_POINTWISE);
UNARY(reciprocal, "f", "One over x.", "y = 1 / x. Gradient: dx = -y^2 dy.",
      .backward = reciprocal_backward, .compose = reciprocal_compose, .flags = QN_OP_POINTWISE);
UNARY(sin, "f", "Sine of x in radians.", "y = sin x. Gradient: dx = cos(x) dy.",
      .backward = sin_backward, .compose = sin_compose, .flags = QN_OP_POINTWISE);
UNARY(cos, "f", "Cosine of x in radians.", "y = cos x. Gradient: dx = -sin(x) dy.",
      .backward = cos_backward, .compose = cos_compose, .flags = QN_OP_POINTWISE);
UNARY(erf, "f", "Error function.",
      "y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x. Gradient: "
      "dx = 2 / sqrt(pi) e^(-x^2) dy.",
      .backward = erf_backward, .compose = erf_compose, .flags = QN_OP_POINTWISE);
UNARY(floor, "f", "Largest whole number not above x.", "y = floor x. No gradient.",
      .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD);
UNARY(ceil, "f", "Smallest whole number not below x.", "y = ceil x. No gradient.",
      .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD);
UNARY(round, "f", "Nearest whole number; halves go to the even one.", "y = round x. No gradient.",
      .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD);
UNARY(sign, "t", "-1, 0 or 1 as x is negative, zero or positive.", "y = sign x. No gradient.",
      .flags = QN_OP_POINTWISE | QN_OP_NO_GRAD);
QNI_OP(clamp_op, QN_BATCH_ROWS,
       "clamp(x: t[...] strided, min: num? = nil, max: num? = nil) -> y: t[...]",
       "x kept between two bounds; either may be left out.",
       "y = min(max(x, min), max). Gradient: dx = dy where min <= x <= max, else 0.",
       "print(quern.clamp(quern.tensor{-1, 0.5, 2}, 0, 1))", .forward = clamp_forward,
       .backward = clamp_backward, .compose = clamp_compose, .kink = clamp_kink,
       .flags = QN_OP_POINTWISE);

const qn_op *const qni_ops_unary[] = {&neg_op,  &abs_op,   &exp_op,    &log_op,        &log1p_op,
                                      &sqrt_op, &rsqrt_op, &square_op, &reciprocal_op, &sin_op,
                                      &cos_op,  &erf_op,   &floor_op,  &ceil_op,       &round_op,
                                      &sign_op, &clamp_op, NULL};
