/* Element types: sizes, names, conversions. SPDX-License-Identifier: MIT */
#ifndef QNI_DTYPE_H
#define QNI_DTYPE_H

#include <stdbool.h>
#include "base/status.h"

size_t qni_dtype_size(int32_t dtype);      /* bytes; 0 for an unknown type */
const char *qni_dtype_name(int32_t dtype); /* "f32"; "?" for an unknown type */
int32_t qni_dtype_parse(const char *name); /* 0 for an unknown name */
bool qni_dtype_floating(int32_t dtype);    /* f32, f64, bf16 */

uint16_t qni_bf16_from_f32(float x); /* round to nearest even, NaN stays NaN */
float qni_bf16_to_f32(uint16_t x);

/* One element, any type. Integers beyond 2^53 lose digits as doubles. */
double qni_dtype_load(int32_t dtype, const void *element);
void qni_dtype_store(int32_t dtype, void *element, double value);
/* n contiguous elements from one type to another. */
void qni_dtype_convert(int64_t n, int32_t from, const void *src, int32_t to, void *dst);

#endif
