/*
** Data from Lua: interactions and where they come from.
**
** A dataset or interactions object is an owner; what is made from it (a split, a
** loader) keeps it alive through its user value.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "bind/bind_data.h"
#include "io/dataset.h"
#include "io/dirichlet.h"
#include "io/fetch.h"

/* ---- Interactions ---- */

static void release_interactions(void *thing) { qni_interactions_free(thing); }
static void release_borrowed(void *thing) { (void)thing; }
static void release_dataset(void *thing) { qni_dataset_close(thing); }
static void release_dirichlet(void *thing) { qni_dirichlet_free(thing); }

static qni_interactions_options read_options(lua_State *L, int index) {
  static const char *const known[] = {"format", "user", "item", "rating", "time", "behaviour", "ids", "text_ids", NULL};
  qni_bind_fields(L, index, known, "reading interactions");
  qni_interactions_options o = {
      .format = qni_bind_field_str(L, index, "format", NULL), .user = qni_bind_field_str(L, index, "user", NULL),
      .item = qni_bind_field_str(L, index, "item", NULL), .rating = qni_bind_field_str(L, index, "rating", NULL),
      .time = qni_bind_field_str(L, index, "time", NULL), .behaviour = qni_bind_field_str(L, index, "behaviour", NULL)};
  const char *rule = qni_bind_field_str(L, index, "ids", "auto");
  if (!strcmp(rule, "keep")) o.id_rule = QNI_ID_KEEP;
  else if (!strcmp(rule, "dense")) o.id_rule = QNI_ID_DENSE;
  else if (strcmp(rule, "auto")) qni_bind_fail(L, QN_E_ARG, NULL, "ids is '%s'; known are auto, keep, dense", rule);
  if (lua_istable(L, index) && lua_getfield(L, index, "text_ids") == LUA_TBOOLEAN) o.text_ids = lua_toboolean(L, -1) ? 1 : -1;
  return o;
}

/* interactions(path [, options]) */
static int interactions(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  lua_settop(L, 2);
  qni_interactions_options o = read_options(L, 2);
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_interactions);
  qni_interactions *x = NULL;
  qni_error_reset();
  qn_status st = qni_interactions_read(path, &o, &x);
  owner->thing = x;
  qni_bind_check(L, st);
  return 1;
}

/* parse_interactions(text, origin [, options]) */
static int parse_interactions(lua_State *L) {
  size_t n;
  qni_bind_str(L, 1, "text");
  const char *text = lua_tolstring(L, 1, &n), *origin = qni_bind_str(L, 2, "origin");
  lua_settop(L, 3);
  qni_interactions_options o = read_options(L, 3);
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_interactions);
  qni_interactions *x = NULL;
  qni_error_reset();
  qn_status st = qni_interactions_parse(text, n, origin, &o, &x);
  owner->thing = x;
  qni_bind_check(L, st);
  return 1;
}

static const void *need(lua_State *L, int index, const char *name, int32_t dtype, int64_t n) {
  const qn_tensor *t = qni_bind_tensor(L, index, name);
  if (t->view.dtype != dtype || t->view.ndim != 1 || !qni_view_contiguous(&t->view) || (n >= 0 && t->view.shape[0] != n))
    qni_bind_fail(L, QN_E_SHAPE, NULL, "argument '%s' must be a contiguous %s vector of the right length", name, qni_dtype_name(dtype));
  return t->view.data;
}

/* interactions_from(n_items, offsets i64[U+1], items i32[N] [, times i64[N]]) */
static int interactions_from(lua_State *L) {
  int64_t n_items = qni_bind_int(L, 1, "n_items");
  const int64_t *offsets = need(L, 2, "offsets", QN_I64, -1);
  int64_t n_users = qni_bind_tensor(L, 2, "offsets")->view.shape[0] - 1;
  if (n_users < 0) qni_bind_fail(L, QN_E_SHAPE, NULL, "offsets need at least one element");
  for (int64_t u = 0; u < n_users; u++)
    if (offsets[0] != 0 || offsets[u + 1] < offsets[u]) qni_bind_fail(L, QN_E_SHAPE, NULL, "offsets must start at 0 and never fall");
  const int32_t *items = need(L, 3, "items", QN_I32, offsets[n_users]);
  const int64_t *times = lua_isnoneornil(L, 4) ? NULL : need(L, 4, "times", QN_I64, offsets[n_users]);
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_interactions);
  qni_interactions *x = NULL;
  qni_error_reset();
  qn_status st = qni_interactions_from(n_users, n_items, offsets, items, times, &x);
  owner->thing = x;
  qni_bind_check(L, st);
  return 1;
}

