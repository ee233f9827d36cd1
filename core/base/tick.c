/*
** Ticks: who listens to the progress of work in C.
** SPDX-License-Identifier: MIT
*/
#include "base/tick.h"

#include <stddef.h>

static _Thread_local struct {
  qni_tick_fn fn;
  void *ctx;
} listener;

void qni_tick_set(qni_tick_fn fn, void *ctx) {
  listener.fn = fn;
  listener.ctx = ctx;
}

void qni_tick(const char *what, int64_t done, int64_t total) {
  if (listener.fn) listener.fn(listener.ctx, what, done, total);
}
