/*
** Gradients from Lua: leaves, backward, grad, hooks, switching the tape.
** SPDX-License-Identifier: MIT
*/
#include "bind/bind.h"
#include "graph/tape.h"

/* ---- Leaves ---- */

/* t:requires_grad_(on) returns t. */
static int requires_grad_(lua_State *L) {
  qn_tensor *t = qni_bind_tensor(L, 1, "self");
  bool on = lua_isnoneornil(L, 2) || qni_bind_bool(L, 2, "on");
  qni_bind_check(L, qn_tensor_require_grad(t, on));
  lua_settop(L, 1);
  return 1;
}

static int zero_grad(lua_State *L) {
  qn_tensor_clear_grad(qni_bind_tensor(L, 1, "self"));
  lua_settop(L, 1);
  return 1;
}

/* t:grad_rows(): ids, rows; nothing when the gradient is dense or none. */
static int grad_rows(lua_State *L) {
  qn_tensor *ids, *rows;
  if (!qn_tensor_grad_rows(qni_bind_tensor(L, 1, "self"), &ids, &rows)) return 0;
  qni_bind_push_borrowed(L, ids);
  qni_bind_push_borrowed(L, rows);
  return 2;
}

/* Without history, sharing the memory; sequences stay. */
static int detach(lua_State *L) {
  qn_tensor *t = qni_bind_tensor(L, 1, "self"), *out;
  qni_box *box = qni_bind_box(L);
  qni_error_reset();
  qni_bind_check(L, qni_tensor_detach(t, &out));
  qni_bind_fill(L, box, out);
  return 1;
}

/* ---- The walk back ---- */

static int32_t flags_of(lua_State *L, int index) {
  static const char *const known[] = {"keep", "create", "seed", NULL};
  qni_bind_fields(L, index, known, "backward");
  bool create = qni_bind_field_bool(L, index, "create", false);
  bool keep = qni_bind_field_bool(L, index, "keep", create);
  return (create ? QN_BACKWARD_CREATE : 0) | (keep ? QN_BACKWARD_KEEP : 0);
}

/* The seed in the options table at index, or NULL; anchored by the table. */
static qn_tensor *seed_of(lua_State *L, int index) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, "seed");
  qn_tensor *seed = lua_isnil(L, -1) ? NULL : qni_bind_tensor(L, -1, "seed");
  lua_pop(L, 1);
  return seed;
}

/* t:backward([seed] [, {keep =, create =, seed =}]) */
static int backward(lua_State *L) {
  qn_tensor *root = qni_bind_tensor(L, 1, "self");
  lua_settop(L, 3);
  int options = lua_istable(L, 2) ? 2 : 3;
  qn_tensor *seed = seed_of(L, options);
  if (options == 3 && !lua_isnil(L, 2)) seed = qni_bind_tensor(L, 2, "seed");
  int32_t flags = flags_of(L, options);
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qn_backward(root, seed, flags));
  qni_bind_relieve(L);
  return 0;
}

static int32_t read_inputs(lua_State *L, qn_tensor **inputs) {
  if (qni_bind_test(L, 2)) {
    inputs[0] = qni_bind_tensor(L, 2, "inputs");
    return 1;
  }
  if (!lua_istable(L, 2)) qni_bind_bad_arg(L, 2, "inputs", "a tensor or a list of tensors");
  int64_t n = (int64_t)lua_rawlen(L, 2);
  if (n < 1 || n > QN_MAX_TENSORS)
    qni_bind_fail(L, QN_E_ARG, NULL, "grad takes 1 to %d inputs, not %lld", QN_MAX_TENSORS,
                  (long long)n);
  for (int64_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    inputs[i] = qni_bind_tensor(L, -1, "inputs");
    lua_pop(L, 1);
  }
  return (int32_t)n;
}

/* grad(root, inputs [, options]): one gradient, or a list (nil where none flowed, n = count). */
static int grad(lua_State *L) {
  qn_tensor *inputs[QN_MAX_TENSORS], *grads[QN_MAX_TENSORS];
  qn_tensor *root = qni_bind_tensor(L, 1, "root");
  lua_settop(L, 3);
  int32_t n = read_inputs(L, inputs), flags = flags_of(L, 3);
  qn_tensor *seed = seed_of(L, 3);
  qni_box *box[QN_MAX_TENSORS];
  luaL_checkstack(L, n + 8, "too many inputs");
  for (int32_t i = 0; i < n; i++) box[i] = qni_bind_box(L);
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qn_grad(root, seed, inputs, n, flags, grads));
  for (int32_t i = 0; i < n; i++)
    if (grads[i]) qni_bind_fill(L, box[i], grads[i]);
  qni_bind_relieve(L);
  if (!lua_istable(L, 2)) {
    if (!grads[0]) lua_pushnil(L);
    return 1;
  }
  lua_createtable(L, n, 1);
  for (int32_t i = 0; i < n; i++) {
    if (!grads[i]) continue;
    lua_pushvalue(L, 4 + i);
    lua_rawseti(L, -2, i + 1);
  }
  qni_bind_set_int(L, "n", n);
  return 1;
}

