/*
** Scopes: all tensors made inside are freed at its end, except those that are kept.
**
** A scope is a userdata with __close. Each box that is filled while it is the
** innermost one hangs in its ring. quern.scope(fn), in Lua, opens it, calls fn, and
** keeps what fn returns: tensors, also inside tables.
** SPDX-License-Identifier: MIT
*/
#include "bind/bind.h"

enum { MAX_DEPTH = 64 };

static void unlink_box(qni_box *box) {
  box->prev->next = box->next;
  box->next->prev = box->prev;
  box->prev = box->next = NULL;
}

static void link_box(qni_scope *scope, qni_box *box) {
  box->prev = scope->list.prev;
  box->next = &scope->list;
  scope->list.prev->next = box;
  scope->list.prev = box;
}

static int scope_open(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  qni_scope *s = lua_newuserdatauv(L, sizeof *s, 0);
  s->list = (qni_box){.prev = &s->list, .next = &s->list};
  s->outer = NULL;
  s->open = false;
  luaL_setmetatable(L, "quern.scope");
  s->outer = b->scope;
  s->open = true;
  b->scope = s;
  return 1;
}

/* Takes it out of the chain, wherever it is: coroutines may end scopes in any order. */
static void leave(qni_bind *b, qni_scope *s) {
  qni_scope **at = &b->scope;
  while (*at && *at != s) at = &(*at)->outer;
  if (*at) *at = s->outer;
  s->open = false;
}

static int scope_close(lua_State *L) {
  qni_scope *s = luaL_testudata(L, 1, "quern.scope");
  if (!s || !s->open) return 0;
  leave(qni_bind_of(L), s);
  while (s->list.next != &s->list) {
    qni_box *box = s->list.next;
    qn_tensor *t = box->t;
    unlink_box(box);
    box->t = NULL;
    qn_tensor_free(t);
  }
  return 0;
}

/* Hands a box to the scope outside of s. */
static void keep_box(qni_scope *s, qni_box *box) {
  if (!box->next) return;
  unlink_box(box);
  if (s->outer) link_box(s->outer, box);
}

/* Keeps the tensors of the value on top; the table at `seen` says which tables were walked. */
static void keep_value(lua_State *L, qni_scope *s, int seen, int depth) {
  qni_box *box = qni_bind_test(L, -1);
  if (box) keep_box(s, box);
  if (!lua_istable(L, -1) || depth >= MAX_DEPTH || !lua_checkstack(L, 8)) return;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, seen) != LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_pushboolean(L, 1);
  lua_rawset(L, seen);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) keep_value(L, s, seen, depth + 1);
}

/* scope_keep(scope, ...) returns ... */
static int scope_keep(lua_State *L) {
  int n = lua_gettop(L);
  qni_scope *s = luaL_testudata(L, 1, "quern.scope");
  if (!s) return qni_bind_bad_arg(L, 1, "scope", "a scope");
  lua_newtable(L);
  for (int i = 2; i <= n; i++) {
    if (lua_type(L, i) != LUA_TUSERDATA && lua_type(L, i) != LUA_TTABLE) continue;
    lua_pushvalue(L, i);
    keep_value(L, s, n + 1, 0);
    lua_pop(L, 1);
  }
  lua_settop(L, n);
  return n - 1;
}

/* t:keep() returns t, which no scope frees any more. */
static int keep(lua_State *L) {
  qni_bind_tensor(L, 1, "self");
  qni_box *box = lua_touserdata(L, 1);
  if (box->next) unlink_box(box);
  lua_settop(L, 1);
  return 1;
}

void qni_bind_open_scope(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"scope_open", scope_open}, {"scope_keep", scope_keep}, {"keep", keep}, {NULL, NULL}};
  luaL_newmetatable(L, "quern.scope");
  lua_pushcfunction(L, scope_close);
  lua_setfield(L, -2, "__close");
  lua_pushcfunction(L, scope_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  qni_bind_set(L, functions);
}
