/*
** Data from Lua: interactions, wherever they come from.
**
** One class, "quern.interactions", stands for those read from a file, those behind a
** cache, those built from tensors and those generated; a split that is made from one
** keeps it alive through its user value.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "bind/bind.h"
#include "bind/bind_data.h"
#include "io/dataset.h"
#include "io/dirichlet.h"
#include "io/fetch.h"

struct source {
  const qni_interactions *x; /* own, or the dataset's */
  qni_interactions *own;
  qni_dataset *dataset;
  qni_dirichlet *stream;
  char sha256[65]; /* of the file, or of the generator's settings; "" unknown */
};

static void release_source(void *thing) {
  struct source *s = thing;
  qni_interactions_free(s->own);
  qni_dataset_close(s->dataset);
  qni_dirichlet_free(s->stream);
  qni_mem_free(s);
}

static struct source *new_source(lua_State *L) {
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_source);
  qni_error_reset();
  owner->thing = qni_mem_zalloc(1, sizeof(struct source));
  if (!owner->thing) qni_bind_check(L, QN_E_NOMEM);
  return owner->thing;
}

static struct source *self(lua_State *L) { return qni_bind_thing(L, 1, "quern.interactions"); }

/* ---- From files ---- */

/* {columns = {user =, item =, rating =, time =, behaviour =}}; the strings stay with their tables. */
static void read_columns(lua_State *L, int index, qni_interactions_options *o) {
  static const char *const known[] = {"user", "item", "rating", "time", "behaviour", NULL};
  if (!lua_istable(L, index) || lua_getfield(L, index, "columns") != LUA_TTABLE) return;
  int at = lua_gettop(L);
  qni_bind_fields(L, at, known, "columns");
  o->user = qni_bind_field_str(L, at, "user", NULL);
  o->item = qni_bind_field_str(L, at, "item", NULL);
  o->rating = qni_bind_field_str(L, at, "rating", NULL);
  o->time = qni_bind_field_str(L, at, "time", NULL);
  o->behaviour = qni_bind_field_str(L, at, "behaviour", NULL);
}

static qni_interactions_options read_options(lua_State *L, int index) {
  static const char *const known[] = {"format", "columns", "ids", "text_ids", "cache", NULL};
  qni_bind_fields(L, index, known, "reading interactions");
  qni_interactions_options o = {.format = qni_bind_field_str(L, index, "format", NULL)};
  read_columns(L, index, &o);
  const char *rule = qni_bind_field_str(L, index, "ids", "auto");
  if (!strcmp(rule, "keep"))
    o.id_rule = QNI_ID_KEEP;
  else if (!strcmp(rule, "dense"))
    o.id_rule = QNI_ID_DENSE;
  else if (strcmp(rule, "auto"))
    qni_bind_fail(L, QN_E_ARG, NULL, "ids is '%s'; known are auto, keep, dense", rule);
  if (lua_istable(L, index) && lua_getfield(L, index, "text_ids") == LUA_TBOOLEAN)
    o.text_ids = lua_toboolean(L, -1) ? 1 : -1;
  return o;
}

/* interactions(path [, options]): read now, without a cache. */
static int interactions(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  uint8_t digest[32];
  lua_settop(L, 2);
  qni_interactions_options o = read_options(L, 2);
  struct source *s = new_source(L);
  qni_bind_check(L, qni_interactions_read(path, &o, &s->own));
  qni_bind_check(L, qni_sha256_file(path, digest));
  qni_sha256_hex(digest, s->sha256);
  s->x = s->own;
  return 1;
}

/* parse_interactions(text, origin [, options]) */
static int parse_interactions(lua_State *L) {
  size_t n;
  qni_bind_str(L, 1, "text");
  const char *text = lua_tolstring(L, 1, &n), *origin = qni_bind_str(L, 2, "origin");
  lua_settop(L, 3);
  qni_interactions_options o = read_options(L, 3);
  struct source *s = new_source(L);
  qni_bind_check(L, qni_interactions_parse(text, n, origin, &o, &s->own));
  s->x = s->own;
  return 1;
}

/* dataset(path [, options]): behind a cache file; options.cache names it, "" for none. */
static int dataset(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  lua_settop(L, 2);
  qni_interactions_options o = read_options(L, 2);
  const char *cache = qni_bind_field_str(L, 2, "cache", NULL);
  struct source *s = new_source(L);
  qni_bind_check(L, qni_dataset_open(path, cache, &o, &s->dataset));
  s->x = qni_dataset_interactions(s->dataset);
  qni_sha256_hex(qni_dataset_sha256(s->dataset), s->sha256);
  return 1;
}

