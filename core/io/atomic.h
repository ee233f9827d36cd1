/*
** Atomic files: RecBole's tables of typed columns (.inter, .item, .user).
**
** TAB-separated, header name:type with type token, token_seq, float or float_seq;
** sequences are separated by blanks. Tokens become dense codes 1..n of their column,
** in order of first appearance; 0 is an empty field.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ATOMIC_H
#define QNI_ATOMIC_H

#include "io/ids.h"

enum qni_column_type {
  QNI_COLUMN_TOKEN = 1,
  QNI_COLUMN_TOKENS = 2,
  QNI_COLUMN_FLOAT = 3,
  QNI_COLUMN_FLOATS = 4
};

typedef struct qni_column {
  const char *name;
  int32_t type;           /* enum qni_column_type */
  qni_ids ids;            /* of tokens; kind NAMES */
  const int32_t *codes;   /* TOKEN: [rows]; TOKENS: [offsets[rows]] */
  const double *values;   /* FLOAT: [rows], NaN for an empty field; FLOATS: [offsets[rows]] */
  const int64_t *offsets; /* TOKENS, FLOATS: [rows + 1] */
} qni_column;

typedef struct qni_atomic {
  int64_t n_rows;
  int32_t n_columns;
  const qni_column *columns;
  void *memory; /* private */
} qni_atomic;

qn_status qni_atomic_read(const char *path, qni_atomic **table) QNI_WARN_UNUSED;
qn_status qni_atomic_parse(const void *data, size_t n_bytes, const char *origin,
                           qni_atomic **table) QNI_WARN_UNUSED;
const qni_column *qni_atomic_column(const qni_atomic *table, const char *name); /* or NULL */
void qni_atomic_free(qni_atomic *table);

#endif
