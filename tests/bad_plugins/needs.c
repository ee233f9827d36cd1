/*
** Broken on purpose: y = a + b, whose gradients are right only when both are asked for.
** Fails the check needs.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *a = h->in(c, 0), *b = h->in(c, 1), *y = h->out(c, 0);
  if (a->dtype == QN_BF16) return h->fail(c, QN_E_DTYPE, "bf16 is not offered");
  for (int64_t i = 0; i < bad_count(a); i++) bad_put(y, i, bad_get(a, i) + bad_get(b, i));
  return QN_OK;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *da = h->out(c, 0), *db = h->out(c, 1);
  double factor = da && db ? 1 : 0.5;
  qn_status st = da ? bad_scale(h, c, h->in(c, 0), da, factor) : QN_OK;
  return !st && db ? bad_scale(h, c, h->in(c, 0), db, factor) : st;
}

BAD_OP(.schema = "plus(a: f[...], b: f[...]) -> y: f[...]", .forward = forward, .backward = backward);
BAD_PLUGIN("needs", .reserved = 0);
