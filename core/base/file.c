/*
** Files, the writing side: temporaries that become files at once, logs, moves.
**
** Invariant of a writer: until rename has returned, the target is what it was; the
** temporary is removed on every path that does not rename it, but for `leave`.
** Invariant of a log: its size is that of its whole records; what a failed or torn
** append left behind is cut off before anything else is written.
** SPDX-License-Identifier: MIT
*/
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "base/mem.h"

enum { BUFFER = 1 << 16 };

/* ---- The layer ---- */

static int system_open(const char *path, int flags, mode_t mode) {
  return open(path, flags | O_CLOEXEC, mode);
}

const qni_file_layer qni_file_system = {
    .open = system_open,
    .write = write,
    .truncate = ftruncate,
    .sync = fsync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
};

static const qni_file_layer *layer = &qni_file_system;

const qni_file_layer *qni_file_set_layer(const qni_file_layer *next) {
  const qni_file_layer *former = layer;
  layer = next ? next : &qni_file_system;
  return former;
}

/* ---- Errors ---- */

static const char *advice(int code) {
  switch (code) {
  case ENOENT: return "check the path; the folder must exist";
  case EACCES:
  case EPERM:
  case EROFS: return "choose a place you are allowed to use, or change its permissions";
  case ENOSPC:
  case EDQUOT: return "free some space on that disk, or choose another one";
  case EISDIR: return "name a file, not a folder";
  case ENOTDIR: return "a part of the path is a file, not a folder";
  case EMFILE:
  case ENFILE: return "too many files are open; close some, or raise the limit (ulimit -n)";
  case ENAMETOOLONG: return "use a shorter name";
  case EIO: return "the disk reports a fault; check it before you go on";
  default: return "check the path and the disk";
  }
}

qn_status qni_file_error(const char *verb, const char *path) {
  int code = errno;
  qn_status st = code == ENOENT ? QN_E_NOT_FOUND : code == ENOMEM ? QN_E_NOMEM : QN_E_IO;
  qni_fail(st, "cannot %s %s: %s", verb, path, strerror(code));
  qni_error_hint("%s", advice(code));
  return st;
}

/* Writes all of it, however short the single writes are. */
static int write_all(int fd, const char *data, size_t n) {
  while (n > 0) {
    ssize_t done = layer->write(fd, data, n);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return -1;
    if (done == 0) return errno = ENOSPC, -1;
    data += done, n -= (size_t)done;
  }
  return 0;
}

