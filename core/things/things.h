/*
** The core's own objects, hooks, data sets, metrics, codecs and scorers, through the same ABI
** as a plugin's. They see quern/abi.h, and what they give a face to.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_THINGS_H
#define QNI_THINGS_H

#include <stdbool.h>

#include "quern/abi.h"

/* As a plugin's query: NULL for what the core has none of. */
const void *qni_things_query(const char *interface_id);

extern const qn_object qni_object_lion;                         /* lion.c */
extern const qn_hook qni_hook_average;                          /* average.c */
extern const qn_dataset qni_dataset_stream;                     /* stream.c */
extern const qn_metric qni_metric_calibration;                  /* calibration.c */
extern const qn_codec qni_codec_npy;                            /* npy.c */
extern const qn_scorer qni_scorer_magnitude, qni_scorer_taylor; /* scores.c */

/* ---- What they share ---- */

static inline const qn_store *qni_store_of(const qn_host *h) { return h->query("qn.store/1"); }

static inline int64_t qni_count_of(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

#endif
