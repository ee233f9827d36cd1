/*
** Reading a plugin's descriptor out of its file, without running any of it: exported data, its
** texts and its list of ops, found through the ELF tables and relocations.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SCAN_H
#define QNI_SCAN_H

#include "base/file.h"

enum { QNI_SCAN_OPS = 1024, QNI_SCAN_NEEDS = 64 };

typedef struct qni_scan_op {
  const char *schema, *summary, *doc, *cite, *example; /* NULL: none */
} qni_scan_op;

typedef struct qni_scan {
  qn_plugin head;                        /* texts point into the file; functions are NULL */
  const char *needs[QNI_SCAN_NEEDS + 1]; /* NULL-ended; head.requires_ids */
  qni_scan_op op[QNI_SCAN_OPS];
  int32_t n_ops;
  qni_file_map map;
} qni_scan;

/*
** QN_E_UNSUPPORTED if the file is not of a kind that can be read so (another word size or byte
** order), QN_E_PLUGIN if it is no plugin or is malformed. *scan lives until it is closed.
*/
qn_status qni_scan_open(const char *file, qni_scan **scan) QNI_WARN_UNUSED;
void qni_scan_close(qni_scan *scan); /* NULL is fine */

#endif
