/*
** Making tensors from Lua values: nested tables, sizes, ranges, raw bytes, jagged ones.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "bind/bind.h"
#include "graph/tape.h"

/* ---- Nested tables ---- */

/* Shape of nested tables from their first elements; the table on top is left there. */
static int32_t table_shape(lua_State *L, int64_t *shape) {
  int32_t ndim = 0;
  int top = lua_gettop(L);
  while (lua_istable(L, -1)) {
    if (ndim == QN_MAX_DIMS)
      qni_bind_fail(L, QN_E_SHAPE, NULL, "the tables are nested more than %d deep", QN_MAX_DIMS);
    shape[ndim++] = (int64_t)lua_rawlen(L, -1);
    luaL_checkstack(L, 4, "too deep");
    if (!shape[ndim - 1]) break;
    lua_rawgeti(L, -1, 1);
  }
  lua_settop(L, top);
  return ndim;
}

static void store(lua_State *L, qn_view *v, int64_t at) {
  char *p = (char *)v->data + at * (int64_t)qni_dtype_size(v->dtype);
  int type = lua_type(L, -1);
  if (type == LUA_TBOOLEAN && v->dtype == QN_BOOL) {
    *p = (char)lua_toboolean(L, -1);
    return;
  }
  if (type != LUA_TNUMBER && type != LUA_TBOOLEAN)
    qni_bind_fail(
        L, QN_E_ARG,
        type == LUA_TTABLE ? "quern.jagged{{...}, {...}} takes rows of different lengths" : NULL,
        "element %lld is a %s, a number was expected", (long long)at + 1, luaL_typename(L, -1));
  bool integers = !qni_dtype_floating(v->dtype);
  if (integers && type == LUA_TNUMBER && !lua_isinteger(L, -1))
    qni_bind_fail(L, QN_E_DTYPE, "write it without a point, or make the tensor f32",
                  "element %lld of a tensor of type %s is the float %g", (long long)at + 1,
                  qni_dtype_name(v->dtype), (double)lua_tonumber(L, -1));
  if (v->dtype == QN_I64 && type == LUA_TNUMBER) {
    *(int64_t *)(void *)p = lua_tointeger(L, -1);
    return;
  }
  double x = type == LUA_TBOOLEAN ? lua_toboolean(L, -1) : lua_tonumber(L, -1);
  if ((v->dtype == QN_I32 && (x < INT32_MIN || x > INT32_MAX)) ||
      (v->dtype == QN_U8 && (x < 0 || x > 255)))
    qni_bind_fail(L, QN_E_DTYPE, NULL, "element %lld is %.17g, which does not fit into %s",
                  (long long)at + 1, x, qni_dtype_name(v->dtype));
  qni_dtype_store(v->dtype, p, x);
}

/* Fills from the table on top, dimension d on. */
static void fill_table(lua_State *L, qn_view *v, int32_t d, int64_t *at) {
  if (d == v->ndim) {
    store(L, v, (*at)++);
    return;
  }
  if (!lua_istable(L, -1) || (int64_t)lua_rawlen(L, -1) != v->shape[d]) {
    const char *got = lua_istable(L, -1)
                          ? lua_pushfstring(L, "a table of %d", (int)lua_rawlen(L, -1))
                          : luaL_typename(L, -1);
    qni_bind_fail(L, QN_E_SHAPE, "quern.jagged{{...}, {...}} takes rows of different lengths",
                  "the tables are ragged: %s where %lld elements were expected", got,
                  (long long)v->shape[d]);
  }
  for (int64_t i = 1; i <= v->shape[d]; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    fill_table(L, v, d + 1, at);
    lua_pop(L, 1);
  }
}

static bool first_is_boolean(lua_State *L, int index, int32_t ndim) {
  int top = lua_gettop(L);
  lua_pushvalue(L, index);
  for (int32_t d = 0; d < ndim && lua_istable(L, -1); d++) lua_rawgeti(L, -1, 1);
  bool is = lua_isboolean(L, -1);
  lua_settop(L, top);
  return is;
}

