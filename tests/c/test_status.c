/* Errors: the first wins, parts are kept, a copy travels. SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/status.h"

static void the_first_error_of_a_chain_wins(void **state) {
  (void)state;
  qni_error_reset();
  assert_int_equal(qni_fail(QN_E_SHAPE, "inner %d", 1), QN_E_SHAPE);
  assert_int_equal(qni_fail(QN_E_IO, "outer"), QN_E_IO);
  assert_int_equal(qn_error_last()->status, QN_E_SHAPE);
  assert_string_equal(qn_error_last()->what, "inner 1");
  qni_error_detail("a");
  qni_error_detail("b %s", "c");
  qni_error_hint("first");
  qni_error_hint("second");
  assert_string_equal(qn_error_last()->detail, "a\nb c");
  assert_string_equal(qn_error_last()->hint, "first");
  qni_error_reset();
  assert_int_equal(qn_error_last()->status, QN_OK);
  assert_string_equal(qn_error_last()->what, "");
}

static void a_copy_carries_all_parts(void **state) {
  (void)state;
  qni_error_reset();
  qni_fail(QN_E_ARG, "what");
  qni_error_detail("detail");
  qni_error_hint("hint");
  qni_error_place("op", "plugin");
  qni_error_copy copy;
  qni_error_take(&copy);
  assert_int_equal(qn_error_last()->status, QN_OK);
  qni_error_give(&copy);
  const qn_error *e = qn_error_last();
  assert_int_equal(e->status, QN_E_ARG);
  assert_string_equal(e->what, "what");
  assert_string_equal(e->detail, "detail");
  assert_string_equal(e->hint, "hint");
  assert_string_equal(e->op, "op");
  assert_string_equal(e->plugin, "plugin");
}

static void texts_beyond_the_room_are_cut_not_overrun(void **state) {
  (void)state;
  char big[9000];
  memset(big, 'x', sizeof big - 1);
  big[sizeof big - 1] = 0;
  qni_error_reset();
  qni_fail(QN_E_ARG, "%s", big);
  for (int i = 0; i < 10; i++) qni_error_detail("%s", big);
  qni_error_hint("%s", big);
  assert_true(strlen(qn_error_last()->what) < sizeof big);
  assert_true(strlen(qn_error_last()->detail) < sizeof big);
}

static void every_status_has_a_name(void **state) {
  (void)state;
  for (qn_status s = QN_E_INTERNAL; s <= QN_OK; s++)
    assert_string_not_equal(qn_status_name(s), "unknown");
  assert_string_equal(qn_status_name(17), "unknown");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_error_of_a_chain_wins),
      cmocka_unit_test(a_copy_carries_all_parts),
      cmocka_unit_test(texts_beyond_the_room_are_cut_not_overrun),
      cmocka_unit_test(every_status_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
