/*
** Running commands in child processes with a time limit.
**
** Each child leads a process group of its own, which is killed when its time is up.
** A child that closes its output but goes on is looked at every few milliseconds.
** SPDX-License-Identifier: MIT
*/
#include "check/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

extern char **environ;

enum { MOST = 64, LOOK_MS = 20 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static qn_status spawn(char *const argv[], int out, pid_t *pid) {
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

qn_status qni_child_start(char *const argv[], double seconds, qni_child *child) {
  int ends[2];
  memset(child, 0, sizeof *child);
  child->done = true;
  child->in = -1;
  if (pipe2(ends, O_CLOEXEC))
    return qni_fail(QN_E_IO, "no pipe for the helper process: %s", strerror(errno));
  qn_status st = spawn(argv, ends[1], &child->pid);
  close(ends[1]);
  if (st) {
    close(ends[0]);
    return st;
  }
  child->in = ends[0];
  child->deadline = now() + seconds;
  child->done = false;
  return QN_OK;
}

static void close_output(qni_child *c) {
  if (c->in >= 0) close(c->in);
  c->in = -1;
}

/* Takes what it wrote; room is kept for the final NUL. */
static void read_output(qni_child *c) {
  char rest[4096];
  size_t room = sizeof c->result.output - 1 - c->used;
  ssize_t n = room ? read(c->in, c->result.output + c->used, room) : read(c->in, rest, sizeof rest);
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) close_output(c);
  else if (room) c->used += (size_t)n;
}

/* What the system says of its end; `flags` WNOHANG looks, 0 waits. */
static void reap(qni_child *c, int flags) {
  int state = 0;
  pid_t pid;
  do pid = waitpid(c->pid, &state, flags);
  while (pid < 0 && errno == EINTR);
  if (pid == 0) return;
  c->done = true;
  c->result.signal = pid > 0 && WIFSIGNALED(state) && !c->result.timed_out ? WTERMSIG(state) : 0;
  c->result.exit_code = pid > 0 && WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

void qni_child_end(qni_child *c) {
  close_output(c);
  if (c->done) return;
  kill(-c->pid, SIGKILL);
  reap(c, 0);
}

/* Looks at one child; true when it is done. */
static bool advance(qni_child *c, bool readable) {
  if (readable) read_output(c);
  if (c->in < 0) reap(c, WNOHANG);
  if (!c->done && now() >= c->deadline) {
    c->result.timed_out = true;
    qni_child_end(c);
  }
  return c->done;
}

static int32_t look(qni_child *const *children, int32_t n) {
  struct pollfd p[MOST];
  bool closed = false, running = false;
  double deadline = 0;
  for (int32_t i = 0; i < n; i++) {
    qni_child *c = children[i];
    p[i] = (struct pollfd){.fd = c->done ? -1 : c->in, .events = POLLIN};
    if (c->done) continue;
    if (!running || c->deadline < deadline) deadline = c->deadline;
    running = true;
    closed |= c->in < 0;
  }
  if (!running) return -1;
  double left = deadline - now();
  int ms = closed ? LOOK_MS : left < 0 ? 0 : left > 60 ? 60000 : (int)(left * 1000) + 1;
  if (poll(p, (nfds_t)n, ms) < 0) return n;
  for (int32_t i = 0; i < n; i++)
    if (!children[i]->done && advance(children[i], p[i].revents != 0)) return i;
  return n;
}

int32_t qni_child_wait(qni_child *const *children, int32_t n) {
  int32_t at = n;
  if (n > MOST) n = MOST;
  while (at == n) at = look(children, n);
  return at;
}

qn_status qni_child_run(char *const argv[], double seconds, qni_child_result *result) {
  qni_child *child = qni_mem_alloc(sizeof *child);
  if (!child) return QN_E_NOMEM;
  qn_status st = qni_child_start(argv, seconds, child);
  if (!st) qni_child_wait(&child, 1);
  *result = child->result;
  qni_mem_free(child);
  return st;
}
