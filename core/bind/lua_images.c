/*
** Images from Lua: the readers and writers of image files, archives, and the loader.
**
** Images are u8 tensors [C,H,W] or [N,C,H,W], labels i64; rows of a batch count from 0, they
** are data, and fit index_select.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "bind/bind.h"
#include "bind/bind_data.h"
#include "io/gzip.h"
#include "io/idx.h"
#include "io/images.h"
#include "io/picture.h"
#include "io/tar.h"

enum { FILE_CAP = 1 << 30 }; /* most bytes of one unpacked file */

/* ---- Files ---- */

/* The bytes of a string argument that holds a file. */
static const char *bytes_arg(lua_State *L, int index, size_t *n) {
  qni_bind_str(L, index, "bytes");
  return lua_tolstring(L, index, n);
}

/* unpack(path): a file's bytes, unpacked if it is gzip. */
static int unpack(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, NULL, qni_bind_release_memory);
  char *data = NULL;
  size_t n;
  qni_error_reset();
  qn_status st = qni_gzip_read(path, FILE_CAP, &data, &n);
  owner->thing = data;
  qni_bind_check(L, st);
  lua_pushlstring(L, data, n);
  qni_bind_disown(owner);
  return 1;
}

/* idx_parse(bytes, origin): u8 tensor of the file's shape. */
static int idx_parse(lua_State *L) {
  size_t n;
  const char *data = bytes_arg(L, 1, &n), *origin = qni_bind_str(L, 2, "origin");
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_idx_parse(data, n, origin, &t));
  qni_bind_fill(L, box, t);
  qni_bind_relieve(L);
  return 1;
}

/* idx_write(path, t) */
static int idx_write(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  const qn_tensor *t = qni_bind_tensor(L, 2, "t");
  qni_error_reset();
  qni_bind_check(L, qni_idx_write(path, t));
  return 0;
}

/* cifar_parse(bytes, origin, classes): images u8[N,3,32,32], labels; 100: coarse, fine labels. */
static int cifar_parse(lua_State *L) {
  size_t n;
  const char *data = bytes_arg(L, 1, &n), *origin = qni_bind_str(L, 2, "origin");
  int64_t which = qni_bind_int(L, 3, "classes");
  if (which != 10 && which != 100)
    return qni_bind_fail(L, QN_E_ARG, NULL, "CIFAR has 10 or 100 classes, not %lld",
                         (long long)which);
  int32_t n_labels = which == 10 ? 1 : 2, ten[1] = {10}, hundred[2] = {20, 100};
  qni_box *box[3] = {NULL};
  qn_tensor *images = NULL, *labels[2] = {NULL, NULL};
  for (int32_t i = 0; i <= n_labels; i++) box[i] = qni_bind_box(L);
  qni_error_reset();
  qni_bind_check(
      L, qni_cifar_parse(data, n, origin, n_labels, which == 10 ? ten : hundred, &images, labels));
  qni_bind_fill(L, box[0], images);
  for (int32_t i = 0; i < n_labels; i++) qni_bind_fill(L, box[1 + i], labels[i]);
  qni_bind_relieve(L);
  return 1 + n_labels;
}

/* cifar_write(path, images, labels [, fine]) */
static int cifar_write(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  const qn_tensor *images = qni_bind_tensor(L, 2, "images");
  qn_tensor *labels[2] = {qni_bind_tensor(L, 3, "labels"), NULL};
  int32_t n = lua_isnoneornil(L, 4) ? 1 : 2;
  if (n == 2) labels[1] = qni_bind_tensor(L, 4, "fine");
  qni_error_reset();
  qni_bind_check(L, qni_cifar_write(path, images, n, labels));
  return 0;
}

/* picture(bytes, origin [, channels]): u8[C,H,W] of a PNG or JPEG file. */
static int picture(lua_State *L) {
  size_t n;
  const char *data = bytes_arg(L, 1, &n), *origin = qni_bind_str(L, 2, "origin");
  int32_t channels = (int32_t)qni_bind_opt_int(L, 3, "channels", 0);
  qni_box *box = qni_bind_box(L);
  qn_tensor *t = NULL;
  qni_error_reset();
  qni_bind_check(L, qni_picture_parse(data, n, origin, channels, &t));
  qni_bind_fill(L, box, t);
  qni_bind_relieve(L);
  return 1;
}

