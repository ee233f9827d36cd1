/*
** Schemas and plugin files from Lua, without an op or a library: parsing, small valid inputs, and
** reading a descriptor out of its file.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "api/load.h"
#include "api/scan.h"
#include "bind/bind.h"

/* ---- Schemas ---- */

static void release_schema(void *thing) { qni_schema_free(thing); }

/* Parses the text at index 1 into an owner that is pushed. */
static qni_schema *parse(lua_State *L) {
  const char *text = qni_bind_str(L, 1, "schema");
  qni_owner *owner = qni_bind_own(L, NULL, release_schema);
  qni_schema *s;
  qni_error_reset();
  qni_bind_check(L, qni_schema_parse(text, &s));
  return owner->thing = s;
}

static void push_params(lua_State *L, const qni_schema *s) {
  char type[256];
  lua_createtable(L, s->n_params, 0);
  for (int32_t i = 0; i < s->n_params; i++) {
    const qni_param *p = &s->param[i];
    lua_createtable(L, 0, 8);
    qni_bind_set_str(L, "name", p->name);
    qni_bind_set_str(L, "type",
                     p->kind == QNI_TENSOR ? qni_schema_type_text(s, &p->tensor, type, sizeof type)
                                           : qni_schema_kind_text(s, i, type, sizeof type));
    qni_bind_set_bool(L, "tensor", p->kind == QNI_TENSOR);
    qni_bind_set_bool(L, "optional", p->optional || p->has_default);
    qni_bind_set_bool(L, "variadic", p->variadic);
    qni_bind_set_bool(L, "written", p->written);
    if (p->kind == QNI_NUM && p->has_default && p->value.kind == QN_ARG_NUM)
      qni_bind_set_num(L, "default", p->value.v.f);
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_outputs(lua_State *L, const qni_schema *s) {
  char type[256];
  lua_createtable(L, s->n_outputs, 0);
  for (int32_t o = 0; o < s->n_outputs; o++) {
    const qni_output *y = &s->output[o];
    lua_createtable(L, 0, 4);
    qni_bind_set_str(L, "name", y->name);
    qni_bind_set_str(L, "type", qni_schema_type_text(s, &y->tensor, type, sizeof type));
    qni_bind_set_bool(L, "open", qni_schema_open(s, o));
    if (y->alias >= 0) qni_bind_set_str(L, "alias", s->param[y->alias].name);
    lua_rawseti(L, -2, o + 1);
  }
}

/* schema(text): { name, schema (canonical), params, outputs }; raises with a caret. */
static int schema(lua_State *L) {
  const qni_schema *s = parse(L);
  lua_createtable(L, 0, 4);
  qni_bind_set_str(L, "name", s->name);
  qni_bind_set_str(L, "schema", s->canonical);
  push_params(L, s);
  lua_setfield(L, -2, "params");
  push_outputs(L, s);
  lua_setfield(L, -2, "outputs");
  return 1;
}

/* ---- Small valid inputs ---- */

static void push_values(lua_State *L, const qn_view *v, int32_t d, int64_t at) {
  if (d == v->ndim) {
    qni_bind_push_element(L, v, at);
    return;
  }
  luaL_checkstack(L, 4, "too deep");
  lua_createtable(L, (int)v->shape[d], 0);
  for (int64_t i = 0; i < v->shape[d]; i++) {
    push_values(L, v, d + 1, at + i * v->stride[d]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void set_tensor(lua_State *L, const qn_tensor *t) {
  const qn_view *v = &t->view;
  qni_bind_set_str(L, "dtype", qni_dtype_name(v->dtype));
  qni_bind_set_bool(L, "floating", qni_dtype_floating(v->dtype));
  lua_createtable(L, v->ndim, 0);
  for (int32_t d = 0; d < v->ndim; d++) {
    lua_pushinteger(L, (lua_Integer)v->shape[d]);
    lua_rawseti(L, -2, d + 1);
  }
  lua_setfield(L, -2, "shape");
  push_values(L, v, 0, 0);
  lua_setfield(L, -2, "values");
  if (!t->offsets) return;
  push_values(L, &t->offsets->view, 0, 0);
  lua_setfield(L, -2, "offsets");
}

static void set_tensors(lua_State *L, const qn_arg *a) {
  lua_createtable(L, a->count, 0);
  for (int32_t i = 0; i < a->count; i++) {
    lua_createtable(L, 0, 4);
    set_tensor(L, a->v.tensors[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "list");
}

static void set_list(lua_State *L, const qn_arg *a) {
  lua_createtable(L, a->count, 0);
  for (int32_t i = 0; i < a->count; i++) {
    if (a->kind == QN_ARG_INTS)
      lua_pushinteger(L, (lua_Integer)a->v.ints[i]);
    else
      lua_pushnumber(L, a->v.nums[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "value");
}

/* { name, kind, tensor_param, value | values, shape, dtype, offsets | list } */
static void push_argument(lua_State *L, const qni_schema *s, const qn_arg *a) {
  int32_t p = qni_schema_param(s, a->name);
  lua_createtable(L, 0, 8);
  qni_bind_set_str(L, "name", a->name);
  qni_bind_set_bool(L, "tensor_param", s->param[p].kind == QNI_TENSOR);
  qni_bind_set_bool(L, "number", s->param[p].kind == QNI_NUM);
  qni_bind_set_str(L, "kind",
                   a->kind == QN_ARG_TENSOR    ? "tensor"
                   : a->kind == QN_ARG_TENSORS ? "tensors"
                                               : "value");
  switch (a->kind) {
  case QN_ARG_TENSOR: set_tensor(L, a->v.tensor); return;
  case QN_ARG_TENSORS: set_tensors(L, a); return;
  case QN_ARG_INT: qni_bind_set_int(L, "value", a->v.i); return;
  case QN_ARG_NUM: qni_bind_set_num(L, "value", floor(a->v.f * 8 + 0.5) / 8); return;
  case QN_ARG_BOOL: qni_bind_set_bool(L, "value", a->v.i != 0); return;
  case QN_ARG_STR: qni_bind_set_str(L, "value", a->v.s); return;
  default: set_list(L, a);
  }
}

static int64_t size_of(const qni_sample *sample) {
  int64_t n = 0;
  for (int32_t i = 0; i < sample->n_held; i++) {
    int64_t count = qni_tensor_count(sample->held[i]);
    if (!count) return INT64_MAX;
    n += count;
  }
  return n;
}

static void release_sample(void *thing) {
  qni_sample_free(thing);
  qni_mem_free(thing);
}

/* The smallest of some samples without empty tensors, and only what must be given; false: none. */
static bool smallest(const qni_schema *s, qni_sample *best) {
  int64_t size = INT64_MAX;
  for (uint64_t seed = 1; seed < 200; seed++) {
    qni_sample sample;
    qni_sample_options o = {.seed = seed, .dtype = QN_F32, .max_size = 3};
    if (qni_schema_sample(s, &o, &sample)) break;
    int64_t n = size_of(&sample);
    if (n < INT64_MAX && n + 8 * sample.n_args < size) {
      qni_sample_free(best);
      *best = sample;
      size = n + 8 * sample.n_args;
    } else {
      qni_sample_free(&sample);
    }
  }
  return size < INT64_MAX;
}

/* schema_sample(text): arguments of a small valid call, or nil. */
static int schema_sample(lua_State *L) {
  const qni_schema *s = parse(L);
  qni_owner *owner = qni_bind_own(L, NULL, release_sample);
  qni_sample *sample = owner->thing = qni_mem_zalloc(1, sizeof *sample);
  if (!sample) qni_bind_check(L, QN_E_NOMEM);
  if (!smallest(s, sample)) {
    qni_error_reset();
    lua_pushnil(L);
    return 1;
  }
  lua_createtable(L, sample->n_args, 0);
  for (int32_t i = 0; i < sample->n_args; i++) {
    push_argument(L, s, &sample->arg[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- Files ---- */

static void release_scan(void *thing) { qni_scan_close(thing); }

static void set_text(lua_State *L, const char *key, const char *text) {
  if (text) qni_bind_set_str(L, key, text);
}

static void push_ops(lua_State *L, const qni_scan *scan) {
  lua_createtable(L, scan->n_ops, 0);
  for (int32_t i = 0; i < scan->n_ops; i++) {
    const qni_scan_op *op = &scan->op[i];
    lua_createtable(L, 0, 5);
    set_text(L, "schema", op->schema);
    set_text(L, "summary", op->summary);
    set_text(L, "doc", op->doc);
    set_text(L, "cite", op->cite);
    set_text(L, "example", op->example);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "ops");
}

/*
** plugin_read(path): what a library says of itself, read out of its file without running it:
** { file, id, name, version, abi, least, build, needs, ops }; nil and why if it is of a kind that
** cannot be read so. Raises for what would be refused.
*/
static int plugin_read(lua_State *L) {
  char file[4096], abi[32];
  qni_scan *scan;
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, NULL, release_scan);
  qni_error_reset();
  qni_bind_check(L, qni_load_find(path, file, sizeof file));
  qn_status st = qni_load_read(file, &scan);
  if (st == QN_E_UNSUPPORTED) {
    lua_pushnil(L);
    lua_pushstring(L, qn_error_last()->what);
    return 2;
  }
  qni_bind_check(L, st);
  owner->thing = scan;
  const qn_plugin *p = &scan->head;
  lua_createtable(L, 0, 10);
  qni_bind_set_str(L, "file", file);
  set_text(L, "id", p->id);
  set_text(L, "name", p->name);
  set_text(L, "version", p->version);
  set_text(L, "build", p->build);
  snprintf(abi, sizeof abi, "%d.%d", p->abi_major, p->abi_minor);
  qni_bind_set_str(L, "abi", abi);
  qni_bind_set_int(L, "least", p->abi_minor_least);
  lua_newtable(L);
  for (int i = 0; scan->needs[i]; i++) {
    lua_pushstring(L, scan->needs[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "needs");
  push_ops(L, scan);
  return 1;
}

/* limit_resources(seconds, bytes): of processor time and memory of this process; no core files. */
static int limit_resources(lua_State *L) {
  rlim_t seconds = (rlim_t)qni_bind_int(L, 1, "seconds"),
         bytes = (rlim_t)qni_bind_int(L, 2, "bytes");
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  setrlimit(RLIMIT_CPU, &(struct rlimit){seconds, seconds});
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
#else
  (void)bytes; /* sanitizers map more than any limit */
#endif
  return 0;
}

/* abi(): the version of the plugin contract, "1.0". */
static int abi(lua_State *L) {
  lua_pushfstring(L, "%d.%d", QN_ABI_MAJOR, QN_ABI_MINOR);
  return 1;
}

void qni_bind_open_schema(lua_State *L) {
  static const luaL_Reg functions[] = {{"schema", schema},
                                       {"schema_sample", schema_sample},
                                       {"plugin_read", plugin_read},
                                       {"limit_resources", limit_resources},
                                       {"abi", abi},
                                       {NULL, NULL}};
  qni_bind_set(L, functions);
}
