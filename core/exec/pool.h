/*
** The one thread pool of the process.
**
** Chunks depend on the problem (n, grain) alone; workers take them from a
** counter. A call from inside a range runs inline on the same thread. Workers
** flush denormals, spin briefly when idle, then sleep. The error of the lowest
** failing chunk is returned and becomes the caller's thread error.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_POOL_H
#define QNI_POOL_H

#include <stdbool.h>
#include "base/status.h"

qn_status
qni_pool_start(int32_t threads) QNI_WARN_UNUSED; /* counts the calling thread; 0: one per core */
void qni_pool_stop(void);
qn_status qni_pool_resize(int32_t threads) QNI_WARN_UNUSED;
int32_t qni_pool_threads(void);
int32_t qni_pool_worker(void); /* 0 is the calling thread; for per-worker memory */
bool qni_pool_inside(void);    /* in a range now */
qn_status qni_pool_run(int64_t n, int64_t grain, qn_range_fn fn, void *ctx) QNI_WARN_UNUSED;
/*
** Memory private to the current worker, at least `bytes`, 64-byte aligned, kept until it grows;
** NULL with QN_E_NOMEM.
*/
void *qni_pool_local(size_t bytes);
/* The same for users that may be active at once on one thread: each has a slot of its own. */
enum qni_local { QNI_LOCAL_OP, QNI_LOCAL_GEMM, QNI_LOCAL_COUNT };
void *qni_pool_slot(enum qni_local slot, size_t bytes);
/* Asks running loops to stop at the next chunk with QN_E_CANCELLED; false clears. [any, signal-safe] */
void qni_pool_cancel(bool on);
/* Test aids: the same at the n-th chunk from now (1 = next); whether loops are stopped. */
void qni_pool_cancel_after(int64_t n);
bool qni_pool_cancelled(void);
/* Test aid: delays chunks at random so that schedules differ. */
void qni_pool_shake(bool on);

#endif
