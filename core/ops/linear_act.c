/* The activations of linear on their own, and their slopes. SPDX-License-Identifier: MIT */
#include "linear_act.h"

#include <math.h>

#include "network.h"

enum { BLOCK = 512, GRAIN = 8192 };

struct job {
  const qn_math *math;
  int32_t act;
  const void *z, *dy;
  void *out;
};

static void phi_f32(const qn_math *m, int64_t n, const float *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * 0.70710678118654752440f;
  m->erf(n, y, y);
  for (int64_t i = 0; i < n; i++) y[i] = 0.5f + 0.5f * y[i];
}

static void phi_f64(const qn_math *m, int64_t n, const double *x, double *y) {
  (void)m;
  for (int64_t i = 0; i < n; i++) y[i] = 0.5 * erfc(-x[i] * 0.70710678118654752440);
}

static void sigmoid_f64(int64_t n, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] = 1 / (1 + exp(-x[i]));
}

static void exp_f64(int64_t n, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}

#define REAL float
#define FN(name) name##_f32
#define SIGMOID(m, n, x, y) (m)->sigmoid(n, x, y)
#define EXP(m, n, x, y) (m)->exp(n, x, y)
#include "linear_act_typed.h"
#undef REAL
#undef FN
#undef SIGMOID
#undef EXP
#define REAL double
#define FN(name) name##_f64
#define SIGMOID(m, n, x, y) sigmoid_f64(n, x, y)
#define EXP(m, n, x, y) exp_f64(n, x, y)
#include "linear_act_typed.h"

static qn_status run(const qn_host *h, qn_call *c, int32_t act, const qn_view *z, const void *dy,
                     void *out) {
  struct job j = {.math = qni_net_math(h), .act = act, .z = z->data, .dy = dy, .out = out};
  return h->parallel(c, qni_net_count(z), GRAIN, qni_net_is64(z) ? run_f64 : run_f32, &j);
}

qn_status qni_linear_act(const qn_host *h, qn_call *c, int32_t act, const qn_view *z, void *y) {
  return run(h, c, act, z, NULL, y);
}

qn_status qni_linear_act_grad(const qn_host *h, qn_call *c, int32_t act, const qn_view *z,
                              const void *dy, void *g) {
  return run(h, c, act, z, dy, g);
}
