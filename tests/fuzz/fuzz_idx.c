/* Fuzz target: any bytes as idx, and as the records of CIFAR. SPDX-License-Identifier: MIT */
#include "io/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  int32_t classes[2] = {20, 100};
  qn_tensor *t, *labels[2];
  qni_error_reset();
  if (!qni_idx_parse(data, n, "fuzz", &t)) qn_tensor_free(t);
  for (int32_t k = 1; k <= 2; k++) {
    qni_error_reset();
    if (qni_cifar_parse(data, n, "fuzz", k, classes, &t, labels)) continue;
    qn_tensor_free(t);
    for (int32_t i = 0; i < k; i++) qn_tensor_free(labels[i]);
  }
  return 0;
}
