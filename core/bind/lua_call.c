/*
** Calling ops from Lua: arguments by the schema, one closure per op.
**
** Arguments come by position, in the schema's order, keyword ones too; a table that
** ends the call gives named ones: t:sum(1), t:sum{dim = 1}, quern.sum(t, {dim = 1}).
** Where the schema wants a list, a table or the numbers (tensors) themselves will do:
** t:reshape(2, 3), t:reshape{2, 3}, quern.concat(a, b, {dim = 2}). Integers stay
** integers. Everything lies on the C stack.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "exec/rng.h"

/* ---- Lists ---- */

static bool is_list(const qni_param *p) {
  return p &&
         (p->kind == QNI_INTS || p->kind == QNI_NUMS || (p->kind == QNI_TENSOR && p->variadic));
}

static void *words(lua_State *L, qni_args *args, const qni_param *p, lua_Integer n) {
  if (n > QNI_BIND_WORDS - args->n_words)
    qni_bind_fail(L, QN_E_ARG, "long lists of numbers belong into a tensor",
                  "argument '%s' is a list of %lld; the lists of a call may have %d elements",
                  p->name, (long long)n, QNI_BIND_WORDS);
  void *at = &args->word[args->n_words];
  args->n_words += (int32_t)n;
  return at;
}

/* One element of a list, from the top of the stack, into slot i. */
static void read_element(lua_State *L, const qni_param *p, void *list, lua_Integer i) {
  if (p->kind == QNI_TENSOR) {
    ((qn_tensor **)list)[i] = qni_bind_tensor(L, -1, p->name);
  } else if (p->kind == QNI_INTS) {
    if (!lua_isinteger(L, -1)) qni_bind_bad_arg(L, -1, p->name, "a list of integers");
    ((int64_t *)list)[i] = lua_tointeger(L, -1);
  } else {
    if (lua_type(L, -1) != LUA_TNUMBER) qni_bind_bad_arg(L, -1, p->name, "a list of numbers");
    ((double *)list)[i] = lua_tonumber(L, -1);
  }
}

static void set_list(const qni_param *p, void *list, lua_Integer n, qn_arg *a) {
  a->count = (int32_t)n;
  if (p->kind == QNI_TENSOR) {
    a->kind = QN_ARG_TENSORS;
    a->v.tensors = list;
  } else if (p->kind == QNI_INTS) {
    a->kind = QN_ARG_INTS;
    a->v.ints = list;
  } else {
    a->kind = QN_ARG_NUMS;
    a->v.nums = list;
  }
}

/* The table at `index`, as a list. */
static void read_list(lua_State *L, int index, const qni_param *p, qni_args *args, qn_arg *a) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  void *list = words(L, args, p, n);
  for (lua_Integer i = 0; i < n; i++) {
    lua_rawgeti(L, index, i + 1);
    read_element(L, p, list, i);
    lua_pop(L, 1);
  }
  set_list(p, list, n, a);
}

/* ---- Single values ---- */

static void read_number(lua_State *L, int index, const qni_param *p, qn_arg *a) {
  bool integer = lua_isinteger(L, index);
  if (integer && (!p || p->kind != QNI_NUMS)) {
    a->kind = QN_ARG_INT;
    a->v.i = lua_tointeger(L, index);
    return;
  }
  if (!integer && p && (p->kind == QNI_INT || p->kind == QNI_INTS))
    qni_bind_bad_arg(L, index, p->name, "an integer");
  a->kind = QN_ARG_NUM;
  a->v.f = lua_tonumber(L, index);
}

static void read_tensor(lua_State *L, const qni_box *box, const qni_param *p, qni_args *args,
                        qn_arg *a) {
  if (!box->t) qni_bind_freed(L, p ? p->name : "?");
  a->kind = QN_ARG_TENSOR;
  a->v.tensor = box->t;
  if (!p || p->kind != QNI_TENSOR || !p->variadic) return;
  qn_tensor **one = words(L, args, p, 1);
  *one = box->t;
  set_list(p, one, 1, a);
}

/* The value at a positive index; p may be NULL, the call then refuses the argument. */
static void read_value(lua_State *L, int index, const qni_param *p, qni_args *args, qn_arg *a) {
  const qni_box *box = qni_bind_test(L, index);
  if (box) {
    read_tensor(L, box, p, args, a);
    return;
  }
  switch (lua_type(L, index)) {
  case LUA_TNIL: a->kind = QN_ARG_NIL; return;
  case LUA_TNUMBER: read_number(L, index, p, a); return;
  case LUA_TBOOLEAN:
    a->kind = QN_ARG_BOOL;
    a->v.i = lua_toboolean(L, index);
    return;
  case LUA_TSTRING:
    a->kind = QN_ARG_STR;
    a->v.s = lua_tostring(L, index);
    return;
  case LUA_TTABLE:
    if (!is_list(p)) break;
    read_list(L, index, p, args, a);
    return;
  default: break;
  }
  qni_bind_bad_arg(L, index, p ? p->name : "?",
                   p && p->kind == QNI_TENSOR ? "a tensor" : "a number, string, boolean or tensor");
}

/* ---- Named ones ---- */

static bool has_names(lua_State *L, int index) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) {
      lua_pop(L, 2);
      return true;
    }
  return false;
}

