/*
** The first lanes of a vector of f32: read with zeros (or what is given) after them, written with
** nothing touched after them; under a mask where the instruction level has one.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_VEC_PART_H
#define QNI_VEC_PART_H

#include "kernels/math_vec.h"

#if defined(__AVX512F__)
VF_INLINE vf vf_load_part(const float *x, int count) {
  return (vf)_mm512_maskz_loadu_ps((__mmask16)(0xFFFFu >> (16 - count)), x);
}
VF_INLINE vf vf_load_or(const float *x, int count, vf rest) {
  return (vf)_mm512_mask_loadu_ps((__m512)rest, (__mmask16)(0xFFFFu >> (16 - count)), x);
}
VF_INLINE void vf_store_part(float *y, vf v, int count) {
  _mm512_mask_storeu_ps(y, (__mmask16)(0xFFFFu >> (16 - count)), (__m512)v);
}
#else
VF_INLINE vf vf_load_or(const float *x, int count, vf rest) {
  if (count == VF_N) return vf_load(x);
  for (int i = 0; i < VF_N; i++)
    if (i < count) rest[i] = x[i];
  return rest;
}
VF_INLINE vf vf_load_part(const float *x, int count) { return vf_load_or(x, count, vf_all(0)); }
VF_INLINE void vf_store_part(float *y, vf v, int count) {
  if (count == VF_N) {
    vf_store(y, v);
    return;
  }
  for (int i = 0; i < VF_N; i++)
    if (i < count) y[i] = v[i];
}
#endif

/* Across a vector's lanes, by halves. */
VF_INLINE float vf_sum(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float lane[VF_N];
  vf_store(lane, v);
  for (int half = VF_N / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  return lane[0];
#endif
}
VF_INLINE float vf_greatest(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#else
  float lane[VF_N];
  vf_store(lane, v);
  for (int half = VF_N / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] = lane[l + half] > lane[l] ? lane[l + half] : lane[l];
  return lane[0];
#endif
}

#endif
