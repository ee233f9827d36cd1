/*
** Broken on purpose: rests a millisecond in every call. Fails the check speed, beside the manifest
** speed.plugin.lua, which records what it took before.
** SPDX-License-Identifier: MIT
*/
#include <time.h>

#include "bad.h"

static qn_status forward(const qn_host *h, qn_call *c) {
  nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  return bad_forward(h, c);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("speed", .reserved = 0);
