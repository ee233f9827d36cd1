/*
** The system from Lua: clocks, terminal, interrupts, environment.
**
** The first SIGINT or SIGTERM after interrupted() was first asked sets a flag, so that
** a step can be finished; a second one ends the process as if nothing caught it.
** SPDX-License-Identifier: MIT
*/
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/tick.h"
#include "bind/bind.h"
#include "exec/prof.h"

static volatile sig_atomic_t interrupted_by;

static void on_signal(int number) {
  if (interrupted_by) {
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  interrupted_by = number;
}

/* signals(on): catches SIGINT and SIGTERM, or leaves them to the system; clears the flag. */
static int signals(lua_State *L) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = qni_bind_bool(L, 1, "on") ? on_signal : SIG_DFL;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  interrupted_by = 0;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  return 0;
}

static int interrupted(lua_State *L) {
  static bool caught;
  if (!caught) {
    lua_pushcfunction(L, signals);
    lua_pushboolean(L, 1);
    lua_call(L, 1, 0);
    caught = true;
  }
  lua_pushboolean(L, interrupted_by != 0);
  return 1;
}

/* clock(): seconds of the monotonic clock; nanoseconds(): the same as an integer. */
static int clock_now(lua_State *L) {
  lua_pushnumber(L, (double)qni_prof_now() * 1e-9);
  return 1;
}

static int nanoseconds(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)qni_prof_now());
  return 1;
}

/* isatty(1 or 2) */
static int is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)qni_bind_int(L, 1, "fd")));
  return 1;
}

/* width(): columns of the terminal, nil if there is none. */
static int width(lua_State *L) {
  struct winsize w;
  for (int fd = 2; fd >= 0; fd--)
    if (!ioctl(fd, TIOCGWINSZ, &w) && w.ws_col > 0) return lua_pushinteger(L, w.ws_col), 1;
  lua_pushnil(L);
  return 1;
}

static const char tick_key[] = "quern.tick";

/* A failing listener is not asked again. */
static void on_tick(void *ctx, const char *what, int64_t done, int64_t total) {
  lua_State *L = ctx;
  if (!lua_checkstack(L, 6)) return;
  lua_getfield(L, LUA_REGISTRYINDEX, tick_key);
  lua_pushstring(L, what);
  lua_pushinteger(L, (lua_Integer)done);
  lua_pushinteger(L, (lua_Integer)total);
  if (!lua_pcall(L, 3, 0, 0)) return;
  lua_pop(L, 1);
  qni_tick_set(NULL, NULL);
}

/* tick(fn): fn(what, done, total) is told how far long work in C is, in bytes; nil: nobody is. */
static int tick(lua_State *L) {
  lua_settop(L, 1);
  if (!lua_isnil(L, 1) && !lua_isfunction(L, 1))
    return qni_bind_bad_arg(L, 1, "fn", "a function or nil");
  bool on = !lua_isnil(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, tick_key);
  qni_tick_set(on ? on_tick : NULL, L);
  return 0;
}

static int pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

static int cwd(lua_State *L) {
  char path[4096];
  lua_pushstring(L, getcwd(path, sizeof path) ? path : ".");
  return 1;
}

void qni_bind_open_system(lua_State *L) {
  static const luaL_Reg functions[] = {{"signals", signals},
                                       {"interrupted", interrupted},
                                       {"clock", clock_now},
                                       {"nanoseconds", nanoseconds},
                                       {"isatty", is_terminal},
                                       {"width", width},
                                       {"tick", tick},
                                       {"pid", pid},
                                       {"cwd", cwd},
                                       {NULL, NULL}};
  qni_bind_set(L, functions);
}
