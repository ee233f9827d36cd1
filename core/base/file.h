/*
** Files: crash-safe writing, append-only logs, whole reads and mappings.
**
** A written file appears whole or not at all: a temporary in the same folder is
** written, synced and closed, renamed over the target, and the folder is synced.
** On any failure the old file stays and the temporary goes. Every system call of
** the writing side passes a replaceable layer, so that tests can fail, shorten or
** delay the n-th one. file.c is the only file that names rename and fsync.
** Errors name the path and the system's reason, and say what to try.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_FILE_H
#define QNI_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

/* ---- The replaceable layer: as the system's functions, -1 and errno on failure ---- */

typedef struct qni_file_layer {
  int (*open)(const char *path, int flags, mode_t mode);
  ssize_t (*write)(int fd, const void *data, size_t n_bytes);
  int (*truncate)(int fd, off_t size);
  int (*sync)(int fd); /* fsync, for files and folders */
  int (*close)(int fd);
  int (*rename)(const char *from, const char *to);
  int (*unlink)(const char *path);
} qni_file_layer;

extern const qni_file_layer qni_file_system; /* the real one */
/* Puts another layer in place, NULL: the real one; returns the former. Tests only, one thread. */
const qni_file_layer *qni_file_set_layer(const qni_file_layer *layer);

/* ---- Whole files that appear at once ---- */

typedef struct qni_file_writer qni_file_writer;

/* Opens a temporary beside `path`. */
qn_status qni_file_writer_open(const char *path, qni_file_writer **w) QNI_WARN_UNUSED;
/*
** The same with a temporary of a given name in the same folder, which is continued
** when it exists; `have` gets its size. For downloads that resume.
*/
qn_status qni_file_writer_resume(const char *path, const char *temporary, int64_t *have,
                                 qni_file_writer **w) QNI_WARN_UNUSED;
/* Buffered. After an error only abort (or leave) is of use. */
qn_status qni_file_writer_write(qni_file_writer *w, const void *data,
                                size_t n_bytes) QNI_WARN_UNUSED;
int64_t qni_file_writer_size(const qni_file_writer *w);                /* bytes so far */
qn_status qni_file_writer_restart(qni_file_writer *w) QNI_WARN_UNUSED; /* back to empty */
qn_status qni_file_writer_flush(qni_file_writer *w) QNI_WARN_UNUSED;   /* to the system, unsynced */
/* Syncs, renames, syncs the folder. `w` is freed in any case. */
qn_status qni_file_writer_commit(qni_file_writer *w) QNI_WARN_UNUSED;
void qni_file_writer_abort(qni_file_writer *w); /* removes the temporary; frees w; NULL is fine */
void qni_file_writer_leave(
    qni_file_writer *w); /* keeps the temporary for a later resume; frees w */

/* All of the above in one call. */
qn_status qni_file_write(const char *path, const void *data, size_t n_bytes) QNI_WARN_UNUSED;

/* ---- Logs of lines: appended and synced ---- */

typedef struct qni_file_log qni_file_log;

/* Creates the file, or opens it to append; a last line without end (a torn write) is cut off. */
qn_status qni_file_log_open(const char *path, qni_file_log **log) QNI_WARN_UNUSED;
/* Appends a record, which should end in \n. On failure the file is cut back to where it was. */
qn_status qni_file_log_append(qni_file_log *log, const char *text, size_t n_bytes,
                              bool sync) QNI_WARN_UNUSED;
int64_t qni_file_log_size(const qni_file_log *log);
/* Cuts the log to its first `size` bytes (a resumed run drops what came after its checkpoint). */
qn_status qni_file_log_cut(qni_file_log *log, int64_t size) QNI_WARN_UNUSED;
qn_status qni_file_log_close(qni_file_log *log); /* syncs; frees log in any case; NULL is fine */

/* ---- Reading ---- */

typedef struct qni_file_info {
  int64_t size;
  int64_t mtime_ns; /* last change, nanoseconds since 1970 */
  bool folder;
} qni_file_info;

bool qni_file_exists(const char *path); /* file or folder; never an error */
qn_status qni_file_stat(const char *path, qni_file_info *info) QNI_WARN_UNUSED;
/* Reads all of it, NUL-ended, freed with qni_mem_free. More than `cap` bytes are refused. */
qn_status qni_file_read(const char *path, size_t cap, char **data, size_t *n_bytes) QNI_WARN_UNUSED;

typedef struct qni_file_map {
  const void *data; /* read-only; NULL for an empty file */
  size_t n_bytes;
} qni_file_map;

qn_status qni_file_map_open(const char *path, qni_file_map *map) QNI_WARN_UNUSED;
void qni_file_map_close(qni_file_map *map); /* twice is fine */

/* ---- Moving and removing ---- */

/* rename, then sync of the target's folder; files and folders. */
qn_status qni_file_move(const char *from, const char *to) QNI_WARN_UNUSED;
/* A file, link or empty folder; what is absent is no error. */
qn_status qni_file_remove(const char *path) QNI_WARN_UNUSED;
qn_status qni_file_sync_folder(const char *folder) QNI_WARN_UNUSED;

/* QN_E_NOT_FOUND or QN_E_IO for the current errno: "cannot VERB PATH: reason", with a hint. */
qn_status qni_file_error(const char *verb, const char *path);

#endif
