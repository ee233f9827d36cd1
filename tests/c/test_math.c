/*
** The vector functions against long double, at every level: 2 ulp over the whole range,
** special values, any length, in place; sums that depend on nothing but their data.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include <float.h>
#include <math.h>

#include "exec/cpu.h"
#include "kernels/math.h"

static const char *const levels[] = {"plain", "avx2", "avx512"};
typedef void (*map_fn)(int64_t n, const float *x, float *y);
typedef long double (*true_fn)(long double x);

static long double true_exp(long double x) { return expl(x); }
static long double true_log(long double x) { return logl(x); }
static long double true_tanh(long double x) { return tanhl(x); }
static long double true_erf(long double x) { return erfl(x); }
static long double true_sigmoid(long double x) { return 1 / (1 + expl(-x)); }
static long double true_silu(long double x) { return x / (1 + expl(-x)); }
static long double true_silu_slope(long double x) {
  return (1 + x / (1 + expl(x))) / (1 + expl(-x));
}

/* Distance in units of the last place of the true value, denormals included. */
static double ulps(float got, long double want) {
  const float near = (float)want;
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  if (isinf(near) || isinf(got)) {
    /* the edge of overflow: the largest number and infinity are neighbours */
    if (got == near) return 0;
    return fabsl(want) > 0.9999999L * FLT_MAX && fabsf(got) >= FLT_MAX ? 1 : INFINITY;
  }
  int e;
  frexpl(want, &e);
  if (e < -125) e = -125;
  return (double)(fabsl((long double)got - want) / ldexpl(1, e - 24));
}

static float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

enum { STRIDE = 9973, BATCH = 4096 }; /* every 9973rd f32 there is */

static void worst_of(const char *name, map_fn f, true_fn want) {
  static float x[BATCH], y[BATCH];
  double worst = 0;
  float at = 0;
  for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
    int n = 0;
    for (; n < BATCH && bits < UINT64_C(1) << 32; bits += STRIDE) x[n++] = of_bits((uint32_t)bits);
    f(n, x, y);
    for (int i = 0; i < n; i++) {
      double off = ulps(y[i], want((long double)x[i]));
      if (off > worst) worst = off, at = x[i];
    }
  }
  print_message("  %-8s %-8s worst %.2f ulp at %.9g\n", qni_math()->isa, name, worst, (double)at);
  if (!(worst <= 2)) fail_msg("%s: %.2f ulp at %.9g", name, worst, (double)at);
}

static bool level(int i) {
  if (!qni_cpu_start(levels[i])) return true;
  qni_error_reset();
  print_message("  level %s skipped: not on this CPU or build\n", levels[i]);
  return false;
}

static void at_most_two_ulp_everywhere(void **state) {
  (void)state;
  for (int l = 0; l < 3; l++) {
    if (!level(l)) continue;
    const qn_math *m = qni_math();
    assert_string_equal(m->isa, levels[l]);
    worst_of("exp", m->exp, true_exp);
    worst_of("log", m->log, true_log);
    worst_of("tanh", m->tanh, true_tanh);
    worst_of("erf", m->erf, true_erf);
    worst_of("sigmoid", m->sigmoid, true_sigmoid);
  }
}

static const float edges[] = {
    0.0f,     -0.0f,       1e-45f,      -1e-45f,  1e-39f,    1.17549435e-38f,
    1.0f,     1.00000012f, 0.99999994f, -1.0f,    88.72283f, 88.72284f,
    89.0f,    -87.33655f,  -87.5f,      -103.97f, -104.0f,   -150.0f,
    10.0f,    0.63f,       0.92f,       4.0f,     FLT_MAX,   -FLT_MAX,
    INFINITY, -INFINITY,   NAN,         1.278f,   -30.0f};

static void special_values(void **state) {
  (void)state;
  enum { N = sizeof edges / sizeof *edges };
  float y[N];
  for (int l = 0; l < 3; l++) {
    if (!level(l)) continue;
    const qn_math *m = qni_math();
    const map_fn maps[] = {m->exp, m->log, m->tanh, m->erf, m->sigmoid};
    const true_fn truths[] = {true_exp, true_log, true_tanh, true_erf, true_sigmoid};
    for (int f = 0; f < 5; f++) {
      maps[f](N, edges, y);
      for (int i = 0; i < N; i++)
        if (!(ulps(y[i], truths[f]((long double)edges[i])) <= 2))
          fail_msg("%s function %d at %.9g gives %.9g", levels[l], f, (double)edges[i],
                   (double)y[i]);
    }
    float zero = -0.0f;
    m->tanh(1, &zero, y);
    assert_true(y[0] == 0 && signbit(y[0]));
    m->erf(1, &zero, y);
    assert_true(y[0] == 0 && signbit(y[0]));
    float low = -INFINITY;
    m->silu(1, &low, y);
    assert_true(y[0] == 0); /* the limit, not inf * 0 */
    m->silu_grad(1, &low, &(float){1}, y);
    assert_true(y[0] == 0);
  }
}

