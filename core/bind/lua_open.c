/*
** The module quern.core: a new state's binding, and all its parts.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "graph/call.h"

/* own_files(folder): frames in files below it are not the recipe's. */
static int own_files(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  const char *folder = qni_bind_str(L, 1, "folder");
  if (strlen(folder) < sizeof b->folder) strcpy(b->folder, folder);
  return 0;
}

int luaopen_quern_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"own_files", own_files}, {NULL, NULL}};
  qni_bind *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (qni_bind){.call_error = LUA_NOREF};
  lua_setfield(L, LUA_REGISTRYINDEX, "quern.bind");
  *(qni_bind **)lua_getextraspace(L) = b;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  *(qni_bind **)lua_getextraspace(lua_tothread(L, -1)) = b; /* threads made later copy it */
  lua_pop(L, 1);
  qni_bind_errors_open(L);
  qni_bind_check(L, qn_start(NULL));
  qni_call_source(qni_bind_source);
  lua_newtable(L);
  qni_bind_set(L, functions);
  qni_bind_open_tensor(L);
  qni_bind_open_scope(L);
  qni_bind_open_make(L);
  qni_bind_open_access(L);
  qni_bind_open_call(L);
  qni_bind_open_info(L);
  qni_bind_open_grad(L);
  qni_bind_open_capture(L);
  qni_bind_open_runtime(L);
  qni_bind_open_file(L);
  qni_bind_open_json(L);
  qni_bind_open_data(L);
  qni_bind_open_batch(L);
  qni_bind_open_images(L);
  qni_bind_open_system(L);
  qni_bind_open_check(L);
  qni_bind_open_schema(L);
  qni_bind_open_edit(L);
  return 1;
}
