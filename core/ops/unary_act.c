/*
** Activation functions: tanh sigmoid silu gelu relu leaky_relu elu softplus.
** Phi is the normal distribution function, phi its density.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "unary.h"

QNI_UM_FORWARD(tanh_forward, QNI_UM_TANH, QNI_KEEP_Y)
QNI_UM_FORWARD(sigmoid_forward, QNI_UM_SIGMOID, QNI_KEEP_Y)
QNI_UM_FORWARD(silu_forward, QNI_UM_SILU, QNI_KEEP_X)
QNI_PW_FORWARD(relu_forward, QNI_PW_RELU, QNI_KEEP_X)
QNI_PW_BACKWARD(tanh_backward, QNI_PW_TANH_GRAD)
QNI_PW_BACKWARD(sigmoid_backward, QNI_PW_SIGMOID_GRAD)
QNI_UM_BACKWARD(silu_backward, QNI_UM_SILU_GRAD)
QNI_PW_BACKWARD(relu_backward, QNI_PW_RELU_GRAD)

/* g (1 - y^2) */
QNI_COMPOSE(tanh_compose, QNI_B2("sub", g, QNI_B2("mul", g, QNI_B1("square", s))))
/* g (y - y^2) */
QNI_COMPOSE(sigmoid_compose, QNI_B2("mul", g, QNI_B2("sub", s, QNI_B1("square", s))))
QNI_COMPOSE(relu_compose, qni_build_where(b, QNI_BN("gt", s, 0), g, NULL))

/* sigma (1 + x (1 - sigma)) = sigma + x (sigma - sigma^2) */
static qn_tensor *silu_slope(qni_build *b, qn_tensor *x) {
  qn_tensor *y = QNI_B1("sigmoid", x);
  return QNI_B2("add", y, QNI_B2("mul", x, QNI_B2("sub", y, QNI_B1("square", y))));
}
QNI_COMPOSE(silu_compose, QNI_B2("mul", g, silu_slope(b, s)))

static qn_status zero_kink(const qn_host *h, qn_call *c) { return qni_unary_kink(h, c, 0); }

/* ---- gelu ---- */

static bool tanh_form(const qn_host *h, qn_call *c) {
  return !strcmp(h->arg_str(c, "form"), "tanh");
}

static qn_status gelu_forward(const qn_host *h, qn_call *c) {
  return qni_unary_um(h, c, tanh_form(h, c) ? QNI_UM_GELU_TANH : QNI_UM_GELU, 0, QNI_KEEP_X);
}
static qn_status gelu_backward(const qn_host *h, qn_call *c) {
  return qni_unary_um_grad(h, c, tanh_form(h, c) ? QNI_UM_GELU_TANH_GRAD : QNI_UM_GELU_GRAD, 0);
}

/* Phi(x) + x phi(x) */
static qn_tensor *gelu_slope(qni_build *b, qn_tensor *x) {
  qn_tensor *cdf = QNI_BN(
      "add", QNI_BN("mul", QNI_B1("erf", QNI_BN("mul", x, 0.70710678118654752440)), 0.5), 0.5);
  qn_tensor *density = QNI_BN("mul", QNI_B1("exp", QNI_BN("mul", QNI_B1("square", x), -0.5)),
                              0.39894228040143267794);
  return QNI_B2("add", cdf, QNI_B2("mul", x, density));
}

/* (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh u, u = r (x + k x^3) */
static qn_tensor *gelu_tanh_slope(qni_build *b, qn_tensor *x) {
  const double r = 0.79788456080286535588, k = 0.044715;
  qn_tensor *x2 = QNI_B1("square", x);
  qn_tensor *u = QNI_BN("mul", QNI_B2("mul", x, QNI_BN("add", QNI_BN("mul", x2, k), 1)), r);
  qn_tensor *t = QNI_B1("tanh", u);
  qn_tensor *slope = QNI_BN("mul", QNI_BN("add", QNI_BN("mul", x2, 3 * k), 1), 0.5 * r);
  qn_tensor *rest =
      QNI_B2("mul", QNI_B2("mul", x, slope), QNI_BN("add", QNI_B1("neg", QNI_B1("square", t)), 1));
  return QNI_B2("add", QNI_BN("add", QNI_BN("mul", t, 0.5), 0.5), rest);
}
QNI_COMPOSE(gelu_compose,
            QNI_B2("mul", g, tanh_form(h, c) ? gelu_tanh_slope(b, s) : gelu_slope(b, s)))

/* ---- leaky_relu, elu, softplus ---- */

static qn_status leaky_forward(const qn_host *h, qn_call *c) {
  double slope = h->arg_num(c, "slope");
  return qni_unary_pw(h, c, QNI_PW_LEAKY, &slope, QNI_KEEP_X);
}
static qn_status leaky_backward(const qn_host *h, qn_call *c) {
  double slope = h->arg_num(c, "slope");
  return qni_unary_pw_grad(h, c, QNI_PW_LEAKY_GRAD, &slope);
}
QNI_COMPOSE(leaky_compose,
            qni_build_where(b, QNI_BN("gt", s, 0), g, QNI_BN("mul", g, h->arg_num(c, "slope"))))

