/* Fuzz target: any bytes as an NPY file. SPDX-License-Identifier: MIT */
#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  qn_tensor *t;
  qni_error_reset();
  if (!qni_npy_parse(data, n, "fuzz", &t)) qn_tensor_free(t);
  return 0;
}
