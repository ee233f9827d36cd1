/*
** Scores of weights for pruning: by size, and by what the loss would lose.
**
**   magnitude  |w|                        Han et al. 2015
**   taylor     |w dL/dw|                  Molchanov et al. 2019, eq. 8 (of one weight: its root)
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "things/things.h"

enum { GRAIN = 16384 };

struct work {
  const qn_parameter *p;
  bool taylor;
};

static double at(const qn_view *v, int64_t i) {
  return v->dtype == QN_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static qn_status fill(void *ctx, int64_t begin, int64_t end) {
  const struct work *k = ctx;
  float *score = k->p->score->data;
  for (int64_t i = begin; i < end; i++) {
    double w = at(k->p->value, i);
    score[i] = (float)fabs(k->taylor ? w * at(k->p->grad, i) : w);
  }
  return QN_OK;
}

static qn_status magnitude(const qn_host *h, qn_call *c, int32_t n, qn_parameter *const *list) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < n; i++)
    st = h->parallel(c, qni_count_of(list[i]->value), GRAIN, fill, &(struct work){.p = list[i]});
  return st;
}

static qn_status taylor(const qn_host *h, qn_call *c, int32_t n, qn_parameter *const *list) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < n; i++) {
    if (!list[i]->grad)
      return h->fail(c, QN_E_STATE, "%s has no gradient to score by", list[i]->name);
    st = h->parallel(c, qni_count_of(list[i]->value), GRAIN, fill,
                     &(struct work){.p = list[i], .taylor = true});
  }
  return st;
}

const qn_scorer qni_scorer_magnitude = {
    .head = {.struct_size = sizeof(qn_scorer),
             .settings = "magnitude()",
             .summary = "The size of a weight.",
             .doc = "score = |w|",
             .cite = "Han et al. 2015, Learning both weights and connections",
             .example = "print(quern.scorer('magnitude'):score(quern.tensor{-2.0, 1.0}))"},
    .score = magnitude,
};

const qn_scorer qni_scorer_taylor = {
    .head = {.struct_size = sizeof(qn_scorer),
             .settings = "taylor()",
             .summary = "What the loss would change by, to first order, without the weight.",
             .doc = "score = |w dL/dw|",
             .cite =
                 "Molchanov et al. 2019, Importance estimation for neural network pruning, eq. 8",
             .example = "print(quern.scorer('taylor').needs_grad)"},
    .reads = QN_SCORE_GRAD,
    .score = taylor,
};
