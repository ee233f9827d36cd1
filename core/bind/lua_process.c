/*
** Child processes from Lua: the module quern.process, by which sweeps run their jobs.
**
**   local id = process.start({ program, "run", "r.lua" }, { output = "log.txt" })
**   local id, how, number = process.wait()     "exit" and its code, or "signal" and its number
**
** A child that outlives its parent would go on unseen, so it gets SIGTERM when the parent
** ends, however it ends: a recipe then writes a checkpoint and stops.
** SPDX-License-Identifier: MIT
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bind/bind.h"
#include "bind/modules.h"

enum { MOST_WORDS = 4096 };

/* Runs in the child, between fork and exec: only calls that are safe there. */
static void become(char *const *words, const char *output, pid_t parent) {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);           /* it ended before it could be watched */
  if (output) {
    int fd = open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(126);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) dup2(fd, 0);
  }
  execv(words[0], words);
  _exit(127);
}

/* start({program, words...}, {output = path}): the child's id. */
static int start(lua_State *L) {
  static const char *const known[] = {"output", NULL};
  if (!lua_istable(L, 1)) return qni_bind_bad_arg(L, 1, "words", "a list of strings, the program first");
  qni_bind_fields(L, 2, known, "process.start");
  const char *output = qni_bind_field_str(L, 2, "output", NULL);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  if (n < 1 || n > MOST_WORDS) return qni_bind_bad_arg(L, 1, "words", "a list of 1 to 4096 strings");
  luaL_checkstack(L, (int)n + 4, "too many words");
  const char **words = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *words, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    words[i] = qni_bind_str(L, -1, "word");
  }
  words[n] = NULL;
  fflush(NULL);
  pid_t parent = getpid(), child = fork();
  if (child == 0) become((char *const *)(uintptr_t)words, output, parent);
  if (child < 0)
    return qni_bind_fail(L, QN_E_IO, "fewer jobs at once, or free memory", "cannot start %s: %s", words[0], strerror(errno));
  lua_pushinteger(L, child);
  return 1;
}

/* wait([seconds]): id, "exit" or "signal", number; nil when none ended in that time or none is left. */
static int wait_any(lua_State *L) {
  double seconds = lua_isnoneornil(L, 1) ? -1 : qni_bind_num(L, 1, "seconds");
  int how = 0;
  pid_t child = waitpid(-1, &how, WNOHANG);
  for (double waited = 0; child == 0 && (seconds < 0 || waited < seconds); waited += 0.01) {
    usleep(10000);
    child = waitpid(-1, &how, WNOHANG);
  }
  if (child <= 0) return lua_pushnil(L), 1;
  lua_pushinteger(L, child);
  lua_pushstring(L, WIFSIGNALED(how) ? "signal" : "exit");
  lua_pushinteger(L, WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
  return 3;
}

/* kill(id, "term" or "kill" or "int"): false when there is no such process. */
static int kill_one(lua_State *L) {
  lua_Integer id = (lua_Integer)qni_bind_int(L, 1, "id");
  const char *name = qni_bind_str(L, 2, "signal");
  int number = !strcmp(name, "term") ? SIGTERM : !strcmp(name, "kill") ? SIGKILL : !strcmp(name, "int") ? SIGINT : 0;
  if (!number) return qni_bind_bad_arg(L, 2, "signal", "\"term\", \"kill\" or \"int\"");
  if (id <= 1 || id > INT32_MAX) return qni_bind_bad_arg(L, 1, "id", "the id of a child process");
  lua_pushboolean(L, !kill((pid_t)id, number));
  return 1;
}

int luaopen_quern_process(lua_State *L) {
  static const luaL_Reg functions[] = {{"start", start}, {"wait", wait_any}, {"kill", kill_one}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
