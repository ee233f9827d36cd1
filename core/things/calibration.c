/*
** calibration: how far predicted probabilities are from what happened.
**
**   bin b of p: floor(p bins);  n_b, P_b = sum p, Y_b = sum y
**   ECE = sum_b |P_b - Y_b| / n          MCE = max_b |P_b - Y_b| / n_b
**   bias = sum p / sum y                 (1: as many as predicted)
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "things/things.h"

/* n, sum of p, sum of y of each bin: f64[3,bins]. */
static qn_status table(const qn_host *h, qn_call *c, double **t, int64_t *bins) {
  qn_view *v;
  *bins = h->arg_int(c, "bins");
  qn_status st = qni_store_of(h)->make(c, "bins", QN_F64, 2, (int64_t[]){3, *bins}, &v);
  *t = st ? NULL : v->data;
  return st;
}

static qn_status create(const qn_host *h, qn_call *c) {
  double *t;
  int64_t bins;
  return table(h, c, &t, &bins);
}

static double at(const qn_view *v, int64_t i) {
  return v->dtype == QN_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static qn_status add(const qn_host *h, qn_call *c) {
  const qn_view *p = h->in(c, 0), *y = h->in(c, 1);
  double *t;
  int64_t bins, n = p->shape[0];
  qn_status st = table(h, c, &t, &bins);
  if (st) return st;
  for (int64_t i = 0; i < n; i++)
    if (!(at(p, i) >= 0 && at(p, i) <= 1))
      return h->fail(c, QN_E_ARG, "probability %lld is %g; expected 0 to 1", (long long)i + 1,
                     at(p, i));
  for (int64_t i = 0; i < n; i++) {
    int64_t b = (int64_t)(at(p, i) * (double)bins);
    if (b == bins) b = bins - 1;
    t[b] += 1, t[bins + b] += at(p, i), t[2 * bins + b] += at(y, i);
  }
  return QN_OK;
}

static qn_status result(const qn_host *h, qn_call *c) {
  const qn_store *s = qni_store_of(h);
  double *t, n = 0, p = 0, y = 0, gap = 0, worst = 0;
  int64_t bins;
  qn_status st = table(h, c, &t, &bins);
  for (int64_t b = 0; !st && b < bins; b++) {
    double d = fabs(t[bins + b] - t[2 * bins + b]);
    n += t[b], p += t[bins + b], y += t[2 * bins + b], gap += d;
    if (t[b] > 0) worst = fmax(worst, d / t[b]);
  }
  if (!st) st = s->emit(c, "n", n);
  if (!st) st = s->emit(c, "ECE", n > 0 ? gap / n : 0);
  if (!st) st = s->emit(c, "MCE", worst);
  if (!st) st = s->emit(c, "bias", y > 0 ? p / y : 0);
  return st;
}

static qn_status load(const qn_host *h, qn_call *c) {
  const qn_view *v = qni_store_of(h)->find(c, "bins");
  int64_t bins = h->arg_int(c, "bins");
  if (qni_store_of(h)->count(c) == 1 && v && v->dtype == QN_F64 && v->ndim == 2 &&
      v->shape[0] == 3 && v->shape[1] == bins)
    return QN_OK;
  return h->fail(c, QN_E_FORMAT, "the state is not one tensor bins of f64[3,%lld]",
                 (long long)bins);
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema = "add(p: f[N]{0..1}, y: like p)",
    .summary = "Takes predicted probabilities and what happened, 0 or 1.",
    .forward = add,
};

const qn_metric qni_metric_calibration = {
    .head = {.struct_size = sizeof(qn_metric),
             .settings = "calibration(*, bins: int{1..100000} = 15)",
             .summary = "Expected and largest calibration error of probabilities.",
             .doc = "Probabilities fall into bins of equal width; ECE is the mean over all rows of "
                    "the gap between predicted and seen sums of their bin, MCE the largest gap of "
                    "a bin, bias predicted over seen.",
             .cite = "Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian "
                     "binning, eqs. 3-4",
             .example = "local m = quern.metric('calibration'); m:add(quern.tensor{0.2, 0.9}, "
                        "quern.tensor{0.0, 1.0}); print(m:result().ECE)",
             .create = create,
             .load = load},
    .add = &op,
    .result = result,
};
