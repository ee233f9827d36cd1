/* Broken on purpose: its gradient is 2.01 dy, not 2 dy. Fails the check gradient. SPDX-License-Identifier: MIT */
#include "bad.h"

static qn_status backward(const qn_host *h, qn_call *c) {
  return h->out(c, 0) ? bad_scale(h, c, h->in(c, 0), h->out(c, 0), 2.01) : QN_OK;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = backward);
BAD_PLUGIN("gradient", .reserved = 0);