/* ---- Hooks ---- */

struct hook {
  lua_State *main; /* lives as long as the state */
  int function;    /* registry reference */
};

static void hook_release(void *ctx) {
  struct hook *h = ctx;
  luaL_unref(h->main, LUA_REGISTRYINDEX, h->function);
  qni_mem_free(h);
}

/* Runs protected, since boxes are made here: pushes the result of fn(gradient). */
static int hook_body(lua_State *L) {
  qn_tensor *gradient = lua_touserdata(L, 2);
  lua_pushvalue(L, 1);
  qni_bind_push_borrowed(L, gradient);
  lua_call(L, 1, 1);
  if (lua_isnil(L, -1)) return 1;
  qni_bind_tensor(L, -1, "the result of a gradient hook");
  return 1;
}

static qn_status hook_run(void *ctx, qn_tensor **gradient) {
  const struct hook *h = ctx;
  lua_State *L = qni_bind_of(h->main)->running;
  if (!lua_checkstack(L, 8))
    return qni_fail(QN_E_NOMEM, "no room on Lua's stack for a gradient hook");
  lua_pushcfunction(L, hook_body);
  lua_rawgeti(L, LUA_REGISTRYINDEX, h->function);
  lua_pushlightuserdata(L, *gradient);
  int code = lua_pcall(L, 2, 1, 0);
  qni_bind_of(L)->running = L;
  if (code) {
    qni_bind_keep_error(L);
    qni_error_reset();
    return qni_fail(QN_E_STATE, "a gradient hook failed");
  }
  const qni_box *box = qni_bind_test(L, -1);
  if (box && box->t != *gradient) {
    qn_tensor *before = *gradient;
    *gradient = qn_tensor_retain(box->t);
    qn_tensor_free(before);
  }
  lua_pop(L, 1);
  return QN_OK;
}

/* t:register_hook(fn): fn sees each gradient of t and may return another. Returns t. */
static int register_hook(lua_State *L) {
  qn_tensor *t = qni_bind_tensor(L, 1, "self");
  if (!lua_isfunction(L, 2)) return qni_bind_bad_arg(L, 2, "fn", "a function");
  lua_settop(L, 2);
  qni_error_reset();
  qni_owner *owner = qni_bind_own(L, NULL, qni_bind_release_memory);
  struct hook *h = owner->thing = qni_mem_alloc(sizeof *h);
  if (!h) qni_bind_check(L, QN_E_NOMEM);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua_State *main = lua_tothread(L, -1);
  lua_pushvalue(L, 2);
  *h = (struct hook){main, luaL_ref(L, LUA_REGISTRYINDEX)};
  qn_status st = qni_tensor_hook(t, hook_run, h, hook_release);
  if (st) luaL_unref(L, LUA_REGISTRYINDEX, h->function);
  qni_bind_check(L, st);
  owner->thing = NULL; /* the tensor's now */
  lua_settop(L, 1);
  return 1;
}

/* ---- The switch ---- */

/* grad_enable(on) returns the former. */
static int grad_enable(lua_State *L) {
  lua_pushboolean(L, qn_grad_enable(qni_bind_bool(L, 1, "on")));
  return 1;
}

static int grad_enabled(lua_State *L) {
  lua_pushboolean(L, qni_tape_enabled());
  return 1;
}

void qni_bind_open_grad(lua_State *L) {
  static const luaL_Reg methods[] = {{"requires_grad_", requires_grad_},
                                     {"zero_grad", zero_grad},
                                     {"grad_rows", grad_rows},
                                     {"detach", detach},
                                     {"backward", backward},
                                     {"register_hook", register_hook},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"grad", grad}, {"grad_enable", grad_enable}, {"grad_enabled", grad_enabled}, {NULL, NULL}};
  qni_bind_set(L, functions);
  lua_getfield(L, -1, "methods");
  qni_bind_set(L, methods);
  lua_pop(L, 1);
}
