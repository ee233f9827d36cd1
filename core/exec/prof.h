/*
** The profiler: time, calls, bytes and FLOPs by op, and a Chrome trace.
** Off, it costs one load and a branch per op.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_PROF_H
#define QNI_PROF_H

#include <stdbool.h>
#include <stdio.h>
#include "base/status.h"

extern bool qni_prof_on;

int64_t qni_prof_now(void); /* monotonic nanoseconds */
qn_status qni_prof_start(bool trace) QNI_WARN_UNUSED;
void qni_prof_stop(void);
void qni_prof_reset(void);
/* One finished span; name must live for ever. backward: of a backward call. [any] */
void qni_prof_add(const char *name, bool backward, int64_t begin, int64_t end, int64_t bytes,
                  int64_t flops);

typedef struct qni_prof_row {
  const char *name;
  bool backward;
  int64_t calls, nanoseconds, bytes, flops;
} qni_prof_row;
/* Rows by falling time; returns the count, fills at most max. */
int32_t qni_prof_rows(qni_prof_row *rows, int32_t max);
/* Writes the Chrome trace (JSON, "traceEvents"). */
qn_status qni_prof_trace(const char *path) QNI_WARN_UNUSED;

#endif
