/*
** Element types: sizes, names, conversions.
** SPDX-License-Identifier: MIT
*/
#include "tensor/dtype.h"

#include <string.h>

static const struct {
  const char *name;
  size_t size;
} types[] = {
    [QN_F32] = {"f32", 4}, [QN_F64] = {"f64", 8}, [QN_BF16] = {"bf16", 2}, [QN_I64] = {"i64", 8},
    [QN_I32] = {"i32", 4}, [QN_U8] = {"u8", 1},   [QN_BOOL] = {"bool", 1},
};

static bool known(int32_t dtype) { return dtype >= QN_F32 && dtype <= QN_BOOL; }

size_t qni_dtype_size(int32_t dtype) { return known(dtype) ? types[dtype].size : 0; }

const char *qni_dtype_name(int32_t dtype) { return known(dtype) ? types[dtype].name : "?"; }

int32_t qni_dtype_parse(const char *name) {
  for (int32_t d = QN_F32; d <= QN_BOOL; d++)
    if (!strcmp(types[d].name, name)) return d;
  return 0;
}

bool qni_dtype_floating(int32_t dtype) {
  return dtype == QN_F32 || dtype == QN_F64 || dtype == QN_BF16;
}

uint16_t qni_bf16_from_f32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u); /* quiet NaN */
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return (uint16_t)(bits >> 16);
}

float qni_bf16_to_f32(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

double qni_dtype_load(int32_t dtype, const void *element) {
  switch (dtype) {
  case QN_F32: return (double)*(const float *)element;
  case QN_F64: return *(const double *)element;
  case QN_BF16: return (double)qni_bf16_to_f32(*(const uint16_t *)element);
  case QN_I64: return (double)*(const int64_t *)element;
  case QN_I32: return (double)*(const int32_t *)element;
  case QN_U8:
  case QN_BOOL: return (double)*(const uint8_t *)element;
  default: return 0;
  }
}

/* Toward zero, and to the nearest end of the range; NaN gives 0. */
static int64_t to_integer(double value, double low, double high) {
  /* cppcheck-suppress floatConversionOverflow ; low is one of the three ends below */
  if (!(value > low)) return value <= low ? (int64_t)low : 0;
  return value >= high ? (high > 9e18 ? INT64_MAX : (int64_t)high) : (int64_t)value;
}

void qni_dtype_store(int32_t dtype, void *element, double value) {
  switch (dtype) {
  case QN_F32: *(float *)element = (float)value; break;
  case QN_F64: *(double *)element = value; break;
  case QN_BF16: *(uint16_t *)element = qni_bf16_from_f32((float)value); break;
  case QN_I64: *(int64_t *)element = to_integer(value, -0x1p63, 0x1p63); break;
  case QN_I32: *(int32_t *)element = (int32_t)to_integer(value, -0x1p31, 0x1p31 - 1); break;
  case QN_U8: *(uint8_t *)element = (uint8_t)to_integer(value, 0, 255); break;
  case QN_BOOL: *(uint8_t *)element = value != 0; break;
  default: break;
  }
}

static bool integer(int32_t dtype) { return dtype == QN_I64 || dtype == QN_I32; }

/* Between i32 and i64 no digit may be lost, so they do not pass through a double. */
static int64_t load_integer(int32_t dtype, const void *element) {
  return dtype == QN_I64 ? *(const int64_t *)element : *(const int32_t *)element;
}

void qni_dtype_convert(int64_t n, int32_t from, const void *src, int32_t to, void *dst) {
  size_t a = qni_dtype_size(from), b = qni_dtype_size(to);
  const unsigned char *s = src;
  unsigned char *d = dst;
  if (from == to) {
    memcpy(dst, src, (size_t)n * a);
  } else if (integer(from) && integer(to)) {
    for (int64_t i = 0; i < n; i++, s += a, d += b) {
      int64_t v = load_integer(from, s);
      if (to == QN_I64)
        *(int64_t *)(void *)d = v;
      else
        *(int32_t *)(void *)d = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
    }
  } else {
    for (int64_t i = 0; i < n; i++, s += a, d += b) qni_dtype_store(to, d, qni_dtype_load(from, s));
  }
}
