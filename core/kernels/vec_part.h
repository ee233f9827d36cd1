/*
** The first lanes of a vector of f32: read with zeros after them, written with nothing touched
** after them; under a mask where the instruction level has one.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_VEC_PART_H
#define QNI_VEC_PART_H

#include "kernels/math_vec.h"

#if defined(__AVX512F__)
VF_INLINE vf vf_load_part(const float *x, int count) {
  return (vf)_mm512_maskz_loadu_ps((__mmask16)(0xFFFFu >> (16 - count)), x);
}
VF_INLINE void vf_store_part(float *y, vf v, int count) {
  _mm512_mask_storeu_ps(y, (__mmask16)(0xFFFFu >> (16 - count)), (__m512)v);
}
#else
VF_INLINE vf vf_load_part(const float *x, int count) {
  vf v = {0};
  if (count == VF_N) return vf_load(x);
  for (int i = 0; i < VF_N; i++)
    if (i < count) v[i] = x[i];
  return v;
}
VF_INLINE void vf_store_part(float *y, vf v, int count) {
  if (count == VF_N) {
    vf_store(y, v);
    return;
  }
  for (int i = 0; i < VF_N; i++)
    if (i < count) y[i] = v[i];
}
#endif

#endif