static int other_size(lua_State *L, const char *origin, const qn_tensor *t, const qn_view *set) {
  qni_fail(QN_E_SHAPE, "%s has %lld x %lld pixels, the set's images %lld x %lld", origin,
           (long long)t->view.shape[2], (long long)t->view.shape[1], (long long)set->shape[3],
           (long long)set->shape[2]);
  qni_error_hint("all images of a set have one size; scale or crop them before");
  return qni_bind_raise(L);
}

/* picture_row(images u8[N,C,H,W], i, bytes, origin): decodes into row i, from 1. */
static int picture_row(lua_State *L) {
  size_t n;
  qn_tensor *images = qni_bind_tensor(L, 1, "images"), *t = NULL;
  const qn_view *set = &images->view;
  int64_t i = qni_bind_int(L, 2, "i");
  const char *data = bytes_arg(L, 3, &n), *origin = qni_bind_str(L, 4, "origin");
  if (set->dtype != QN_U8 || set->ndim != 4 || !qni_view_contiguous(set) || i < 1 ||
      i > set->shape[0])
    return qni_bind_fail(L, QN_E_SHAPE, NULL, "row %lld of images, which must be a u8[N,C,H,W]",
                         (long long)i);
  qni_box *box = qni_bind_box(L);
  qni_error_reset();
  qni_bind_check(L, qni_picture_parse(data, n, origin, (int32_t)set->shape[1], &t));
  qni_bind_fill(L, box, t);
  if (t->view.shape[1] != set->shape[2] || t->view.shape[2] != set->shape[3])
    return other_size(L, origin, t, set);
  size_t bytes = (size_t)qni_tensor_count(t);
  memcpy((uint8_t *)set->data + (size_t)(i - 1) * bytes, t->view.data, bytes);
  qni_tensor_touch(images);
  return 0;
}

/* ---- Archives ---- */

struct archive {
  char *data;
  char origin[1024];
  qni_tar tar;
};

static void release_archive(void *thing) {
  struct archive *a = thing;
  qni_mem_free(a->data);
  qni_mem_free(a);
}

/* tar(path): an archive, packed by gzip or not; t:next() gives name and bytes, or nil. */
static int tar(lua_State *L) {
  const char *path = qni_bind_str(L, 1, "path");
  qni_owner *owner = qni_bind_own(L, "quern.tar", release_archive);
  qni_error_reset();
  struct archive *a = owner->thing = qni_mem_zalloc(1, sizeof *a);
  if (!a) qni_bind_check(L, QN_E_NOMEM);
  strncpy(a->origin, path, sizeof a->origin - 1);
  size_t n;
  qni_bind_check(L, qni_gzip_read(path, FILE_CAP, &a->data, &n));
  a->tar = (qni_tar){.data = a->data, .origin = a->origin, .n_bytes = n};
  if (!qni_tar_is(a->data, n))
    qni_bind_fail(L, QN_E_FORMAT, "a tar or tar.gz file is needed", "%s is no tar archive", path);
  return 1;
}

static int t_next(lua_State *L) {
  struct archive *a = qni_bind_thing(L, 1, "quern.tar");
  qni_tar_file file;
  bool found;
  qni_error_reset();
  qni_bind_check(L, qni_tar_next(&a->tar, &file, &found));
  if (!found) return lua_pushnil(L), 1;
  lua_pushstring(L, file.name);
  lua_pushlstring(L, file.data, file.n_bytes);
  return 2;
}

/* ---- The loader ---- */

static int32_t layout_of(lua_State *L, const char *name) {
  static const char *const names[] = {"nhwc", "nchw", "flat"};
  for (int32_t i = 0; i < 3; i++)
    if (!strcmp(name, names[i])) return i;
  return qni_bind_fail(L, QN_E_ARG, NULL, "there is no layout '%s'; known are nhwc, nchw, flat",
                       name);
}

