/*
** Test aid: a file layer that fails, delays or shortens calls, fills a disk, and keeps a record.
**
** The record tells what a disk was asked to do, in order; tests/lua/disk.lua makes from it every
** disk that a loss of power could leave. One thread.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_FILE_FAULTS_H
#define QNI_FILE_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum qni_file_call {
  QNI_FILE_OPEN,
  QNI_FILE_WRITE,
  QNI_FILE_TRUNCATE,
  QNI_FILE_SYNC,
  QNI_FILE_CLOSE,
  QNI_FILE_RENAME,
  QNI_FILE_UNLINK,
  QNI_FILE_MARK, /* a note of the test, between calls */
  QNI_FILE_ANY = -1
};

typedef struct qni_file_faults {
  int64_t at;      /* the n-th call of `only` from now, 1 = next; 0: none */
  bool onward;     /* and all later ones of it */
  int32_t only;    /* enum qni_file_call */
  int32_t code;    /* errno of the failure; 0: the call is delayed, not failed */
  int64_t shorten; /* most bytes that one write takes; 0: as asked */
  int64_t room;    /* bytes until the disk is full; -1: endless */
  bool quick;      /* syncs are counted and recorded, but not carried out */
} qni_file_faults;

typedef struct qni_file_event {
  int32_t call; /* enum qni_file_call; only those that succeeded are kept */
  int32_t fd;
  int64_t size;      /* of a truncation; of the data; 1 when a folder is opened */
  const char *path;  /* of open, rename (from), unlink, mark */
  const char *other; /* of rename: to */
  const char *data;  /* of a write */
} qni_file_event;

/* Puts the layer in place and counts from 0; NULL: the system's again. */
void qni_file_faults_set(const qni_file_faults *faults);
int64_t qni_file_faults_calls(void); /* of the kind asked for, since it was set */

/* Starts an empty record, or ends and forgets it. */
void qni_file_record(bool on);
qn_status qni_file_record_mark(const char *text) QNI_WARN_UNUSED;
/* Events so far; QN_E_NOMEM when one could not be kept. */
qn_status qni_file_record_get(const qni_file_event **events, int64_t *n) QNI_WARN_UNUSED;

#endif
