/*
** What tensors held before something that may have to be undone: recordings and checks run steps
** that write into tensors which outlive them (running statistics, counters).
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_KEEP_H
#define QNI_KEEP_H

#include "tensor/tensor.h"

typedef struct qni_kept {
  qn_tensor *tensor; /* the storage is kept in full */
  char *bytes;
} qni_kept;

typedef struct qni_keep { /* all zero: empty */
  qni_kept *list;
  int32_t n, max;
} qni_keep;

/* Keeps the contents of a tensor's storage as they are now; the first time counts. */
qn_status qni_keep_add(qni_keep *k, const qn_tensor *t) QNI_WARN_UNUSED;
/* What was kept goes back to where it was. */
void qni_keep_restore(const qni_keep *k);
void qni_keep_free(qni_keep *k);

#endif
