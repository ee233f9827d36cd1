/*
** The command quern: starts the runtime, opens Lua, hands over to lua/quern/cli.
**
** Quern's Lua files are found through QUERN_LUA, in ../lua beside the build, or in
** ../share/quern/lua of an installation. The exit code is what the command returns.
** SPDX-License-Identifier: MIT
*/
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/bind.h"
#include "bind/modules.h"

enum { PATH_ROOM = 4096 };

static bool has_files(const char *folder) {
  char path[PATH_ROOM + 32];
  snprintf(path, sizeof path, "%s/quern/init.lua", folder);
  return !access(path, R_OK);
}

/* The folder of this program, without its name. */
static void program_folder(char *folder) {
  ssize_t n = readlink("/proc/self/exe", folder, PATH_ROOM - 1);
  folder[n > 0 ? n : 0] = 0;
  char *slash = strrchr(folder, '/');
  if (slash)
    *slash = 0;
  else
    strcpy(folder, ".");
}

static bool find_files(const char *program, char *folder) {
  static const char *const places[] = {"../lua", "../../lua", "../share/quern/lua"};
  const char *given = getenv("QUERN_LUA");
  if (given && *given) {
    snprintf(folder, PATH_ROOM, "%s", given);
    return has_files(folder);
  }
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    char path[PATH_ROOM + 32];
    snprintf(path, sizeof path, "%s/%s", program, places[i]);
    if (realpath(path, folder) && has_files(folder)) return true;
  }
  return false;
}

/*
** Young garbage is collected often, so that what tensors leave is reused while still in cache. Old tensors
** that die wait for a collection of all: growth of Lua's memory by a fifth brings it, or qni_bind_relieve.
*/
static void collect_often(lua_State *L) {
  enum {
    PAUSE = 120,
    YOUNG = 6,
    GROWTH = 20
  }; /* percent of Lua's memory; the pause is after a fruitless one */
  lua_gc(L, LUA_GCINC, PAUSE, 0, 0);
  lua_gc(L, LUA_GCGEN, YOUNG, GROWTH);
}

/* What Lua's warn() says, in parts; "@on" and "@off" switch it, off at first, as in Lua's own program. */
static void say_warning(void *ud, const char *part, int more) {
  static bool on, inside;
  (void)ud;
  if (!inside && !more && part[0] == '@') {
    if (!strcmp(part, "@on")) on = true;
    if (!strcmp(part, "@off")) on = false;
    return;
  }
  if (on) fprintf(stderr, "%s%s%s", inside ? "" : "Lua warning: ", part, more ? "" : "\n");
  inside = more;
}

/* Runs protected: opens the libraries, sets the search path, calls quern.cli.main with the words. */
static int hand_over(lua_State *L) {
  const char *folder = lua_tostring(L, 1), *program = lua_tostring(L, 2);
  luaL_openlibs(L);
  lua_setwarnf(L, say_warning, NULL);
  collect_often(L);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_getfield(L, -2, "preload");
  static const luaL_Reg modules[] = {{"quern.core", luaopen_quern_core},
                                     {"quern.sqlite", luaopen_quern_sqlite},
                                     {"quern.process", luaopen_quern_process},
                                     {"quern.digest", luaopen_quern_digest},
                                     {"quern.things", luaopen_quern_things},
                                     {"quern.faults", luaopen_quern_faults},
                                     {NULL, NULL}};
  qni_bind_set(L, modules);
  lua_pushstring(L, folder);
  lua_setfield(L, LUA_REGISTRYINDEX, "quern.lua_folder");
  lua_pushstring(L, program);
  lua_setfield(L, LUA_REGISTRYINDEX, "quern.program_folder");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "quern.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_pushvalue(L, 3);
  lua_call(L, 1, 1);
  return 1;
}

static int report(lua_State *L) {
  const char *text = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, text, 1);
  return 1;
}

static int run(lua_State *L, const char *folder, const char *program, int argc, char **argv) {
  lua_pushcfunction(L, report);
  lua_pushcfunction(L, hand_over);
  lua_pushstring(L, folder);
  lua_pushstring(L, program);
  lua_createtable(L, argc, 0);
  for (int i = 1; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  if (lua_pcall(L, 3, 1, 1)) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return 2;
  }
  return lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 0;
}

int main(int argc, char **argv) {
  char program[PATH_ROOM], folder[PATH_ROOM];
  program_folder(program);
  if (!find_files(program, folder)) {
    fprintf(stderr,
            "quern: its Lua files were not found beside %s\nhint: set QUERN_LUA to the folder that "
            "holds quern/init.lua\n",
            program);
    return 6;
  }
  lua_State *L = qni_bind_new_state();
  if (!L) {
    fprintf(stderr, "quern: not enough memory to start Lua\n");
    return 5;
  }
  int code = run(L, folder, program, argc, argv);
  qni_bind_close_state(L);
  qn_stop();
  return code;
}
