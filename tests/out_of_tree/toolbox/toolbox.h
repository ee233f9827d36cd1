/* What the files of the plugin toolbox share. SPDX-License-Identifier: MIT */
#ifndef TOOLBOX_H
#define TOOLBOX_H

#include <quern/abi.h>

extern const qn_object toolbox_alias;    /* alias.c */
extern const qn_hook toolbox_clamp;      /* clamp.c */
extern const qn_dataset toolbox_spirals; /* spirals.c */
extern const qn_metric toolbox_rmse;     /* rmse.c */
extern const qn_codec toolbox_pgm;       /* pgm.c */
extern const qn_scorer toolbox_fan;      /* fan.c */

static inline const qn_store *store_of(const qn_host *h) { return h->query("qn.store/1"); }

static inline int64_t count_of(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

static inline double value_of(const qn_view *v, int64_t i) {
  return v->dtype == QN_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

#endif
