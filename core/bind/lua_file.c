/*
** Files from Lua: named tensors in safetensors, NPY, and crash-safe small files.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/sha256.h"
#include "bind/bind.h"
#include "io/npy.h"
#include "io/safetensors.h"

/* ---- Named tensors ---- */

static json_t *meta_object(lua_State *L, int index) {
  json_t *meta = json_object();
  if (!meta || lua_isnoneornil(L, index)) return meta;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    json_t *text = NULL;
    if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING)
      text = json_string(lua_tostring(L, -1));
    if (text && !json_object_set_new(meta, lua_tostring(L, -2), text)) continue;
    qni_fail(QN_E_ARG,
             "metadata are a table of strings by name; other values go through quern.json.encode");
    lua_pop(L, 2);
    json_decref(meta);
    return NULL;
  }
  return meta;
}

static void release_json(void *thing) { json_decref(thing); }

static int64_t count_fields(lua_State *L, int index) {
  int64_t n = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) n++;
  return n;
}

/* save(path, {name = tensor} [, {name = text}]) */
static int save(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  lua_settop(L, 3);
  if (!lua_istable(L, 2)) return qni_bind_bad_arg(L, 2, "tensors", "a table of tensors by name");
  if (!lua_isnoneornil(L, 3) && !lua_istable(L, 3))
    return qni_bind_bad_arg(L, 3, "meta", "a table of strings by name");
  int64_t n = count_fields(L, 2);
  const char **names = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *names, 0);
  qn_tensor **tensors = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *tensors, 0);
  int64_t i = 0;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1), i++) {
    if (lua_type(L, -2) != LUA_TSTRING)
      return qni_bind_bad_arg(L, -2, "tensors", "a table of tensors by name");
    names[i] = lua_tostring(L, -2);
    tensors[i] = qni_bind_tensor(L, -1, names[i]);
  }
  qni_owner *meta = qni_bind_own(L, NULL, release_json);
  qni_json_start();
  qni_error_reset();
  meta->thing = meta_object(L, 3);
  if (!meta->thing) qni_bind_check(L, QN_E_ARG);
  qni_bind_check(L, qni_safetensors_write(path, names, tensors, (int32_t)n, meta->thing));
  qni_bind_disown(meta);
  return 0;
}

static void release_safetensors(void *thing) { qni_safetensors_close(thing); }

static void push_meta(lua_State *L, const json_t *meta) {
  const char *key;
  json_t *value;
  lua_newtable(L);
  json_object_foreach((json_t *)(uintptr_t)meta, key, value)
      qni_bind_set_str(L, key, json_string_value(value));
}

/* load(path): tensors by name, metadata by name. */
static int load(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, NULL, release_safetensors);
  qni_safetensors *file = NULL;
  qni_error_reset();
  qn_status st = qni_safetensors_open(path, &file);
  owner->thing = file;
  qni_bind_check(L, st);
  lua_newtable(L);
  for (int32_t i = 0; i < qni_safetensors_count(file); i++) {
    const char *name = qni_safetensors_at(file, i)->name;
    qni_box *box = qni_bind_box(L);
    qn_tensor *t;
    qni_bind_check(L, qni_safetensors_read(file, name, &t));
    qni_bind_fill(L, box, t);
    lua_setfield(L, -2, name);
  }
  push_meta(L, qni_safetensors_meta(file));
  qni_bind_disown(owner);
  qni_bind_relieve(L);
  return 2;
}

static int npy_save(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qn_tensor *t = qni_bind_tensor(L, 2, "tensor");
  qni_error_reset();
  qni_bind_check(L, qni_npy_write(path, t));
  return 0;
}

static int npy_load(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_npy_read(path, &t));
  qni_bind_fill(L, box, t);
  return 1;
}

/* ---- Small files ---- */

static int write_file(lua_State *L) {
  size_t n;
  const char *path = qni_bind_str(L, 1, "path");
  qni_bind_str(L, 2, "text");
  const char *text = lua_tolstring(L, 2, &n);
  qni_error_reset();
  qni_bind_check(L, qni_file_write(path, text, n));
  return 0;
}

/* append(path, text [, sync]): a log line; a torn last line is cut off first. */
static int append(lua_State *L) {
  size_t n;
  const char *path = qni_bind_str(L, 1, "path");
  qni_bind_str(L, 2, "text");
  const char *text = lua_tolstring(L, 2, &n);
  bool sync = lua_isnoneornil(L, 3) || qni_bind_bool(L, 3, "sync");
  qni_file_log *log;
  qni_error_reset();
  qn_status st = qni_file_log_open(path, &log);
  if (!st) {
    st = qni_file_log_append(log, text, n, sync);
    qn_status closed = qni_file_log_close(log);
    if (!st) st = closed;
  }
  qni_bind_check(L, st);
  return 0;
}

