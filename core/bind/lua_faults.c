/*
** Faults from Lua, for the crash tests: the module quern.faults.
**
**   faults.set { at = 7, only = "write", error = "ENOSPC" }     the 7th write from now fails
**   faults.set { shorten = 100, room = 65536 }                  short writes; a disk that fills up
**   faults.set {} ; faults.record(true) ; ... ; faults.events() what the disk was asked to do
**   faults.set(nil)                                             the system's files again
** SPDX-License-Identifier: MIT
*/
#include <errno.h>
#include <string.h>

#include "base/file_faults.h"
#include "bind/bind.h"
#include "bind/modules.h"

static const char *const calls[] = {"open",   "write",  "truncate", "sync", "close",
                                    "rename", "unlink", "mark",     NULL};

static int32_t call_of(lua_State *L, const char *name) {
  for (int32_t i = 0; calls[i]; i++)
    if (!strcmp(calls[i], name)) return i;
  return qni_bind_fail(L, QN_E_ARG, NULL, "faults: there is no call \"%s\"", name);
}

static int32_t error_of(lua_State *L, const char *name) {
  static const struct {
    const char *name;
    int32_t code;
  } codes[] = {
      {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"delay", 0}};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (!strcmp(codes[i].name, name)) return codes[i].code;
  return qni_bind_fail(L, QN_E_ARG, NULL, "faults: there is no error \"%s\"", name);
}

/* set({at, onward, only, error, shorten, room}); nil: no layer. */
static int set(lua_State *L) {
  static const char *const known[] = {"at",      "onward", "only",  "error",
                                      "shorten", "room",   "quick", NULL};
  if (lua_isnoneornil(L, 1)) return qni_file_faults_set(NULL), 0;
  qni_bind_fields(L, 1, known, "faults.set");
  const char *only = qni_bind_field_str(L, 1, "only", NULL);
  qni_file_faults f = {
      .at = qni_bind_field_int(L, 1, "at", 0),
      .onward = qni_bind_field_bool(L, 1, "onward", false),
      .only = only ? call_of(L, only) : QNI_FILE_ANY,
      .code = error_of(L, qni_bind_field_str(L, 1, "error", "EIO")),
      .shorten = qni_bind_field_int(L, 1, "shorten", 0),
      .room = qni_bind_field_int(L, 1, "room", -1),
      .quick = qni_bind_field_bool(L, 1, "quick", false),
  };
  qni_file_faults_set(&f);
  return 0;
}

/* calls(): of the kind asked for, since set. */
static int count(lua_State *L) { return lua_pushinteger(L, qni_file_faults_calls()), 1; }

/* record(true): starts an empty record; record(false): forgets it. */
static int record(lua_State *L) {
  qni_file_record(qni_bind_bool(L, 1, "on"));
  return 0;
}

static int mark(lua_State *L) {
  qni_error_reset();
  qni_bind_check(L, qni_file_record_mark(qni_bind_str(L, 1, "text")));
  return 0;
}

static void push_event(lua_State *L, const qni_file_event *e) {
  lua_createtable(L, 0, 4);
  qni_bind_set_str(L, "call", calls[e->call]);
  qni_bind_set_int(L, "fd", e->fd);
  qni_bind_set_int(L, "size", e->size);
  if (e->path) qni_bind_set_str(L, "path", e->path);
  if (e->other) qni_bind_set_str(L, "to", e->other);
  if (!e->data) return;
  lua_pushlstring(L, e->data, (size_t)e->size);
  lua_setfield(L, -2, "data");
}

/* events(): a list of {call, fd, size, path, to, data}. */
static int events(lua_State *L) {
  const qni_file_event *list;
  int64_t n;
  qni_error_reset();
  qni_bind_check(L, qni_file_record_get(&list, &n));
  lua_newtable(L);
  for (int64_t i = 0; i < n; i++) {
    push_event(L, &list[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

int luaopen_quern_faults(lua_State *L) {
  static const luaL_Reg functions[] = {{"set", set},   {"calls", count},   {"record", record},
                                       {"mark", mark}, {"events", events}, {NULL, NULL}};
  lua_newtable(L);
  qni_bind_set(L, functions);
  return 1;
}
