/*
** JSON: Lua values to text and back, through base/json.
**
** Tables with keys 1..n are arrays, others objects with string keys; an empty table is
** an object unless it is json.array{}. json.null stands for null. Integers stay
** integers; NaN and infinities have no JSON form and are refused by name.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "bind/bind.h"

enum { DEPTH = 60 };

/* ---- Encoding ---- */

static json_t *to_json(lua_State *L, int depth);

static json_t *array_to_json(lua_State *L, int64_t n, int depth) {
  json_t *array = json_array();
  for (int64_t i = 1; array && i <= n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    json_t *value = to_json(L, depth + 1);
    lua_pop(L, 1);
    if (value && !json_array_append_new(array, value)) continue;
    json_decref(array);
    return NULL;
  }
  return array;
}

static json_t *object_to_json(lua_State *L, int depth) {
  json_t *object = json_object();
  for (lua_pushnil(L); object && lua_next(L, -2); lua_pop(L, 1)) {
    json_t *value = NULL;
    if (lua_type(L, -2) != LUA_TSTRING)
      qni_fail(QN_E_ARG, "a table whose keys are neither 1..n nor strings has no JSON form");
    else
      value = to_json(L, depth + 1);
    if (value && !json_object_set_new(object, lua_tostring(L, -2), value)) continue;
    qni_fail(QN_E_NOMEM, "a JSON object could not grow, or has a key that is not UTF-8");
    qni_error_detail("at key %.60s",
                     lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(a number)");
    lua_pop(L, 2);
    json_decref(object);
    return NULL;
  }
  return object;
}

/* Fields of the table on top. */
static int64_t count_fields(lua_State *L) {
  int64_t n = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) n++;
  return n;
}

static json_t *table_to_json(lua_State *L, int depth) {
  if (depth > DEPTH || !lua_checkstack(L, 8)) {
    qni_fail(QN_E_ARG, "a table nested more than %d deep, or holding itself, has no JSON form",
             DEPTH);
    return NULL;
  }
  int64_t n = (int64_t)lua_rawlen(L, -1);
  bool array = n > 0;
  if (array && count_fields(L) != n) {
    qni_fail(QN_E_ARG, "a table with the keys 1..n and others besides has no JSON form");
    return NULL;
  }
  if (!array && lua_getmetatable(L, -1)) {
    array = luaL_getmetatable(L, "quern.json.array") && lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
  }
  return array ? array_to_json(L, n, depth) : object_to_json(L, depth);
}

static json_t *to_json(lua_State *L, int depth) {
  size_t n;
  const char *text;
  switch (lua_type(L, -1)) {
  case LUA_TBOOLEAN: return json_boolean(lua_toboolean(L, -1));
  case LUA_TSTRING:
    text = lua_tolstring(L, -1, &n);
    json_t *string = json_stringn(text, n);
    if (!string) qni_fail(QN_E_ARG, "a string that is not UTF-8 has no JSON form");
    return string;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1)) return json_integer(lua_tointeger(L, -1));
    if (isfinite(lua_tonumber(L, -1))) return json_real(lua_tonumber(L, -1));
    qni_fail(QN_E_ARG, "%g has no JSON form", lua_tonumber(L, -1));
    return NULL;
  case LUA_TLIGHTUSERDATA:
    if (!lua_touserdata(L, -1)) return json_null();
    break;
  case LUA_TTABLE: return table_to_json(L, depth);
  default: break;
  }
  qni_fail(QN_E_ARG, "a %s has no JSON form",
           qni_bind_test(L, -1) ? "tensor" : luaL_typename(L, -1));
  return NULL;
}

static void release_json(void *thing) { json_decref(thing); }

/* encode(value [, {pretty = true}]) */
static int encode(lua_State *L) {
  bool pretty = qni_bind_field_bool(L, 2, "pretty", false);
  qni_owner *value = qni_bind_own(L, NULL, release_json),
            *text = qni_bind_own(L, NULL, qni_bind_release_memory);
  qni_json_start();
  qni_error_reset();
  lua_pushvalue(L, 1);
  value->thing = to_json(L, 0);
  if (!value->thing) qni_bind_check(L, QN_E_ARG);
  text->thing = pretty ? qni_json_dump_pretty(value->thing) : qni_json_dump(value->thing);
  if (!text->thing) qni_bind_check(L, QN_E_NOMEM);
  lua_pushstring(L, text->thing);
  qni_bind_disown(text);
  qni_bind_disown(value);
  return 1;
}

/* ---- Decoding ---- */

static void push_json(lua_State *L, const json_t *value) {
  const char *key;
  json_t *field;
  luaL_checkstack(L, 8, "JSON is nested too deeply");
  switch (json_typeof(value)) {
  case JSON_TRUE: lua_pushboolean(L, 1); return;
  case JSON_FALSE: lua_pushboolean(L, 0); return;
  case JSON_INTEGER: lua_pushinteger(L, (lua_Integer)json_integer_value(value)); return;
  case JSON_REAL: lua_pushnumber(L, json_real_value(value)); return;
  case JSON_STRING: lua_pushlstring(L, json_string_value(value), json_string_length(value)); return;
  case JSON_ARRAY:
    lua_newtable(L);
    for (size_t i = 0; i < json_array_size(value); i++) {
      push_json(L, json_array_get(value, i));
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    luaL_setmetatable(L, "quern.json.array");
    return;
  case JSON_OBJECT:
    lua_newtable(L);
    json_object_foreach((json_t *)(uintptr_t)value, key, field) {
      lua_pushstring(L, key);
      push_json(L, field);
      lua_rawset(L, -3);
    }
    return;
  default: lua_pushlightuserdata(L, NULL);
  }
}

/* decode(text [, origin]) */
static int decode(lua_State *L) {
  size_t n;
  qni_bind_str(L, 1, "text");
  const char *text = lua_tolstring(L, 1, &n),
             *origin = qni_bind_opt_str(L, 2, "origin", "the text");
  qni_owner *owner = qni_bind_own(L, NULL, release_json);
  json_t *value = NULL;
  qni_json_start();
  qni_error_reset();
  qn_status st = qni_json_parse(text, n, origin, &value);
  owner->thing = value;
  qni_bind_check(L, st);
  push_json(L, value);
  qni_bind_disown(owner);
  return 1;
}

/* array(t): marks a table, so that it is an array even when empty. */
static int array(lua_State *L) {
  if (!lua_istable(L, 1)) return qni_bind_bad_arg(L, 1, "t", "a table");
  lua_settop(L, 1);
  luaL_setmetatable(L, "quern.json.array");
  return 1;
}

void qni_bind_open_json(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"encode", encode}, {"decode", decode}, {"array", array}, {NULL, NULL}};
  luaL_newmetatable(L, "quern.json.array");
  lua_pop(L, 1);
  lua_newtable(L);
  qni_bind_set(L, functions);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  lua_setfield(L, -2, "json");
}
