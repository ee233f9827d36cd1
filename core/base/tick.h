/*
** Ticks: how long work in C tells how far it is. One listener a thread; without one a tick costs a look.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_TICK_H
#define QNI_TICK_H

#include <stdint.h>

typedef void (*qni_tick_fn)(void *ctx, const char *what, int64_t done, int64_t total);

void qni_tick_set(qni_tick_fn fn, void *ctx); /* of this thread; NULL: nobody listens */
/* `what` as "reading"; done and total in bytes. To be called some thousand times at most. */
void qni_tick(const char *what, int64_t done, int64_t total);

#endif
