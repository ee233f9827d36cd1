/*
** Broken on purpose: an object that counts its steps where no checkpoint finds them.
** Fails the check state.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static double steps;

static qn_status create(const qn_host *h, qn_call *c) {
  (void)h, (void)c;
  steps = 0;
  return QN_OK;
}

static qn_status step(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0);
  steps += 1;
  for (int64_t i = 0; i < bad_count(w); i++) bad_put(w, i, bad_get(w, i) - steps);
  return QN_OK;
}

static const qn_op decay = {.struct_size = sizeof(qn_op),
                            .det = QN_DET_BITWISE,
                            .flags = QN_OP_NO_GRAD,
                            .schema = "step(w!: f[N]) -> w",
                            .summary = "Takes the number of the step away.",
                            .forward = step};
static const qn_object counter = {.head = {.struct_size = sizeof(qn_object),
                                           .settings = "counter()",
                                           .summary = "Counts.",
                                           .doc = "w = w - t at step t.",
                                           .example = "quern.object('counter'):step(quern.ones{1})",
                                           .create = create},
                                  .step = &decay};

static const void *query(const char *id) {
  static const qn_object *const objects[] = {&counter, NULL};
  return strcmp(id, "qn.object/1") ? NULL : objects;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("state", .query = query);
