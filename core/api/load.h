/* Loading a plugin library. SPDX-License-Identifier: MIT */
#ifndef QNI_LOAD_H
#define QNI_LOAD_H

#include "api/scan.h"

/* As qn_plugin_load; *entry is the descriptor, which lives for ever. */
qn_status qni_load_plugin(const char *path, const qn_plugin **entry) QNI_WARN_UNUSED;

/* The library that a folder or path stands for on this CPU. */
qn_status qni_load_find(const char *path, char *file, size_t room) QNI_WARN_UNUSED;
/*
** Reads the descriptor out of the file and refuses what is refused without running any of it:
** magic, sizes, versions, needs, schemas. QN_E_UNSUPPORTED: the file cannot be read so.
*/
qn_status qni_load_read(const char *file, qni_scan **scan) QNI_WARN_UNUSED;
/* Would the host take this descriptor? Looks at magic, sizes, versions and needs only. */
qn_status qni_load_check(const char *file, const qn_plugin *p) QNI_WARN_UNUSED;

#endif