/* A list of numbers by channel; one for all when it has a single one. */
static void channel_values(lua_State *L, int index, const char *key, double otherwise, double *v) {
  int64_t n = 0;
  if (lua_getfield(L, index, key) == LUA_TTABLE) n = (int64_t)lua_rawlen(L, -1);
  for (int c = 0; c < QNI_IMAGE_CHANNELS; c++) {
    v[c] = otherwise;
    if (n == 0) continue;
    lua_rawgeti(L, -1, n == 1 ? 1 : c + 1);
    v[c] = lua_isnil(L, -1) ? otherwise : qni_bind_num(L, -1, key);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static qni_images_options loader_options(lua_State *L, int index) {
  static const char *const known[] = {"batch", "seed", "shuffle", "drop_last", "prefetch", "layout",
                                      "crop",  "flip", "mean",    "std",       NULL};
  qni_bind_fields(L, index, known, "image loader");
  qni_images_options o = {.batch = qni_bind_field_int(L, index, "batch", 128),
                          .seed = (uint64_t)qni_bind_field_int(L, index, "seed", 0),
                          .shuffle = qni_bind_field_bool(L, index, "shuffle", false),
                          .drop_last = qni_bind_field_bool(L, index, "drop_last", false),
                          .prefetch = (int32_t)qni_bind_field_int(L, index, "prefetch", 2),
                          .layout = layout_of(L, qni_bind_field_str(L, index, "layout", "nhwc")),
                          .pad = (int32_t)qni_bind_field_int(L, index, "crop", 0),
                          .flip = qni_bind_field_bool(L, index, "flip", false)};
  channel_values(L, index, "mean", 0.0, o.mean);
  channel_values(L, index, "std", 1.0, o.std);
  return o;
}

static void release_loader(void *thing) { qni_images_free(thing); }
static void release_batch(void *thing) { qni_image_batch_free(thing); }

/* image_loader(images, labels, rows or nil, options) */
static int image_loader(lua_State *L) {
  lua_settop(L, 4);
  qn_tensor *images = qni_bind_tensor(L, 1, "images"), *labels = qni_bind_tensor(L, 2, "labels");
  qn_tensor *rows = lua_isnil(L, 3) ? NULL : qni_bind_tensor(L, 3, "rows");
  if (!lua_istable(L, 4)) return qni_bind_bad_arg(L, 4, "options", "a table");
  qni_images_options o = loader_options(L, 4);
  qni_owner *owner = qni_bind_own(L, "quern.image_loader", release_loader);
  qni_images *l = NULL;
  qni_error_reset();
  qn_status st = qni_images_new(images, labels, rows, &o, &l);
  owner->thing = l;
  qni_bind_check(L, st);
  return 1;
}

static qni_images *self(lua_State *L) { return qni_bind_thing(L, 1, "quern.image_loader"); }

static qni_ahead *ahead(lua_State *L) { return qni_images_ahead(self(L)); }

static void set_tensor(lua_State *L, const char *key, qn_tensor *t) {
  qni_bind_push_borrowed(L, t);
  lua_setfield(L, -2, key);
}

/* l:next(): {x, y, rows, n, epoch, index}, or nil once at the end of each epoch. */
static int l_next(lua_State *L) {
  qni_images *l = self(L);
  qni_owner *owner = qni_bind_own(L, NULL, release_batch);
  qni_image_batch *b = NULL;
  qni_error_reset();
  qn_status st = qni_images_next(l, &b);
  owner->thing = b;
  qni_bind_check(L, st);
  if (!b) return lua_pushnil(L), 1;
  lua_createtable(L, 0, 6);
  set_tensor(L, "x", b->x);
  set_tensor(L, "y", b->y);
  set_tensor(L, "rows", b->rows);
  qni_bind_set_int(L, "n", b->n);
  qni_bind_set_int(L, "epoch", b->epoch);
  qni_bind_set_int(L, "index", b->index);
  qni_bind_disown(owner);
  qni_bind_relieve(L);
  return 1;
}

static int l_batches(lua_State *L) { return qni_bind_batches(L, ahead(L)); }
static int l_tell(lua_State *L) { return qni_bind_tell(L, ahead(L)); }
static int l_seek(lua_State *L) { return qni_bind_seek(L, ahead(L)); }

void qni_bind_open_images(lua_State *L) {
  static const luaL_Reg t[] = {{"next", t_next}, {NULL, NULL}};
  static const luaL_Reg l[] = {
      {"batches", l_batches}, {"next", l_next}, {"tell", l_tell}, {"seek", l_seek}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"unpack", unpack},
                                       {"idx_parse", idx_parse},
                                       {"idx_write", idx_write},
                                       {"cifar_parse", cifar_parse},
                                       {"cifar_write", cifar_write},
                                       {"picture", picture},
                                       {"picture_row", picture_row},
                                       {"tar", tar},
                                       {"image_loader", image_loader},
                                       {NULL, NULL}};
  qni_bind_class(L, "quern.tar", t);
  qni_bind_class(L, "quern.image_loader", l);
  qni_bind_set(L, functions);
}
