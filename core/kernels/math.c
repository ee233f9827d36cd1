/*
** exp, log, tanh, ... over arrays, and the sums of them.
**
** Maps work in whole vectors; the last, partial one goes through a small buffer.
** Sums use four vector accumulators over blocks of 1024 and add the blocks in f64, in
** order: the bits depend on n and the level alone.
** SPDX-License-Identifier: MIT
*/
#include "kernels/math.h"
#include "kernels/gemm.h"
#include "kernels/math_vec.h"

enum { BLOCK = 1024 };

static vf load_part(const float *x, int64_t count) {
  float part[VF_N] = {0};
  memcpy(part, x, (size_t)count * sizeof *x);
  return vf_load(part);
}

static void store_part(float *y, vf v, int64_t count) {
  float part[VF_N];
  vf_store(part, v);
  memcpy(y, part, (size_t)count * sizeof *y);
}

#define MAP1(name, expr)                                                                           \
  static void map_##name(int64_t n, const float *xs, float *ys) {                                  \
    int64_t i = 0;                                                                                 \
    for (; i + VF_N <= n; i += VF_N) {                                                             \
      const vf x = vf_load(xs + i);                                                                \
      vf_store(ys + i, expr);                                                                      \
    }                                                                                              \
    if (i == n) return;                                                                            \
    const vf x = load_part(xs + i, n - i);                                                         \
    store_part(ys + i, expr, n - i);                                                               \
  }

#define MAP2(name, expr)                                                                           \
  static void map_##name(int64_t n, const float *xs, const float *zs, float *ys) {                 \
    int64_t i = 0;                                                                                 \
    for (; i + VF_N <= n; i += VF_N) {                                                             \
      const vf x = vf_load(xs + i), z = vf_load(zs + i);                                           \
      vf_store(ys + i, expr);                                                                      \
    }                                                                                              \
    if (i == n) return;                                                                            \
    const vf x = load_part(xs + i, n - i), z = load_part(zs + i, n - i);                           \
    store_part(ys + i, expr, n - i);                                                               \
  }

static vf silu_slope(vf x) {
  vf y;
  return vf_silu_slope(x, &y);
}

MAP1(exp, vf_exp(x))
MAP1(log, vf_log(x))
MAP1(tanh, vf_tanh(x))
MAP1(erf, vf_erf(x))
MAP1(sigmoid, vf_sigmoid(x))
MAP1(silu, vf_silu(x))
MAP2(silu_grad, z *silu_slope(x))
MAP2(add, x + z)
MAP2(mul, x *z)

static void map_silu_both(int64_t n, const float *xs, float *ys, float *slopes) {
  int64_t i = 0;
  vf y;
  for (; i + VF_N <= n; i += VF_N) {
    const vf x = vf_load(xs + i);
    vf_store(slopes + i, vf_silu_slope(x, &y));
    vf_store(ys + i, y);
  }
  if (i == n) return;
  const vf x = load_part(xs + i, n - i);
  store_part(slopes + i, vf_silu_slope(x, &y), n - i);
  store_part(ys + i, y, n - i);
}

static void map_axpy(int64_t n, float a, const float *xs, float *ys) {
  int64_t i = 0;
  for (; i + VF_N <= n; i += VF_N) vf_store(ys + i, vf_load(ys + i) + a * vf_load(xs + i));
  if (i < n) store_part(ys + i, load_part(ys + i, n - i) + a * load_part(xs + i, n - i), n - i);
}

static void map_scale(int64_t n, float a, const float *xs, float *ys) {
  int64_t i = 0;
  for (; i + VF_N <= n; i += VF_N) vf_store(ys + i, a * vf_load(xs + i));
  if (i < n) store_part(ys + i, a * load_part(xs + i, n - i), n - i);
}

/* ---- Sums ---- */

