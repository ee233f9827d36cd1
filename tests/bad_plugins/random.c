/*
** Broken on purpose: says that it draws random numbers, but has the same ones in every step.
** Fails the check random.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  uint32_t state = 1;
  if (x->dtype == QN_BF16) return h->fail(c, QN_E_DTYPE, "bf16 is not offered");
  for (int64_t i = 0; i < bad_count(x); i++) {
    state = state * 1664525u + 1013904223u;
    bad_put(h->out(c, 0), i, bad_get(x, i) * (double)(state >> 30));
  }
  return QN_OK;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *dx = h->out(c, 0);
  uint32_t state = 1;
  for (int64_t i = 0; dx && i < bad_count(dx); i++) {
    state = state * 1664525u + 1013904223u;
    bad_put(dx, i, bad_get(h->in(c, 0), i) * (double)(state >> 30));
  }
  return QN_OK;
}

BAD_OP(.schema = BAD_SCHEMA, .flags = QN_OP_RANDOM, .forward = forward, .backward = backward);
BAD_PLUGIN("random", .reserved = 0);
