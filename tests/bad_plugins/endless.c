/* Broken on purpose: its op never returns. SPDX-License-Identifier: MIT */
#include "bad.h"

static volatile int32_t forever = 1;

static qn_status forward(const qn_host *h, qn_call *c) {
  while (forever) {}
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("endless", .reserved = 0);