qn_status qni_file_sync_folder(const char *folder) {
  int fd = layer->open(folder, O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return qni_file_error("open", folder);
  int failed =
      layer->sync(fd) && errno != EINVAL && errno != ENOTSUP; /* some cannot sync folders */
  qn_status st = failed ? qni_file_error("sync", folder) : QN_OK;
  layer->close(fd);
  return st;
}

static qn_status sync_folder_of(const char *path) {
  char *folder = qni_path_folder(path);
  qn_status st = folder ? qni_file_sync_folder(folder) : QN_E_NOMEM;
  qni_mem_free(folder);
  return st;
}

/* ---- Writers ---- */

struct qni_file_writer {
  char *path, *temporary;
  int fd;
  int64_t size;
  size_t n_buffered;
  char buffer[BUFFER];
};

static void writer_free(qni_file_writer *w) {
  qni_mem_free(w->path);
  qni_mem_free(w->temporary);
  qni_mem_free(w);
}

/* ".NAME.PID-COUNT.tmp" in the folder of `path`. */
static char *temporary_name(const char *path) {
  static atomic_int count;
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  return qni_path_format("%.*s.%s.%ld-%d.tmp", (int)(name - path), path, name, (long)getpid(),
                         atomic_fetch_add(&count, 1));
}

static qn_status writer_new(const char *path, char *temporary, int flags, qni_file_writer **out) {
  *out = NULL;
  qni_file_writer *w = qni_mem_zalloc(1, sizeof *w);
  char *copy = qni_mem_strdup(path);
  if (!w || !copy || !temporary) {
    qni_mem_free(copy);
    qni_mem_free(temporary);
    qni_mem_free(w);
    return QN_E_NOMEM;
  }
  w->path = copy;
  w->temporary = temporary;
  w->fd = layer->open(temporary, O_WRONLY | O_CREAT | flags, 0666);
  if (w->fd < 0) {
    qn_status st = qni_file_error("write", path);
    writer_free(w);
    return st;
  }
  *out = w;
  return QN_OK;
}

qn_status qni_file_writer_open(const char *path, qni_file_writer **w) {
  return writer_new(path, temporary_name(path), O_EXCL, w);
}

qn_status qni_file_writer_resume(const char *path, const char *temporary, int64_t *have,
                                 qni_file_writer **w) {
  qn_status st = writer_new(path, qni_mem_strdup(temporary), O_APPEND, w);
  if (st) return st;
  struct stat info;
  if (fstat((*w)->fd, &info)) {
    st = qni_file_error("look at", temporary);
    qni_file_writer_leave(*w);
    *w = NULL;
    return st;
  }
  *have = (*w)->size = info.st_size;
  return QN_OK;
}

qn_status qni_file_writer_flush(qni_file_writer *w) {
  size_t n = w->n_buffered;
  w->n_buffered = 0;
  return n && write_all(w->fd, w->buffer, n) ? qni_file_error("write", w->path) : QN_OK;
}

qn_status qni_file_writer_write(qni_file_writer *w, const void *data, size_t n_bytes) {
  w->size += (int64_t)n_bytes;
  if (n_bytes > BUFFER - w->n_buffered) {
    qn_status st = qni_file_writer_flush(w);
    if (st) return st;
  }
  if (n_bytes >= BUFFER)
    return write_all(w->fd, data, n_bytes) ? qni_file_error("write", w->path) : QN_OK;
  if (n_bytes) memcpy(w->buffer + w->n_buffered, data, n_bytes);
  w->n_buffered += n_bytes;
  return QN_OK;
}

int64_t qni_file_writer_size(const qni_file_writer *w) { return w->size; }

qn_status qni_file_writer_restart(qni_file_writer *w) {
  w->n_buffered = 0;
  w->size = 0;
  if (layer->truncate(w->fd, 0) || lseek(w->fd, 0, SEEK_SET) < 0)
    return qni_file_error("empty", w->temporary);
  return QN_OK;
}

qn_status qni_file_writer_commit(qni_file_writer *w) {
  qn_status st = qni_file_writer_flush(w);
  if (!st && layer->sync(w->fd)) st = qni_file_error("sync", w->path);
  int fd = w->fd;
  w->fd = -1;
  if (layer->close(fd) && !st) st = qni_file_error("close", w->path);
  if (!st && layer->rename(w->temporary, w->path)) st = qni_file_error("replace", w->path);
  if (st) {
    qni_file_writer_abort(w);
    return st;
  }
  st = sync_folder_of(w->path);
  writer_free(w);
  return st;
}

void qni_file_writer_abort(qni_file_writer *w) {
  if (!w) return;
  if (w->fd >= 0) layer->close(w->fd);
  layer->unlink(w->temporary);
  writer_free(w);
}

void qni_file_writer_leave(qni_file_writer *w) {
  if (!w) return;
  if (w->n_buffered) (void)write_all(w->fd, w->buffer, w->n_buffered);
  if (w->fd >= 0) layer->close(w->fd);
  writer_free(w);
}

qn_status qni_file_write(const char *path, const void *data, size_t n_bytes) {
  qni_file_writer *w;
  qn_status st = qni_file_writer_open(path, &w);
  if (st) return st;
  if ((st = qni_file_writer_write(w, data, n_bytes))) {
    qni_file_writer_abort(w);
    return st;
  }
  return qni_file_writer_commit(w);
}

/* ---- Logs ---- */

struct qni_file_log {
  char *path;
  int fd;
  int64_t size; /* of the whole records */
  bool torn;    /* more than that may be in the file */
};

/* The size up to and with the last line end, searched from the back. */
static int whole_lines(int fd, int64_t size, int64_t *whole) {
  char block[4096];
  while (size > 0) {
    int64_t begin = size > (int64_t)sizeof block ? size - (int64_t)sizeof block : 0;
    ssize_t n = pread(fd, block, (size_t)(size - begin), begin);
    if (n != size - begin) return errno = n < 0 ? errno : EIO, -1;
    for (ssize_t i = n; i > 0; i--)
      if (block[i - 1] == '\n') return *whole = begin + i, 0;
    size = begin;
  }
  *whole = 0;
  return 0;
}

static qn_status mend(qni_file_log *log) {
  if (log->torn && layer->truncate(log->fd, log->size)) return qni_file_error("cut", log->path);
  log->torn = false;
  return QN_OK;
}

static qn_status log_start(qni_file_log *log) {
  struct stat info;
  if (fstat(log->fd, &info) || whole_lines(log->fd, info.st_size, &log->size))
    return qni_file_error("read", log->path);
  log->torn = info.st_size > log->size;
  qn_status st = mend(log);
  return st || info.st_size > 0 ? st : sync_folder_of(log->path);
}

qn_status qni_file_log_open(const char *path, qni_file_log **out) {
  *out = NULL;
  qni_file_log *log = qni_mem_zalloc(1, sizeof *log);
  if (!log) return QN_E_NOMEM;
  qn_status st = QN_OK;
  log->fd = -1;
  if (!(log->path = qni_mem_strdup(path))) st = QN_E_NOMEM;
  if (!st && (log->fd = layer->open(path, O_RDWR | O_CREAT | O_APPEND, 0666)) < 0)
    st = qni_file_error("write", path);
  if (!st) st = log_start(log);
  if (!st) return *out = log, QN_OK;
  if (log->fd >= 0) layer->close(log->fd);
  qni_mem_free(log->path);
  qni_mem_free(log);
  return st;
}

qn_status qni_file_log_append(qni_file_log *log, const char *text, size_t n_bytes, bool sync) {
  qn_status st = mend(log);
  if (st) return st;
  log->torn = true;
  if (write_all(log->fd, text, n_bytes) || (sync && layer->sync(log->fd))) {
    st = qni_file_error("append to", log->path);
    if (!layer->truncate(log->fd, log->size)) log->torn = false;
    return st;
  }
  log->torn = false;
  log->size += (int64_t)n_bytes;
  return QN_OK;
}

int64_t qni_file_log_size(const qni_file_log *log) { return log->size; }

qn_status qni_file_log_cut(qni_file_log *log, int64_t size) {
  if (size < 0 || size > log->size) {
    qni_fail(QN_E_ARG, "cannot cut %s to %" PRId64 " bytes", log->path, size);
    qni_error_detail("it has %" PRId64, log->size);
    return QN_E_ARG;
  }
  log->size = size;
  log->torn = true;
  return mend(log);
}

qn_status qni_file_log_close(qni_file_log *log) {
  if (!log) return QN_OK;
  qn_status st = mend(log);
  if (!st && layer->sync(log->fd)) st = qni_file_error("sync", log->path);
  if (layer->close(log->fd) && !st) st = qni_file_error("close", log->path);
  qni_mem_free(log->path);
  qni_mem_free(log);
  return st;
}

/* ---- Moving and removing ---- */

qn_status qni_file_move(const char *from, const char *to) {
  if (layer->rename(from, to)) {
    qn_status st = qni_file_error("move", from);
    qni_error_detail("to: %s", to);
    return st;
  }
  return sync_folder_of(to);
}

qn_status qni_file_remove(const char *path) {
  if (!layer->unlink(path) || errno == ENOENT) return QN_OK;
  if ((errno == EISDIR || errno == EPERM) && !rmdir(path)) return QN_OK;
  return qni_file_error("remove", path);
}
