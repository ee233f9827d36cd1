/*
** Looking into tensors: shape, elements, slices; what t.name, t[i] and t[{...}] mean.
**
**   t[i]              position i of the first dimension (from 1, negative from the end)
**   t[{i, {a, b}}]    per dimension: one position, or the stretch a..b; {} is all of it
**   t[...] = v        writes a number or a broadcast tensor there, in place
** Slices are made by the ops select and narrow, so gradients flow through them.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "bind/bind.h"

/* ---- Shape ---- */

static void push_shape(lua_State *L, const qn_view *v) {
  lua_createtable(L, v->ndim, 0);
  for (int32_t d = 0; d < v->ndim; d++) {
    lua_pushinteger(L, (lua_Integer)v->shape[d]);
    lua_rawseti(L, -2, d + 1);
  }
}

/* A dimension from Lua, counted from 1 or from the end, as one from 0. */
static int32_t dimension(lua_State *L, int index, const qn_view *v) {
  int64_t d = qni_bind_int(L, index, "dim");
  int64_t at = d < 0 ? v->ndim + d : d - 1;
  if (!d || at < 0 || at >= v->ndim)
    qni_bind_fail(L, QN_E_ARG, "dimensions count from 1, negative ones from the end",
                  "dim is %lld, the tensor has %d dimensions", (long long)d, (int)v->ndim);
  return (int32_t)at;
}

static int size(lua_State *L) {
  const qn_view *v = qn_tensor_view(qni_bind_tensor(L, 1, "self"));
  if (lua_isnoneornil(L, 2))
    push_shape(L, v);
  else
    lua_pushinteger(L, (lua_Integer)v->shape[dimension(L, 2, v)]);
  return 1;
}

static int dim(lua_State *L) {
  lua_pushinteger(L, qni_bind_tensor(L, 1, "self")->view.ndim);
  return 1;
}

static int numel(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)qni_tensor_count(qni_bind_tensor(L, 1, "self")));
  return 1;
}

static int is_contiguous(lua_State *L) {
  lua_pushboolean(L, qni_view_contiguous(&qni_bind_tensor(L, 1, "self")->view));
  return 1;
}

static int offsets(lua_State *L) {
  qni_bind_push_borrowed(L, qn_tensor_offsets(qni_bind_tensor(L, 1, "self")));
  return 1;
}

static int is_tensor(lua_State *L) {
  lua_pushboolean(L, qni_bind_test(L, 1) != NULL);
  return 1;
}

static int is_freed(lua_State *L) {
  const qni_box *box = qni_bind_test(L, 1);
  lua_pushboolean(L, box && !box->t);
  return 1;
}

/* ---- Values ---- */

static int item(lua_State *L) {
  qni_bind_no_escape(L, "item()");
  const qn_view *v = qn_tensor_view(qni_bind_tensor(L, 1, "self"));
  if (qni_view_count(v) != 1) {
    char text[160];
    qni_shape_text(text, sizeof text, v->dtype, v->ndim, v->shape);
    return qni_bind_fail(L, QN_E_SHAPE, "reduce it first, or use t:totable()",
                         "item() needs a tensor of one element, this is %s", text);
  }
  qni_bind_push_element(L, v, 0);
  return 1;
}