/* Pushes a tensor of the table, number or boolean at `index`; dtype 0: f32, or bool for booleans. */
static void push_from(lua_State *L, int index, int32_t dtype) {
  int64_t shape[QN_MAX_DIMS], at = 0;
  lua_pushvalue(L, index);
  int32_t ndim = table_shape(L, shape);
  lua_pop(L, 1);
  if (!dtype) dtype = first_is_boolean(L, index, ndim) ? QN_BOOL : QN_F32;
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_empty(dtype, ndim, shape, &t));
  qni_bind_fill(L, box, t);
  lua_pushvalue(L, index);
  fill_table(L, &t->view, 0, &at);
  lua_pop(L, 1);
}

/* dtype given at index as a string or in a table {dtype =}; 0: not given. */
static int32_t given_dtype(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  if (!lua_istable(L, index)) return qni_bind_dtype(L, index, "dtype");
  lua_getfield(L, index, "dtype");
  int32_t dtype = lua_isnil(L, -1) ? 0 : qni_bind_dtype(L, -1, "dtype");
  lua_pop(L, 1);
  return dtype;
}

/* tensor(values [, dtype]) */
static int tensor(lua_State *L) {
  if (qni_bind_test(L, 1))
    return qni_bind_fail(L, QN_E_ARG, "t:clone() copies it, t:to(dtype) converts it",
                         "quern.tensor was given a tensor");
  if (lua_isnoneornil(L, 1)) return qni_bind_bad_arg(L, 1, "values", "a table or a number");
  int32_t dtype = given_dtype(L, 2);
  if (!dtype && lua_istable(L, 1)) dtype = given_dtype(L, 1);
  push_from(L, 1, dtype);
  qni_bind_relieve(L);
  return 1;
}

/* ---- Sizes ---- */

/* Reads zeros(2, 3), zeros{2, 3}, zeros({2, 3}, "f64"), zeros{2, 3, dtype = "f64"}, zeros(2, 3, "f64"). */
static int32_t read_sizes(lua_State *L, int64_t *shape, int32_t *dtype) {
  int32_t n = 0;
  int next = 1;
  *dtype = 0;
  if (lua_istable(L, 1)) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    if (count > QN_MAX_DIMS)
      qni_bind_fail(L, QN_E_SHAPE, NULL, "a shape of %d dimensions; at most %d are possible",
                    (int)count, QN_MAX_DIMS);
    for (; n < count; n++) {
      lua_rawgeti(L, 1, n + 1);
      shape[n] = qni_bind_int(L, -1, "shape");
      lua_pop(L, 1);
    }
    *dtype = given_dtype(L, 1);
    next = 2;
  }
  for (; next == n + 1 && !lua_istable(L, 1) && lua_type(L, next) == LUA_TNUMBER; next++) {
    if (n == QN_MAX_DIMS)
      qni_bind_fail(L, QN_E_SHAPE, NULL, "a shape of more than %d dimensions", QN_MAX_DIMS);
    shape[n++] = qni_bind_int(L, next, "shape");
  }
  int32_t given = given_dtype(L, next);
  if (given) *dtype = given;
  if (!*dtype) *dtype = QN_F32;
  return n;
}

static int sized(lua_State *L, bool zero) {
  int64_t shape[QN_MAX_DIMS];
  int32_t dtype, n = read_sizes(L, shape, &dtype);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, (zero ? qni_tensor_zeros : qni_tensor_empty)(dtype, n, shape, &t));
  qni_bind_fill(L, box, t);
  qni_bind_relieve(L);
  return 1;
}

static int zeros(lua_State *L) { return sized(L, true); }
static int empty(lua_State *L) { return sized(L, false); }

static int ones(lua_State *L) {
  sized(L, false);
  qn_view *v = &qni_bind_tensor(L, -1, "self")->view;
  int64_t n = qni_view_count(v);
  for (int64_t i = 0; i < n; i++)
    qni_dtype_store(v->dtype, (char *)v->data + i * (int64_t)qni_dtype_size(v->dtype), 1);
  return 1;
}

/* ---- Ranges ---- */

static int64_t range_count(lua_State *L, double start, double stop, double step) {
  if (step == 0 || !isfinite(start) || !isfinite(stop) || !isfinite(step))
    qni_bind_fail(L, QN_E_ARG, NULL, "arange from %g to %g in steps of %g has no end", start, stop,
                  step);
  double n = ceil((stop - start) / step);
  if (n > 9e15)
    qni_bind_fail(L, QN_E_SHAPE, NULL, "arange from %g to %g in steps of %g is too long", start,
                  stop, step);
  return n > 0 ? (int64_t)n : 0;
}

