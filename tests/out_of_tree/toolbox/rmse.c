/* rmse: root of the mean squared error of all that was added. SPDX-License-Identifier: MIT */
#include <math.h>

#include "toolbox.h"

static qn_status sums(const qn_host *h, qn_call *c, double **s) {
  qn_view *v;
  qn_status st = store_of(h)->make(c, "sums", QN_F64, 1, (int64_t[]){2}, &v);
  *s = st ? NULL : v->data;
  return st;
}

static qn_status create(const qn_host *h, qn_call *c) {
  double *s;
  return sums(h, c, &s);
}

static qn_status add(const qn_host *h, qn_call *c) {
  const qn_view *p = h->in(c, 0), *y = h->in(c, 1);
  double *s;
  qn_status st = sums(h, c, &s);
  for (int64_t i = 0; !st && i < count_of(p); i++) {
    double d = value_of(p, i) - value_of(y, i);
    s[0] += 1, s[1] += d * d;
  }
  return st;
}

static qn_status result(const qn_host *h, qn_call *c) {
  const qn_store *store = store_of(h);
  double *s;
  qn_status st = sums(h, c, &s);
  if (!st) st = store->emit(c, "n", s[0]);
  return st ? st : store->emit(c, "RMSE", s[0] > 0 ? sqrt(s[1] / s[0]) : 0);
}

static qn_status load(const qn_host *h, qn_call *c) {
  const qn_view *v = store_of(h)->find(c, "sums");
  if (store_of(h)->count(c) == 1 && v && v->dtype == QN_F64 && v->ndim == 1 && v->shape[0] == 2)
    return QN_OK;
  return h->fail(c, QN_E_FORMAT, "the state is not one tensor sums of f64[2]");
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema = "add(p: f[...], y: like p)",
    .summary = "Takes predictions and what they should have been.",
    .forward = add,
};

const qn_metric toolbox_rmse = {
    .head = {.struct_size = sizeof(qn_metric),
             .settings = "rmse()",
             .summary = "Root of the mean squared error.",
             .doc = "RMSE = sqrt(sum (p - y)^2 / n) over all that was added; p and y of any shape.",
             .example = "local m = quern.metric('rmse'); m:add(quern.ones{2}, quern.zeros{2}); "
                        "print(m:result().RMSE) --> 1.0",
             .create = create,
             .load = load},
    .add = &op,
    .result = result,
};
