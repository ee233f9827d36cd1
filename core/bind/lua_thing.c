/*
** Things from Lua: the module quern.things.
**
** new(kind, name, settings) makes one; its methods are those of all kinds (state, load_state,
** describe) and what its kind has. lua/quern/thing.lua puts a face on it.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "bind/bind.h"
#include "bind/modules.h"
#include "graph/thing.h"

static const char CLASS[] = "thing";

static void release_thing(void *thing) { qni_thing_free(thing); }

static qni_thing *self(lua_State *L) { return qni_bind_thing(L, 1, CLASS); }

static qni_thing *self_of(lua_State *L, int32_t kind) {
  qni_thing *t = self(L);
  if (t->type->kind != kind)
    qni_bind_fail(L, QN_E_ARG, NULL, "%s is a %s, not a %s", t->type->name,
                  qni_kind_name(t->type->kind), qni_kind_name(kind));
  return t;
}

static int32_t read_kind(lua_State *L, int index) {
  int32_t kind = qni_kind_find(qni_bind_str(L, index, "kind"));
  if (kind < 0)
    qni_bind_bad_arg(L, index, "kind", "object, hook, dataset, metric, codec or scorer");
  return kind;
}

/* new(kind, name [, {setting = value}]) */
static int new (lua_State *L) {
  int32_t kind = read_kind(L, 1);
  const char *name = qni_bind_str(L, 2, "name");
  qni_args args;
  lua_settop(L, 3);
  if (!lua_isnil(L, 3) && !lua_istable(L, 3))
    return qni_bind_bad_arg(L, 3, "settings", "a table of settings by name");
  qni_error_reset();
  const qni_type *type = qni_type_find(kind, name);
  if (!type) return qni_bind_raise(L);
  qni_args_read(L, type->settings, 3, lua_isnil(L, 3) ? 2 : 3, &args);
  qni_owner *owner = qni_bind_own(L, CLASS, release_thing);
  qni_thing *t;
  qni_bind_of(L)->running = L;
  qni_bind_check(L, qni_thing_new(type, args.arg, args.n, &t));
  owner->thing = t;
  return 1;
}

/* ---- What all have ---- */

static void push_tensor(lua_State *L, qn_tensor *t) { /* shared, not copied */
  qni_box *box = qni_bind_box(L);
  qn_tensor *out;
  qni_bind_check(L, qni_tensor_detach(t, &out));
  qni_bind_fill(L, box, out);
}

static void push_state(lua_State *L, const qni_thing *t) {
  lua_createtable(L, 0, t->n_state);
  for (int32_t i = 0; i < t->n_state; i++) {
    push_tensor(L, t->state[i].tensor);
    lua_setfield(L, -2, t->state[i].name);
  }
}

/* state(): tensors by name, text. The tensors are the thing's own. */
static int state(lua_State *L) {
  qni_thing *t = self(L);
  qni_error_reset();
  qni_bind_check(L, qni_thing_run(t, t->type->head->save));
  push_state(L, t);
  lua_pushstring(L, t->text ? t->text : "");
  return 2;
}

/* The table of tensors by name at `index` as two lists on the stack of n. */
static int64_t read_tensors(lua_State *L, int index, const char ***names, qn_tensor ***tensors) {
  int64_t n = 0;
  if (!lua_istable(L, index)) qni_bind_bad_arg(L, index, "tensors", "a table of tensors by name");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) n++;
  *names = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **names, 0);
  *tensors = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **tensors, 0);
  int64_t i = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), i++) {
    if (lua_type(L, -2) != LUA_TSTRING)
      qni_bind_bad_arg(L, index, "tensors", "a table of tensors by name");
    (*names)[i] = lua_tostring(L, -2);
    (*tensors)[i] = qni_bind_tensor(L, -1, (*names)[i]);
  }
  return n;
}

/* load_state(tensors, text) */
static int load_state(lua_State *L) {
  qni_thing *t = self(L);
  const char **names, *text = qni_bind_opt_str(L, 3, "text", "");
  qn_tensor **tensors;
  int64_t n = read_tensors(L, 2, &names, &tensors);
  qni_error_reset();
  qni_bind_check(L, qni_thing_load(t, names, tensors, (int32_t)n, text));
  return 0;
}

static int push_emitted(lua_State *L, const qni_thing *t) {
  lua_createtable(L, 0, t->n_emitted);
  for (int32_t i = 0; i < t->n_emitted; i++)
    qni_bind_set_num(L, t->emitted[i].name, t->emitted[i].value);
  return 1;
}