/* ---- From tensors ---- */

static const void *need(lua_State *L, int index, const char *name, int32_t dtype, int64_t n) {
  const qn_tensor *t = qni_bind_tensor(L, index, name);
  if (t->view.dtype != dtype || t->view.ndim != 1 || !qni_view_contiguous(&t->view) ||
      (n >= 0 && t->view.shape[0] != n))
    qni_bind_fail(L, QN_E_SHAPE, NULL,
                  "argument '%s' must be a contiguous %s vector of the right length", name,
                  qni_dtype_name(dtype));
  return t->view.data;
}

/* interactions_from(n_items, offsets i64[U+1], items i32[N] [, times i64[N]]) */
static int interactions_from(lua_State *L) {
  int64_t n_items = qni_bind_int(L, 1, "n_items");
  const int64_t *offsets = need(L, 2, "offsets", QN_I64, -1);
  int64_t n_users = qni_bind_tensor(L, 2, "offsets")->view.shape[0] - 1;
  if (n_users < 0) qni_bind_fail(L, QN_E_SHAPE, NULL, "offsets need at least one element");
  for (int64_t u = 0; u < n_users; u++)
    if (offsets[0] != 0 || offsets[u + 1] < offsets[u])
      qni_bind_fail(L, QN_E_SHAPE, NULL, "offsets must start at 0 and never fall");
  const int32_t *items = need(L, 3, "items", QN_I32, offsets[n_users]);
  const int64_t *times =
      lua_isnoneornil(L, 4) ? NULL : need(L, 4, "times", QN_I64, offsets[n_users]);
  struct source *s = new_source(L);
  qni_bind_check(L, qni_interactions_from(n_users, n_items, offsets, items, times, &s->own));
  s->x = s->own;
  return 1;
}

const qni_interactions *qni_bind_interactions(lua_State *L, int index) {
  const struct source *s = qni_bind_thing(L, index, "quern.interactions");
  return s->x;
}

/* ---- What they tell ---- */

static int x_stats(lua_State *L) {
  const qni_interactions *x = qni_bind_interactions(L, 1);
  qni_interactions_stats s;
  qni_interactions_measure(x, &s);
  lua_createtable(L, 0, 16);
  qni_bind_set_int(L, "users", s.users);
  qni_bind_set_int(L, "items", s.items);
  qni_bind_set_int(L, "items_seen", s.items_seen);
  qni_bind_set_int(L, "rows", s.rows);
  qni_bind_set_int(L, "duplicates", s.duplicates);
  qni_bind_set_int(L, "reordered", s.reordered);
  qni_bind_set_num(L, "density", s.density);
  qni_bind_set_int(L, "length_min", s.length_min);
  qni_bind_set_int(L, "length_max", s.length_max);
  qni_bind_set_num(L, "length_mean", s.length_mean);
  if (x->time) qni_bind_set_int(L, "time_min", s.time_min);
  if (x->time) qni_bind_set_int(L, "time_max", s.time_max);
  if (x->rating) qni_bind_set_num(L, "rating_mean", s.rating_mean);
  qni_bind_set_str(L, "format", x->format);
  qni_bind_set_bool(L, "has_times", x->time != NULL);
  qni_bind_set_bool(L, "has_ratings", x->rating != NULL);
  return 1;
}

/* Sets a copy of n elements as a field of the table on top; nothing for NULL. */
static void set_array(lua_State *L, const char *key, int32_t dtype, int64_t n, const void *data) {
  if (!data) return;
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_empty(dtype, 1, &n, &t));
  qni_bind_fill(L, box, t);
  if (n) memcpy(t->view.data, data, (size_t)n * qni_dtype_size(dtype));
  lua_setfield(L, -2, key);
}

/* x:arrays(): copies as tensors: offsets i64[U+1], items i32, times i64, ratings f32, behaviours i32. */
static int x_arrays(lua_State *L) {
  const qni_interactions *x = qni_bind_interactions(L, 1);
  lua_createtable(L, 0, 5);
  set_array(L, "offsets", QN_I64, x->n_users + 1, x->offsets);
  set_array(L, "items", QN_I32, x->n_rows, x->item);
  set_array(L, "times", QN_I64, x->n_rows, x->time);
  set_array(L, "ratings", QN_F32, x->n_rows, x->rating);
  set_array(L, "behaviours", QN_I32, x->n_rows, x->behaviour);
  return 1;
}