const qni_interactions *qni_bind_interactions(lua_State *L, int index) { return qni_bind_thing(L, index, "quern.interactions"); }

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
  qni_bind_set_int(L, "time_min", s.time_min);
  qni_bind_set_int(L, "time_max", s.time_max);
  qni_bind_set_num(L, "rating_mean", s.rating_mean);
  qni_bind_set_str(L, "format", x->format);
  qni_bind_set_bool(L, "has_times", x->time != NULL);
  qni_bind_set_bool(L, "has_ratings", x->rating != NULL);
  return 1;
}

/* Sets a copy of n elements as a field of the table on top; nothing for NULL. */
static void set_array(lua_State *L, const char *key, int32_t dtype, int64_t n, const void *data) {
  if (!data) return;
  qni_box *box = qni_bind_box(L);
  qn_tensor *t;
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
static int x_users(lua_State *L) { return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->n_users), 1; }
static int x_items(lua_State *L) { return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->items.n), 1; }
static int x_rows(lua_State *L) { return lua_pushinteger(L, (lua_Integer)qni_bind_interactions(L, 1)->n_rows), 1; }

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
  if (dense) lua_pushinteger(L, (lua_Integer)dense);
  else lua_pushnil(L);
  return 1;
}

static int x_user_name(lua_State *L) { return id_name(L, &qni_bind_interactions(L, 1)->users); }
static int x_item_name(lua_State *L) { return id_name(L, &qni_bind_interactions(L, 1)->items); }
static int x_user_id(lua_State *L) { return id_find(L, &qni_bind_interactions(L, 1)->users); }
static int x_item_id(lua_State *L) { return id_find(L, &qni_bind_interactions(L, 1)->items); }

/* ---- Datasets ---- */

/* dataset(source [, cache [, options]]): interactions behind a cache file. cache "": none. */
static int dataset(lua_State *L) {
  const char *source = qni_bind_str(L, 1, "source"), *cache = qni_bind_opt_str(L, 2, "cache", NULL);
  lua_settop(L, 3);
  qni_interactions_options o = read_options(L, 3);
  qni_owner *owner = qni_bind_own(L, "quern.dataset", release_dataset);
  qni_dataset *d = NULL;
  qni_error_reset();
  qn_status st = qni_dataset_open(source, cache, &o, &d);
  owner->thing = d;
  qni_bind_check(L, st);
  return 1;
}

/* d:interactions(): borrowed; keeps the dataset alive. */
static int d_interactions(lua_State *L) {
  const qni_dataset *d = qni_bind_thing(L, 1, "quern.dataset");
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_borrowed);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  owner->thing = (void *)(uintptr_t)qni_dataset_interactions(d);
  return 1;
}

/* d:info(): path of the cache, from_cache, notice, sha256 of the source. */
static int d_info(lua_State *L) {
  const qni_dataset *d = qni_bind_thing(L, 1, "quern.dataset");
  char hex[65];
  static const char digits[] = "0123456789abcdef";
  const uint8_t *digest = qni_dataset_sha256(d);
  for (int i = 0; i < 32; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  hex[64] = 0;
  lua_createtable(L, 0, 4);
  qni_bind_set_str(L, "path", qni_dataset_path(d));
  qni_bind_set_bool(L, "from_cache", qni_dataset_from_cache(d));
  qni_bind_set_str(L, "notice", qni_dataset_notice(d));
  qni_bind_set_str(L, "sha256", hex);
  return 1;
}

/* ---- The Dirichlet-process stream ---- */

static int dirichlet(lua_State *L) {
  static const char *const known[] = {"n_items", "n_categories", "n_records", "length", "categories_per_record",
                                      "initial", "alpha_min", "alpha_max", "seed", NULL};
  lua_settop(L, 1);
  qni_bind_fields(L, 1, known, "dirichlet");
  qni_dirichlet_options o = {
      .n_items = qni_bind_field_int(L, 1, "n_items", 0), .n_categories = qni_bind_field_int(L, 1, "n_categories", 0),
      .n_records = qni_bind_field_int(L, 1, "n_records", 0), .length = qni_bind_field_int(L, 1, "length", 0),
      .categories_per_record = qni_bind_field_int(L, 1, "categories_per_record", 0),
      .initial = qni_bind_field_num(L, 1, "initial", 0), .alpha_min = qni_bind_field_num(L, 1, "alpha_min", 0),
      .alpha_max = qni_bind_field_num(L, 1, "alpha_max", 0), .seed = (uint64_t)qni_bind_field_int(L, 1, "seed", 0)};
  qni_owner *owner = qni_bind_own(L, "quern.dirichlet", release_dirichlet);
  qni_dirichlet *s = NULL;
  qni_error_reset();
  qn_status st = qni_dirichlet_new(&o, &s);
  owner->thing = s;
  qni_bind_check(L, st);
  return 1;
}

static int s_settings(lua_State *L) {
  const qni_dirichlet_options *o = qni_dirichlet_settings(qni_bind_thing(L, 1, "quern.dirichlet"));
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

/* s:open(record): the largest item id then, records from 0. */
static int s_open(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)qni_dirichlet_open(qni_bind_thing(L, 1, "quern.dirichlet"), qni_bind_int(L, 2, "record")));
  return 1;
}

