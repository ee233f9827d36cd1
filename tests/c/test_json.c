/* JSON: what is refused, and that the canonical form is one. SPDX-License-Identifier: MIT */
#include "io_help.h"

#include "base/json.h"

static qn_status parse(const char *text, json_t **out) {
  return qni_json_parse(text, strlen(text), "settings", out);
}

static void bad_texts_are_refused_with_line_and_column(void **state) {
  (void)state;
  json_t *v;
  help_expect(parse("{\"a\": 1,\n \"a\": 2}", &v), QN_E_FORMAT, "line 2");
  help_expect(parse("{\"a\":\n\n x}", &v), QN_E_FORMAT, "line 3, column 2");
  help_expect(parse("", &v), QN_E_FORMAT, "settings");
  help_expect(parse("{} x", &v), QN_E_FORMAT, "line 1");
  help_expect(parse("\"\\ud800\"", &v), QN_E_FORMAT, "settings");
  help_expect(parse("[1e999]", &v), QN_E_FORMAT, "settings");
  help_expect(parse("{\"a\\u0000\":1}", &v), QN_E_FORMAT, "settings");
  assert_null(v);
}

static void depth_is_bounded(void **state) {
  (void)state;
  char deep[4000];
  json_t *v;
  memset(deep, '[', sizeof deep - 1);
  deep[sizeof deep - 1] = 0;
  help_expect(parse(deep, &v), QN_E_FORMAT, "column 65: nested too deeply");
  memset(deep + QNI_JSON_DEPTH, ']', QNI_JSON_DEPTH);
  deep[2 * QNI_JSON_DEPTH] = 0;
  assert_int_equal(parse(deep, &v), QN_OK);
  json_decref(v);
  assert_int_equal(parse("\"[[[[[\\\"[[[[\"", &v), QN_OK); /* brackets in strings do not count */
  json_decref(v);
}

static void fields_are_typed(void **state) {
  (void)state;
  json_t *v, *sub;
  const char *text;
  int64_t i;
  double x;
  bool b;
  assert_int_equal(
      parse("{\"s\":\"t\",\"i\":9007199254740993,\"x\":0.5,\"b\":true,\"o\":{},\"a\":[]}", &v),
      QN_OK);
  assert_int_equal(qni_json_string(v, "f", "s", &text), QN_OK);
  assert_string_equal(text, "t");
  assert_int_equal(qni_json_int(v, "f", "i", &i), QN_OK);
  assert_true(i == 9007199254740993);
  assert_int_equal(qni_json_number(v, "f", "x", &x), QN_OK);
  assert_true(x == 0.5);
  assert_int_equal(qni_json_bool(v, "f", "b", &b), QN_OK);
  assert_true(b);
  assert_int_equal(qni_json_object(v, "f", "o", &sub), QN_OK);
  assert_int_equal(qni_json_array(v, "f", "a", &sub), QN_OK);
  help_expect(qni_json_int(v, "f", "x", &i), QN_E_FORMAT,
              "\"x\" is a number, but must be an integer");
  help_expect(qni_json_string(v, "f", "none", &text), QN_E_FORMAT, "\"none\" is nothing");
  json_decref(v);
}

static void the_canonical_form_does_not_depend_on_order_or_blanks(void **state) {
  (void)state;
  json_t *a, *b;
  uint8_t x[32], y[32];
  assert_int_equal(parse("{\"b\": [1, 0.1], \"a\": {\"z\":null, \"y\":2}}", &a), QN_OK);
  assert_int_equal(parse("{\"a\":{\"y\":2,\"z\":null},\n\"b\":[1,0.10]}", &b), QN_OK);
  assert_int_equal(qni_json_hash(a, x), QN_OK);
  assert_int_equal(qni_json_hash(b, y), QN_OK);
  assert_memory_equal(x, y, 32);
  char *text = qni_json_dump(a);
  assert_non_null(strstr(text, "{\"a\":{\"y\":2,\"z\":null},\"b\":[1,0.1"));
  qni_mem_free(text);
  json_decref(a);
  json_decref(b);
}

static void what_is_saved_loads(void **state) {
  (void)state;
  json_t *a, *b;
  const char *path = help_path("a.json");
  assert_int_equal(parse("{\"text\":\"\xc3\xa4\",\"x\":0.1}", &a), QN_OK);
  assert_int_equal(qni_json_save(path, a), QN_OK);
  assert_int_equal(qni_json_load(path, &b), QN_OK);
  assert_true(json_equal(a, b));
  json_decref(a);
  json_decref(b);
}

static void failed_allocations_are_errors(void **state) {
  (void)state;
  for (int n = 1; n < 200; n++) {
    json_t *v = NULL;
    qni_mem_fail_after(n, 0);
    qn_status st = parse("{\"a\":[1,2,{\"b\":\"c\"}]}", &v);
    qni_mem_fail_after(0, 0);
    qni_error_reset();
    json_decref(v);
    if (st == QN_OK) return;
    assert_null(v);
  }
  fail();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_texts_are_refused_with_line_and_column),
      cmocka_unit_test(depth_is_bounded),
      cmocka_unit_test(fields_are_typed),
      cmocka_unit_test(the_canonical_form_does_not_depend_on_order_or_blanks),
      FOLDER_TEST(what_is_saved_loads),
      cmocka_unit_test(failed_allocations_are_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