/* describe(): numbers by name; empty if it says none. */
static int describe(lua_State *L) {
  qni_thing *t = self(L);
  qni_error_reset();
  t->n_emitted = 0;
  qni_bind_check(L, qni_thing_run(t, t->type->head->describe));
  return push_emitted(L, t);
}

static int type_name(lua_State *L) {
  const qni_type *type = self(L)->type;
  lua_pushstring(L, qni_kind_name(type->kind));
  lua_pushstring(L, type->name);
  lua_pushstring(L, type->plugin->id);
  return 3;
}

/* ---- Methods: step, read, add ---- */

/* call(...): as an op is called; outputs that are an argument come back as that value. */
static int call(lua_State *L) {
  qni_thing *t = self(L);
  const qn_opref *op = t->type->method;
  if (!op)
    return qni_bind_fail(L, QN_E_ARG, NULL, "%s %s has no method", qni_kind_name(t->type->kind),
                         t->type->name);
  const qni_schema *s = op->schema;
  int top = lua_gettop(L);
  qni_args args;
  qni_box *box[8] = {NULL};
  qn_tensor *outs[8];
  int32_t n_outs;
  luaL_checkstack(L, 40, "too many arguments");
  qni_args_read(L, op, 2, top, &args);
  for (int32_t o = 0; o < s->n_outputs; o++) {
    int given = s->output[o].same ? s->output[o].alias + 2 : 0;
    if (given && given <= top && qni_bind_test(L, given))
      lua_pushvalue(L, given);
    else
      box[o] = qni_bind_box(L);
  }
  qni_bind_of(L)->running = L;
  qni_error_reset();
  qni_bind_check(L, qni_thing_method(t, args.arg, args.n, outs, 8, &n_outs));
  for (int32_t o = 0; o < n_outs; o++) {
    if (box[o])
      qni_bind_fill(L, box[o], outs[o]);
    else
      qn_tensor_free(outs[o]);
  }
  qni_bind_relieve(L);
  return s->n_outputs;
}

