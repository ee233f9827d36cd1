/*
** Integers of a recording as functions of the slice: scale * m + add, where m is 1 or a
** product of B (samples), N (rows of the jagged inputs) and L (the longest sequence).
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_AFFINE_H
#define QNI_AFFINE_H

#include <stdbool.h>

#include "base/mem.h"

enum { QNI_TRIALS = 3 }; /* recordings that are compared */

enum qni_monomial {
  QNI_M_ONE,
  QNI_M_B,
  QNI_M_N,
  QNI_M_L,
  QNI_M_BL,
  QNI_M_NL,
  QNI_M_LL,
  QNI_M_BLL,
  QNI_M_BB,
  QNI_M_BN,
  QNI_M_NN, /* pairs of samples: only to be refused by name */
  QNI_M_COUNT
};

typedef struct qni_extent {
  int64_t B, N, L;
} qni_extent; /* of a slice */

typedef struct qni_affine {
  int32_t monomial; /* enum qni_monomial */
  int64_t scale, add;
} qni_affine;

typedef struct qni_affines { /* all of a program, each once; index 0 is the number 0 */
  qni_extent trial[QNI_TRIALS];
  qni_affine *list;
  int32_t n, max;
} qni_affines;

qn_status qni_affines_start(qni_affines *a, const qni_extent *trials) QNI_WARN_UNUSED;
void qni_affines_free(qni_affines *a);
/*
** The function through the values that the recordings had. *found -1: there is none;
** fails for want of memory only.
*/
qn_status qni_affine_fit(qni_affines *a, const int64_t *values, int32_t *found) QNI_WARN_UNUSED;
int64_t qni_affine_value(const qni_affine *f, const qni_extent *e);
/* Does it grow with the samples? */
bool qni_affine_batched(const qni_affine *f);
/* "4 N + 1"; always NUL-ended. Returns buf. */
char *qni_affine_text(const qni_affine *f, char *buf, size_t size);

#endif
