/*
** Passes over a row of scores: the greatest, and exponentials with their sum. Included with REAL,
** FN(name), IS64 after lanes_typed.h and vec_part.h.
**
** f32 goes in vectors, several sums side by side that are joined in a fixed order: the bits depend
** on n and the level alone. f64 is libm's, number after number. SPDX-License-Identifier: MIT
*/

#if IS64

static inline double greatest_f64(int64_t n, const double *x) { return max_f64(n, x); }

static inline double exp_row_f64(int64_t n, double top, double by, const double *x, double *y) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const double e = exp(x[i] - top);
    sum += e;
    y[i] = by * e;
  }
  return sum;
}

#else

/* The greatest that is not NaN; -infinity for n = 0. */
static inline float greatest_f32(int64_t n, const float *x) {
  const vf low = vf_all(-__builtin_inff());
  vf top[4] = {low, low, low, low};
  int64_t i = 0;
  for (; i + 4 * VF_N <= n; i += 4 * VF_N)
    for (int k = 0; k < 4; k++) top[k] = vf_max(vf_load(x + i + k * VF_N), top[k]);
  for (; i + VF_N <= n; i += VF_N) top[0] = vf_max(vf_load(x + i), top[0]);
  if (i < n) top[1] = vf_max(vf_load_or(x + i, (int)(n - i), low), top[1]);
  return vf_greatest(vf_max(vf_max(top[0], top[1]), vf_max(top[2], top[3])));
}

/* y = by exp(x - top), no x above top; returns the sum of the exponentials. y may be x. */
VF_INLINE float exp_row_f32(int64_t n, float top, float by, const float *x, float *y) {
  vf sum[2] = {{0}, {0}};
  int64_t i = 0;
  for (; i + 2 * VF_N <= n; i += 2 * VF_N)
    for (int k = 0; k < 2; k++) {
      const vf e = vf_exp_low(vf_load(x + i + k * VF_N) - top);
      sum[k] += e;
      vf_store(y + i + k * VF_N, by * e);
    }
  for (; i < n; i += VF_N) {
    const int count = n - i < VF_N ? (int)(n - i) : VF_N;
    const vf e = vf_exp_low(vf_load_or(x + i, count, vf_all(-__builtin_inff())) - top);
    sum[0] += e;
    vf_store_part(y + i, by * e, count);
  }
  return vf_sum(sum[0] + sum[1]);
}

#endif
