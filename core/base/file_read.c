/*
** Files, the reading side: whole reads with a cap, read-only mappings, what there is.
** SPDX-License-Identifier: MIT
*/
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

bool qni_file_exists(const char *path) {
  struct stat info;
  return !stat(path, &info);
}

qn_status qni_file_stat(const char *path, qni_file_info *out) {
  struct stat info;
  if (stat(path, &info)) return qni_file_error("find", path);
  *out = (qni_file_info){
      .size = info.st_size,
      .mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec,
      .folder = S_ISDIR(info.st_mode),
  };
  return QN_OK;
}

static qn_status too_large(const char *path, size_t cap) {
  qni_fail(QN_E_FORMAT, "%s is too large", path);
  qni_error_detail("at most %zu bytes are read here", cap);
  qni_error_hint("check that this is the file you mean");
  return QN_E_FORMAT;
}

/* Reads to the end into a block that grows; one byte beyond the cap tells that there is more. */
static qn_status read_all(int fd, const char *path, size_t cap, size_t expected, char **data,
                          size_t *n) {
  size_t room = expected < cap ? expected : cap;
  *n = 0;
  if (!(*data = qni_mem_alloc(room + 2))) return QN_E_NOMEM;
  for (;;) {
    ssize_t got = read(fd, *data + *n, room + 1 - *n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return qni_file_error("read", path);
    *n += (size_t)got;
    if (*n > cap) return too_large(path, cap);
    if (got == 0) break;
    if (*n <= room) continue;
    room = room < cap / 2 ? 2 * room + 4096 : cap;
    char *grown = qni_mem_realloc(*data, room + 2);
    if (!grown) return QN_E_NOMEM;
    *data = grown;
  }
  (*data)[*n] = 0;
  return QN_OK;
}

qn_status qni_file_read(const char *path, size_t cap, char **data, size_t *n_bytes) {
  *data = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return qni_file_error("read", path);
  struct stat info;
  if (cap > PTRDIFF_MAX) cap = PTRDIFF_MAX;
  qn_status st = QN_OK;
  if (fstat(fd, &info))
    st = qni_file_error("read", path);
  else if (S_ISREG(info.st_mode) && (uint64_t)info.st_size > cap)
    st = too_large(path, cap);
  else
    st =
        read_all(fd, path, cap, S_ISREG(info.st_mode) ? (size_t)info.st_size : 4096, data, n_bytes);
  close(fd);
  if (st) {
    qni_mem_free(*data);
    *data = NULL;
  }
  return st;
}

qn_status qni_file_map_open(const char *path, qni_file_map *map) {
  *map = (qni_file_map){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return qni_file_error("read", path);
  struct stat info;
  qn_status st = QN_OK;
  if (fstat(fd, &info))
    st = qni_file_error("read", path);
  else if (S_ISDIR(info.st_mode))
    errno = EISDIR, st = qni_file_error("read", path);
  else if (!S_ISREG(info.st_mode))
    st = qni_fail(QN_E_IO, "%s is not an ordinary file", path);
  if (!st && info.st_size > 0) {
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
      st = qni_file_error("map", path);
    else
      *map = (qni_file_map){.data = data, .n_bytes = (size_t)info.st_size};
  }
  close(fd);
  return st;
}

void qni_file_map_close(qni_file_map *map) {
  if (map->data) munmap((void *)(uintptr_t)map->data, map->n_bytes);
  *map = (qni_file_map){0};
}