/* x:n_users(), x:n_items(), x:n_rows() */
static int x_users(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->n_users), 1;
}
static int x_items(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->items.n), 1;
}
static int x_rows(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->n_rows), 1;
}

static int id_name(lua_State *L, const qni_ids *ids) {
  char buf[24];
  int64_t dense = qni_bind_int(L, 2, "id");
  if (dense < 1 || dense > ids->n) return lua_pushnil(L), 1;
  qni_span text = qni_ids_name(ids, dense, buf);
  lua_pushlstring(L, text.at, text.n);
  return 1;
}

static int id_find(lua_State *L, const qni_ids *ids) {
  size_t n;
  qni_bind_str(L, 2, "name");
  const char *text = lua_tolstring(L, 2, &n);
  int64_t dense = qni_ids_find(ids, (qni_span){text, n});
  if (dense)
    lua_pushinteger(L, (lua_Integer)dense);
  else
    lua_pushnil(L);
  return 1;
}

static int x_user_name(lua_State *L) { return id_name(L, &qni_bind_interactions(L, 1)->users); }
static int x_item_name(lua_State *L) { return id_name(L, &qni_bind_interactions(L, 1)->items); }
static int x_user_id(lua_State *L) { return id_find(L, &qni_bind_interactions(L, 1)->users); }
static int x_item_id(lua_State *L) { return id_find(L, &qni_bind_interactions(L, 1)->items); }

static int x_sha256(lua_State *L) { return lua_pushstring(L, self(L)->sha256), 1; }

/* x:notice(): a line worth saying about the cache, or "". */
static int x_notice(lua_State *L) {
  const struct source *s = self(L);
  lua_pushstring(L, s->dataset ? qni_dataset_notice(s->dataset) : "");
  return 1;
}

/* x:cache(): path of the cache file ("" none), and whether it was used. */
static int x_cache(lua_State *L) {
  const struct source *s = self(L);
  lua_pushstring(L, s->dataset ? qni_dataset_path(s->dataset) : "");
  lua_pushboolean(L, s->dataset && qni_dataset_from_cache(s->dataset));
  return 2;
}

/* ---- The Dirichlet-process stream ---- */

static qni_dirichlet_options stream_options(lua_State *L) {
  static const char *const known[] = {"n_items",
                                      "n_categories",
                                      "n_records",
                                      "length",
                                      "categories_per_record",
                                      "initial",
                                      "alpha_min",
                                      "alpha_max",
                                      "seed",
                                      "first",
                                      "last",
                                      NULL};
  qni_bind_fields(L, 1, known, "dirichlet");
  return (qni_dirichlet_options){.n_items = qni_bind_field_int(L, 1, "n_items", 0),
                                 .n_categories = qni_bind_field_int(L, 1, "n_categories", 0),
                                 .n_records = qni_bind_field_int(L, 1, "n_records", 0),
                                 .length = qni_bind_field_int(L, 1, "length", 0),
                                 .categories_per_record =
                                     qni_bind_field_int(L, 1, "categories_per_record", 0),
                                 .initial = qni_bind_field_num(L, 1, "initial", 0),
                                 .alpha_min = qni_bind_field_num(L, 1, "alpha_min", 0),
                                 .alpha_max = qni_bind_field_num(L, 1, "alpha_max", 0),
                                 .seed = (uint64_t)qni_bind_field_int(L, 1, "seed", 0)};
}

static void hash_settings(const qni_dirichlet_options *o, int64_t first, int64_t last,
                          char hex[65]) {
  char text[512];
  uint8_t digest[32];
  int n = snprintf(
      text, sizeof text, "dirichlet %lld %lld %lld %lld %lld %.17g %.17g %.17g %llu %lld %lld",
      (long long)o->n_items, (long long)o->n_categories, (long long)o->n_records,
      (long long)o->length, (long long)o->categories_per_record, o->initial, o->alpha_min,
      o->alpha_max, (unsigned long long)o->seed, (long long)first, (long long)last);
  qni_sha256_of(text, n > 0 ? (size_t)n : 0, digest);
  qni_sha256_hex(digest, hex);
}

/* dirichlet{...}: records first..last (from 1; all) as users. */
static int dirichlet(lua_State *L) {
  lua_settop(L, 1);
  qni_dirichlet_options o = stream_options(L);
  struct source *s = new_source(L);
  qni_bind_check(L, qni_dirichlet_new(&o, &s->stream));
  const qni_dirichlet_options *full = qni_dirichlet_settings(s->stream);
  int64_t first = qni_bind_field_int(L, 1, "first", 1),
          last = qni_bind_field_int(L, 1, "last", full->n_records);
  if (first < 1 || last > full->n_records || last < first - 1)
    return qni_bind_fail(L, QN_E_ARG, NULL, "records %lld..%lld do not lie in 1..%lld",
                         (long long)first, (long long)last, (long long)full->n_records);
  qni_bind_check(L, qni_dirichlet_interactions(s->stream, first - 1, last, &s->own));
  s->x = s->own;
  hash_settings(full, first, last, s->sha256);
  return 1;
}

