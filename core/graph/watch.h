/*
** Watching what Lua decides: before a step is replayed, its function is called on a trial slice
** and what it would run is compared with what was captured.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_WATCH_H
#define QNI_WATCH_H

#include "graph/program.h"

/*
** The calls of `now`, made on trial slice 0 without running kernels, against the program.
** Constants that the function made anew with other values are taken over. *same false: other
** calls, sizes or arguments; the error in *why then says which.
*/
qn_status qni_watch_compare(qni_program *p, const qni_trace *now, bool *same,
                            qni_error_copy *why) QNI_WARN_UNUSED;
/* May the program's calls be looked at without running kernels? */
bool qni_watch_dry(const qni_program *p);

#endif