/* Nested tables of dimension d on; of each dimension at most `most` positions. */
static void push_nested(lua_State *L, const qn_view *v, int32_t d, int64_t at, int64_t most) {
  if (d == v->ndim) {
    qni_bind_push_element(L, v, at);
    return;
  }
  int64_t n = v->shape[d] < most ? v->shape[d] : most;
  luaL_checkstack(L, 4, "too deep");
  lua_createtable(L, n < 1 << 24 ? (int)n : 0, 0);
  for (int64_t i = 0; i < n; i++) {
    push_nested(L, v, d + 1, at + i * v->stride[d], most);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_sequences(lua_State *L, const qn_tensor *t) {
  const int64_t *at = t->offsets->view.data;
  int64_t B = t->offsets->view.shape[0] - 1;
  lua_newtable(L);
  for (int64_t b = 0; b < B; b++) {
    qn_view row = t->view;
    row.shape[0] = at[b + 1] - at[b];
    push_nested(L, &row, 0, at[b] * t->view.stride[0], INT64_MAX);
    lua_rawseti(L, -2, (lua_Integer)b + 1);
  }
}

static int totable(lua_State *L) {
  qni_bind_no_escape(L, "totable()");
  const qn_tensor *t = qni_bind_tensor(L, 1, "self");
  if (t->offsets)
    push_sequences(L, t);
  else
    push_nested(L, &t->view, 0, 0, INT64_MAX);
  return 1;
}

/* corner(t, n): nested tables of the first n positions of each dimension. */
static int corner(lua_State *L) {
  qni_bind_no_escape(L, "tostring()");
  const qn_tensor *t = qni_bind_tensor(L, 1, "self");
  push_nested(L, &t->view, 0, 0, qni_bind_int(L, 2, "n"));
  return 1;
}

struct summary {
  double low, high;
  int64_t finite, nan, infinite;
};

static void summarize(const qn_view *v, int32_t d, int64_t at, struct summary *s) {
  if (d < v->ndim) {
    for (int64_t i = 0; i < v->shape[d]; i++) summarize(v, d + 1, at + i * v->stride[d], s);
    return;
  }
  double x =
      qni_dtype_load(v->dtype, (const char *)v->data + at * (int64_t)qni_dtype_size(v->dtype));
  if (isnan(x))
    s->nan++;
  else if (isinf(x))
    s->infinite++;
  else
    s->finite++;
  if (x < s->low) s->low = x;
  if (x > s->high) s->high = x;
}

/* range(t): min, max, number of NaN, of infinities; min and max are nil when all is NaN. */
static int range(lua_State *L) {
  qni_bind_no_escape(L, "tostring()");
  struct summary s = {.low = INFINITY, .high = -INFINITY};
  const qn_tensor *t = qni_bind_tensor(L, 1, "self");
  summarize(&t->view, 0, 0, &s);
  if (s.finite + s.infinite) {
    lua_pushnumber(L, s.low);
    lua_pushnumber(L, s.high);
  } else {
    lua_pushnil(L);
    lua_pushnil(L);
  }
  lua_pushinteger(L, (lua_Integer)s.nan);
  lua_pushinteger(L, (lua_Integer)s.infinite);
  return 4;
}

/* bytes(t): the elements in row-major order as they lie in memory. */
static int bytes(lua_State *L) {
  qni_bind_no_escape(L, "bytes()");
  qni_box *box = qni_bind_box(L);
  qn_tensor *dense;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_contiguous(qni_bind_tensor(L, 1, "self"), &dense));
  qni_bind_fill(L, box, dense);
  lua_pushlstring(L, dense->view.data,
                  (size_t)qni_tensor_count(dense) * qni_dtype_size(dense->view.dtype));
  return 1;
}

/* ---- Slices ---- */

static qn_arg int_arg(const char *name, int64_t value) {
  return (qn_arg){.name = name, .kind = QN_ARG_INT, .v.i = value};
}
static qn_arg tensor_arg(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }

/* Replaces the tensor on top by a slice of it. */
static void apply_slice(lua_State *L, const char *op, const qn_arg *args, int32_t n) {
  qni_box *box = qni_bind_box(L);
  qn_tensor *out = NULL;
  qni_error_reset();
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_bind_apply(box, op, args, n));
  out = box->t;
  qni_bind_fill(L, box, out);
  lua_replace(L, -2);
}

static void select_at(lua_State *L, int32_t d, int64_t index) {
  qn_tensor *t = qni_bind_tensor(L, -1, "self");
  apply_slice(L, "select",
              (qn_arg[]){tensor_arg(t), int_arg("dim", d + 1), int_arg("index", index)}, 3);
}

/* {a, b} on the table at `range_at`: narrows dimension d. */
static void narrow_at(lua_State *L, int range_at, int32_t d) {
  qn_tensor *t = qni_bind_tensor(L, -1, "self");
  int64_t n = t->view.shape[d], given = (int64_t)lua_rawlen(L, range_at);
  if (!given) return;
  if (given > 2)
    qni_bind_fail(L, QN_E_ARG, "write {from, to}", "a range has %lld numbers", (long long)given);
  lua_rawgeti(L, range_at, 1);
  lua_rawgeti(L, range_at, given);
  int64_t a = qni_bind_int(L, -2, "from"), b = qni_bind_int(L, -1, "to");
  lua_pop(L, 2);
  int64_t first = a < 0 ? n + a + 1 : a, last = b < 0 ? n + b + 1 : b;
  if (first < 1 || last > n || last < first - 1)
    qni_bind_fail(L, QN_E_ARG, "positions count from 1, negative ones from the end",
                  "the range {%lld, %lld} does not lie in dimension %d of %lld", (long long)a,
                  (long long)b, (int)d + 1, (long long)n);
  apply_slice(L, "narrow",
              (qn_arg[]){tensor_arg(t), int_arg("dim", d + 1), int_arg("start", first),
                         int_arg("length", last - first + 1)},
              4);
}

