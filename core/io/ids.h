/*
** Ids: from what a file calls users and items to dense numbers, and back.
**
** Dense ids are 1..n. A map is flat arrays only, so that the dataset cache can hold
** it as it stands. Three kinds:
**   kept     dense = the file's own number (gaps stay, n is the largest)
**   numbers  the file's numbers in rising order; dense = rank
**   names    text in order of first appearance; dense = that order
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_IDS_H
#define QNI_IDS_H

#include "base/span.h"
#include "base/status.h"

enum qni_id_rule {
  QNI_ID_AUTO = 0, /* kept if from 1 and not too sparse (largest <= 8 x distinct + 1024) */
  QNI_ID_KEEP = 1, /* the file's own numbers; refused for text and for 0 */
  QNI_ID_DENSE = 2 /* 1..distinct */
};

enum qni_ids_kind { QNI_IDS_KEPT = 1, QNI_IDS_NUMBERS = 2, QNI_IDS_NAMES = 3 };

typedef struct qni_ids {
  int32_t kind;           /* enum qni_ids_kind */
  int64_t n;              /* dense ids are 1..n */
  int64_t seen;           /* how many of them occur */
  const int64_t *numbers; /* NUMBERS: [n] rising */
  const int64_t *name_at; /* NAMES: [n+1] into names */
  const char *names;      /* NAMES: all texts, end to end */
  const int32_t *sorted;  /* NAMES: [n] dense ids by rising text */
} qni_ids;

/* The dense id of a text as it stands in files, 0 if there is none. */
int64_t qni_ids_find(const qni_ids *ids, qni_span text);
/* What the file calls dense id 1..n; written to buf for numbers, "" outside. */
qni_span qni_ids_name(const qni_ids *ids, int64_t dense, char buf[24]);

/*
** Ids of kind NUMBERS for values[0..n-1] >= 0, or of kind KEPT; the values become dense.
** KEPT when `rule` says so, or may and the numbers are from 1 and not too sparse.
*/
qn_status qni_ids_number(int64_t *values, int64_t n, int32_t rule, qni_ids *ids) QNI_WARN_UNUSED;
void qni_ids_free(qni_ids *ids); /* of arrays that qni_ids_number or qni_intern_finish made */

#endif
