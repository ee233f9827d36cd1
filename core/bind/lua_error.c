/*
** Errors: from C's three-part record to one Lua error object, and the recipe's line.
**
** The object is a table with status, what, detail, hint, op, plugin and source;
** its metatable (registry name "quern.error") prints them, see lua/quern/error.lua.
** This is the only file that names lua_error.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <string.h>

#include "base/intern.h"
#include "bind/bind.h"

/* ---- Where the recipe stands ---- */

static bool is_own(const qni_bind *b, const lua_Debug *ar) {
  size_t n = strlen(b->folder);
  return ar->source[0] == '@' && n && !strncmp(ar->source + 1, b->folder, n);
}

/* The nearest Lua frame outside Quern's own files; the nearest of all if there is none. Level 0 is this C. */
static bool find_frame(lua_State *L, const qni_bind *b, lua_Debug *ar) {
  lua_Debug nearest = {0};
  bool any = false;
  for (int level = 1; level < 64 && lua_getstack(L, level, ar); level++) {
    if (!lua_getinfo(L, "Sl", ar) || ar->currentline <= 0) continue; /* of C */
    if (!is_own(b, ar)) return true;
    if (!any) nearest = *ar;
    any = true;
  }
  *ar = nearest;
  return any;
}

static const char *frame_text(const lua_Debug *ar, char *text, size_t room) {
  const char *name = ar->source[0] == '@' ? ar->source + 1 : ar->short_src;
  size_t n = strlen(name), most = room - 16;
  snprintf(text, room, "%s:%d", n > most ? name + n - most : name, ar->currentline);
  return text;
}

static qni_bind *current; /* of the one runtime; set when the module is opened */

/*
** Nodes ask for every op that is recorded, mostly from few places: texts are remembered
** by chunk and line. A chunk's name may be freed and another lie at its address, so the
** end of the text is compared with the name before it is believed.
*/
struct place {
  const char *source;
  int line;
  const char *text;
};

const char *qni_bind_source(void) {
  static struct place places[64];
  lua_Debug ar;
  if (!current || !current->running || !find_frame(current->running, current, &ar)) return NULL;
  struct place *p = &places[((uintptr_t)ar.source / 16 + (uintptr_t)ar.currentline) % 64];
  size_t n = ar.srclen > 0 && ar.source[0] == '@' ? ar.srclen - 1 : 0;
  if (p->text && p->source == ar.source && p->line == ar.currentline && n &&
      !strncmp(p->text, ar.source + 1, n))
    return p->text;
  char text[192];
  *p = (struct place){ar.source, ar.currentline, qni_intern(frame_text(&ar, text, sizeof text))};
  return p->text;
}

/* ---- The object ---- */

static void set_text(lua_State *L, const char *key, const char *value) {
  if (!value || !*value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void push_error(lua_State *L, const qn_error *e) {
  char text[256];
  lua_Debug ar;
  const qni_bind *b = qni_bind_of(L);
  luaL_checkstack(L, 6, "too many nested errors");
  lua_createtable(L, 0, 7);
  set_text(L, "status", qn_status_name(e->status));
  set_text(L, "what", e->what[0] ? e->what : "something failed without saying why");
  set_text(L, "detail", e->detail);
  set_text(L, "hint", e->hint);
  set_text(L, "op", e->op);
  set_text(L, "plugin", e->plugin);
  if (find_frame(L, b, &ar) && !is_own(b, &ar)) { /* a line of Quern's own tells its user nothing */
    set_text(L, "source", frame_text(&ar, text, sizeof text));
  }
  luaL_setmetatable(L, "quern.error");
}

int qni_bind_rethrow(lua_State *L) { return lua_error(L); }

void qni_bind_keep_error(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  if (b->call_error != LUA_NOREF) luaL_unref(L, LUA_REGISTRYINDEX, b->call_error);
  b->call_error = luaL_ref(L, LUA_REGISTRYINDEX);
}

int qni_bind_raise(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  if (b->call_error != LUA_NOREF) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->call_error);
    luaL_unref(L, LUA_REGISTRYINDEX, b->call_error);
    b->call_error = LUA_NOREF;
  } else {
    push_error(L, qn_error_last());
  }
  return lua_error(L);
}

void qni_bind_check(lua_State *L, qn_status status) {
  if (!status) return;
  if (qn_error_last()->status == QN_OK) qni_fail(status, "an operation failed without saying why");
  qni_bind_raise(L);
}

int qni_bind_fail(lua_State *L, qn_status status, const char *hint, const char *what, ...) {
  va_list args;
  qni_error_reset();
  va_start(args, what);
  qni_failv(status, what, args);
  va_end(args);
  if (hint) qni_error_hint("%s", hint);
  return qni_bind_raise(L);
}

int qni_bind_bad_arg(lua_State *L, int index, const char *name, const char *expected) {
  char got[96];
  if (lua_type(L, index) == LUA_TNUMBER) {
    lua_pushvalue(L, index);
    snprintf(got, sizeof got, "the number %s", lua_tostring(L, -1));
  } else if (lua_type(L, index) == LUA_TSTRING) {
    snprintf(got, sizeof got, "the string \"%.60s\"", lua_tostring(L, index));
  } else {
    snprintf(got, sizeof got, "%s", qni_bind_test(L, index) ? "a tensor" : luaL_typename(L, index));
  }
  return qni_bind_fail(L, QN_E_ARG, NULL, "argument '%s' must be %s, not %s", name, expected, got);
}

static int error_text(lua_State *L) {
  lua_getfield(L, 1, "what");
  return 1;
}

void qni_bind_errors_open(lua_State *L) {
  current = qni_bind_of(L);
  luaL_newmetatable(L, "quern.error");
  lua_pushcfunction(L, error_text); /* until lua/quern/error.lua puts a better one in its place */
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}
