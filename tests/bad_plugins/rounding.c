/* Broken on purpose: its op leaves the floating-point rounding changed. SPDX-License-Identifier: MIT */
#include <fenv.h>

#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  fesetround(FE_TOWARDZERO);
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("rounding", .reserved = 0);