/* cut(path, size): drops what a log holds beyond its first bytes. */
static int cut(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  int64_t size = qni_bind_int(L, 2, "size");
  qni_file_log *log;
  qni_error_reset();
  qn_status st = qni_file_log_open(path, &log);
  if (!st) {
    st = qni_file_log_cut(log, size);
    qn_status closed = qni_file_log_close(log);
    if (!st) st = closed;
  }
  qni_bind_check(L, st);
  return 0;
}

static int read_file(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  int64_t cap = qni_bind_opt_int(L, 2, "cap", (int64_t)1 << 31);
  qni_owner *owner = qni_bind_own(L, NULL, qni_bind_release_memory);
  char *data = NULL;
  size_t n;
  qni_error_reset();
  qn_status st = qni_file_read(path, (size_t)(cap < 0 ? 0 : cap), &data, &n);
  owner->thing = data;
  qni_bind_check(L, st);
  lua_pushlstring(L, data, n);
  qni_bind_disown(owner);
  return 1;
}

static int exists(lua_State *L) {
  lua_pushboolean(L, qni_file_exists(qni_bind_str(L, 1, "path")));
  return 1;
}

/* stat(path): {size, mtime (seconds), folder}, or nil when there is none. */
static int stat_file(lua_State *L) {
  qni_file_info info;
  const char *path = qni_bind_str(L, 1, "path");
  if (!qni_file_exists(path)) return lua_pushnil(L), 1;
  qni_error_reset();
  qni_bind_check(L, qni_file_stat(path, &info));
  lua_createtable(L, 0, 3);
  qni_bind_set_int(L, "size", info.size);
  qni_bind_set_num(L, "mtime", (double)info.mtime_ns * 1e-9);
  qni_bind_set_bool(L, "folder", info.folder);
  return 1;
}

static int mkdir_folder(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_folder_make(qni_bind_str(L, 1, "path")));
  return 0;
}

static int move(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_file_move(qni_bind_str(L, 1, "from"), qni_bind_str(L, 2, "to")));
  return 0;
}

/* remove(path): a file or empty folder; remove_all(path): a folder with all in it. */
static int remove_file(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_file_remove(qni_bind_str(L, 1, "path")));
  return 0;
}

static int remove_all(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_folder_remove(qni_bind_str(L, 1, "path")));
  return 0;
}

static void release_list(void *thing) {
  qni_folder_list_free(thing);
  qni_mem_free(thing);
}

/* list(path): sorted names. */
static int list(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, NULL, release_list);
  qni_error_reset();
  qni_folder_list *names = owner->thing = qni_mem_zalloc(1, sizeof *names);
  if (!names) qni_bind_check(L, QN_E_NOMEM);
  qni_bind_check(L, qni_folder_read(path, names));
  lua_newtable(L);
  for (int64_t i = 0; i < names->n; i++) {
    lua_pushstring(L, names->names[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  qni_bind_disown(owner);
  return 1;
}

static int sha256(lua_State *L) {
  size_t n;
  uint8_t digest[32];
  char hex[65];
  qni_bind_str(L, 1, "text");
  const char *text = lua_tolstring(L, 1, &n);
  qni_sha256_of(text, n, digest);
  lua_pushstring(L, qni_sha256_hex(digest, hex));
  return 1;
}

static int sha256_file(lua_State *L) {
  uint8_t digest[32];
  char hex[65];
  qni_error_reset();
  qni_bind_check(L, qni_sha256_file(qni_bind_str(L, 1, "path"), digest));
  lua_pushstring(L, qni_sha256_hex(digest, hex));
  return 1;
}

void qni_bind_open_file(lua_State *L) {
  static const luaL_Reg functions[] = {{"save", save},
                                       {"load", load},
                                       {"write_file", write_file},
                                       {"append", append},
                                       {"cut", cut},
                                       {"read_file", read_file},
                                       {"exists", exists},
                                       {"stat", stat_file},
                                       {"mkdir", mkdir_folder},
                                       {"move", move},
                                       {"remove", remove_file},
                                       {"remove_all", remove_all},
                                       {"list", list},
                                       {"sha256", sha256},
                                       {"sha256_file", sha256_file},
                                       {NULL, NULL}};
  static const luaL_Reg npy[] = {{"save", npy_save}, {"load", npy_load}, {NULL, NULL}};
  qni_bind_set(L, functions);
  lua_newtable(L);
  qni_bind_set(L, npy);
  lua_setfield(L, -2, "npy");
}
