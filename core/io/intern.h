/*
** Interning: texts to dense codes 1..n, in order of first appearance.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_INTERN_H
#define QNI_INTERN_H

#include "io/ids.h"

typedef struct qni_intern { /* zero: empty */
  char *names;              /* all texts, end to end */
  size_t n_bytes, room_bytes;
  int64_t *name_at; /* [n+1] once n > 0 */
  int32_t n, room;
  int32_t *slots; /* open addressing; 0: free */
  size_t n_slots; /* power of two */
} qni_intern;

qn_status qni_intern_add(qni_intern *t, qni_span text, int32_t *code) QNI_WARN_UNUSED;
void qni_intern_free(qni_intern *t);
/*
** Moves the texts into ids of kind NAMES; t becomes empty. Their arrays are the
** caller's: release them with qni_ids_free.
*/
qn_status qni_intern_finish(qni_intern *t, qni_ids *ids) QNI_WARN_UNUSED;

#endif
