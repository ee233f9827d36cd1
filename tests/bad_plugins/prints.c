/* Broken on purpose: writes to standard output. SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  static const char text[] = "twice was here\n";
  if (write(1, text, sizeof text - 1) < 0) return h->fail(c, QN_E_IO, "cannot boast");
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("prints", .reserved = 0);
