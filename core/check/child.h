/* Running a command in a child process with a time limit. SPDX-License-Identifier: MIT */
#ifndef QNI_CHILD_H
#define QNI_CHILD_H

#include <stdbool.h>

#include "base/status.h"

typedef struct qni_child_result {
  int exit_code;                 /* -1 if a signal ended it */
  int signal;                    /* 0 if it exited */
  bool timed_out;
  char output[16384];            /* what it wrote to stdout and stderr, cut at the end */
} qni_child_result;

/* argv is NULL-ended; argv[0] a path. An error means the child could not be started. */
qn_status qni_child_run(char *const argv[], double seconds, qni_child_result *result) QNI_WARN_UNUSED;

#endif