static int s_category(lua_State *L) {
  lua_pushinteger(L, qni_dirichlet_category(qni_bind_thing(L, 1, "quern.dirichlet"), qni_bind_int(L, 2, "item")));
  return 1;
}

/* s:record(r): item ids, i32[length]. */
static int s_record(lua_State *L) {
  const qni_dirichlet *s = qni_bind_thing(L, 1, "quern.dirichlet");
  int64_t r = qni_bind_int(L, 2, "record"), n = qni_dirichlet_settings(s)->length;
  if (r < 0 || r >= qni_dirichlet_settings(s)->n_records)
    return qni_bind_fail(L, QN_E_ARG, NULL, "record %lld; records run from 0 to %lld", (long long)r, (long long)qni_dirichlet_settings(s)->n_records - 1);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t;
  qni_error_reset();
  qni_bind_check(L, qni_tensor_empty(QN_I32, 1, &n, &t));
  qni_bind_fill(L, box, t);
  qni_dirichlet_record(s, r, t->view.data);
  return 1;
}

/* s:interactions(begin, end): records begin .. end-1, from 0, as users. */
static int s_interactions(lua_State *L) {
  const qni_dirichlet *s = qni_bind_thing(L, 1, "quern.dirichlet");
  int64_t begin = qni_bind_int(L, 2, "begin"), end = qni_bind_int(L, 3, "end");
  qni_owner *owner = qni_bind_own(L, "quern.interactions", release_interactions);
  qni_interactions *x = NULL;
  qni_error_reset();
  qn_status st = qni_dirichlet_interactions(s, begin, end, &x);
  owner->thing = x;
  qni_bind_check(L, st);
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
  bool stop = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return stop;
}

/* fetch(url, path [, {sha256, bytes, max_bytes, progress = fn(done, total)}]); progress returning false stops. */
static int fetch(lua_State *L) {
  static const char *const known[] = {"sha256", "bytes", "max_bytes", "connect_seconds", "stall_seconds", "progress", NULL};
  const char *url = qni_bind_str(L, 1, "url"), *path = qni_bind_str(L, 2, "path");
  lua_settop(L, 3);
  qni_bind_fields(L, 3, known, "fetch");
  qni_fetch_options o = {.sha256 = qni_bind_field_str(L, 3, "sha256", NULL), .expect_bytes = qni_bind_field_int(L, 3, "bytes", 0),
                         .max_bytes = qni_bind_field_int(L, 3, "max_bytes", 0),
                         .connect_seconds = (int32_t)qni_bind_field_int(L, 3, "connect_seconds", 0),
                         .stall_seconds = (int32_t)qni_bind_field_int(L, 3, "stall_seconds", 0), .ctx = L};
  if (lua_istable(L, 3) && lua_getfield(L, 3, "progress") == LUA_TFUNCTION) o.progress = report_progress;
  lua_settop(L, 3);
  qni_error_reset();
  qni_bind_check(L, qni_fetch(url, path, &o));
  return 0;
}

void qni_bind_open_data(lua_State *L) {
  static const luaL_Reg x[] = {{"stats", x_stats}, {"arrays", x_arrays}, {"n_users", x_users}, {"n_items", x_items}, {"n_rows", x_rows},
                               {"user_name", x_user_name}, {"item_name", x_item_name}, {"user_id", x_user_id}, {"item_id", x_item_id}, {NULL, NULL}};
  static const luaL_Reg d[] = {{"interactions", d_interactions}, {"info", d_info}, {NULL, NULL}};
  static const luaL_Reg s[] = {{"settings", s_settings}, {"open", s_open}, {"category", s_category}, {"record", s_record},
                               {"interactions", s_interactions}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"interactions", interactions}, {"parse_interactions", parse_interactions},
                                       {"interactions_from", interactions_from}, {"dataset", dataset},
                                       {"dirichlet", dirichlet}, {"fetch", fetch}, {NULL, NULL}};
  qni_bind_class(L, "quern.interactions", x);
  qni_bind_class(L, "quern.dataset", d);
  qni_bind_class(L, "quern.dirichlet", s);
  qni_bind_set(L, functions);
}
