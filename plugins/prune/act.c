/*
** relu(z) = max(z, 0);  silu(z) = z s(z), silu'(z) = s + z s (1 - s), s = 1 / (1 + e^-z). Floats take
** the host's vector kernels. SPDX-License-Identifier: MIT
*/
#include "act.h"

enum { GRAIN = 16384 };

struct act {
  const qn_math *math;
  int32_t kind;
  bool wide;
  const void *z, *dy; /* dy NULL: forward */
  void *out;
};

static double value(int32_t kind, double z) {
  if (kind == ACT_RELU) return z > 0 ? z : 0;
  return z / (1 + exp(-z));
}

static double slope(int32_t kind, double z) {
  if (kind == ACT_RELU) return z > 0;
  const double s = 1 / (1 + exp(-z));
  return s + z * s * (1 - s);
}

void prune_act_f64(int32_t act, int64_t n, const double *z, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] = value(act, z[i]);
}

void prune_act_f32(const qn_math *math, int32_t act, int64_t n, const float *z, float *y) {
  if (act == ACT_SILU)
    math->silu(n, z, y);
  else
    for (int64_t i = 0; i < n; i++) y[i] = z[i] > 0 ? z[i] : 0;
}

static void run_wide(const struct act *a, int64_t begin, int64_t end) {
  const double *z = a->z, *dy = a->dy;
  double *out = a->out;
  if (!dy)
    prune_act_f64(a->kind, end - begin, z + begin, out + begin);
  else
    for (int64_t i = begin; i < end; i++) out[i] = dy[i] * slope(a->kind, z[i]);
}

static void run_narrow(const struct act *a, int64_t begin, int64_t end) {
  const float *z = (const float *)a->z + begin, *dy = (const float *)a->dy;
  float *out = (float *)a->out + begin;
  const int64_t n = end - begin;
  if (!dy)
    prune_act_f32(a->math, a->kind, n, z, out);
  else if (a->kind == ACT_SILU)
    a->math->silu_grad(n, z, dy + begin, out);
  else
    for (int64_t i = 0; i < n; i++) out[i] = z[i] > 0 ? dy[begin + i] : 0;
}

static qn_status run(void *ctx, int64_t begin, int64_t end) {
  const struct act *a = ctx;
  if (a->wide)
    run_wide(a, begin, end);
  else
    run_narrow(a, begin, end);
  return QN_OK;
}

qn_status prune_act(const qn_host *h, qn_call *c, int32_t act, int64_t n, int32_t dtype,
                    const void *z, void *y) {
  struct act a = {h->query("qn.math/1"), act, dtype == QN_F64, z, NULL, y};
  return h->parallel(c, n, GRAIN, run, &a);
}

qn_status prune_act_grad(const qn_host *h, qn_call *c, int32_t act, int64_t n, int32_t dtype,
                         const void *z, const void *dy, void *g) {
  struct act a = {h->query("qn.math/1"), act, dtype == QN_F64, z, dy, g};
  return h->parallel(c, n, GRAIN, run, &a);
}
