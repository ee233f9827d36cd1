/*
** Broken on purpose: writes one element behind its output, where the host's 64-byte
** rounding leaves room, so that nothing crashes. Fails the check bounds.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *y = h->out(c, 0);
  int64_t n = bad_count(y), bytes = n * (y->dtype == QN_F32 ? 4 : 8);
  qn_status st = bad_forward(h, c);
  if (!st && bytes % 64) bad_put(y, n, 1);
  return st;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("bounds", .reserved = 0);
