/* Fuzz target: any bytes as gzip, and as a picture. SPDX-License-Identifier: MIT */
#include "io/gzip.h"
#include "io/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  qn_tensor *t;
  char *out;
  size_t n_out;
  qni_error_reset();
  if (!qni_picture_parse(data, n, "fuzz", 0, &t)) qn_tensor_free(t);
  qni_error_reset();
  if (!qni_gzip_unpack(data, n, "fuzz", 1 << 20, &out, &n_out)) qni_mem_free(out);
  return 0;
}
