/*
** Splits, batches and loaders from Lua.
**
** Phases are "train", "valid", "test". Rows count from 1; the epoch and index of a
** loader's state count from 0, they are data. A batch is a table of tensors and counts.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "bind/bind_data.h"
#include "io/loader.h"

static void release_split(void *thing) { qni_split_free(thing); }
static void release_loader(void *thing) { qni_loader_free(thing); }

static int32_t phase_of(lua_State *L, const char *name) {
  int32_t phase = qni_phase_parse(name);
  if (phase < 0)
    qni_bind_fail(L, QN_E_ARG, NULL, "there is no phase '%s'; known are train, valid, test", name);
  return phase;
}

/* ---- Splits ---- */

/* split(interactions [, {protocol, max_len, min_events, user_begin, user_end}]) */
static int split(lua_State *L) {
  static const char *const known[] = {"protocol",   "max_len",  "min_events",
                                      "user_begin", "user_end", NULL};
  const qni_interactions *x = qni_bind_interactions(L, 1);
  lua_settop(L, 2);
  qni_bind_fields(L, 2, known, "split");
  const char *protocol = qni_bind_field_str(L, 2, "protocol", "standard");
  qni_split_options o = {.protocol = qni_protocol_parse(protocol),
                         .max_len = qni_bind_field_int(L, 2, "max_len", 0),
                         .min_events = qni_bind_field_int(L, 2, "min_events", 0),
                         .user_begin = qni_bind_field_int(L, 2, "user_begin", 0),
                         .user_end = qni_bind_field_int(L, 2, "user_end", 0)};
  if (o.protocol < 0)
    return qni_bind_fail(L, QN_E_ARG, NULL,
                         "there is no protocol '%s'; known are standard, meta, whole", protocol);
  qni_owner *owner = qni_bind_own(L, "quern.split", release_split);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  qni_split *s = NULL;
  qni_error_reset();
  qn_status st = qni_split_new(x, &o, &s);
  owner->thing = s;
  qni_bind_check(L, st);
  return 1;
}

static qni_split *self(lua_State *L) { return qni_bind_thing(L, 1, "quern.split"); }
static int32_t phase_arg(lua_State *L) { return phase_of(L, qni_bind_str(L, 2, "phase")); }

static int s_rows(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_split_rows(self(L), phase_arg(L))), 1;
}
static int s_tokens(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_split_tokens(self(L), phase_arg(L))), 1;
}
static int s_longest(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_split_longest(self(L), phase_arg(L))), 1;
}
static int s_dropped(lua_State *L) {
  return lua_pushinteger(L, (lua_Integer)qni_split_dropped(self(L))), 1;
}

/* s:row(phase, i): user, first and last input event, the final target is the next; all from 1. */
static int s_row(lua_State *L) {
  const qni_split *s = self(L);
  int32_t phase = phase_arg(L);
  int64_t i = qni_bind_int(L, 3, "row");
  if (i < 1 || i > qni_split_rows(s, phase))
    return qni_bind_fail(L, QN_E_ARG, NULL, "row %lld; rows run from 1 to %lld", (long long)i,
                         (long long)qni_split_rows(s, phase));
  qni_row row = qni_split_row(s, phase, i - 1);
  lua_pushinteger(L, (lua_Integer)row.user + 1);
  lua_pushinteger(L, (lua_Integer)row.begin + 1);
  lua_pushinteger(L, (lua_Integer)row.end);
  return 3;
}

/* ---- Batches ---- */

static void release_batch(void *thing) { qni_batch_free(thing); }

static void set_tensor(lua_State *L, const char *key, qn_tensor *t) {
  if (!t) return;
  qni_bind_push_borrowed(L, t);
  lua_setfield(L, -2, key);
}

/* Pushes the table; the boxes have references of their own. */
static void push_batch(lua_State *L, const qni_batch *b) {
  lua_createtable(L, 0, 16);
  set_tensor(L, "items", b->items);
  set_tensor(L, "targets", b->targets);
  set_tensor(L, "times", b->times);
  set_tensor(L, "next_times", b->next_times);
  set_tensor(L, "all_times", b->all_times);
  set_tensor(L, "ratings", b->ratings);
  set_tensor(L, "target_ratings", b->target_ratings);
  set_tensor(L, "behaviours", b->behaviours);
  set_tensor(L, "target_behaviours", b->target_behaviours);
  set_tensor(L, "users", b->users);
  set_tensor(L, "last_targets", b->last_targets);
  qni_bind_set_int(L, "n_sequences", b->n_sequences);
  qni_bind_set_int(L, "n_tokens", b->n_tokens);
  qni_bind_set_int(L, "longest", b->longest);
  qni_bind_set_int(L, "epoch", b->epoch);
  qni_bind_set_int(L, "index", b->index);
}

/* s:batch(phase, rows): rows a list of numbers from 1. */
static int s_batch(lua_State *L) {
  const qni_split *s = self(L);
  int32_t phase = phase_arg(L);
  if (!lua_istable(L, 3)) return qni_bind_bad_arg(L, 3, "rows", "a list of row numbers");
  int64_t n = (int64_t)lua_rawlen(L, 3);
  int64_t *rows = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *rows, 0);
  for (int64_t i = 0; i < n; i++) {
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    rows[i] = qni_bind_int(L, -1, "rows") - 1;
    if (rows[i] < 0 || rows[i] >= qni_split_rows(s, phase))
      qni_bind_fail(L, QN_E_ARG, NULL, "row %lld; rows run from 1 to %lld", (long long)rows[i] + 1,
                    (long long)qni_split_rows(s, phase));
    lua_pop(L, 1);
  }
  qni_owner *owner = qni_bind_own(L, NULL, release_batch);
  qni_batch *b = NULL;
  qni_error_reset();
  qn_status st = qni_batch_new(s, phase, rows, n, &b);
  owner->thing = b;
  qni_bind_check(L, st);
  push_batch(L, b);
  qni_bind_disown(owner);
  return 1;
}

