/*
** SQLite from Lua: the module quern.sqlite, on which the index of runs stands.
**
**   local db <close> = sqlite.open(path)       ":memory:" is a path too
**   db:run("INSERT INTO run VALUES (?, ?)", id, name)
**   for _, row in ipairs(db:rows("SELECT * FROM run")) do print(row.id) end
**
** Values are nil, booleans (as 0 and 1), integers, floats and strings; columns come back
** in their own type, NULL as an absent field. A file that is no database, or a damaged
** one, raises "format"; what the system or another process refuses raises "io".
** SPDX-License-Identifier: MIT
*/
#include <sqlite3.h>

#include "bind/bind.h"
#include "bind/modules.h"

#define CLASS "quern.sqlite"

enum { WAIT_MS = 10000 };        /* for other processes that write */

static void close_db(void *thing) { sqlite3_close_v2(thing); }

static void finalize(void *thing) { sqlite3_finalize(thing); }

static qn_status status_of(int code) {
  switch (code & 0xff) {
    case SQLITE_NOMEM: return QN_E_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return QN_E_FORMAT;
    case SQLITE_ERROR:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH: return QN_E_ARG;
    default: return QN_E_IO;
  }
}

static int fail(lua_State *L, sqlite3 *db, int code, const char *doing) {
  const char *hint = (code & 0xff) == SQLITE_BUSY ? "another process holds the file; try again when it is done" : NULL;
  return qni_bind_fail(L, status_of(code), hint, "SQLite cannot %s: %s", doing, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
}

/* open(path): makes the file when there is none. */
static int open_db(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, CLASS, close_db);
  sqlite3 *db = NULL;
  int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
  owner->thing = db;
  if (code) return fail(L, db, code, lua_pushfstring(L, "open %s", path));
  sqlite3_busy_timeout(db, WAIT_MS);
  return 1;
}

static int bind_value(lua_State *L, sqlite3_stmt *statement, int at, int index) {
  size_t n;
  const char *text;
  switch (lua_type(L, index)) {
    case LUA_TNIL: return sqlite3_bind_null(statement, at);
    case LUA_TBOOLEAN: return sqlite3_bind_int(statement, at, lua_toboolean(L, index));
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) return sqlite3_bind_int64(statement, at, lua_tointeger(L, index));
      return sqlite3_bind_double(statement, at, (double)lua_tonumber(L, index));
    case LUA_TSTRING:
      text = lua_tolstring(L, index, &n);
      return sqlite3_bind_text64(statement, at, text, n, SQLITE_TRANSIENT, SQLITE_UTF8);
    default: return qni_bind_bad_arg(L, index, "value", "nil, a boolean, a number or a string");
  }
}

/* Prepares the SQL at 2 with the values from 3 on; pushes the statement's owner. */
static sqlite3_stmt *prepare(lua_State *L, sqlite3 *db) {
  size_t n;
  qni_bind_str(L, 2, "sql");
  const char *sql = lua_tolstring(L, 2, &n);
  int n_values = lua_gettop(L) - 2;
  qni_owner *owner = qni_bind_own(L, NULL, finalize);
  sqlite3_stmt *statement = NULL;
  if (n > INT32_MAX) qni_bind_bad_arg(L, 2, "sql", "less than 2 GiB");
  int code = sqlite3_prepare_v2(db, sql, (int)n + 1, &statement, NULL);
  owner->thing = statement;
  if (code || !statement) fail(L, db, code ? code : SQLITE_ERROR, lua_pushfstring(L, "read \"%s\"", sql));
  if (sqlite3_bind_parameter_count(statement) != n_values)
    qni_bind_fail(L, QN_E_ARG, NULL, "\"%s\" takes %d values, not %d", sql, sqlite3_bind_parameter_count(statement), n_values);
  for (int i = 1; i <= n_values; i++) {
    code = bind_value(L, statement, i, i + 2);
    if (code) fail(L, db, code, "bind a value");
  }
  return statement;
}

static void push_row(lua_State *L, sqlite3_stmt *statement) {
  int n = sqlite3_column_count(statement);
  lua_createtable(L, 0, n);
  for (int i = 0; i < n; i++) {
    switch (sqlite3_column_type(statement, i)) {
      case SQLITE_INTEGER: lua_pushinteger(L, sqlite3_column_int64(statement, i)); break;
      case SQLITE_FLOAT: lua_pushnumber(L, sqlite3_column_double(statement, i)); break;
      case SQLITE_NULL: lua_pushnil(L); break;
      default: {
        const char *text = sqlite3_column_blob(statement, i);
        lua_pushlstring(L, text ? text : "", (size_t)sqlite3_column_bytes(statement, i));
      }
    }
    lua_setfield(L, -2, sqlite3_column_name(statement, i));
  }
}

/* db:rows(sql, values...): all rows as tables by column name. */
static int rows(lua_State *L) {
  sqlite3 *db = qni_bind_thing(L, 1, CLASS);
  sqlite3_stmt *statement = prepare(L, db);
  qni_owner *owner = lua_touserdata(L, -1);
  lua_newtable(L);
  lua_Integer n = 0;
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    push_row(L, statement);
    lua_rawseti(L, -2, ++n);
  }
  if (code != SQLITE_DONE) return fail(L, db, code, "read rows");
  qni_bind_disown(owner);
  return 1;
}

/* db:run(sql, values...): one statement; the number of rows it changed. */
static int run(lua_State *L) {
  sqlite3 *db = qni_bind_thing(L, 1, CLASS);
  sqlite3_stmt *statement = prepare(L, db);
  qni_owner *owner = lua_touserdata(L, -1);
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {}
  if (code != SQLITE_DONE) return fail(L, db, code, "do what was asked");
  qni_bind_disown(owner);
  lua_pushinteger(L, sqlite3_changes(db));
  return 1;
}

int luaopen_quern_sqlite(lua_State *L) {
  static const luaL_Reg methods[] = {{"rows", rows}, {"run", run}, {NULL, NULL}};
  qni_bind_class(L, CLASS, methods);
  lua_newtable(L);
  lua_pushcfunction(L, open_db);
  lua_setfield(L, -2, "open");
  lua_pushstring(L, sqlite3_libversion());
  lua_setfield(L, -2, "version");
  return 1;
}
