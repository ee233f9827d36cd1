/*
** The BLAS found at run time: core type by features, products equal to our own, and
** life without it.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include <math.h>

#include "exec/blas.h"
#include "exec/cpu.h"
#include "exec/pool.h"

static void none_means_none(void **state) {
  (void)state;
  assert_ok(qni_blas_start("none"));
  assert_string_equal(qni_blas_path(), "");
  assert_string_equal(qni_blas_warning(), "");
  float x = 2, y = 3, z = 0;
  qn_gemm g = {.m = 1,
               .n = 1,
               .k = 1,
               .batch = 1,
               .a = &x,
               .b = &y,
               .c = &z,
               .a_row = 1,
               .a_col = 1,
               .b_row = 1,
               .b_col = 1,
               .c_row = 1,
               .alpha = 1,
               .dtype = QN_F32};
  assert_false(qni_blas_takes(&g));
  assert_ok(qni_gemm(&g));
  assert_true(z == 6);
}

static void absence_is_a_warning(void **state) {
  (void)state;
  assert_ok(qni_blas_start("/nowhere/libnothing.so"));
  assert_string_equal(qni_blas_path(), "");
  assert_non_null(strstr(qni_blas_warning(), "/nowhere/libnothing.so"));
}

/* Not a BLAS at all: refused like an absent one. */
static void another_library_is_refused(void **state) {
  (void)state;
  assert_ok(qni_blas_start("libm.so.6"));
  assert_string_equal(qni_blas_path(), "");
  assert_non_null(strstr(qni_blas_warning(), "libm.so.6"));
}

static bool found(void) {
  assert_ok(qni_blas_start(NULL));
  if (qni_blas_path()[0]) return true;
  print_message("skipped: %s\n", qni_blas_warning());
  return false;
}

static void core_type_follows_the_features(void **state) {
  (void)state;
  if (!found()) skip();
  print_message("%s: %s, core %s\n", qni_blas_path(), qni_blas_config(), qni_blas_core());
  if (!qni_blas_core()[0] ||
      strcmp(getenv("OPENBLAS_CORETYPE") ? getenv("OPENBLAS_CORETYPE") : "", qni_blas_core()))
    skip(); /* not OpenBLAS, or the user's own choice */
  if (qni_cpu_has("avx512f") && qni_cpu_has("avx512bw") && qni_cpu_has("avx512vl") &&
      qni_cpu_has("avx512dq"))
    assert_string_equal(qni_blas_core(), "SkylakeX");
  else if (qni_cpu_has("avx2"))
    assert_string_equal(qni_blas_core(), "Haswell");
  double own;
  assert_true(qni_blas_speed(&own) > 0 && own > 0);
}

static void strides_it_takes_come_out_right(void **state) {
  (void)state;
  if (!found()) skip();
  enum { M = 5, N = 7, K = 6 };
  float a[M * K], b[K * N], c[M * N];
  for (int i = 0; i < M * K; i++) a[i] = (float)(i % 11) - 5;
  for (int i = 0; i < K * N; i++) b[i] = (float)(i % 7) - 3;
  for (int turn = 0; turn < 4; turn++) {
    for (int i = 0; i < M * N; i++) c[i] = 1;
    const qn_gemm g = {.m = M,
                       .n = N,
                       .k = K,
                       .batch = 1,
                       .a = a,
                       .b = b,
                       .c = c,
                       .a_row = turn & 1 ? 1 : K,
                       .a_col = turn & 1 ? M : 1,
                       .b_row = turn & 2 ? 1 : N,
                       .b_col = turn & 2 ? K : 1,
                       .c_row = N,
                       .alpha = 2,
                       .beta = 3,
                       .dtype = QN_F32};
    assert_true(qni_blas_takes(&g));
    qni_blas_run(&g);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) {
        float sum = 0;
        for (int p = 0; p < K; p++)
          sum += a[i * g.a_row + p * g.a_col] * b[p * g.b_row + j * g.b_col];
        assert_true(fabsf(c[i * N + j] - (2 * sum + 3)) < 1e-4f);
      }
  }
  qn_gemm odd = {.m = M,
                 .n = N,
                 .k = K,
                 .batch = 1,
                 .a = a,
                 .b = b,
                 .c = c,
                 .a_row = 2 * K,
                 .a_col = 2,
                 .b_row = N,
                 .b_col = 1,
                 .c_row = N,
                 .alpha = 1,
                 .dtype = QN_F32};
  assert_false(qni_blas_takes(&odd)); /* no side is adjacent */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(none_means_none),
      cmocka_unit_test(absence_is_a_warning),
      cmocka_unit_test(another_library_is_refused),
      cmocka_unit_test(core_type_follows_the_features),
      cmocka_unit_test(strides_it_takes_come_out_right),
  };
  return cmocka_run_group_tests_name("blas", tests, NULL, NULL);
}