static const qni_dirichlet *stream(lua_State *L) {
  const struct source *s = self(L);
  if (!s->stream) qni_bind_fail(L, QN_E_STATE, NULL, "these interactions were not generated");
  return s->stream;
}

/* x:settings() of the generator, defaults filled in. */
static int x_settings(lua_State *L) {
  const qni_dirichlet_options *o = qni_dirichlet_settings(stream(L));
  lua_createtable(L, 0, 9);
  qni_bind_set_int(L, "n_items", o->n_items);
  qni_bind_set_int(L, "n_categories", o->n_categories);
  qni_bind_set_int(L, "n_records", o->n_records);
  qni_bind_set_int(L, "length", o->length);
  qni_bind_set_int(L, "categories_per_record", o->categories_per_record);
  qni_bind_set_num(L, "initial", o->initial);
  qni_bind_set_num(L, "alpha_min", o->alpha_min);
  qni_bind_set_num(L, "alpha_max", o->alpha_max);
  qni_bind_set_int(L, "seed", (int64_t)o->seed);
  return 1;
}

/* x:category(item): of the generator, from 0; nil for an unknown item. */
static int x_category(lua_State *L) {
  int32_t category = qni_dirichlet_category(stream(L), qni_bind_int(L, 2, "item"));
  if (category < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, category);
  return 1;
}

/* ---- Fetching ---- */

static int report_progress(void *ctx, int64_t done, int64_t total) {
  lua_State *L = ctx;
  if (!lua_checkstack(L, 6)) return 1;
  lua_getfield(L, 3, "progress");
  lua_pushinteger(L, (lua_Integer)done);
  lua_pushinteger(L, (lua_Integer)total);
  if (lua_pcall(L, 2, 1, 0)) {
    qni_bind_keep_error(L);
    return 1;
  }
  bool stop = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return stop;
}

/* fetch(url, path [, {sha256, expect_bytes, max_bytes, progress = fn(done, total)}]); progress returning true stops. */
static int fetch(lua_State *L) {
  static const char *const known[] = {
      "sha256", "expect_bytes", "max_bytes", "connect_seconds", "stall_seconds", "progress", NULL};
  const char *url = qni_bind_str(L, 1, "url"), *path = qni_bind_str(L, 2, "path");
  lua_settop(L, 3);
  qni_bind_fields(L, 3, known, "fetch");
  qni_fetch_options o = {.sha256 = qni_bind_field_str(L, 3, "sha256", NULL),
                         .expect_bytes = qni_bind_field_int(L, 3, "expect_bytes", 0),
                         .max_bytes = qni_bind_field_int(L, 3, "max_bytes", 0),
                         .connect_seconds = (int32_t)qni_bind_field_int(L, 3, "connect_seconds", 0),
                         .stall_seconds = (int32_t)qni_bind_field_int(L, 3, "stall_seconds", 0),
                         .ctx = L};
  if (lua_istable(L, 3) && lua_getfield(L, 3, "progress") == LUA_TFUNCTION)
    o.progress = report_progress;
  lua_settop(L, 3);
  qni_error_reset();
  qni_bind_check(L, qni_fetch(url, path, &o));
  return 0;
}

void qni_bind_open_data(lua_State *L) {
  static const luaL_Reg x[] = {
      {"stats", x_stats},         {"arrays", x_arrays},     {"n_users", x_users},
      {"n_items", x_items},       {"n_rows", x_rows},       {"user_name", x_user_name},
      {"item_name", x_item_name}, {"user_id", x_user_id},   {"item_id", x_item_id},
      {"sha256", x_sha256},       {"notice", x_notice},     {"cache", x_cache},
      {"settings", x_settings},   {"category", x_category}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"interactions", interactions},
                                       {"parse_interactions", parse_interactions},
                                       {"interactions_from", interactions_from},
                                       {"dataset", dataset},
                                       {"dirichlet", dirichlet},
                                       {"fetch", fetch},
                                       {NULL, NULL}};
  qni_bind_class(L, "quern.interactions", x);
  qni_bind_set(L, functions);
}
