/* Running unary kernels forward and backward. SPDX-License-Identifier: MIT */
#include "unary.h"

static qn_status keep_one(const qn_host *h, qn_call *c, int32_t keep) {
  if (keep == QNI_KEEP_X) return h->save(c, 0, h->in(c, 0));
  return keep == QNI_KEEP_Y ? h->save(c, 0, h->out(c, 0)) : QN_OK;
}

qn_status qni_unary_pw(const qn_host *h, qn_call *c, int32_t pw, const double *param,
                       int32_t keep) {
  qn_status st = qni_map_pw(h, c, pw, param, h->out(c, 0), h->in(c, 0), NULL, NULL);
  return st ? st : keep_one(h, c, keep);
}

qn_status qni_unary_pw_grad(const qn_host *h, qn_call *c, int32_t pw, const double *param) {
  return qni_map_pw(h, c, pw, param, h->out(c, 0), h->in(c, 0), h->saved(c, 0), NULL);
}

static qn_status run_um(const qn_host *h, qn_call *c, int32_t um, double value, qn_view *y,
                        const qn_view *a, const qn_view *b) {
  qni_um_param param = {value, h->query("qn.math/1")};
  int32_t type = qni_map_type(y->dtype);
  qni_map m = {.fn = type == QN_F32 ? qni_um_f32[um] : qni_um_f64[um],
               .param = &param,
               .n = b ? 3 : 2,
               .view = {y, a, b},
               .type = {type, type, type}};
  if (!param.math) return h->fail(c, QN_E_UNSUPPORTED, "this host lacks the interface qn.math/1");
  return qni_map_run(h, c, &m);
}

qn_status qni_unary_um(const qn_host *h, qn_call *c, int32_t um, double value, int32_t keep) {
  qn_status st = run_um(h, c, um, value, h->out(c, 0), h->in(c, 0), NULL);
  return st ? st : keep_one(h, c, keep);
}

qn_status qni_unary_um_grad(const qn_host *h, qn_call *c, int32_t um, double value) {
  return run_um(h, c, um, value, h->out(c, 0), h->in(c, 0), h->saved(c, 0));
}

static void find_near(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const double at = *(const double *)param, *x = p[1];
  uint8_t *y = p[0];
  (void)step;
  for (int64_t i = 0; i < n; i++) y[i] = x[i] - at < 1e-3 && at - x[i] < 1e-3;
}

qn_status qni_unary_kink(const qn_host *h, qn_call *c, double at) {
  const qn_view *x = h->in(c, 0);
  int64_t n = qni_map_count(x);
  void *memory = NULL;
  qn_status st = h->scratch(c, n, &memory);
  if (st) return st;
  qn_view y = qni_map_dense(x, QN_BOOL, memory);
  qni_map m = {.fn = find_near, .param = &at, .n = 2, .view = {&y, x}, .type = {QN_BOOL, QN_F64}};
  st = qni_map_run(h, c, &m);
  for (int64_t i = 0; !st && i < n; i++)
    if (((uint8_t *)memory)[i])
      st = h->fail(c, QN_E_NUMERIC, "an input lies at %g, where the slope jumps", at);
  return st;
}