/* arange(stop) or arange(start, stop [, step [, dtype]]): start, start+step, ... before stop. */
static int arange(lua_State *L) {
  bool options = lua_istable(L, -1);
  int n_args = lua_gettop(L) - options;
  int32_t dtype = options ? given_dtype(L, n_args + 1) : 0;
  if (n_args && lua_type(L, n_args) == LUA_TSTRING) dtype = qni_bind_dtype(L, n_args--, "dtype");
  bool integers = true;
  for (int i = 1; i <= n_args; i++) integers = integers && lua_isinteger(L, i);
  double start = n_args > 1 ? qni_bind_num(L, 1, "start") : 0;
  double stop = qni_bind_num(L, n_args > 1 ? 2 : 1, "stop");
  double step = n_args > 2 ? qni_bind_num(L, 3, "step") : 1;
  int64_t n = range_count(L, start, stop, step);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_empty(dtype ? dtype : integers ? QN_I64 : QN_F32, 1, &n, &t));
  qni_bind_fill(L, box, t);
  char *at = t->view.data;
  for (int64_t i = 0; i < n; i++, at += qni_dtype_size(t->view.dtype))
    qni_dtype_store(t->view.dtype, at, start + (double)i * step);
  return 1;
}

/* eye(n [, m] [, dtype]) */
static int eye(lua_State *L) {
  int64_t shape[2] = {qni_bind_int(L, 1, "n"), 0};
  int next = lua_type(L, 2) == LUA_TNUMBER ? 3 : 2;
  shape[1] = next == 3 ? qni_bind_int(L, 2, "m") : shape[0];
  int32_t dtype = given_dtype(L, next);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_zeros(dtype ? dtype : QN_F32, 2, shape, &t));
  qni_bind_fill(L, box, t);
  char *data = t->view.data;
  int64_t size = (int64_t)qni_dtype_size(t->view.dtype);
  for (int64_t i = 0; i < shape[0] && i < shape[1]; i++)
    qni_dtype_store(t->view.dtype, data + i * (shape[1] + 1) * size, 1);
  return 1;
}

/* ---- Bytes ---- */

/* from_string(bytes, shape, dtype): raw little-endian elements. */
static int from_string(lua_State *L) {
  size_t n_bytes, needed;
  int64_t shape[QN_MAX_DIMS];
  qni_bind_str(L, 1, "bytes");
  const char *bytes = lua_tolstring(L, 1, &n_bytes);
  int32_t dtype = given_dtype(L, 3), n = 0;
  if (!lua_istable(L, 2)) return qni_bind_bad_arg(L, 2, "shape", "a table of sizes");
  for (; n < (int32_t)lua_rawlen(L, 2) && n < QN_MAX_DIMS; n++) {
    lua_rawgeti(L, 2, n + 1);
    shape[n] = qni_bind_int(L, -1, "shape");
    lua_pop(L, 1);
  }
  if (!dtype) dtype = QN_F32;
  qni_error_reset();
  qni_bind_check(L, qni_shape_bytes(dtype, n, shape, &needed));
  if (needed != n_bytes)
    qni_bind_fail(L, QN_E_SHAPE, NULL, "the shape needs %zu bytes, the string has %zu", needed,
                  n_bytes);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_bind_check(L, qni_tensor_empty(dtype, n, shape, &t));
  qni_bind_fill(L, box, t);
  memcpy(t->view.data, bytes, n_bytes);
  for (size_t i = 0; dtype == QN_BOOL && i < n_bytes; i++)
    ((uint8_t *)t->view.data)[i] = bytes[i] != 0;
  return 1;
}

/* ---- Jagged tensors ---- */

/* Gives an alias the history of the tensor it repeats, so that gradients flow through it. */
static void share_history(qn_tensor *t, const qn_tensor *from) {
  if (!from->node) return;
  t->node = qni_node_retain(from->node);
  t->node_out = from->node_out;
  t->requires_grad = from->requires_grad;
}

