/* Loading a plugin library. SPDX-License-Identifier: MIT */
#ifndef QNI_LOAD_H
#define QNI_LOAD_H

#include "base/status.h"

/* As qn_plugin_load; *entry is the descriptor, which lives for ever. */
qn_status qni_load_plugin(const char *path, const qn_plugin **entry) QNI_WARN_UNUSED;

#endif
