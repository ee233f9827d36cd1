/* Broken on purpose: turns NaN into 0. Fails the check numbers. SPDX-License-Identifier: MIT */
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *y = h->out(c, 0);
  if (x->dtype == QN_BF16) return h->fail(c, QN_E_DTYPE, "bf16 is not offered");
  for (int64_t i = 0; i < bad_count(x); i++) bad_put(y, i, bad_get(x, i) == bad_get(x, i) ? 2 * bad_get(x, i) : 0);
  return QN_OK;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("numbers", .reserved = 0);