/* silu' crosses zero near -1.278, where only absolute accuracy can be had. */
static void silu_and_its_slope(void **state) {
  (void)state;
  static float x[BATCH], ones[BATCH], y[BATCH], s[BATCH], s2[BATCH];
  for (int i = 0; i < BATCH; i++) ones[i] = 1;
  for (int l = 0; l < 3; l++) {
    if (!level(l)) continue;
    worst_of("silu", qni_math()->silu, true_silu);
    for (int round = 0; round < 60; round++) {
      for (int i = 0; i < BATCH; i++)
        x[i] = ((float)(i + BATCH * round) / (BATCH * 30.0f) - 1) * 103;
      qni_math()->silu_both(BATCH, x, y, s);
      qni_math()->silu_grad(BATCH, x, ones, s2);
      assert_memory_equal(s, s2, sizeof s);
      for (int i = 0; i < BATCH; i++) {
        const long double want = true_silu_slope((long double)x[i]);
        const bool near_root = fabsf(x[i] + 1.278f) < 0.5f;
        if (near_root)
          assert_true(fabsl((long double)s[i] - want) < 1.5e-7L);
        else if (!(ulps(s[i], want) <= 6))
          fail_msg("slope at %.9g: %.9g", (double)x[i], (double)s[i]);
        if (!(ulps(y[i], true_silu((long double)x[i])) <= 2))
          fail_msg("silu_both at %.9g", (double)x[i]);
      }
    }
  }
}

static void any_length_and_in_place(void **state) {
  (void)state;
  float x[131], y[131], z[131], both[131];
  for (int i = 0; i < 131; i++) x[i] = (float)(i - 60) * 0.1f, z[i] = (float)i;
  for (int l = 0; l < 3; l++) {
    if (!level(l)) continue;
    const qn_math *m = qni_math();
    float all[131];
    m->exp(131, x, all);
    for (int n = 0; n < 131; n++) {
      for (int i = 0; i < 131; i++) y[i] = 7;
      m->exp(n, x, y);
      assert_memory_equal(y, all, (size_t)n * sizeof *y);
      for (int i = n; i < 131; i++) assert_true(y[i] == 7);
      memcpy(both, x, sizeof x);
      m->exp(n, both, both);
      assert_memory_equal(both, all, (size_t)n * sizeof *y);
    }
    m->add(37, x, z, y);
    for (int i = 0; i < 37; i++) assert_true(y[i] == x[i] + z[i]);
    m->mul(37, x, z, y);
    for (int i = 0; i < 37; i++) assert_true(y[i] == x[i] * z[i]);
    m->scale(37, 0.5f, x, y);
    for (int i = 0; i < 37; i++) assert_true(y[i] == x[i] * 0.5f);
    m->axpy(37, 2.0f, z, y);
    for (int i = 0; i < 37; i++) assert_true(fabsf(y[i] - (x[i] * 0.5f + 2 * z[i])) < 1e-5f);
  }
}

static void sums(void **state) {
  (void)state;
  enum { N = 5003 };
  static float x[N], y[N];
  uint32_t r = 3;
  for (int i = 0; i < N; i++) {
    r = r * 1664525u + 1013904223u;
    x[i] = (float)(r >> 8) / 16777216.0f + 1;
    y[i] = (float)(r & 0xFFF) / 4096.0f - 0.5f;
  }
  for (int l = 0; l < 3; l++) {
    if (!level(l)) continue;
    const qn_math *m = qni_math();
    for (int n = 0; n < N; n += 1 + n / 8) {
      double s = 0, d = 0;
      float top = -INFINITY;
      for (int i = 0; i < n; i++) {
        s += (double)x[i];
        d += (double)x[i] * (double)y[i];
        if (y[i] > top) top = y[i];
      }
      assert_true(fabs(s - (double)m->sum(n, x)) <= 2e-6 * (1 + s));
      assert_true(fabs(d - (double)m->dot(n, x, y)) <= 1e-5 * (1 + s));
      assert_true(m->max(n, y) == top);
      assert_true(m->sum(n, x + 1) != 0 || n == 0);
    }
    y[77] = NAN;
    assert_true(isnan(m->max(100, y)) && isnan(m->max(78, y)) && !isnan(m->max(77, y)));
    y[77] = 0;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(at_most_two_ulp_everywhere),
      cmocka_unit_test(special_values),
      cmocka_unit_test(silu_and_its_slope),
      cmocka_unit_test(any_length_and_in_place),
      cmocka_unit_test(sums),
  };
  return cmocka_run_group_tests_name("math", tests, NULL, NULL);
}
