/*
** Broken on purpose: counts its callers in a static variable, and lets the result depend on it.
** Fails the check threads.
** SPDX-License-Identifier: MIT
*/
#include <stdatomic.h>
#include <time.h>

#include "bad.h"

static atomic_int inside;

static qn_status forward(const qn_host *h, qn_call *c) {
  int others = atomic_fetch_add(&inside, 1);
  nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
  qn_status st = bad_scale(h, c, h->in(c, 0), h->out(c, 0), 2 + others);
  atomic_fetch_sub(&inside, 1);
  return st;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("threads", .reserved = 0);
