/*
** Weights packed once per step, for all products of its slices.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_PACKS_H
#define QNI_PACKS_H

#include "graph/program.h"

/* A second operand as products read it: where it lies, its strides and sizes. */
typedef struct qni_pack {
  int32_t buffer;
  int64_t at;    /* bytes from where the buffer begins */
  qn_gemm shape; /* b, b_row, b_col, n, k count; b is this step's */
  char *panels;
  size_t bytes;
  int64_t n_panels;
} qni_pack;

typedef struct qni_packs {
  const qni_program *p;
  qni_pack *list;
  int32_t n, max;
  size_t bytes;      /* of all panels */
  char *const *base; /* while a step is being checked: its buffers; products then are noted */
} qni_packs;

void qni_packs_stop(qni_packs *packs);
/*
** The panels of g's second operand in this step; NULL: it is not packed. While a step is checked it
** is put on the list, if its memory is the same for all slices and nothing but the optimizer writes it.
*/
const void *qni_packs_find(qni_packs *packs, const qn_gemm *g);
/* Packs all of them, by all workers; base: where the program's buffers lie. */
qn_status qni_packs_fill(qni_packs *packs, char *const *base) QNI_WARN_UNUSED;

#endif
