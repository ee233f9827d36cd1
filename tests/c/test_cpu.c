/*
** Levels by name, what the CPU is said to have, the denormal switch, settings by the environment.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include "exec/cpu.h"

static void levels_by_name(void **state) {
  (void)state;
  assert_ok(qni_cpu_start("plain"));
  assert_int_equal(qni_cpu_isa(), QNI_ISA_PLAIN);
  assert_string_equal(qni_cpu_isa_name(), "plain");
  assert_fails(qni_cpu_start("sse9"), QN_E_ARG, "\"avx512\", \"avx2\" and \"plain\"");
  assert_int_equal(qni_cpu_isa(), QNI_ISA_PLAIN);
  static const char *const names[] = {"avx2", "avx512"};
  for (int i = 0; i < 2; i++) {
    qn_status status = qni_cpu_start(names[i]);
    if (status)
      assert_int_equal(status, QN_E_UNSUPPORTED);
    else
      assert_string_equal(qni_cpu_isa_name(), names[i]);
  }
}

static void best_level_is_the_highest_that_starts(void **state) {
  (void)state;
  qni_error_reset();
  const char *best = !qni_cpu_start("avx512") ? "avx512"
                     : !qni_cpu_start("avx2") ? "avx2"
                                              : "plain";
  qni_error_reset();
  assert_ok(qni_cpu_start(NULL));
  assert_string_equal(qni_cpu_isa_name(), best);
  assert_ok(qni_cpu_start("")); /* an empty variable is an unset one */
  assert_string_equal(qni_cpu_isa_name(), best);
}

static void features_are_whole_words(void **state) {
  (void)state;
  assert_false(qni_cpu_has(""));
  assert_false(qni_cpu_has("avx51"));
  assert_false(qni_cpu_has("nonsense"));
  char copy[256];
  snprintf(copy, sizeof copy, "%s", qni_cpu_features());
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
    assert_true(qni_cpu_has(word));
  assert_true(strlen(qni_cpu_model()) > 0);
}

static void sizes_are_sensible(void **state) {
  (void)state;
  assert_true(qni_cpu_cores() >= 1);
  assert_true(qni_cpu_l1d() >= 4096 && qni_cpu_l1d() <= 1 << 24);
  assert_true(qni_cpu_l2() >= qni_cpu_l1d());
}

static void denormals_switch_and_come_back(void **state) {
  (void)state;
#if defined(__x86_64__) || defined(__aarch64__)
  volatile float tiny = 1.17549435e-38f;
  const uint32_t before = qni_cpu_flush_denormals(true);
  assert_true(tiny * 0.5f == 0.0f);
  const uint32_t flushing = qni_cpu_flush_denormals(false);
  assert_true(flushing != before && tiny * 0.5f > 0.0f);
  qni_cpu_fp_restore(before);
  assert_int_equal(qni_cpu_fp_control(), before);
  assert_true(tiny * 0.5f > 0.0f);
#else
  skip();
#endif
}

static void bad_settings_of_the_environment_are_refused(void **state) {
  (void)state;
  const qn_config config = {.struct_size = sizeof config, .blas = "none"};
  static const char *const bad[][3] = {{"QUERN_HUGE_PAGES", "many", "QUERN_HUGE_PAGES is 'many'"},
                                       {"QUERN_THREADS", "0", "QUERN_THREADS is '0'"},
                                       {"QUERN_ISA", "sse9", "instruction level"}};
  for (int i = 0; i < 3; i++) {
    const char *before = getenv(bad[i][0]);
    char *kept = before ? strdup(before) : NULL;
    assert_int_equal(setenv(bad[i][0], bad[i][1], 1), 0);
    assert_fails(qn_start(&config), QN_E_ARG, bad[i][2]);
    if (kept)
      setenv(bad[i][0], kept, 1);
    else
      unsetenv(bad[i][0]);
    free(kept);
  }
  assert_ok(qn_start(&config));
  qn_stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(levels_by_name),
      cmocka_unit_test(best_level_is_the_highest_that_starts),
      cmocka_unit_test(features_are_whole_words),
      cmocka_unit_test(sizes_are_sensible),
      cmocka_unit_test(denormals_switch_and_come_back),
      cmocka_unit_test(bad_settings_of_the_environment_are_refused),
  };
  return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
