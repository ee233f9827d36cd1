/*
** Broken on purpose: when there is no scratch memory it leaves its output as it is, and says that
** all went well. Fails the check memory.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  void *work;
  if (h->scratch(c, 4096, &work)) {
    memset(h->out(c, 0)->data, 0, (size_t)bad_count(h->out(c, 0)) * 4);
    return QN_OK;
  }
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("memory", .reserved = 0);
