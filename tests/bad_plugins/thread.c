/* Broken on purpose: starts a thread when it is loaded. SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <unistd.h>

#include "bad.h"

static void *sleeper(void *unused) {
  for (;;) pause();
  return unused;
}

static __attribute__((constructor)) void start(void) {
  pthread_t thread;
  if (!pthread_create(&thread, NULL, sleeper, NULL)) pthread_detach(thread);
}

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("thread", .reserved = 0);
