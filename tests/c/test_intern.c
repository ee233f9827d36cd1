/* Texts kept once. SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/intern.h"
#include "base/mem.h"

static void equal_texts_are_one(void **state) {
  (void)state;
  const char *first[3000];
  char text[32];
  for (int i = 0; i < 3000; i++) { /* more than there are chains */
    snprintf(text, sizeof text, "recipe.lua:%d", i);
    first[i] = qni_intern(text);
    assert_string_equal(first[i], text);
  }
  for (int i = 0; i < 3000; i++) {
    snprintf(text, sizeof text, "recipe.lua:%d", i);
    assert_ptr_equal(qni_intern(text), first[i]);
  }
  assert_string_equal(qni_intern(""), "");
}

static void short_memory_is_an_error_and_leaves_the_others(void **state) {
  (void)state;
  const char *kept = qni_intern("kept");
  qni_mem_fail_after(1, 0);
  assert_null(qni_intern("not kept"));
  assert_int_equal(qn_error_last()->status, QN_E_NOMEM);
  qni_mem_fail_after(0, 0);
  assert_ptr_equal(qni_intern("kept"), kept);
  assert_string_equal(qni_intern("not kept"), "not kept");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_texts_are_one),
      cmocka_unit_test(short_memory_is_an_error_and_leaves_the_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
