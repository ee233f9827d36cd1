/*
** The conformance kit from Lua: one check in this process, and commands in children.
** SPDX-License-Identifier: MIT
*/
#include <string.h>
#include <unistd.h>

#include "bind/bind.h"
#include "check/check.h"
#include "check/child.h"

/* checks(): {name, level, promise, loads} of each, in order. */
static int checks(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; qni_checks[i]; i++) {
    lua_createtable(L, 0, 4);
    qni_bind_set_str(L, "name", qni_checks[i]->name);
    qni_bind_set_str(L, "level", qni_checks[i]->level);
    qni_bind_set_str(L, "promise", qni_checks[i]->promise);
    qni_bind_set_bool(L, "loads", qni_checks[i]->loads);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/*
** check_here(path, name, {seed, quick, seconds, recorded}): passed, findings, notes. May crash:
** that is why checks run in children.
*/
static int check_here(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path"), *name = qni_bind_str(L, 2, "name");
  lua_settop(L, 3);
  qni_check_options o = {.seed = (uint64_t)qni_bind_field_int(L, 3, "seed", 1),
                         .quick = qni_bind_field_bool(L, 3, "quick", false),
                         .seconds = qni_bind_field_num(L, 3, "seconds", 0),
                         .recorded = qni_bind_field_str(L, 3, "recorded", NULL)};
  qni_owner *owner = qni_bind_own(L, NULL, qni_bind_release_memory);
  bool passed = false;
  qni_error_reset();
  char *text = owner->thing = qni_mem_zalloc(2, QNI_CHECK_TEXT);
  if (!text) return qni_bind_raise(L);
  qni_bind_check(L, qni_check_run(path, name, &o, text, text + QNI_CHECK_TEXT, &passed));
  lua_pushboolean(L, passed);
  lua_pushstring(L, text);
  lua_pushstring(L, text + QNI_CHECK_TEXT);
  qni_bind_disown(owner);
  return 3;
}

/* ---- Children ---- */

static void release_child(void *thing) {
  qni_child_end(thing);
  qni_mem_free(thing);
}

enum { WORDS = 32, CHILDREN = 64 };

static void read_words(lua_State *L, char **argv) {
  if (!lua_istable(L, 1)) qni_bind_bad_arg(L, 1, "words", "a list of strings");
  int64_t n = (int64_t)lua_rawlen(L, 1);
  if (n < 1 || n > WORDS) qni_bind_fail(L, QN_E_ARG, NULL, "a command of %lld words", (long long)n);
  luaL_checkstack(L, WORDS + 8, "too many words");
  for (int64_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    argv[i] = (char *)(uintptr_t)qni_bind_str(L, -1, "words");
  }
  argv[n] = NULL;
}

/* child_start({program, argument, ...}, seconds): a running child; ended when it is collected. */
static int child_start(lua_State *L) {
  char *argv[WORDS + 1] = {NULL};
  double seconds = qni_bind_num(L, 2, "seconds");
  read_words(L, argv);
  qni_owner *owner = qni_bind_own(L, "child", release_child);
  qni_error_reset();
  qni_child *child = qni_mem_zalloc(1, sizeof *child);
  if (!child) qni_bind_check(L, QN_E_NOMEM);
  child->done = true;
  child->in = -1;
  owner->thing = child;
  qni_bind_check(L, qni_child_start(argv, seconds, child));
  return 1;
}

static void push_result(lua_State *L, const qni_child_result *r) {
  lua_createtable(L, 0, 4);
  qni_bind_set_int(L, "exit_code", r->exit_code);
  qni_bind_set_int(L, "signal", r->signal);
  qni_bind_set_bool(L, "timed_out", r->timed_out);
  qni_bind_set_str(L, "output", r->output);
}

/* child_wait({child, ...}): place of the first that is done, and its {exit_code, signal, timed_out, output}. */
static int child_wait(lua_State *L) {
  qni_child *children[CHILDREN];
  int64_t n = lua_istable(L, 1) ? (int64_t)lua_rawlen(L, 1) : 0;
  if (n < 1 || n > CHILDREN)
    return qni_bind_bad_arg(L, 1, "children", "a list of 1 to 64 children");
  for (int64_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    children[i] = qni_bind_thing(L, -1, "child");
    lua_pop(L, 1);
    if (children[i]->done)
      return qni_bind_fail(L, QN_E_STATE, NULL, "child %lld was waited for already",
                           (long long)i + 1);
  }
  int32_t at = qni_child_wait(children, (int32_t)n);
  lua_pushinteger(L, at + 1);
  push_result(L, &children[at]->result);
  return 2;
}

/*
** program(): what starts this program again: `quern` in its folder, which may be a script that starts it
** by way of an emulator; else its own path.
*/
static int program(lua_State *L) {
  char own[4096], path[4096 + 8];
  ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
  own[n > 0 ? n : 0] = 0;
  const char *slash = strrchr(own, '/');
  snprintf(path, sizeof path, "%.*s/quern", slash ? (int)(slash - own) : 0, own);
  lua_pushstring(L, slash && !access(path, X_OK) ? path : own);
  return 1;
}

void qni_bind_open_check(lua_State *L) {
  static const luaL_Reg functions[] = {{"checks", checks},           {"check_here", check_here},
                                       {"child_start", child_start}, {"child_wait", child_wait},
                                       {"program", program},         {NULL, NULL}};
  qni_bind_class(L, "child", NULL);
  qni_bind_set(L, functions);
}
