/*
** Broken on purpose: its result depends on how many threads the process has.
** Fails the check determinism.
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>

#include "bad.h"

static double factor(void) {
  int n = 0;
  DIR *tasks = opendir("/proc/self/task");
  while (tasks && readdir(tasks)) n++;
  if (tasks) closedir(tasks);
  return 2 + n / 1024.0;
}

static qn_status forward(const qn_host *h, qn_call *c) { return bad_scale(h, c, h->in(c, 0), h->out(c, 0), factor()); }

static qn_status backward(const qn_host *h, qn_call *c) {
  return h->out(c, 0) ? bad_scale(h, c, h->in(c, 0), h->out(c, 0), factor()) : QN_OK;
}

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = backward);
BAD_PLUGIN("determinism", .reserved = 0);
