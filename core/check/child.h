/* Running commands in child processes with a time limit. SPDX-License-Identifier: MIT */
#ifndef QNI_CHILD_H
#define QNI_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

typedef struct qni_child_result {
  int exit_code; /* -1 if a signal ended it */
  int signal;    /* 0 if it exited */
  bool timed_out;
  char output[65536]; /* what it wrote to stdout and stderr, cut at the end */
} qni_child_result;

typedef struct qni_child {
  pid_t pid;
  int in; /* its output, -1 when it has closed it */
  bool done;
  double deadline;
  size_t used;
  qni_child_result result; /* valid when done */
} qni_child;

/* argv is NULL-ended; argv[0] a path. An error means the child could not be started. */
qn_status qni_child_start(char *const argv[], double seconds, qni_child *child) QNI_WARN_UNUSED;
/* Waits until one of the children is done, and gives its index; -1 if none is running. */
int32_t qni_child_wait(qni_child *const *children, int32_t n);
/* Kills it and its group if it runs. */
void qni_child_end(qni_child *child);
/* Start and wait in one. */
qn_status qni_child_run(char *const argv[], double seconds,
                        qni_child_result *result) QNI_WARN_UNUSED;

#endif
