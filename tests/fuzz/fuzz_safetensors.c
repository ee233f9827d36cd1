/* Fuzz target: any bytes as a safetensors file, read whole. SPDX-License-Identifier: MIT */
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  qni_safetensors *f;
  qni_error_reset();
  if (qni_safetensors_parse(data, n, "fuzz", &f)) return 0;
  for (int32_t i = 0; i < qni_safetensors_count(f); i++) {
    qn_tensor *t = NULL;
    qni_error_reset();
    if (!qni_safetensors_read(f, qni_safetensors_at(f, i)->name, &t)) qn_tensor_free(t);
  }
  qni_safetensors_close(f);
  return 0;
}
