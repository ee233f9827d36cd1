/*
** The Dirichlet-process stream: sequences whose tastes recur, on a growing catalogue.
**
** Each of n_items items has one of n_categories categories. Record r sees the items
** 1..open(r), open(r) = n_items (initial + (1 - initial) r / n_records). It draws up to
** categories_per_record categories with a random prior H over them, and a concentration
** alpha ~ U(alpha_min, alpha_max). At position n its category is, with probability
** alpha / (alpha + n - 1), a draw from H, otherwise that of one of the n - 1 items before,
** each being equally likely; the item is uniform among the open items of the category.
** Record r is a function of (seed, r), whatever was drawn before.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_DIRICHLET_H
#define QNI_DIRICHLET_H

#include "io/interactions.h"

typedef struct qni_dirichlet_options { /* zero fields: the paper's values */
  int64_t n_items;                     /* 20000 */
  int64_t n_categories;                /* 100 */
  int64_t n_records;                   /* 1000000 */
  int64_t length;                      /* 128 */
  int64_t categories_per_record;       /* 5 */
  double initial;                      /* 0.4 */
  double alpha_min, alpha_max;         /* 1, 500 */
  uint64_t seed;
} qni_dirichlet_options;

typedef struct qni_dirichlet qni_dirichlet;

qn_status qni_dirichlet_new(const qni_dirichlet_options *options,
                            qni_dirichlet **stream) QNI_WARN_UNUSED;
void qni_dirichlet_free(qni_dirichlet *stream);
const qni_dirichlet_options *
qni_dirichlet_settings(const qni_dirichlet *stream);                       /* defaults filled in */
int64_t qni_dirichlet_open(const qni_dirichlet *stream, int64_t record);   /* largest item id */
int32_t qni_dirichlet_category(const qni_dirichlet *stream, int64_t item); /* from 0; -1 unknown */
/* Writes `length` item ids of record 0 .. n_records-1. */
void qni_dirichlet_record(const qni_dirichlet *stream, int64_t record, int32_t *items);
/* Records begin .. end-1 as the users of an interactions object, without times. */
qn_status qni_dirichlet_interactions(const qni_dirichlet *stream, int64_t begin, int64_t end,
                                     qni_interactions **x) QNI_WARN_UNUSED;

#endif
