/*
** The conformance kit in this process, so that sanitizers see the checks of threads, memory and
** random calls on the core's own ops (make tsan, make asan); plainly built, a smaller share.
** SPDX-License-Identifier: MIT
*/
#include "check/check.h"
#include "ops_help.h"

static void core_passes(const char *name) {
  static char text[QNI_CHECK_TEXT], notes[QNI_CHECK_TEXT];
  qni_check_options o = {.seed = 3, .quick = true};
  bool passed = false;
  assert_ok(qni_check_run("core", name, &o, text, notes, &passed));
  if (!passed) fail_msg("%s: %s", name, text);
}

static void core_ops_may_be_called_by_eight_threads_at_once(void **state) {
  (void)state;
  core_passes("threads");
}

static void core_ops_survive_random_sequences_of_calls(void **state) {
  (void)state;
  core_passes("fuzz");
}

static void core_things_keep_their_state(void **state) {
  (void)state;
  core_passes("state");
}

static void unknown_checks_are_refused_with_what_there_is(void **state) {
  (void)state;
  char text[QNI_CHECK_TEXT], notes[QNI_CHECK_TEXT];
  bool passed;
  assert_fails(qni_check_run("core", "nothing", &(qni_check_options){0}, text, notes, &passed),
               QN_E_NOT_FOUND, "symbols:");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(core_ops_may_be_called_by_eight_threads_at_once),
      cmocka_unit_test(core_ops_survive_random_sequences_of_calls),
      cmocka_unit_test(core_things_keep_their_state),
      cmocka_unit_test(unknown_checks_are_refused_with_what_there_is),
  };
  return cmocka_run_group_tests(tests, ops_start, ops_stop);
}
