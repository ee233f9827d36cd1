/* Broken on purpose: does not look at what parallel says. Fails the check cancel. SPDX-License-Identifier: MIT */
#include "bad.h"

struct work {
  const qn_view *x, *y;
};

static qn_status part(void *ctx, int64_t begin, int64_t end) {
  const struct work *w = ctx;
  for (int64_t i = begin; i < end; i++) bad_put(w->y, i, 2 * bad_get(w->x, i));
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct work w = {.x = h->in(c, 0), .y = h->out(c, 0)};
  if (w.x->dtype == QN_BF16) return h->fail(c, QN_E_DTYPE, "bf16 is not offered");
  memset(w.y->data, 0, (size_t)bad_count(w.y) * (w.y->dtype == QN_F32 ? 4 : 8));
  h->parallel(c, bad_count(w.x), 16, part, &w);
  return QN_OK;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("cancel", .reserved = 0);
