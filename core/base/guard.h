/* Test aid: buffers beside unreadable pages; see qni_mem_guard. SPDX-License-Identifier: MIT */
#ifndef QNI_GUARD_H
#define QNI_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when the system has no memory. mode: enum qni_guard. */
void *qni_guard_buffer(int mode, size_t bytes);
/* False if the buffer is not a guarded one. */
bool qni_guard_free(void *buffer);
int64_t qni_guard_damage(void);

#endif