static qn_arg *next_arg(lua_State *L, const qni_schema *s, qni_args *args) {
  if (args->n > QN_MAX_PARAMS) {
    const char *hint = lua_pushfstring(L, "its signature is %s", s->canonical);
    qni_bind_fail(L, QN_E_ARG, hint, "%s was given too many arguments", s->name);
  }
  qn_arg *a = &args->arg[args->n++];
  *a = (qn_arg){0};
  return a;
}

static void read_named(lua_State *L, const qni_schema *s, int index, qni_args *args) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    qn_arg *a = next_arg(L, s, args);
    a->name = lua_tostring(L, -2);
    int32_t p = qni_schema_param(s, a->name);
    if (p < 0) continue; /* the call says what its arguments are */
    read_value(L, lua_gettop(L), &s->param[p], args, a);
  }
}

/* ---- All of them ---- */

/* How many of the values first..last are elements of list parameter p. */
static int run_length(lua_State *L, const qni_param *p, int first, int last) {
  int n = 0;
  for (int i = first; i <= last; i++, n++)
    if (p->kind == QNI_TENSOR ? !qni_bind_test(L, i) : lua_type(L, i) != LUA_TNUMBER) break;
  return n;
}

static void read_run(lua_State *L, const qni_param *p, int first, int n, qni_args *args,
                     qn_arg *a) {
  void *list = words(L, args, p, n);
  for (int i = 0; i < n; i++) {
    lua_pushvalue(L, first + i);
    read_element(L, p, list, i);
    lua_pop(L, 1);
  }
  set_list(p, list, n, a);
}

void qni_args_read(lua_State *L, const qn_opref *op, int first, int last, qni_args *args) {
  const qni_schema *s = op->schema;
  int32_t p = 0;
  bool names = last >= first && lua_type(L, last) == LUA_TTABLE && has_names(L, last);
  args->n = args->n_words = 0;
  for (int i = first; i <= last; p++) {
    const qni_param *q = p < s->n_params ? &s->param[p] : NULL;
    if (i == last &&
        lua_type(L, i) == LUA_TTABLE) { /* only names, or an empty table nobody waits for */
      if (names && !lua_rawlen(L, i)) break;
      if (!names && !lua_rawlen(L, i) && !is_list(q)) break;
    }
    qn_arg *a = next_arg(L, s, args);
    if (q && q->keyword) a->name = q->name;
    int n = is_list(q) && lua_type(L, i) != LUA_TTABLE ? run_length(L, q, i, last) : 0;
    if (n > 1) {
      read_run(L, q, i, n, args, a);
      i += n;
      continue;
    }
    read_value(L, i++, q, args, a);
  }
  if (names) read_named(L, s, last, args);
}

/* ---- The call ---- */

/* An output that is the argument itself: the same Lua value comes back. */
static bool push_same(lua_State *L, const qni_output *out, int top) {
  if (!out->same || out->alias >= top || !qni_bind_test(L, out->alias + 1)) return false;
  lua_pushvalue(L, out->alias + 1);
  return true;
}

static bool writes(const qni_schema *s) {
  for (int32_t p = 0; p < s->n_params; p++)
    if (s->param[p].written) return true;
  return false;
}

/* Runs; when memory is short, collects garbage and, if nothing can have been written yet, tries once more. */
static qn_status run(lua_State *L, const qn_opref *op, const qni_args *args, qn_tensor **outs,
                     int32_t *n_outs) {
  uint32_t instance = qni_rng_peek();
  qn_status st = qn_op_call(op, args->arg, args->n, outs, 8, n_outs);
  if (st != QN_E_NOMEM || writes(op->schema)) return st;
  qni_bind_collect(L);
  qni_mem_trim();
  qni_rng_rewind(instance);
  return qn_op_call(op, args->arg, args->n, outs, 8, n_outs);
}

static int finish(lua_State *L, const qn_opref *op, const qni_args *args, int top) {
  const qni_schema *s = op->schema;
  qni_box *box[8] = {NULL};
  qn_tensor *outs[8];
  int32_t n_outs;
  luaL_checkstack(L, s->n_outputs + 4, "too many results");
  int base = lua_gettop(L);
  for (int32_t o = 0; o < s->n_outputs; o++)
    if (!push_same(L, &s->output[o], top)) box[o] = qni_bind_box(L);
  qni_bind_of(L)->running = L;
  if (run(L, op, args, outs, &n_outs)) return qni_bind_raise(L);
  for (int32_t o = 0; o < n_outs; o++) {
    if (box[o])
      qni_bind_fill(L, box[o], outs[o]);
    else
      qn_tensor_free(outs[o]);
  }
  qni_bind_relieve(L);
  return lua_gettop(L) - base;
}

static int call_op(lua_State *L) {
  const qn_opref *op = lua_touserdata(L, lua_upvalueindex(1));
  int top = lua_gettop(L);
  qni_args args;
  luaL_checkstack(L, 24, "too many arguments");
  qni_args_read(L, op, 1, top, &args);
  return finish(L, op, &args, top);
}

void qni_bind_push_op(lua_State *L, const qn_opref *op) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)op);
  lua_pushcclosure(L, call_op, 1);
}

/* op(name): the function of an op, or nil and the reason. */
static int find_op(lua_State *L) {
  const qn_opref *op = qn_op_find(qni_bind_str(L, 1, "name"));
  if (op) {
    qni_bind_push_op(L, op);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, qn_error_last()->what);
  lua_pushstring(L, qn_error_last()->hint);
  return 3;
}

void qni_bind_open_call(lua_State *L) {
  static const luaL_Reg functions[] = {{"op", find_op}, {NULL, NULL}};
  qni_bind_set(L, functions);
}
