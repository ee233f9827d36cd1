/* A slice's share in a mean. SPDX-License-Identifier: MIT */
#include "graph/share.h"

static bool counts(const qni_loss *loss, const qn_view *labels, int64_t i) {
  return !labels || ((const int64_t *)labels->data)[i] != loss->ignore;
}

static double weight_sum(const qni_loss *loss, const qn_view *weights, const qn_view *labels) {
  double sum = 0;
  int64_t n = qni_view_count(weights ? weights : labels);
  for (int64_t i = 0; i < n; i++) {
    if (!counts(loss, labels, i)) continue;
    if (!weights)
      sum += 1;
    else if (weights->dtype == QN_F32)
      sum += (double)((const float *)weights->data)[i];
    else
      sum += qni_dtype_load(weights->dtype, (const char *)weights->data +
                                                (size_t)i * qni_dtype_size(weights->dtype));
  }
  return sum;
}

double qni_loss_share(const qni_loss *loss, const int64_t *value, const qn_view *weights,
                      const qn_view *labels) {
  switch (loss->kind) {
  case QNI_LOSS_COUNT: return (double)value[loss->count];
  case QNI_LOSS_WEIGHTS: return weight_sum(loss, weights, labels);
  case QNI_LOSS_RATIO: return qni_dtype_load(weights->dtype, weights->data);
  default: return 1;
  }
}
