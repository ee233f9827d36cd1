/* SHA-256 (FIPS 180-4) of memory and files. SPDX-License-Identifier: MIT */
#ifndef QNI_SHA256_H
#define QNI_SHA256_H

#include "base/status.h"

typedef struct qni_sha256 {
  uint32_t state[8];
  uint64_t n_bytes;
  uint8_t block[64];
} qni_sha256;

void qni_sha256_start(qni_sha256 *s);
void qni_sha256_add(qni_sha256 *s, const void *data, size_t n_bytes);
void qni_sha256_end(qni_sha256 *s, uint8_t digest[32]);

void qni_sha256_of(const void *data, size_t n_bytes, uint8_t digest[32]);
qn_status qni_sha256_file(const char *path, uint8_t digest[32]) QNI_WARN_UNUSED;
/* 64 lower-case digits and a NUL. Returns hex. */
char *qni_sha256_hex(const uint8_t digest[32], char hex[65]);

#endif
