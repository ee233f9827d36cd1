/* fan: |w| by the root of how many inputs the weight's unit has. SPDX-License-Identifier: MIT */
#include <math.h>

#include "toolbox.h"

static qn_status score(const qn_host *h, qn_call *c, int32_t n, qn_parameter *const *list) {
  double power = h->arg_num(c, "power");
  for (int32_t i = 0; i < n; i++) {
    const qn_view *w = list[i]->value;
    int64_t inputs = w->ndim > 1 && w->shape[0] ? count_of(w) / w->shape[0] : 1;
    double by = pow((double)inputs, power);
    for (int64_t k = 0; k < count_of(w); k++)
      ((float *)list[i]->score->data)[k] = (float)(fabs(value_of(w, k)) * by);
  }
  return QN_OK;
}

const qn_scorer toolbox_fan = {
    .head = {.struct_size = sizeof(qn_scorer),
             .settings = "fan(*, power: num = 0.5)",
             .summary = "Size of a weight against its unit's number of inputs.",
             .doc = "score = |w| n^power, n being the inputs of the weight's unit: all dimensions "
                    "but the first.",
             .example = "print(quern.scorer('fan'):score(quern.ones{1, 4}):sum():item()) --> 8.0"},
    .score = score,
};
