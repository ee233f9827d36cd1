/*
** State of the whole process that plugin code could disturb: floating-point control, locale,
** signal mask, umask, working folder, threads, open files.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_PROCESS_H
#define QNI_PROCESS_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct qni_process {
  uint32_t fp_control;
  mode_t umask;
  sigset_t signals;
  int threads, files;
  char locale[128], folder[4096];
} qni_process;

void qni_process_read(qni_process *p);
/* The first thing that is not as it was, in words, or NULL. */
const char *qni_process_changed(const qni_process *before, const qni_process *now);
/* Makes it as it was, but for threads and files; the first thing that differed, or NULL. */
const char *qni_process_restore(const qni_process *before);

#endif