static qn_status elu_forward(const qn_host *h, qn_call *c) {
  return qni_unary_um(h, c, QNI_UM_ELU, h->arg_num(c, "alpha"), QNI_KEEP_X);
}
static qn_status elu_backward(const qn_host *h, qn_call *c) {
  return qni_unary_um_grad(h, c, QNI_UM_ELU_GRAD, h->arg_num(c, "alpha"));
}
/* The exponential is taken of min(x, 0), so that large x cannot overflow where it is not used. */
QNI_COMPOSE(elu_compose,
            qni_build_where(b, QNI_BN("gt", s, 0), g,
                            QNI_B2("mul", g,
                                   QNI_BN("mul", QNI_B1("exp", QNI_BN("minimum", s, 0)),
                                          h->arg_num(c, "alpha")))))

static qn_status softplus_beta(const qn_host *h, qn_call *c, double *beta) {
  *beta = h->arg_num(c, "beta");
  return *beta > 0 ? QN_OK : h->fail(c, QN_E_ARG, "beta is %g; it must be above 0", *beta);
}
static qn_status softplus_forward(const qn_host *h, qn_call *c) {
  double beta;
  qn_status st = softplus_beta(h, c, &beta);
  return st ? st : qni_unary_um(h, c, QNI_UM_SOFTPLUS, beta, QNI_KEEP_X);
}
static qn_status softplus_backward(const qn_host *h, qn_call *c) {
  return qni_unary_um_grad(h, c, QNI_UM_SOFTPLUS_GRAD, h->arg_num(c, "beta"));
}
QNI_COMPOSE(softplus_compose,
            QNI_B2("mul", g, QNI_B1("sigmoid", QNI_BN("mul", s, h->arg_num(c, "beta")))))

/* ---- Tables ---- */

#define ACT(name, extra, summary, doc, ...)                                                        \
  QNI_OP(name##_op, QN_BATCH_ROWS, #name "(x: f[...] strided" extra ") -> y: f[...]", summary,     \
         doc, "print(quern." #name "(quern.tensor{-1, 0, 1}))", .forward = name##_forward,         \
         .backward = name##_backward, .compose = name##_compose, __VA_ARGS__)

ACT(tanh, "", "Hyperbolic tangent.", "y = tanh x. Gradient: dx = (1 - y^2) dy.",
    .flags = QN_OP_POINTWISE);
ACT(sigmoid, "", "Logistic function.", "y = 1 / (1 + e^-x). Gradient: dx = y (1 - y) dy.",
    .flags = QN_OP_POINTWISE);
ACT(silu, "", "x times its logistic function (swish).",
    "y = x sigma(x). Gradient: dx = sigma(x) (1 + x (1 - sigma(x))) dy.", .flags = QN_OP_POINTWISE);
ACT(relu, "", "x where positive, else 0.", "y = max(x, 0). Gradient: dx = dy where x > 0, else 0.",
    .kink = zero_kink, .flags = QN_OP_POINTWISE);
ACT(gelu, ", form: enum{erf|tanh} = erf", "Gaussian error linear unit.",
    "y = x Phi(x). Gradient: dx = (Phi(x) + x phi(x)) dy. form = \"tanh\" takes "
    "Phi(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.",
    .cite = "Hendrycks and Gimpel 2016", .flags = QN_OP_POINTWISE);
QNI_OP(leaky_relu_op, QN_BATCH_ROWS,
       "leaky_relu(x: f[...] strided, slope: num = 0.01) -> y: f[...]",
       "x where positive, else slope times x.",
       "y = x > 0 ? x : slope x. Gradient: dx = dy or slope dy.",
       "print(quern.leaky_relu(quern.tensor{-1, 0, 1}, 0.1))", .forward = leaky_forward,
       .backward = leaky_backward, .compose = leaky_compose, .kink = zero_kink,
       .flags = QN_OP_POINTWISE);
ACT(elu, ", alpha: num = 1", "Exponential linear unit.",
    "y = x > 0 ? x : alpha (e^x - 1). Gradient: dx = dy or alpha e^x dy.", .kink = zero_kink,
    .cite = "Clevert, Unterthiner and Hochreiter 2016, eq. 15", .flags = QN_OP_POINTWISE);
ACT(softplus, ", beta: num = 1", "Smooth form of relu.",
    "y = ln(1 + e^(beta x)) / beta, without overflow. Gradient: dx = sigma(beta x) dy.",
    .flags = QN_OP_POINTWISE);

const qn_op *const qni_ops_unary_act[] = {&tanh_op, &sigmoid_op,  &silu_op,
                                          &relu_op, &gelu_op,     &leaky_relu_op,
                                          &elu_op,  &softplus_op, NULL};
