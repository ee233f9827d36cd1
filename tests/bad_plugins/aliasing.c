/* Broken on purpose: drops the signs of its input in place. Fails the check aliasing. SPDX-License-Identifier: MIT */
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  for (int64_t i = 0; x->dtype != QN_BF16 && i < bad_count(x); i++)
    if (bad_get(x, i) < 0) bad_put(x, i, -bad_get(x, i));
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("aliasing", .reserved = 0);
