/*
** Tensors as Lua values: boxes, their collection, and pressure on the collector.
**
** Lua sees a box of a few bytes and would let gigabytes of dead tensors pile up. So
** the bytes of each new tensor are added up; past an allowance the true number of live
** bytes is looked at, and past a soft limit a full collection runs. The limit is then
** set to half as much again as what stayed alive, but at least SLACK more.
** SPDX-License-Identifier: MIT
*/
#include "bind/bind.h"
#include "graph/call.h"

enum { SLACK = 64 << 20, LEAST_ALLOWANCE = 4 << 20, BOX_COST = 512, NODE_COST = 6144 };

/* ---- Boxes ---- */

static void unlink_box(qni_box *box) {
  if (!box->next) return;
  box->prev->next = box->next;
  box->next->prev = box->prev;
  box->prev = box->next = NULL;
}

qni_box *qni_bind_box(lua_State *L) {
  qni_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (qni_box){.mark = QNI_BOX_MARK};
  lua_rawgeti(L, LUA_REGISTRYINDEX, qni_bind_of(L)->tensor_meta);
  lua_setmetatable(L, -2);
  return box;
}

void qni_bind_fill(lua_State *L, qni_box *box, qn_tensor *t) {
  qni_bind *b = qni_bind_of(L);
  box->t = t;
  b->pending += (int64_t)t->storage->bytes + (t->node ? NODE_COST : BOX_COST);
  if (!b->scope) return;
  qni_box *list = &b->scope->list;
  box->prev = list->prev;
  box->next = list;
  list->prev->next = box;
  list->prev = box;
}

int qni_bind_freed(lua_State *L, const char *name) {
  return qni_bind_fail(L, QN_E_STATE,
                       "a tensor made inside quern.scope lives as long as it, unless it is "
                       "returned or t:keep() is called",
                       "argument '%s' is a tensor that was freed", name);
}

qn_tensor *qni_bind_tensor(lua_State *L, int index, const char *name) {
  qni_box *box = qni_bind_test(L, index);
  if (!box) qni_bind_bad_arg(L, index, name, "a tensor");
  if (!box->t) qni_bind_freed(L, name);
  return box->t;
}

void qni_bind_push_borrowed(lua_State *L, qn_tensor *t) {
  if (t)
    qni_bind_fill(L, qni_bind_box(L), qn_tensor_retain(t));
  else
    lua_pushnil(L);
}

void qni_bind_push_element(lua_State *L, const qn_view *v, int64_t offset) {
  size_t size = qni_dtype_size(v->dtype);
  const char *at = (const char *)v->data + offset * (int64_t)size;
  switch (v->dtype) {
  case QN_I64: lua_pushinteger(L, *(const int64_t *)(const void *)at); break;
  case QN_I32: lua_pushinteger(L, *(const int32_t *)(const void *)at); break;
  case QN_U8: lua_pushinteger(L, *(const uint8_t *)at); break;
  case QN_BOOL: lua_pushboolean(L, *at != 0); break;
  default: lua_pushnumber(L, qni_dtype_load(v->dtype, at));
  }
}

qn_status qni_bind_apply(qni_box *box, const char *op, const qn_arg *args, int32_t n_args) {
  qn_tensor *out = NULL;
  qn_status st = qni_call_named(op, args, n_args, &out, 1);
  if (!st) box->t = out;
  return st;
}

/* ---- The collector ---- */

void qni_bind_collect(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  qn_memory m;
  lua_gc(L, LUA_GCCOLLECT, 0);
  qn_memory_stats(&m);
  b->soft = m.live + (m.live / 2 > SLACK ? m.live / 2 : SLACK);
  b->allowance = (b->soft - m.live) / 2;
  b->pending = 0;
}

void qni_bind_relieve(lua_State *L) {
  qni_bind *b = qni_bind_of(L);
  if (b->pending < b->allowance) return;
  qn_memory m;
  qn_memory_stats(&m);
  b->pending = 0;
  if (m.live >= b->soft) {
    qni_bind_collect(L);
    return;
  }
  int64_t room = (b->soft - m.live) / 2;
  b->allowance = room > LEAST_ALLOWANCE ? room : LEAST_ALLOWANCE;
}

/* ---- Metamethods ---- */

static int free_tensor(lua_State *L) {
  qni_box *box = qni_bind_test(L, 1);
  if (!box) return 0;
  unlink_box(box);
  qn_tensor *t = box->t;
  box->t = NULL;
  qn_tensor_free(t);
  return 0;
}

static int equal(lua_State *L) {
  const qni_box *a = qni_bind_test(L, 1), *b = qni_bind_test(L, 2);
  lua_pushboolean(L, a && b && a->t == b->t);
  return 1;
}

static int length(lua_State *L) {
  const qn_view *v = qn_tensor_view(qni_bind_tensor(L, 1, "self"));
  if (!v->ndim)
    qni_bind_fail(L, QN_E_SHAPE, "t:item() gives its value",
                  "a tensor without dimensions has no length");
  lua_pushinteger(L, (lua_Integer)v->shape[0]);
  return 1;
}

static int no_concat(lua_State *L) {
  return qni_bind_fail(L, QN_E_ARG, "use tostring(t), or t:item() for a number",
                       "a tensor is not text: '..' does not take it");
}

void qni_bind_open_tensor(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", free_tensor}, {"__close", free_tensor}, {"__eq", equal},
                                  {"__len", length},     {"__concat", no_concat},  {NULL, NULL}};
  qni_bind *b = qni_bind_of(L);
  b->soft = SLACK;
  b->allowance = SLACK / 2;
  lua_newtable(L);
  qni_bind_set(L, meta);
  lua_pushliteral(L, "quern.tensor");
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  b->tensor_meta = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_setfield(L, -2, "tensor_meta"); /* for lua/quern/tensor.lua, which adds to it */
}
