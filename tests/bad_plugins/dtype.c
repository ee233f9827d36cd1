/* Broken on purpose: f32 results are 1 % off. Fails the check dtype. SPDX-License-Identifier: MIT */
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  return bad_scale(h, c, x, h->out(c, 0), x->dtype == QN_F32 ? 2.02 : 2);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("dtype", .reserved = 0);
