/*
** Reading, comparing and restoring state of the process.
** SPDX-License-Identifier: MIT
*/
#include "exec/process.h"

#include <dirent.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec/cpu.h"

static int entries_of(const char *folder) {
  int n = 0;
  DIR *d = opendir(folder);
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

void qni_process_read(qni_process *p) {
  const char *locale = setlocale(LC_ALL, NULL);
  p->fp_control = qni_cpu_fp_control();
  p->umask = umask(0);
  umask(p->umask);
  sigprocmask(SIG_SETMASK, NULL, &p->signals);
  p->threads = entries_of("/proc/self/task");
  p->files = entries_of("/proc/self/fd");
  snprintf(p->locale, sizeof p->locale, "%s", locale ? locale : "");
  if (!getcwd(p->folder, sizeof p->folder)) p->folder[0] = 0;
}

const char *qni_process_changed(const qni_process *a, const qni_process *b) {
  if (a->fp_control != b->fp_control) return "the floating-point control register";
  if (strcmp(a->locale, b->locale)) return "the locale";
  if (a->umask != b->umask) return "the umask";
  if (strcmp(a->folder, b->folder)) return "the working folder";
  for (int signal = 1; signal < 32; signal++)
    if (sigismember(&a->signals, signal) != sigismember(&b->signals, signal))
      return "the signal mask";
  return NULL;
}

const char *qni_process_restore(const qni_process *before) {
  qni_process now;
  qni_process_read(&now);
  const char *changed = qni_process_changed(before, &now);
  if (!changed) return NULL;
  qni_cpu_fp_restore(before->fp_control);
  umask(before->umask);
  sigprocmask(SIG_SETMASK, &before->signals, NULL);
  setlocale(LC_ALL, before->locale);
  if (before->folder[0] && chdir(before->folder)) changed = "the working folder, which is gone,";
  return changed;
}