static int count(lua_State *L) {
  int64_t n = 0;
  qni_thing *t = self_of(L, QNI_DATASET);
  qni_error_reset();
  qni_bind_check(L, qni_thing_count(t, &n));
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

static int result(lua_State *L) {
  qni_thing *t = self_of(L, QNI_METRIC);
  qni_error_reset();
  qni_bind_check(L, qni_thing_run(t, ((const qn_metric *)(const void *)t->type->head)->result));
  return push_emitted(L, t);
}

/* ---- Parameters, for hooks and scorers ---- */

struct parameters {
  int32_t n;
  qn_parameter *item, **list;
  qn_tensor **score; /* of scorers */
};

static qn_view *view_field(lua_State *L, int index, const char *key, bool needed) {
  qn_view *v = NULL;
  if (lua_getfield(L, index, key) != LUA_TNIL || needed) {
    qn_tensor *t = qni_bind_tensor(L, -1, key);
    if (!qni_view_contiguous(&t->view))
      qni_bind_fail(L, QN_E_ARG, "call :contiguous() on it first", "%s is not contiguous", key);
    v = &t->view;
  }
  lua_pop(L, 1);
  return v;
}

static const char *str_field(lua_State *L, int index, const char *key, const char *otherwise) {
  return qni_bind_field_str(L, index, key, otherwise);
}

/* The list at `index` of { name, role, value, grad, mask }; memory lives on the Lua stack. */
static void read_parameters(lua_State *L, int index, struct parameters *p) {
  if (!lua_istable(L, index)) qni_bind_bad_arg(L, index, "parameters", "a list of parameters");
  p->n = (int32_t)lua_rawlen(L, index);
  size_t room = (size_t)(p->n + 1);
  p->item = lua_newuserdatauv(L, room * sizeof *p->item, 0);
  p->list = lua_newuserdatauv(L, room * sizeof *p->list, 0);
  for (int32_t i = 0; i < p->n; i++) {
    lua_rawgeti(L, index, i + 1);
    if (!lua_istable(L, -1)) qni_bind_bad_arg(L, index, "parameters", "a list of tables");
    int at = lua_gettop(L);
    p->item[i] = (qn_parameter){.struct_size = sizeof *p->item,
                                .name = str_field(L, at, "name", "parameter"),
                                .role = str_field(L, at, "role", "weight"),
                                .value = view_field(L, at, "value", true),
                                .grad = view_field(L, at, "grad", false),
                                .mask = view_field(L, at, "mask", false)};
    p->list[i] = &p->item[i];
    lua_pop(L, 1);
  }
}

static const char *const event_words[] = {"before_epoch", "before_step", "after_backward",
                                          "after_step",   "after_epoch", "checkpoint",
                                          "finish",       NULL};

/* event(word, epoch, step, loss, parameters) */
static int event(lua_State *L) {
  qni_thing *t = self_of(L, QNI_HOOK);
  const char *word = qni_bind_str(L, 2, "event");
  int32_t e = 0;
  struct parameters p;
  while (event_words[e] && strcmp(event_words[e], word)) e++;
  if (!event_words[e]) return qni_bind_bad_arg(L, 2, "event", "before_epoch, before_step, ...");
  qn_moment m = {.struct_size = sizeof m,
                 .event = e,
                 .epoch = qni_bind_int(L, 3, "epoch"),
                 .step = qni_bind_int(L, 4, "step"),
                 .loss = lua_isnoneornil(L, 5) ? NAN : qni_bind_num(L, 5, "loss")};
  read_parameters(L, 6, &p);
  m.n_parameters = p.n;
  m.parameter = p.list;
  qni_error_reset();
  qni_bind_check(L, qni_thing_event(t, &m));
  return 0;
}

/* wants(word): does the hook ask for this event? */
static int wants(lua_State *L) {
  qni_thing *t = self_of(L, QNI_HOOK);
  const char *word = qni_bind_str(L, 2, "event");
  uint32_t events = ((const qn_hook *)(const void *)t->type->head)->events;
  bool wanted = false;
  for (int32_t e = 0; event_words[e]; e++)
    wanted |= !strcmp(event_words[e], word) && events >> e & 1;
  lua_pushboolean(L, wanted);
  return 1;
}

/* reads(): whether a scorer needs gradients, and whether it looks at masks. */
static int reads(lua_State *L) {
  uint32_t bits = ((const qn_scorer *)(const void *)self_of(L, QNI_SCORER)->type->head)->reads;
  lua_pushboolean(L, (bits & QN_SCORE_GRAD) != 0);
  lua_pushboolean(L, (bits & QN_SCORE_MASK) != 0);
  return 2;
}

/* score(parameters): a list of f32 tensors. */
static int score(lua_State *L) {
  qni_thing *t = self_of(L, QNI_SCORER);
  struct parameters p;
  lua_settop(L, 2);
  read_parameters(L, 2, &p);
  lua_createtable(L, p.n, 0);
  qni_error_reset();
  for (int32_t i = 0; i < p.n; i++) {
    const qn_view *v = p.item[i].value;
    if (v->dtype != QN_F32 && v->dtype != QN_F64)
      return qni_bind_fail(L, QN_E_DTYPE, NULL, "%s is %s; scores are of f32 and f64",
                           p.item[i].name, qni_dtype_name(v->dtype));
    qni_box *box = qni_bind_box(L);
    qn_tensor *s;
    qni_bind_check(L, qni_tensor_zeros(QN_F32, v->ndim, v->shape, &s));
    qni_bind_fill(L, box, s);
    p.item[i].score = &s->view;
    lua_rawseti(L, -2, i + 1);
  }
  if (p.n) qni_bind_check(L, qni_thing_score(t, p.n, p.list));
  return 1;
}

/* ---- Codecs ---- */

static void release_map(void *thing) {
  qni_file_map_close(thing);
  qni_mem_free(thing);
}

/* read(path): tensors by name, text. */
static int read(lua_State *L) {
  qni_thing *t = self_of(L, QNI_CODEC);
  const char *path = qni_bind_str(L, 2, "path");
  qni_owner *owner = qni_bind_own(L, NULL, release_map);
  qni_error_reset();
  qni_file_map *map = owner->thing = qni_mem_zalloc(1, sizeof *map);
  if (!map) qni_bind_check(L, QN_E_NOMEM);
  qni_bind_check(L, qni_file_map_open(path, map));
  qn_status st = qni_thing_decode(t, map->data, map->n_bytes);
  if (st) qni_error_detail("file: %s", path);
  qni_bind_check(L, st);
  qni_bind_disown(owner);
  push_state(L, t);
  lua_pushstring(L, t->text ? t->text : "");
  return 2;
}

static qn_status put(void *ctx, const void *bytes, size_t n) {
  return qni_file_writer_write(ctx, bytes, n);
}

static qn_status write_all(qni_thing *t, const char *path, qn_op_fn encode) {
  qni_file_writer *w;
  qn_status st = qni_file_writer_open(path, &w);
  if (st) return st;
  t->put = put;
  t->put_ctx = w;
  st = qni_thing_run(t, encode);
  t->put = NULL;
  if (!st) return qni_file_writer_commit(w);
  qni_file_writer_abort(w);
  return st;
}

/* write(path, tensors [, text]): the file appears whole or not at all. */
static int write(lua_State *L) {
  qni_thing *t = self_of(L, QNI_CODEC);
  qn_op_fn encode = ((const qn_codec *)(const void *)t->type->head)->encode;
  const char *path = qni_bind_str(L, 2, "path"), *text = qni_bind_opt_str(L, 4, "text", "");
  const char **names;
  qn_tensor **tensors;
  if (!encode)
    return qni_bind_fail(L, QN_E_UNSUPPORTED, NULL, "codec %s only reads", t->type->name);
  int64_t n = read_tensors(L, 3, &names, &tensors);
  qni_error_reset();
  qni_bind_check(L, qni_thing_set_text(t, text));
  for (int64_t i = 0; i < n; i++) {
    qn_tensor *dense;
    qni_bind_check(L, qni_tensor_contiguous(tensors[i], &dense));
    qn_status st = qni_thing_put(t, names[i], dense);
    qn_tensor_free(dense);
    qni_bind_check(L, st);
  }
  qni_bind_check(L, write_all(t, path, encode));
  return 0;
}

/* ---- What there is ---- */

static void push_type(lua_State *L, const qni_type *type) {
  const qn_thing *head = type->head;
  lua_createtable(L, 0, 12);
  qni_bind_set_str(L, "kind", qni_kind_name(type->kind));
  qni_bind_set_str(L, "interface", qni_kind_id(type->kind));
  qni_bind_set_str(L, "name", type->name);
  qni_bind_set_str(L, "plugin", type->plugin->name);
  qni_bind_set_str(L, "plugin_id", type->plugin->id);
  qni_bind_set_str(L, "settings", type->settings->schema->canonical);
  qni_bind_set_str(L, "summary", head->summary);
  if (head->doc) qni_bind_set_str(L, "doc", head->doc);
  if (head->cite) qni_bind_set_str(L, "cite", head->cite);
  if (head->example) qni_bind_set_str(L, "example", head->example);
  if (type->method) qni_bind_set_str(L, "method", type->method->schema->canonical);
  if (type->kind != QNI_CODEC) return;
  const char *const *suffixes = ((const qn_codec *)(const void *)head)->suffixes;
  lua_newtable(L);
  for (int i = 0; suffixes[i]; i++) {
    lua_pushstring(L, suffixes[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "suffixes");
}

/* types([kind]): a list of what there is. */
static int types(lua_State *L) {
  int32_t kind = lua_isnoneornil(L, 1) ? -1 : read_kind(L, 1);
  lua_newtable(L);
  for (int32_t i = 0, n = 0; i < qni_type_count(); i++) {
    const qni_type *type = qni_type_at(i);
    if (kind >= 0 && type->kind != kind) continue;
    push_type(L, type);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* sniff(path): name of the codec that knows the file's first bytes, or its suffix; nil: none. */
static int sniff(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path"), *found = NULL;
  size_t n_path = strlen(path);
  qni_owner *owner = qni_bind_own(L, NULL, release_map);
  qni_error_reset();
  qni_file_map *map = owner->thing = qni_mem_zalloc(1, sizeof *map);
  if (!map) qni_bind_check(L, QN_E_NOMEM);
  qni_bind_check(L, qni_file_map_open(path, map));
  for (int32_t i = 0; !found && i < qni_type_count(); i++) {
    const qn_codec *codec = (const void *)qni_type_at(i)->head;
    if (qni_type_at(i)->kind != QNI_CODEC) continue;
    if (codec->sniff && map->data && codec->sniff(map->data, (int64_t)map->n_bytes))
      found = qni_type_at(i)->name;
    for (int k = 0; !found && !codec->sniff && codec->suffixes[k]; k++) {
      size_t n = strlen(codec->suffixes[k]);
      if (n <= n_path && !strcmp(path + n_path - n, codec->suffixes[k]))
        found = qni_type_at(i)->name;
    }
  }
  qni_bind_disown(owner);
  lua_pushstring(L, found); /* NULL pushes nil */
  return 1;
}

int luaopen_quern_things(lua_State *L) {
  static const luaL_Reg methods[] = {{"state", state},       {"load_state", load_state},
                                     {"describe", describe}, {"type", type_name},
                                     {"call", call},         {"count", count},
                                     {"result", result},     {"event", event},
                                     {"wants", wants},       {"reads", reads},
                                     {"score", score},       {"read", read},
                                     {"write", write},       {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"new", new}, {"types", types}, {"sniff", sniff}, {NULL, NULL}};
  qni_bind_class(L, CLASS, methods);
  lua_newtable(L);
  qni_bind_set(L, functions);
  return 1;
}
