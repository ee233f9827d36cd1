/*
** Inside the readers of interactions: formats, and rows as they stand in the file.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_INTER_H
#define QNI_INTER_H

#include "io/interactions.h"
#include "io/intern.h"

enum {
  QNI_INTER_USER,
  QNI_INTER_ITEM,
  QNI_INTER_RATING,
  QNI_INTER_TIME,
  QNI_INTER_BEHAVIOUR,
  QNI_INTER_ROLES
};

typedef struct qni_inter_format {
  const char *name;
  const char *delimiter;       /* "": blanks */
  int32_t n_columns;           /* 0: a header tells */
  int32_t at[QNI_INTER_ROLES]; /* column of each role, -1: absent */
  bool from_one;               /* ids are promised to be integers from 1 */
  bool text_only;              /* ids are always text */
  bool sequence, leading_user;
} qni_inter_format;

typedef struct qni_inter_rows {
  int64_t n, room;
  int64_t *user, *item; /* numbers of the file, or codes of `names` */
  int64_t *time;        /* NULL when absent, as are the next two */
  float *rating;
  int32_t *behaviour;
  bool text[QNI_INTER_ROLES]; /* which roles are codes */
  qni_intern names[QNI_INTER_ROLES];
  qni_inter_format format;
} qni_inter_rows;

/* The format asked for, or the one that the first lines look like. */
qn_status qni_inter_find_format(const void *data, size_t n_bytes, const char *origin,
                                const qni_interactions_options *options,
                                qni_inter_format *format) QNI_WARN_UNUSED;
/* Reads a header line into `at` and n_columns. */
qn_status qni_inter_read_header(qni_span line, const char *origin,
                                const qni_interactions_options *options,
                                qni_inter_format *format) QNI_WARN_UNUSED;
/* All rows of a file. */
qn_status qni_inter_read_rows(const void *data, size_t n_bytes, const char *origin,
                              const qni_interactions_options *options,
                              qni_inter_rows *rows) QNI_WARN_UNUSED;
void qni_inter_rows_free(qni_inter_rows *rows);

#endif
