/*
** Reductions that vectorize without reassociating: LANES running values, folded
** in a fixed order, so a result depends on n alone. Included once for each type
** with REAL, FN(name) and LANES (16) defined.
** SPDX-License-Identifier: MIT
*/

static inline REAL FN(fold)(const REAL *s) {
  REAL t[8], u[4];
  for (int l = 0; l < 8; l++) t[l] = s[l] + s[l + 8];
  for (int l = 0; l < 4; l++) u[l] = t[l] + t[l + 4];
  return (u[0] + u[2]) + (u[1] + u[3]);
}

static inline REAL FN(sum)(int64_t n, const REAL *x) {
  REAL s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) s[l] += x[i + l];
  for (int l = 0; i < n; i++, l++) s[l] += x[i];
  return FN(fold)(s);
}

static inline REAL FN(dot)(int64_t n, const REAL *x, const REAL *y) {
  REAL s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) s[l] += x[i + l] * y[i + l];
  for (int l = 0; i < n; i++, l++) s[l] += x[i] * y[i];
  return FN(fold)(s);
}

/* sum (x - c)^2 */
static inline REAL FN(sum_square_off)(int64_t n, const REAL *x, REAL c) {
  REAL s[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) s[l] += (x[i + l] - c) * (x[i + l] - c);
  for (int l = 0; i < n; i++, l++) s[l] += (x[i] - c) * (x[i] - c);
  return FN(fold)(s);
}

/* The greatest that is not NaN; -infinity for n = 0. */
static inline REAL FN(max)(int64_t n, const REAL *x) {
  REAL s[LANES];
  int64_t i = 0;
  for (int l = 0; l < LANES; l++) s[l] = (REAL)-INFINITY;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) s[l] = x[i + l] > s[l] ? x[i + l] : s[l];
  for (int l = 0; i < n; i++, l++) s[l] = x[i] > s[l] ? x[i] : s[l];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) s[l] = s[l + half] > s[l] ? s[l + half] : s[l];
  return s[0];
}

/* No number in x above -infinity, and no NaN either. */
static inline int FN(nothing)(int64_t n, const REAL *x, REAL top) {
  if (top != (REAL)-INFINITY) return 0;
  const REAL sum = FN(sum)(n, x);
  return sum == sum;
}

static inline void FN(axpy)(int64_t n, REAL a, const REAL *restrict x, REAL *restrict y) {
  for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static inline void FN(scale)(int64_t n, REAL a, REAL *x) {
  for (int64_t i = 0; i < n; i++) x[i] *= a;
}
