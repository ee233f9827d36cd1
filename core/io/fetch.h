/*
** Fetch: a file from the net, whole, checked, and only then under its name.
**
** The bytes go to PATH.part; what an earlier attempt left there is continued when the
** SHA-256 is known (without it nothing says that both halves are of one file).
** https is taken from anywhere; http only with a SHA-256.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_FETCH_H
#define QNI_FETCH_H

#include <stdbool.h>

#include "base/status.h"

typedef struct qni_fetch_options { /* zero: all defaults */
  const char *sha256;              /* 64 hex digits, or NULL: unchecked */
  int64_t max_bytes;               /* 0: 16 GiB */
  int64_t expect_bytes;            /* exact size, 0: unknown */
  int32_t connect_seconds;         /* 0: 20 */
  int32_t stall_seconds;           /* without progress; 0: 60 */
  /* Called now and then; total 0: unknown. Nonzero stops with QN_E_CANCELLED, .part stays. */
  int (*progress)(void *ctx, int64_t done, int64_t total);
  void *ctx;
} qni_fetch_options;

qn_status qni_fetch(const char *url, const char *path,
                    const qni_fetch_options *options) QNI_WARN_UNUSED;

#endif
