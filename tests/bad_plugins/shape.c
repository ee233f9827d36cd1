/* Broken on purpose: fails for tensors without elements. Fails the check shape. SPDX-License-Identifier: MIT */
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  if (!bad_count(h->in(c, 0))) return h->fail(c, QN_E_INTERNAL, "nothing to do");
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("shape", .reserved = 0);
