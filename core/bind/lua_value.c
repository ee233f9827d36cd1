/*
** Values between Lua and C: checked arguments, options tables, owners.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "base/text.h"
#include "bind/bind.h"

/* ---- Arguments ---- */

int64_t qni_bind_int(lua_State *L, int index, const char *name) {
  if (!lua_isinteger(L, index)) qni_bind_bad_arg(L, index, name, "an integer");
  return (int64_t)lua_tointeger(L, index);
}

int64_t qni_bind_opt_int(lua_State *L, int index, const char *name, int64_t otherwise) {
  return lua_isnoneornil(L, index) ? otherwise : qni_bind_int(L, index, name);
}

double qni_bind_num(lua_State *L, int index, const char *name) {
  if (lua_type(L, index) != LUA_TNUMBER) qni_bind_bad_arg(L, index, name, "a number");
  return (double)lua_tonumber(L, index);
}

const char *qni_bind_str(lua_State *L, int index, const char *name) {
  if (lua_type(L, index) != LUA_TSTRING) qni_bind_bad_arg(L, index, name, "a string");
  return lua_tostring(L, index);
}

const char *qni_bind_opt_str(lua_State *L, int index, const char *name, const char *otherwise) {
  return lua_isnoneornil(L, index) ? otherwise : qni_bind_str(L, index, name);
}

bool qni_bind_bool(lua_State *L, int index, const char *name) {
  if (lua_type(L, index) != LUA_TBOOLEAN) qni_bind_bad_arg(L, index, name, "true or false");
  return lua_toboolean(L, index) != 0;
}

int32_t qni_bind_dtype(lua_State *L, int index, const char *name) {
  int32_t dtype = qni_dtype_parse(qni_bind_str(L, index, name));
  if (!dtype) qni_bind_bad_arg(L, index, name, "one of f32, f64, bf16, i64, i32, u8, bool");
  return dtype;
}

/* ---- Options ---- */

/* Pushes the field; false (nothing pushed) when it or the table is absent. */
static bool field(lua_State *L, int index, const char *key) {
  if (lua_isnoneornil(L, index)) return false;
  if (lua_type(L, index) != LUA_TTABLE) qni_bind_bad_arg(L, index, "options", "a table");
  if (lua_getfield(L, index, key) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

int64_t qni_bind_field_int(lua_State *L, int index, const char *key, int64_t otherwise) {
  if (!field(L, index, key)) return otherwise;
  int64_t value = qni_bind_int(L, -1, key);
  lua_pop(L, 1);
  return value;
}

double qni_bind_field_num(lua_State *L, int index, const char *key, double otherwise) {
  if (!field(L, index, key)) return otherwise;
  double value = qni_bind_num(L, -1, key);
  lua_pop(L, 1);
  return value;
}

bool qni_bind_field_bool(lua_State *L, int index, const char *key, bool otherwise) {
  if (!field(L, index, key)) return otherwise;
  bool value = qni_bind_bool(L, -1, key);
  lua_pop(L, 1);
  return value;
}

const char *qni_bind_field_str(lua_State *L, int index, const char *key, const char *otherwise) {
  if (!field(L, index, key)) return otherwise;
  const char *value = qni_bind_str(L, -1, key);
  lua_pop(L, 1);
  return value;
}

static int32_t count(const char *const *list) {
  int32_t n = 0;
  while (list[n]) n++;
  return n;
}

void qni_bind_fields(lua_State *L, int index, const char *const *known, const char *who) {
  if (lua_isnoneornil(L, index)) return;
  if (lua_type(L, index) != LUA_TTABLE) qni_bind_bad_arg(L, index, "options", "a table");
  int32_t n = count(known);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(a number)";
    bool found = false;
    for (int32_t i = 0; i < n && !found; i++) found = !strcmp(known[i], key);
    if (found) continue;
    const char *near = qni_nearest(key, known, n);
    const char *hint = near ? lua_pushfstring(L, "did you mean '%s'?", near) : NULL;
    qni_bind_fail(L, QN_E_ARG, hint, "%s has no option '%s'", who, key);
  }
}

void qni_bind_set_int(lua_State *L, const char *key, int64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

void qni_bind_set_num(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

void qni_bind_set_str(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value ? value : "");
  lua_setfield(L, -2, key);
}

void qni_bind_set_bool(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

void qni_bind_set(lua_State *L, const luaL_Reg *functions) {
  for (; functions->name; functions++) {
    lua_pushcfunction(L, functions->func);
    lua_setfield(L, -2, functions->name);
  }
}

/* ---- Owners ---- */

void qni_bind_disown(qni_owner *owner) {
  void *thing = owner->thing;
  owner->thing = NULL;
  if (thing) owner->release(thing);
}

static int owner_gc(lua_State *L);

/* The owner at index 1 whatever its class, or NULL. */
static qni_owner *any_owner(lua_State *L) {
  if (lua_type(L, 1) != LUA_TUSERDATA || !lua_getmetatable(L, 1)) return NULL;
  lua_getfield(L, -1, "__gc");
  bool is = lua_tocfunction(L, -1) == owner_gc;
  lua_pop(L, 2);
  return is ? lua_touserdata(L, 1) : NULL;
}

static int owner_gc(lua_State *L) {
  qni_owner *owner = any_owner(L);
  if (owner) qni_bind_disown(owner);
  return 0;
}

void qni_bind_class(lua_State *L, const char *class, const luaL_Reg *methods) {
  luaL_newmetatable(L, class);
  lua_newtable(L);
  if (methods) qni_bind_set(L, methods);
  lua_pushcfunction(L, owner_gc);
  lua_setfield(L, -2, "close");
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, owner_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, owner_gc);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

qni_owner *qni_bind_own(lua_State *L, const char *class, void (*release)(void *thing)) {
  qni_owner *owner = lua_newuserdatauv(L, sizeof *owner, 1);
  *owner = (qni_owner){.release = release};
  if (!class && luaL_getmetatable(L, "quern.owner") != LUA_TTABLE) {
    lua_pop(L, 1);
    qni_bind_class(L, "quern.owner", NULL);
    luaL_getmetatable(L, "quern.owner");
  } else if (class) {
    luaL_getmetatable(L, class);
  }
  lua_setmetatable(L, -2);
  return owner;
}

void *qni_bind_thing(lua_State *L, int index, const char *class) {
  qni_owner *owner = luaL_testudata(L, index, class);
  if (!owner) qni_bind_bad_arg(L, index, "self", class);
  if (!owner->thing) qni_bind_fail(L, QN_E_STATE, NULL, "this %s was closed", class);
  return owner->thing;
}

void qni_bind_release_memory(void *thing) { qni_mem_free(thing); }
