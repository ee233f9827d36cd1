/* Fuzz target: any bytes as a tar, walked to its end. SPDX-License-Identifier: MIT */
#include "io/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  qni_tar tar = {.data = (const char *)data, .origin = "fuzz", .n_bytes = n};
  qni_tar_file file;
  bool found = true;
  volatile unsigned char last = 0;
  qni_error_reset();
  (void)qni_tar_is(data, n);
  while (!qni_tar_next(&tar, &file, &found) && found)
    if (file.n_bytes) last = (unsigned char)file.data[file.n_bytes - 1];
  (void)last;
  return 0;
}