/* A leaf at `index` that wants a gradient becomes the result of an op, whose history can be shared. */
static void leave_leaf(lua_State *L, int index) {
  qn_tensor *t = qni_bind_tensor(L, index, "values");
  if (!t->requires_grad || t->node || !qni_tape_enabled()) return;
  qn_arg args[2] = {
      {.kind = QN_ARG_TENSOR, .v.tensor = t},
      {.name = "shape", .kind = QN_ARG_INTS, .count = t->view.ndim, .v.ints = t->view.shape}};
  qni_box *box = qni_bind_box(L);
  qni_error_reset();
  qni_bind_check(L, qni_bind_apply(box, "reshape", args, 2));
  qni_bind_fill(L, box, box->t);
  lua_replace(L, index);
}

/* jagged(values, offsets): shares both; a jagged `offsets` lends its own. */
static int jagged_of(lua_State *L) {
  qn_tensor *t = NULL;
  if (lua_istable(L, 2)) {
    push_from(L, 2, QN_I64);
    lua_replace(L, 2);
  }
  leave_leaf(L, 1);
  qn_tensor *values = qni_bind_tensor(L, 1, "values"), *offsets = qni_bind_tensor(L, 2, "offsets");
  qni_box *box = qni_bind_box(L);
  qni_bind_check(L, qn_tensor_jagged(values, offsets->offsets ? offsets->offsets : offsets, &t));
  share_history(t, values);
  qni_bind_fill(L, box, t);
  return 1;
}

/* values(t): the rows of a jagged tensor as a dense one. */
static int values(lua_State *L) {
  qn_tensor *t = NULL;
  leave_leaf(L, 1);
  const qn_tensor *from = qni_bind_tensor(L, 1, "self");
  qni_box *box = qni_bind_box(L);
  qni_error_reset();
  qni_bind_check(L, qni_tensor_alias(from, &from->view, &t));
  share_history(t, from);
  qni_bind_fill(L, box, t);
  return 1;
}

/* Appends all rows of the table of tables at 1 to one flat table at the top; offsets into the tensor below it. */
static void flatten_rows(lua_State *L, int64_t *offset, int64_t n_rows) {
  offset[0] = 0;
  for (int64_t r = 0; r < n_rows; r++) {
    if (lua_rawgeti(L, 1, r + 1) != LUA_TTABLE)
      qni_bind_bad_arg(L, -1, "values", "a table of tables");
    int64_t n = (int64_t)lua_rawlen(L, -1);
    for (int64_t i = 1; i <= n; i++) {
      lua_rawgeti(L, -1, i);
      lua_rawseti(L, -3, offset[r] + i);
    }
    offset[r + 1] = offset[r] + n;
    lua_pop(L, 1);
  }
}

/* jagged{{1, 2}, {}, {3}} [, dtype]: rows may themselves be tables. */
static int jagged_from(lua_State *L) {
  int32_t dtype = given_dtype(L, 2);
  int64_t n_rows = (int64_t)lua_rawlen(L, 1), size = n_rows + 1;
  if (!dtype) dtype = given_dtype(L, 1);
  qni_box *box = qni_bind_box(L);
  qn_tensor *offsets, *t;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_empty(QN_I64, 1, &size, &offsets));
  qni_bind_fill(L, box, offsets);
  int at = lua_gettop(L);
  lua_newtable(L);
  flatten_rows(L, offsets->view.data, n_rows);
  push_from(L, at + 1, dtype);
  qn_tensor *values = qni_bind_tensor(L, -1, "values");
  box = qni_bind_box(L);
  qni_bind_check(L, qn_tensor_jagged(values, offsets, &t));
  qni_bind_fill(L, box, t);
  return 1;
}

static int jagged(lua_State *L) {
  if (qni_bind_test(L, 1)) return jagged_of(L);
  if (!lua_istable(L, 1)) return qni_bind_bad_arg(L, 1, "values", "a tensor or a table of tables");
  return jagged_from(L);
}

void qni_bind_open_make(lua_State *L) {
  static const luaL_Reg functions[] = {{"tensor", tensor},
                                       {"zeros", zeros},
                                       {"empty", empty},
                                       {"ones", ones},
                                       {"arange", arange},
                                       {"eye", eye},
                                       {"from_string", from_string},
                                       {"jagged", jagged},
                                       {"values", values},
                                       {NULL, NULL}};
  qni_bind_set(L, functions);
}