static double across(vf v) {
  float part[VF_N];
  vf_store(part, v);
  for (int width = VF_N / 2; width; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

static double block_sum(int64_t n, const float *x) {
  vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
  int64_t i = 0;
  for (; i + 4 * VF_N <= n; i += 4 * VF_N) {
    s0 += vf_load(x + i);
    s1 += vf_load(x + i + VF_N);
    s2 += vf_load(x + i + 2 * VF_N);
    s3 += vf_load(x + i + 3 * VF_N);
  }
  for (; i + VF_N <= n; i += VF_N) s0 += vf_load(x + i);
  if (i < n) s1 += load_part(x + i, n - i);
  return across((s0 + s1) + (s2 + s3));
}

static double block_dot(int64_t n, const float *x, const float *y) {
  vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
  int64_t i = 0;
  for (; i + 4 * VF_N <= n; i += 4 * VF_N) {
    s0 += vf_load(x + i) * vf_load(y + i);
    s1 += vf_load(x + i + VF_N) * vf_load(y + i + VF_N);
    s2 += vf_load(x + i + 2 * VF_N) * vf_load(y + i + 2 * VF_N);
    s3 += vf_load(x + i + 3 * VF_N) * vf_load(y + i + 3 * VF_N);
  }
  for (; i + VF_N <= n; i += VF_N) s0 += vf_load(x + i) * vf_load(y + i);
  if (i < n) s1 += load_part(x + i, n - i) * load_part(y + i, n - i);
  return across((s0 + s1) + (s2 + s3));
}

static float sum(int64_t n, const float *x) {
  double total = 0;
  for (int64_t i = 0; i < n; i += BLOCK) total += block_sum(n - i < BLOCK ? n - i : BLOCK, x + i);
  return (float)total;
}

static float dot(int64_t n, const float *x, const float *y) {
  double total = 0;
  for (int64_t i = 0; i < n; i += BLOCK)
    total += block_dot(n - i < BLOCK ? n - i : BLOCK, x + i, y + i);
  return (float)total;
}

/* NaN anywhere gives NaN. */
static float max(int64_t n, const float *x) {
  vf m0 = vf_all(-__builtin_inff()), m1 = m0, m2 = m0, m3 = m0;
  vi bad = {0};
  int64_t i = 0;
  for (; i + 4 * VF_N <= n; i += 4 * VF_N) {
    const vf a = vf_load(x + i), b = vf_load(x + i + VF_N);
    const vf c = vf_load(x + i + 2 * VF_N), d = vf_load(x + i + 3 * VF_N);
    m0 = vf_pick(a > m0, a, m0);
    m1 = vf_pick(b > m1, b, m1);
    m2 = vf_pick(c > m2, c, m2);
    m3 = vf_pick(d > m3, d, m3);
    bad |= (a != a) | (b != b) | (c != c) | (d != d);
  }
  m0 = vf_pick(m1 > m0, m1, m0);
  m2 = vf_pick(m3 > m2, m3, m2);
  m0 = vf_pick(m2 > m0, m2, m0);
  float top = -__builtin_inff();
  int32_t any = 0;
  for (int j = 0; j < VF_N; j++) {
    if (m0[j] > top) top = m0[j];
    any |= bad[j];
  }
  for (; i < n; i++) {
    if (x[i] > top) top = x[i];
    any |= x[i] != x[i];
  }
  return any ? __builtin_nanf("") : top;
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

extern const qn_math QNI_KERNEL(math);
const qn_math QNI_KERNEL(math) = {
    .struct_size = sizeof(qn_math),
    .isa = TEXT(QNI_ISA),
    .exp = map_exp,
    .log = map_log,
    .tanh = map_tanh,
    .erf = map_erf,
    .sigmoid = map_sigmoid,
    .silu = map_silu,
    .silu_grad = map_silu_grad,
    .silu_both = map_silu_both,
    .dot = dot,
    .axpy = map_axpy,
    .sum = sum,
    .max = max,
    .scale = map_scale,
    .add = map_add,
    .mul = map_mul,
    .gemm = QNI_GEMM_TILE,
};
