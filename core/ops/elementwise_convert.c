/* Loading and storing strided elements of any type as kernel types. SPDX-License-Identifier: MIT */
#include "elementwise_convert.h"

int64_t qni_map_size(int32_t dtype) {
  switch (dtype) {
  case QN_F64:
  case QN_I64: return 8;
  case QN_F32:
  case QN_I32: return 4;
  case QN_BF16: return 2;
  default: return 1;
  }
}

#define LOOP(FROM, TO, value)                                                                      \
  {                                                                                                \
    const FROM *s = src;                                                                           \
    TO *t = dst;                                                                                   \
    for (int64_t i = 0; i < n; i++, s += from_step, t += to_step) {                                \
      const FROM x = *s;                                                                           \
      *t = (TO)(value);                                                                            \
    }                                                                                              \
    return;                                                                                        \
  }

#define LOAD_AS(TO, from_float, from_bf16, from_int)                                               \
  switch (from) {                                                                                  \
  case QN_F32: LOOP(float, TO, from_float)                                                         \
  case QN_F64: LOOP(double, TO, from_float)                                                        \
  case QN_BF16: LOOP(uint16_t, TO, from_bf16)                                                      \
  case QN_I64: LOOP(int64_t, TO, from_int)                                                         \
  case QN_I32: LOOP(int32_t, TO, from_int)                                                         \
  default: LOOP(uint8_t, TO, from_int)                                                             \
  }

void qni_map_load(int32_t from, const void *src, int64_t stride, int64_t n, int32_t type,
                  void *dst) {
  const int64_t from_step = stride, to_step = 1;
  if (from == type && stride == 1) {
    memcpy(dst, src, (size_t)(n * qni_map_size(type)));
    return;
  }
  switch (type) {
  case QN_F32: LOAD_AS(float, x, qni_convert_from_bf16(x), x)
  case QN_F64: LOAD_AS(double, x, qni_convert_from_bf16(x), x)
  case QN_I64:
    LOAD_AS(int64_t, qni_convert_to_i64((double)x),
            qni_convert_to_i64((double)qni_convert_from_bf16(x)), x)
  default: LOAD_AS(uint8_t, x != 0, (x & 0x7fff) != 0, x != 0)
  }
}

void qni_map_store(int32_t type, const void *src, int64_t n, int32_t to, void *dst,
                   int64_t stride) {
  const int64_t from_step = 1, to_step = stride;
  switch (type) {
  case QN_F32:
    if (to == QN_BF16) LOOP(float, uint16_t, qni_convert_to_bf16(x))
    LOOP(float, float, x)
  case QN_F64: LOOP(double, double, x)
  case QN_I64:
    if (to == QN_I32) LOOP(int64_t, uint32_t, (uint64_t)x & 0xffffffffu)
    if (to == QN_U8) LOOP(int64_t, uint8_t, (uint64_t)x & 0xffu)
    if (to == QN_BOOL) LOOP(int64_t, uint8_t, x != 0)
    LOOP(int64_t, int64_t, x)
  default: LOOP(uint8_t, uint8_t, x)
  }
}
