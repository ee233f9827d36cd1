/*
** Element conversions for the element-by-element engine, one loop per pair of types.
** Private to elementwise_convert.c and elementwise_map.c; the functions are declared in
** elementwise_map.h. Rules:
**   to bool            0 gives 0, all else (NaN too) 1
**   floating to i64    toward zero; NaN gives 0, beyond the range its end
**   i64 to i32, u8     the low bits
**   f32 to bf16        to nearest, ties to even; NaN stays NaN
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_ELEMENTWISE_CONVERT_H
#define QNI_ELEMENTWISE_CONVERT_H

#include <string.h>
#include "elementwise_map.h"

static inline float qni_convert_from_bf16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}

static inline uint16_t qni_convert_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline int64_t qni_convert_to_i64(double x) {
  if (x != x) return 0;
  if (x >= 9223372036854775807.0) return INT64_MAX;
  return x <= -9223372036854775808.0 ? INT64_MIN : (int64_t)x;
}

#endif
