/*
** Interactions: who dealt with what and when, read from the files people publish.
**
** Formats (names for `format`):
**   "ml-100k"         TAB: user item rating time, no header
**   "ml-1m"           user::item::rating::time
**   "ml-20m"          CSV with header userId,movieId,rating,timestamp
**   "recbole"         TAB with header name:type (.inter)
**   "csv", "tsv"      header with known or given column names
**   "amazon"          CSV without header: user,item,rating,time; ids are text
**   "pairs"           user item, blanks between
**   "sequences"       one line per user: item item ...; the user is the line number
**   "user-sequences"  one line per user: user item item ...
** NULL or "auto" looks at the first lines. CRLF, a byte-order mark and a missing last
** line end are accepted. ml-*, pairs and sequences promise integer ids from 1;
** the table formats take any text as an id, and numbers as numbers while all fit.
** Events of a user are in order of time, then of the file.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_INTERACTIONS_H
#define QNI_INTERACTIONS_H

#include "io/ids.h"

typedef struct qni_interactions_options { /* zero: all defaults */
  const char *format;
  const char *user, *item, *rating, *time,
      *behaviour;   /* column names of table formats; NULL: the usual ones */
  int32_t id_rule;  /* enum qni_id_rule, for items */
  int32_t text_ids; /* 1: ids may be text in pairs and sequences too; -1: never */
} qni_interactions_options;

typedef struct qni_interactions {
  int64_t n_users, n_rows;
  qni_ids users;          /* user u (from 0) is dense id u + 1 */
  qni_ids items;          /* items.n is the catalogue's size, items.seen how many occur */
  const int64_t *offsets; /* [n_users + 1]: events of user u are offsets[u] .. offsets[u+1]-1 */
  const int32_t *item;    /* [n_rows] 1..items.n */
  const int64_t *time;    /* [n_rows] or NULL; fractions of a unit are dropped */
  const float *rating;    /* [n_rows] or NULL */
  const int32_t
      *behaviour; /* [n_rows] or NULL; the file's numbers, or 1.. by first appearance of a word */
  int64_t n_duplicates; /* rows equal to another in user, item and time */
  int64_t n_reordered;  /* users whose rows were not in order of time */
  char format[16];      /* which one it was */
  void *memory;         /* what owns the arrays; private */
} qni_interactions;

/* Errors name file and line. */
qn_status qni_interactions_read(const char *path, const qni_interactions_options *options,
                                qni_interactions **x) QNI_WARN_UNUSED;
/* The same on memory; `origin` names it in errors, and its ending helps detection. */
qn_status qni_interactions_parse(const void *data, size_t n_bytes, const char *origin,
                                 const qni_interactions_options *options,
                                 qni_interactions **x) QNI_WARN_UNUSED;
/* From sequences in memory: items 1..n_items of user u at offsets[u]; copied. time may be NULL. */
qn_status qni_interactions_from(int64_t n_users, int64_t n_items, const int64_t *offsets,
                                const int32_t *item, const int64_t *time,
                                qni_interactions **x) QNI_WARN_UNUSED;
void qni_interactions_free(qni_interactions *x); /* NULL is fine; not for those of a dataset */

typedef struct qni_interactions_stats {
  int64_t users, items, items_seen, rows, duplicates, reordered;
  double density; /* rows / (users x items seen) */
  int64_t length_min, length_max;
  double length_mean;
  int64_t time_min, time_max; /* 0, 0 without times */
  double rating_mean;         /* 0 without ratings */
} qni_interactions_stats;

void qni_interactions_measure(const qni_interactions *x, qni_interactions_stats *stats);

#endif
