/*
** spirals: points on two arms, the usual toy of classifiers; record r is a function of r.
**
**   t = (r / 2 + 1) / (n / 2) turns;  x = t (cos 2 pi t + arm, sin 2 pi t + arm),  label = r mod 2
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "toolbox.h"

static qn_status count(const qn_host *h, qn_call *c, int64_t *n) {
  *n = h->arg_int(c, "n");
  return QN_OK;
}

static qn_status infer(const qn_host *h, qn_call *c) {
  int64_t B = h->in(c, 0)->shape[0];
  h->out(c, 0)->ndim = 2, h->out(c, 0)->shape[0] = B, h->out(c, 0)->shape[1] = 2;
  h->out(c, 1)->ndim = 1, h->out(c, 1)->shape[0] = B;
  return QN_OK;
}

static qn_status read(const qn_host *h, qn_call *c) {
  const qn_view *records = h->in(c, 0);
  float *x = h->out(c, 0)->data;
  int64_t *label = h->out(c, 1)->data, n = h->arg_int(c, "n");
  for (int64_t i = 0; i < records->shape[0]; i++) {
    int64_t r = ((const int64_t *)records->data)[i];
    if (r < 0 || r >= n)
      return h->fail(c, QN_E_ARG, "record %lld is not among 0 to %lld", (long long)r,
                     (long long)n - 1);
    double t = (double)(r / 2 + 1) / ((double)(n + 1) / 2) * h->arg_num(c, "turns");
    double angle = 6.283185307179586 * t + 3.141592653589793 * (double)(r % 2);
    x[2 * i] = (float)(t * cos(angle)), x[2 * i + 1] = (float)(t * sin(angle));
    label[i] = r % 2;
  }
  return QN_OK;
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema = "read(records: i64[B]{0..}) -> x: f32[?], label: i64[?]",
    .summary = "Points of the plane, and which arm each is on.",
    .infer = infer,
    .forward = read,
};

const qn_dataset toolbox_spirals = {
    .head = {.struct_size = sizeof(qn_dataset),
             .settings = "spirals(*, n: int{1..} = 1000, turns: num{0..} = 2)",
             .summary = "Two arms of a spiral in the plane.",
             .doc = "x is f32[B,2], label i64[B], 0 or 1, one arm turned by half a circle. Records "
                    "are 0 to n - 1, the even ones of arm 0.",
             .example = "print(quern.dataset('spirals', {n = 4}):read{1}.label:item()) --> 1"},
    .count = count,
    .read = &op,
};
