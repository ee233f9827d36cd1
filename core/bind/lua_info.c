/*
** What the registry knows, for Lua: ops, their schemas and documents, plugins.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <string.h>

#include "api/load.h"
#include "bind/bind.h"

/* ops(): names in order; of two plugins' ops of one name each appears as plugin.name. */
static int ops(lua_State *L) {
  int32_t n = qn_op_count();
  lua_createtable(L, n, 0);
  for (int32_t i = 0; i < n; i++) {
    const qn_opref *op = qn_op_at(i), *before = i ? qn_op_at(i - 1) : NULL,
                   *after = i + 1 < n ? qn_op_at(i + 1) : NULL;
    bool shared =
        (before && !strcmp(before->name, op->name)) || (after && !strcmp(after->name, op->name));
    if (shared && op->plugin->entry)
      lua_pushfstring(L, "%s.%s", op->plugin->name, op->name);
    else
      lua_pushstring(L, op->name);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static void push_value(lua_State *L, const qni_value *v) {
  switch (v->kind) {
  case QN_ARG_INT: lua_pushinteger(L, (lua_Integer)v->v.i); return;
  case QN_ARG_NUM: lua_pushnumber(L, v->v.f); return;
  case QN_ARG_BOOL: lua_pushboolean(L, v->v.i != 0); return;
  case QN_ARG_STR: lua_pushstring(L, v->v.s); return;
  case QN_ARG_INTS:
  case QN_ARG_NUMS:
    lua_createtable(L, v->count, 0);
    for (int32_t i = 0; i < v->count; i++) {
      if (v->kind == QN_ARG_INTS)
        lua_pushinteger(L, (lua_Integer)v->v.ints[i]);
      else
        lua_pushnumber(L, v->v.nums[i]);
      lua_rawseti(L, -2, i + 1);
    }
    return;
  default: lua_pushnil(L);
  }
}

static void push_param(lua_State *L, const qni_schema *s, int32_t i) {
  const qni_param *p = &s->param[i];
  char type[256];
  lua_createtable(L, 0, 10);
  qni_bind_set_str(L, "name", p->name);
  if (p->kind == QNI_TENSOR)
    qni_schema_type_text(s, &p->tensor, type, sizeof type);
  else
    qni_schema_kind_text(s, i, type, sizeof type);
  qni_bind_set_str(L, "type", type);
  qni_bind_set_bool(L, "tensor", p->kind == QNI_TENSOR);
  qni_bind_set_bool(L, "optional", p->optional || p->has_default);
  qni_bind_set_bool(L, "variadic", p->variadic);
  qni_bind_set_bool(L, "written", p->written);
  qni_bind_set_bool(L, "keyword", p->keyword);
  if (p->has_default) {
    push_value(L, &p->value);
    lua_setfield(L, -2, "default");
  }
  if (p->choices) {
    lua_newtable(L);
    for (int32_t k = 0; p->choices[k]; k++) {
      lua_pushstring(L, p->choices[k]);
      lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, "choices");
  }
}

static void push_plugin(lua_State *L, const qni_plugin *p) {
  lua_createtable(L, 0, 8);
  qni_bind_set_str(L, "id", p->id);
  qni_bind_set_str(L, "name", p->name);
  qni_bind_set_str(L, "version", p->version);
  qni_bind_set_str(L, "path", p->path);
  qni_bind_set_str(L, "build", p->build);
  qni_bind_set_str(L, "sha256", p->sha256);
  qni_bind_set_int(L, "ops", p->n_ops);
  qni_bind_set_bool(L, "core", p->entry == NULL);
}

static void push_outputs(lua_State *L, const qni_schema *s) {
  char type[256];
  lua_createtable(L, s->n_outputs, 0);
  for (int32_t o = 0; o < s->n_outputs; o++) {
    lua_createtable(L, 0, 2);
    qni_bind_set_str(L, "name", s->output[o].name);
    qni_bind_set_str(L, "type", qni_schema_type_text(s, &s->output[o].tensor, type, sizeof type));
    lua_rawseti(L, -2, o + 1);
  }
}

static void set_documents(lua_State *L, const qn_op *op) {
  static const char *const det[] = {"none", "same_threads", "bitwise"};
  static const char *const batch[] = {"coupled", "rows", "sequences", "sum"};
  qni_bind_set_str(L, "summary", op->summary);
  if (op->doc) qni_bind_set_str(L, "doc", op->doc);
  if (op->cite) qni_bind_set_str(L, "cite", op->cite);
  if (op->example) qni_bind_set_str(L, "example", op->example);
  qni_bind_set_str(L, "determinism", det[op->det]);
  qni_bind_set_str(L, "batch", batch[op->batch]);
  qni_bind_set_bool(L, "random", (op->flags & QN_OP_RANDOM) != 0);
  qni_bind_set_bool(L, "differentiable",
                    (op->backward || op->compose) && !(op->flags & QN_OP_NO_GRAD));
  qni_bind_set_bool(L, "second_order", op->compose && !(op->flags & QN_OP_NO_GRAD));
}

/* op_info(name): a table with all that is known of an op. */
static int op_info(lua_State *L) {
  const qn_opref *op = qn_op_find(qni_bind_str(L, 1, "name"));
  if (!op) return qni_bind_raise(L);
  const qni_schema *s = op->schema;
  char hash[24];
  lua_createtable(L, 0, 16);
  qni_bind_set_str(L, "name", op->name);
  qni_bind_set_str(L, "schema", s->canonical);
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)s->hash);
  qni_bind_set_str(L, "hash", hash);
  set_documents(L, op->op);
  push_plugin(L, op->plugin);
  lua_setfield(L, -2, "plugin");
  lua_createtable(L, s->n_params, 0);
  for (int32_t i = 0; i < s->n_params; i++) {
    push_param(L, s, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "params");
  push_outputs(L, s);
  lua_setfield(L, -2, "outputs");
  return 1;
}

/* plugins(): all that are loaded, the core first. */
static int plugins(lua_State *L) {
  int32_t n = qni_registry_plugin_count();
  lua_createtable(L, n, 0);
  for (int32_t i = 0; i < n; i++) {
    push_plugin(L, qni_registry_plugin(i));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* plugin_load(path): the descriptor's id, name, version and the number of its ops. */
static int plugin_load(lua_State *L) {
  const qn_plugin *entry;
  const char *path = qni_bind_str(L, 1, "path");
  qni_error_reset();
  qni_bind_check(L, qni_load_plugin(path, &entry));
  int32_t n = 0;
  while (entry->ops && entry->ops[n]) n++;
  lua_createtable(L, 0, 4);
  qni_bind_set_str(L, "id", entry->id);
  qni_bind_set_str(L, "name", entry->name);
  qni_bind_set_str(L, "version", entry->version);
  qni_bind_set_int(L, "ops", n);
  lua_pushfstring(L, "%d.%d", (int)entry->abi_major, (int)entry->abi_minor);
  lua_setfield(L, -2, "abi");
  return 1;
}

/* plugin_file(path): the library that a folder stands for on this CPU; nil if none. */
static int plugin_file(lua_State *L) {
  char file[4096];
  qni_error_reset();
  if (qni_load_find(qni_bind_str(L, 1, "path"), file, sizeof file))
    lua_pushnil(L);
  else
    lua_pushstring(L, file);
  return 1;
}

void qni_bind_open_info(lua_State *L) {
  static const luaL_Reg functions[] = {{"ops", ops},
                                       {"op_info", op_info},
                                       {"plugins", plugins},
                                       {"plugin_load", plugin_load},
                                       {"plugin_file", plugin_file},
                                       {NULL, NULL}};
  qni_bind_set(L, functions);
}
