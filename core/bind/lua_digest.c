/*
** The digest of a checkpoint: one SHA-256 of a text and of named tensors.
**
**   SHA-256 of  text 0 | name 0 type 0 n_dims dims... bytes | ...   names in byte order
**
** Numbers are 8 bytes, low one first; bytes are the elements in row-major order. It does
** not depend on how a file lays the tensors out, so what was written can be compared with
** what was read.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "bind/bind.h"
#include "bind/modules.h"

struct named {
  const char *name;
  qn_tensor *tensor;
};

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void add_number(qni_sha256 *s, int64_t value) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
  qni_sha256_add(s, bytes, sizeof bytes);
}

static qn_status add_tensor(qni_sha256 *s, const struct named *it) {
  qn_tensor *t = NULL;
  qn_status st = qni_tensor_contiguous(it->tensor, &t);
  if (st) return st;
  size_t n_bytes = 0;
  st = qni_shape_bytes(t->view.dtype, t->view.ndim, t->view.shape, &n_bytes);
  const char *type = qni_dtype_name(t->view.dtype);
  qni_sha256_add(s, it->name, strlen(it->name) + 1);
  qni_sha256_add(s, type, strlen(type) + 1);
  add_number(s, t->view.ndim);
  for (int32_t i = 0; i < t->view.ndim; i++) add_number(s, t->view.shape[i]);
  if (!st && n_bytes) qni_sha256_add(s, t->view.data, n_bytes);
  qn_tensor_free(t);
  return st;
}

/* digest({name = tensor}, text): 64 hexadecimal digits. */
static int digest(lua_State *L) {
  size_t n_text, n = 0;
  if (!lua_istable(L, 1)) return qni_bind_bad_arg(L, 1, "tensors", "a table of tensors by name");
  qni_bind_str(L, 2, "text");
  const char *text = lua_tolstring(L, 2, &n_text);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) n++;
  struct named *list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
  size_t at = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1), at++) {
    if (lua_type(L, -2) != LUA_TSTRING) return qni_bind_bad_arg(L, 1, "tensors", "a table of tensors by name");
    list[at].name = lua_tostring(L, -2);
    list[at].tensor = qni_bind_tensor(L, -1, list[at].name);
  }
  qsort(list, n, sizeof *list, by_name);
  qni_sha256 s;
  qni_sha256_start(&s);
  qni_sha256_add(&s, text, n_text);
  qni_sha256_add(&s, "", 1);
  qni_error_reset();
  for (size_t i = 0; i < n; i++) qni_bind_check(L, add_tensor(&s, &list[i]));
  uint8_t bytes[32];
  char hex[65];
  qni_sha256_end(&s, bytes);
  lua_pushstring(L, qni_sha256_hex(bytes, hex));
  return 1;
}

int luaopen_quern_digest(lua_State *L) {
  lua_pushcfunction(L, digest);
  return 1;
}
