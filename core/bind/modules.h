/*
** Modules beside quern.core that Lua opens when they are first required.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_MODULES_H
#define QNI_MODULES_H

#include <lua.h>

int luaopen_quern_sqlite(lua_State *L);  /* lua_sqlite.c */
int luaopen_quern_process(lua_State *L); /* lua_process.c */
int luaopen_quern_digest(lua_State *L);  /* lua_digest.c */
int luaopen_quern_things(lua_State *L);  /* lua_thing.c */
int luaopen_quern_faults(lua_State *L);  /* lua_faults.c: for tests */

#endif
