/*
** Errors: a status travels up the call chain, its text waits in one record per thread.
**
** The text has three parts: what happened, the values and shapes, what to try.
** The first error of a call chain wins; qni_error_reset opens a new chain (the
** public entry points do it). Nothing here allocates.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_STATUS_H
#define QNI_STATUS_H

#include <stdarg.h>

#include "quern/quern.h"

#define QNI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define QNI_WARN_UNUSED __attribute__((warn_unused_result))

/* Starts a new chain: forgets this thread's error. */
void qni_error_reset(void);
/* Records what happened unless this chain has an error already; returns `status`. */
qn_status qni_fail(qn_status status, const char *what, ...) QNI_PRINTF(2, 3);
qn_status qni_failv(qn_status status, const char *what, va_list args) QNI_PRINTF(2, 0);
/* Adds a line of values or shapes to the current error. */
void qni_error_detail(const char *format, ...) QNI_PRINTF(1, 2);
/* Sets what to try, unless a hint is there already. */
void qni_error_hint(const char *format, ...) QNI_PRINTF(1, 2);
/* Names the op (schema) and plugin that were running. NULL: leave. */
void qni_error_place(const char *op, const char *plugin);

/* A copy of a thread's error, to be carried to another thread. */
typedef struct qni_error_copy {
  qn_status status;
  char text[4 * 1024];
} qni_error_copy;
void qni_error_take(qni_error_copy *copy);       /* from this thread, which forgets it */
void qni_error_give(const qni_error_copy *copy); /* becomes this thread's error */

#endif
