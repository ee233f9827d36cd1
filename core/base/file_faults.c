/*
** Test aid: the file layer that fails on purpose and keeps a record.
**
** Invariant: a call that fails here never reaches the disk, but for close, which the system
** carries out even when it reports a failure.
** SPDX-License-Identifier: MIT
*/
#include "base/file_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { DELAY_US = 2000 };

static struct {
  qni_file_faults f;
  int64_t calls;
  bool recording, lost;
  qni_arena texts;
  qni_file_event *events;
  int64_t n, room;
} now = {.f = {.room = -1}};

/* ---- The record ---- */

static const char *kept(const char *text, size_t n) {
  char *copy = text ? qni_arena_alloc(&now.texts, n + 1) : NULL;
  if (!copy) return NULL;
  memcpy(copy, text, n);
  copy[n] = 0;
  return copy;
}

static void note(qni_file_event e) {
  if (!now.recording || now.lost) return;
  if (now.n == now.room) {
    int64_t room = now.room ? 2 * now.room : 256;
    qni_file_event *grown = qni_mem_realloc(now.events, (size_t)room * sizeof *grown);
    if (!grown) {
      now.lost = true;
      return;
    }
    now.events = grown, now.room = room;
  }
  qni_file_event k = e;
  if (e.path) k.path = kept(e.path, strlen(e.path));
  if (e.other) k.other = kept(e.other, strlen(e.other));
  if (e.data) k.data = kept(e.data, (size_t)e.size);
  if ((e.path && !k.path) || (e.other && !k.other) || (e.data && !k.data)) now.lost = true;
  now.events[now.n++] = k;
}

void qni_file_record(bool on) {
  qni_arena_free(&now.texts);
  qni_mem_free(now.events);
  now.events = NULL;
  now.n = now.room = 0;
  now.lost = false;
  now.recording = on;
}

qn_status qni_file_record_mark(const char *text) {
  note((qni_file_event){.call = QNI_FILE_MARK, .path = text});
  return now.lost ? QN_E_NOMEM : QN_OK;
}

qn_status qni_file_record_get(const qni_file_event **events, int64_t *n) {
  *events = now.events;
  *n = now.n;
  return now.lost ? QN_E_NOMEM : QN_OK;
}

/* ---- The layer ---- */

/* Is this the call that fails? Sets errno. */
static bool refused(enum qni_file_call call) {
  if (now.f.only != QNI_FILE_ANY && now.f.only != (int32_t)call) return false;
  now.calls++;
  bool hit = now.f.at > 0 && (now.f.onward ? now.calls >= now.f.at : now.calls == now.f.at);
  if (!hit) return false;
  if (now.f.code == 0) {
    usleep(DELAY_US);
    return false;
  }
  errno = now.f.code;
  return true;
}

static int layer_open(const char *path, int flags, mode_t mode) {
  if (refused(QNI_FILE_OPEN)) return -1;
  int fd = qni_file_system.open(path, flags, mode);
  int64_t folder = (flags & O_DIRECTORY) != 0;
  if (fd >= 0)
    note((qni_file_event){.call = QNI_FILE_OPEN, .fd = fd, .size = folder, .path = path});
  return fd;
}

static ssize_t layer_write(int fd, const void *data, size_t n) {
  if (refused(QNI_FILE_WRITE)) return -1;
  if (now.f.shorten > 0 && n > (size_t)now.f.shorten) n = (size_t)now.f.shorten;
  if (now.f.room == 0 && n > 0) return errno = ENOSPC, -1;
  if (now.f.room > 0 && n > (size_t)now.f.room) n = (size_t)now.f.room;
  ssize_t done = qni_file_system.write(fd, data, n);
  if (done <= 0) return done;
  if (now.f.room > 0) now.f.room -= done;
  note((qni_file_event){.call = QNI_FILE_WRITE, .fd = fd, .size = done, .data = data});
  return done;
}

static int layer_truncate(int fd, off_t size) {
  if (refused(QNI_FILE_TRUNCATE)) return -1;
  int failed = qni_file_system.truncate(fd, size);
  if (!failed) note((qni_file_event){.call = QNI_FILE_TRUNCATE, .fd = fd, .size = size});
  return failed;
}

static int layer_sync(int fd) {
  if (refused(QNI_FILE_SYNC)) return -1;
  int failed = now.f.quick ? 0 : qni_file_system.sync(fd);
  if (!failed) note((qni_file_event){.call = QNI_FILE_SYNC, .fd = fd});
  return failed;
}

static int layer_close(int fd) {
  bool failed = refused(QNI_FILE_CLOSE);
  int code = errno, result = qni_file_system.close(fd);
  note((qni_file_event){.call = QNI_FILE_CLOSE, .fd = fd});
  return failed ? errno = code, -1 : result;
}

static int layer_rename(const char *from, const char *to) {
  if (refused(QNI_FILE_RENAME)) return -1;
  int failed = qni_file_system.rename(from, to);
  if (!failed) note((qni_file_event){.call = QNI_FILE_RENAME, .path = from, .other = to});
  return failed;
}

static int layer_unlink(const char *path) {
  if (refused(QNI_FILE_UNLINK)) return -1;
  int failed = qni_file_system.unlink(path);
  if (!failed) note((qni_file_event){.call = QNI_FILE_UNLINK, .path = path});
  return failed;
}

static const qni_file_layer faulty = {
    .open = layer_open,
    .write = layer_write,
    .truncate = layer_truncate,
    .sync = layer_sync,
    .close = layer_close,
    .rename = layer_rename,
    .unlink = layer_unlink,
};

void qni_file_faults_set(const qni_file_faults *faults) {
  now.f = faults ? *faults : (qni_file_faults){.room = -1};
  now.calls = 0;
  qni_file_set_layer(faults ? &faulty : NULL);
}

int64_t qni_file_faults_calls(void) { return now.calls; }
