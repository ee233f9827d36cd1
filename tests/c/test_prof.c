/*
** The profiler: sums by name and direction, order, and a trace that is valid JSON.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include <jansson.h>

#include "exec/pool.h"
#include "exec/prof.h"

static void sums_by_name_and_direction(void **state) {
  (void)state;
  assert_ok(qni_prof_start(false));
  qni_prof_add("matmul", false, 100, 150, 10, 1000);
  char same[] = "matmul"; /* another address */
  qni_prof_add(same, false, 200, 250, 20, 2000);
  qni_prof_add("matmul", true, 0, 500, 1, 2);
  qni_prof_add("exp", false, 0, 7, 0, 0);
  qni_prof_stop();
  qni_prof_add("exp", false, 0, 7, 0, 0); /* off: not counted */
  qni_prof_row rows[8];
  assert_int_equal(qni_prof_rows(rows, 8), 3);
  assert_true(rows[0].backward && rows[0].nanoseconds == 500);
  assert_string_equal(rows[1].name, "matmul");
  assert_true(rows[1].calls == 2 && rows[1].nanoseconds == 100);
  assert_true(rows[1].bytes == 30 && rows[1].flops == 3000);
  assert_string_equal(rows[2].name, "exp");
  assert_int_equal(rows[2].calls, 1);
  assert_int_equal(qni_prof_rows(rows, 1), 3);
  qni_prof_reset();
  assert_int_equal(qni_prof_rows(rows, 8), 0);
}

static qn_status add_spans(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  for (int64_t i = begin; i < end; i++) qni_prof_add("span", false, i, i + 1, 1, 1);
  return QN_OK;
}

static void counts_from_all_workers(void **state) {
  (void)state;
  assert_ok(qni_pool_resize(3));
  assert_ok(qni_prof_start(true));
  assert_ok(qni_pool_run(10000, 10, add_spans, NULL));
  qni_prof_stop();
  qni_prof_row row;
  assert_int_equal(qni_prof_rows(&row, 1), 1);
  assert_true(row.calls == 10000 && row.nanoseconds == 10000);
  qni_pool_stop();
}

static void trace_is_json(void **state) {
  (void)state;
  char path[] = "/tmp/quern_trace_XXXXXX";
  int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  assert_ok(qni_prof_start(true));
  const int64_t now = qni_prof_now();
  qni_prof_add("odd \"name\"\\\n", true, now, now + 2500, 8, 9);
  qni_prof_stop();
  assert_ok(qni_prof_trace(path));
  json_t *root = json_load_file(path, 0, NULL);
  assert_non_null(root);
  json_t *event = json_array_get(json_object_get(root, "traceEvents"), 0);
  assert_string_equal(json_string_value(json_object_get(event, "name")), "odd \"name\"\\\n");
  assert_string_equal(json_string_value(json_object_get(event, "cat")), "backward");
  assert_true(json_number_value(json_object_get(event, "dur")) == 2.5);
  json_decref(root);
  unlink(path);
  assert_fails(qni_prof_trace("/nowhere/at/all.json"), QN_E_IO, "/nowhere/at/all.json");
  qni_prof_reset();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_by_name_and_direction),
      cmocka_unit_test(counts_from_all_workers),
      cmocka_unit_test(trace_is_json),
  };
  return cmocka_run_group_tests_name("prof", tests, NULL, NULL);
}
