/*
** Broken on purpose: two ops that are right, but not when they were called in turn several times.
** Fails the check fuzz.
** SPDX-License-Identifier: MIT
*/
#include "bad.h"

static int32_t last, turns;

static double factor(int32_t now) {
  turns = now == last ? 0 : turns + 1;
  last = now;
  return turns > 3 ? 3 : 2;
}

static qn_status first(const qn_host *h, qn_call *c) {
  return bad_scale(h, c, h->in(c, 0), h->out(c, 0), factor(1));
}

static qn_status second(const qn_host *h, qn_call *c) {
  return bad_scale(h, c, h->in(c, 0), h->out(c, 0), factor(2));
}

static const qn_op double_it = {.struct_size = sizeof(qn_op),
                                .det = QN_DET_BITWISE,
                                .batch = QN_BATCH_ROWS,
                                .schema = "double_it(x: f[...]) -> y: f[...]",
                                .summary = "Twice x.",
                                BAD_DOCS,
                                .forward = first,
                                .backward = bad_backward};
static const qn_op twice = {.struct_size = sizeof(qn_op),
                            .det = QN_DET_BITWISE,
                            .batch = QN_BATCH_ROWS,
                            .schema = BAD_SCHEMA,
                            .summary = "Twice x.",
                            BAD_DOCS,
                            .forward = second,
                            .backward = bad_backward};
static const qn_op *const ops[] = {&double_it, &twice, NULL};
BAD_PLUGIN("fuzz", .reserved = 0);
