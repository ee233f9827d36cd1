/* pow and its two gradients for one floating type REAL. SPDX-License-Identifier: MIT */

/* Powers that need no logarithm. */
static bool FN(easy_power)(REAL e, int64_t n, const REAL *x, REAL *y) {
  if (e == 2)
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * x[i];
  else if (e == 3)
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * x[i] * x[i];
  else if (e == 1)
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
  else if (e == -1)
    for (int64_t i = 0; i < n; i++) y[i] = 1 / x[i];
  else
    return false;
  return true;
}

static void FN(power)(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const REAL *a = p[1], *b = p[2];
  REAL *y = p[0];
  (void)param;
  if (step[1] && !step[2] && FN(easy_power)(*b, n, a, y)) return;
  for (int64_t i = 0; i < n; i++) y[i] = POW(a[i * step[1]], b[i * step[2]]);
}

/* g b a^(b-1); 0 where b is 0 */
static void FN(power_grad_base)(const void *param, int64_t n, void *const *p, const int64_t *step) {
  const REAL *g = p[1], *a = p[2], *b = p[3];
  REAL *y = p[0];
  (void)param;
  for (int64_t i = 0; i < n; i++) {
    const REAL e = b[i * step[3]], x = a[i * step[2]];
    y[i] = e == 0 ? 0 : g[i * step[1]] * e * (e == 2 ? x : POW(x, e - 1));
  }
}

/* g a^b log a; 0 where a is 0 */
static void FN(power_grad_exponent)(const void *param, int64_t n, void *const *p,
                                    const int64_t *step) {
  const REAL *g = p[1], *a = p[2], *b = p[3];
  REAL *y = p[0];
  (void)param;
  for (int64_t i = 0; i < n; i++) {
    const REAL x = a[i * step[2]];
    y[i] = x == 0 ? 0 : g[i * step[1]] * POW(x, b[i * step[3]]) * LOG(x);
  }
}
