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

#if defined(__AVX512F__)
/* Of four vectors, their sums in four pieces: lane 4 k + i is a piece of the i-th one's. */
VF_INLINE vf vf_sums_of_4(const vf *v) {
  vf pair[2];
  for (int k = 0; k < 2; k++)
    pair[k] = (vf)_mm512_unpacklo_ps((__m512)v[2 * k], (__m512)v[2 * k + 1]) +
              (vf)_mm512_unpackhi_ps((__m512)v[2 * k], (__m512)v[2 * k + 1]);
  return (vf)_mm512_unpacklo_pd((__m512d)pair[0], (__m512d)pair[1]) +
         (vf)_mm512_unpackhi_pd((__m512d)pair[0], (__m512d)pair[1]);
}
/* Of sixteen vectors, four results of vf_sums_of_4: lane i is the i-th one's sum. */
VF_INLINE vf vf_sums_of_16(const vf *v) {
  vf half[2];
  for (int k = 0; k < 2; k++)
    half[k] = (vf)_mm512_shuffle_f32x4((__m512)v[2 * k], (__m512)v[2 * k + 1], 0x88) +
              (vf)_mm512_shuffle_f32x4((__m512)v[2 * k], (__m512)v[2 * k + 1], 0xdd);
  return (vf)_mm512_shuffle_f32x4((__m512)half[0], (__m512)half[1], 0x88) +
         (vf)_mm512_shuffle_f32x4((__m512)half[0], (__m512)half[1], 0xdd);
}
#endif

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