/* ---- Loaders ---- */

static qni_loader_options read_options(lua_State *L, int index) {
  static const char *const known[] = {"phase",  "batch",     "seed",     "shuffle",
                                      "bucket", "drop_last", "prefetch", NULL};
  qni_bind_fields(L, index, known, "loader");
  return (qni_loader_options){.phase = phase_of(L, qni_bind_field_str(L, index, "phase", "train")),
                              .batch = qni_bind_field_int(L, index, "batch", 128),
                              .seed = (uint64_t)qni_bind_field_int(L, index, "seed", 0),
                              .shuffle = qni_bind_field_bool(L, index, "shuffle", false),
                              .bucket = qni_bind_field_bool(L, index, "bucket", false),
                              .drop_last = qni_bind_field_bool(L, index, "drop_last", false),
                              .prefetch = (int32_t)qni_bind_field_int(L, index, "prefetch", 2)};
}

/* loader(split, options) */
static int loader(lua_State *L) {
  const qni_split *s = self(L);
  lua_settop(L, 2);
  qni_loader_options o = read_options(L, 2);
  qni_owner *owner = qni_bind_own(L, "quern.loader", release_loader);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  qni_loader *l = NULL;
  qni_error_reset();
  qn_status st = qni_loader_new(s, &o, &l);
  owner->thing = l;
  qni_bind_check(L, st);
  return 1;
}

static qni_loader *loader_self(lua_State *L) { return qni_bind_thing(L, 1, "quern.loader"); }
static qni_ahead *ahead(lua_State *L) { return qni_loader_ahead(loader_self(L)); }

/* l:next(): a batch, or nil once at the end of each epoch. */
static int l_next(lua_State *L) {
  qni_loader *l = loader_self(L);
  qni_owner *owner = qni_bind_own(L, NULL, release_batch);
  qni_batch *b = NULL;
  qni_error_reset();
  qn_status st = qni_loader_next(l, &b);
  owner->thing = b;
  qni_bind_check(L, st);
  if (!b) return lua_pushnil(L), 1;
  push_batch(L, b);
  qni_bind_disown(owner);
  qni_bind_relieve(L);
  return 1;
}

int qni_bind_batches(lua_State *L, const qni_ahead *loader) {
  return lua_pushinteger(L, (lua_Integer)qni_ahead_batches(loader)), 1;
}

/* l:tell(): {seed, epoch, index} of the batch that comes next; l:seek takes the same. */
int qni_bind_tell(lua_State *L, const qni_ahead *loader) {
  const qni_position at = qni_ahead_tell(loader);
  lua_createtable(L, 0, 3);
  qni_bind_set_int(L, "seed", (int64_t)at.seed);
  qni_bind_set_int(L, "epoch", at.epoch);
  qni_bind_set_int(L, "index", at.index);
  return 1;
}

int qni_bind_seek(lua_State *L, qni_ahead *loader) {
  qni_position at = qni_ahead_tell(loader);
  at.seed = (uint64_t)qni_bind_field_int(L, 2, "seed", (int64_t)at.seed);
  at.epoch = qni_bind_field_int(L, 2, "epoch", at.epoch);
  at.index = qni_bind_field_int(L, 2, "index", 0);
  qni_error_reset();
  qni_bind_check(L, qni_ahead_seek(loader, &at));
  return 0;
}

static int l_batches(lua_State *L) { return qni_bind_batches(L, ahead(L)); }
static int l_tell(lua_State *L) { return qni_bind_tell(L, ahead(L)); }
static int l_seek(lua_State *L) { return qni_bind_seek(L, ahead(L)); }

/* order(split, options, epoch): the row numbers that a loader follows. */
static int order(lua_State *L) {
  const qni_split *s = self(L);
  qni_loader_options o = read_options(L, 2);
  int64_t epoch = qni_bind_opt_int(L, 3, "epoch", 0), n = qni_split_rows(s, o.phase);
  int64_t *rows = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *rows, 0);
  qni_error_reset();
  qni_bind_check(L, qni_loader_order(s, &o, epoch, rows));
  lua_createtable(L, n < 1 << 24 ? (int)n : 0, 0);
  for (int64_t i = 0; i < n; i++) {
    lua_pushinteger(L, (lua_Integer)rows[i] + 1);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* x:split(options) is split(x, options). */
static void add_split_method(lua_State *L) {
  luaL_getmetatable(L, "quern.interactions");
  lua_getfield(L, -1, "__index");
  lua_pushcfunction(L, split);
  lua_setfield(L, -2, "split");
  lua_pop(L, 2);
}

void qni_bind_open_batch(lua_State *L) {
  static const luaL_Reg s[] = {{"rows", s_rows},       {"tokens", s_tokens}, {"longest", s_longest},
                               {"dropped", s_dropped}, {"row", s_row},       {"batch", s_batch},
                               {"loader", loader},     {"order", order},     {NULL, NULL}};
  static const luaL_Reg l[] = {
      {"batches", l_batches}, {"next", l_next}, {"tell", l_tell}, {"seek", l_seek}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"split", split}, {"loader", loader}, {"order", order}, {NULL, NULL}};
  qni_bind_class(L, "quern.split", s);
  qni_bind_class(L, "quern.loader", l);
  add_split_method(L);
  qni_bind_set(L, functions);
}