/* Pushes the slice of the tensor at 1 that the key at 2 means. */
static void push_slice(lua_State *L) {
  lua_pushvalue(L, 1);
  if (lua_type(L, 2) == LUA_TNUMBER) {
    select_at(L, 0, qni_bind_int(L, 2, "index"));
    return;
  }
  int64_t n = (int64_t)lua_rawlen(L, 2);
  const qn_tensor *t = qni_bind_tensor(L, 1, "self");
  if (n > t->view.ndim)
    qni_bind_fail(L, QN_E_SHAPE, NULL, "%lld positions were given for a tensor of %d dimensions",
                  (long long)n, (int)t->view.ndim);
  int32_t d = 0;
  for (int64_t k = 1; k <= n; k++) {
    lua_rawgeti(L, 2, (lua_Integer)k);
    lua_insert(L, -2); /* key below the tensor */
    if (lua_istable(L, -2))
      narrow_at(L, lua_gettop(L) - 1, d++);
    else
      select_at(L, d, qni_bind_int(L, -2, "index"));
    lua_remove(L, -2);
  }
}

/* ---- t.name ---- */

static int get_grad(lua_State *L, qn_tensor *t) {
  qni_bind_push_borrowed(L, qn_tensor_grad(t));
  return 1;
}

static int property(lua_State *L, qn_tensor *t, const char *name) {
  if (!strcmp(name, "shape")) return push_shape(L, &t->view), 1;
  if (!strcmp(name, "dtype")) return lua_pushstring(L, qni_dtype_name(t->view.dtype)), 1;
  if (!strcmp(name, "grad")) return get_grad(L, t);
  if (!strcmp(name, "requires_grad")) return lua_pushboolean(L, t->requires_grad), 1;
  if (!strcmp(name, "is_jagged")) return lua_pushboolean(L, t->offsets != NULL), 1;
  if (!strcmp(name, "is_leaf")) return lua_pushboolean(L, t->node == NULL), 1;
  return 0;
}

/* An op as a method, remembered in the methods table. */
static int op_method(lua_State *L, const char *name) {
  const qn_opref *op = qn_op_find(name);
  if (!op || !op->schema->n_params || op->schema->param[0].kind != QNI_TENSOR) {
    lua_pushnil(L);
    return 1;
  }
  qni_bind_push_op(L, op);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, lua_upvalueindex(1));
  return 1;
}

static int index_tensor(lua_State *L) {
  int type = lua_type(L, 2);
  if (type == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    const char *name = lua_tostring(L, 2);
    return property(L, qni_bind_tensor(L, 1, name), name) ? 1 : op_method(L, name);
  }
  if (type != LUA_TNUMBER && type != LUA_TTABLE)
    return qni_bind_bad_arg(L, 2, "index", "an integer or a table of integers and ranges");
  push_slice(L);
  return 1;
}

static void assign_slice(lua_State *L) {
  push_slice(L);
  qn_tensor *slice = qni_bind_tensor(L, -1, "self");
  qn_arg args[2] = {tensor_arg(slice), {0}};
  bool number = lua_type(L, 3) == LUA_TNUMBER || lua_type(L, 3) == LUA_TBOOLEAN;
  if (number)
    args[1] = (qn_arg){.kind = QN_ARG_NUM,
                       .v.f = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : lua_tonumber(L, 3)};
  else
    args[1] = tensor_arg(qni_bind_tensor(L, 3, "value"));
  apply_slice(L, number ? "fill_" : "copy_", args, 2);
}

static int newindex_tensor(lua_State *L) {
  qn_tensor *t = qni_bind_tensor(L, 1, "self");
  if (lua_type(L, 2) == LUA_TSTRING) {
    const char *name = lua_tostring(L, 2);
    if (!strcmp(name, "requires_grad")) {
      qni_bind_check(L, qn_tensor_require_grad(t, qni_bind_bool(L, 3, name)));
      return 0;
    }
    if (!strcmp(name, "grad") && lua_isnil(L, 3)) return qn_tensor_clear_grad(t), 0;
    return qni_bind_fail(L, QN_E_ARG, NULL, "a tensor has no field '%s' that can be set", name);
  }
  assign_slice(L);
  return 0;
}

void qni_bind_open_access(lua_State *L) {
  static const luaL_Reg methods[] = {{"size", size},
                                     {"dim", dim},
                                     {"numel", numel},
                                     {"item", item},
                                     {"totable", totable},
                                     {"offsets", offsets},
                                     {"is_contiguous", is_contiguous},
                                     {"bytes", bytes},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"is_tensor", is_tensor},
                                       {"is_freed", is_freed},
                                       {"corner", corner},
                                       {"range", range},
                                       {NULL, NULL}};
  qni_bind_set(L, functions);
  lua_newtable(L);
  qni_bind_set(L, methods);
  lua_rawgeti(L, LUA_REGISTRYINDEX, qni_bind_of(L)->tensor_meta);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, index_tensor, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, newindex_tensor);
  lua_setfield(L, -2, "__newindex");
  lua_pop(L, 1);
  lua_setfield(L, -2, "methods"); /* for lua/quern/tensor.lua, which adds to it */
}
