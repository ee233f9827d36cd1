/*
** Tar: the files of a POSIX ustar archive in memory, one after the other.
**
** Long names come from prefix + name, from pax headers (path=) and from GNU's L entries.
** Links, folders and devices are passed over. Nothing is ever written to a disk here.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_TAR_H
#define QNI_TAR_H

#include <stdbool.h>

#include "base/status.h"

typedef struct qni_tar {
  const char *data, *origin;
  size_t n_bytes, at;
} qni_tar;

typedef struct qni_tar_file {
  char name[512];
  const char *data; /* inside the archive */
  size_t n_bytes;
} qni_tar_file;

/* The archive's first header is that of a tar. */
bool qni_tar_is(const void *data, size_t n_bytes);
/* Goes to the next regular file; *found is false at the end. */
qn_status qni_tar_next(qni_tar *tar, qni_tar_file *file, bool *found) QNI_WARN_UNUSED;

#endif
