/*
** Gzip: packed files into memory, through zlib.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_GZIP_H
#define QNI_GZIP_H

#include <stdbool.h>

#include "base/mem.h"

bool qni_gzip_is(const void *data, size_t n_bytes);
/*
** Unpacks all members; the result is freed with qni_mem_free. More than `cap` bytes are
** refused, so is a file that ends too soon or whose checksum is wrong.
*/
qn_status qni_gzip_unpack(const void *data, size_t n_bytes, const char *origin, size_t cap,
                          char **out, size_t *n_out) QNI_WARN_UNUSED;
/* Reads a file whole, and unpacks it if it is gzip. */
qn_status qni_gzip_read(const char *path, size_t cap, char **data, size_t *n_bytes) QNI_WARN_UNUSED;

#endif
