/*
** Running a command in a child process with a time limit.
** SPDX-License-Identifier: MIT
*/
#include "check/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static qn_status start(char *const argv[], int out, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, out, 2);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  int error = posix_spawn(pid, argv[0], &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (!error) return QN_OK;
  qni_fail(QN_E_IO, "the helper process %s could not be started: %s", argv[0], strerror(error));
  qni_error_hint("checks never run inside this process instead; free memory or processes and try again");
  return QN_E_IO;
}

/* Reads until the child closes its end or time is up. */
static void collect(int in, double deadline, qni_child_result *r) {
  size_t used = 0;
  char rest[4096];
  for (;;) {
    double left = deadline - now();
    struct pollfd p = {.fd = in, .events = POLLIN};
    int ready = left > 0 ? poll(&p, 1, (int)(left * 1000) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    bool room = used + 1 < sizeof r->output;
    ssize_t n = room ? read(in, r->output + used, sizeof r->output - 1 - used) : read(in, rest, sizeof rest);
    if (n <= 0) return;
    if (room) used += (size_t)n;
  }
  r->timed_out = true;
}

qn_status qni_child_run(char *const argv[], double seconds, qni_child_result *r) {
  int ends[2], state = 0;
  pid_t pid;
  memset(r, 0, sizeof *r);
  if (pipe(ends)) return qni_fail(QN_E_IO, "no pipe for the helper process: %s", strerror(errno));
  qn_status st = start(argv, ends[1], &pid);
  close(ends[1]);
  if (!st) collect(ends[0], now() + seconds, r);
  close(ends[0]);
  if (st) return st;
  if (r->timed_out) kill(-pid, SIGKILL);
  while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {}
  r->signal = WIFSIGNALED(state) && !r->timed_out ? WTERMSIG(state) : 0;
  r->exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
  return QN_OK;
}
