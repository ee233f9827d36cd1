/*
** The file layer that fails on purpose: it fails what it was told to, and its record is what happened.
** SPDX-License-Identifier: MIT
*/
#include "check.h"
#include "io_help.h"

#include <errno.h>

#include "base/file_faults.h"
#include "base/tick.h"

static void the_call_that_was_named_fails_and_no_other(void **state) {
  (void)state;
  const char *path = help_path("a");
  for (int32_t kind = QNI_FILE_OPEN; kind <= QNI_FILE_RENAME; kind++) {
    if (kind == QNI_FILE_TRUNCATE) continue; /* a whole file needs none */
    qni_file_faults_set(&(qni_file_faults){.at = 1, .only = kind, .code = EIO, .room = -1});
    assert_fails(qni_file_write(path, "text", 4), QN_E_IO, path);
    assert_ok(qni_file_write(path, "text", 4));
    assert_true(qni_file_faults_calls() >= 2);
    qni_file_faults_set(NULL);
  }
}

static void a_full_disk_takes_its_room_and_no_byte_more(void **state) {
  (void)state;
  qni_file_faults_set(&(qni_file_faults){.only = QNI_FILE_ANY, .code = ENOSPC, .room = 10});
  assert_ok(qni_file_write(help_path("full"), "0123456789", 10));
  assert_fails(qni_file_write(help_path("fuller"), "0", 1), QN_E_IO, "free some space");
  qni_file_faults_set(NULL);
  assert_false(qni_file_exists(help_path("fuller")));
}

static void the_record_holds_what_reached_the_disk(void **state) {
  (void)state;
  static const int32_t expected[] = {QNI_FILE_OPEN,  QNI_FILE_WRITE,  QNI_FILE_WRITE, QNI_FILE_SYNC,
                                     QNI_FILE_CLOSE, QNI_FILE_RENAME, QNI_FILE_OPEN,  QNI_FILE_SYNC,
                                     QNI_FILE_CLOSE, QNI_FILE_UNLINK, QNI_FILE_MARK};
  const qni_file_event *e;
  int64_t n;
  qni_file_faults_set(
      &(qni_file_faults){.only = QNI_FILE_ANY, .room = -1, .shorten = 3, .quick = true});
  qni_file_record(true);
  assert_ok(qni_file_write(help_path("r"), "12345", 5));
  assert_ok(qni_file_remove(help_path("r")));
  assert_ok(qni_file_record_mark("here"));
  qni_file_faults_set(NULL);
  assert_int_equal(qni_file_record_get(&e, &n), QN_OK);
  assert_true(n >= 11);
  for (int32_t i = 0; i < 10; i++) assert_int_equal(e[i].call, expected[i]);
  assert_memory_equal(e[1].data, "123", 3);
  assert_memory_equal(e[2].data, "45", 2);
  assert_string_equal(e[5].other, help_path("r"));
  assert_int_equal(e[6].size, 1); /* the folder */
  assert_int_equal(e[n - 1].call, QNI_FILE_MARK);
  assert_string_equal(e[n - 1].path, "here");
  qni_file_record(false);
}

static int64_t heard, last;
static void listen(void *ctx, const char *what, int64_t done, int64_t total) {
  assert_ptr_equal(ctx, &heard);
  assert_string_equal(what, "reading");
  assert_int_equal(total, 10);
  heard++;
  last = done;
}

static void ticks_reach_who_listens_and_nobody_else(void **state) {
  (void)state;
  qni_tick("reading", 1, 10);
  qni_tick_set(listen, &heard);
  qni_tick("reading", 5, 10);
  qni_tick_set(NULL, NULL);
  qni_tick("reading", 9, 10);
  assert_int_equal(heard, 1);
  assert_int_equal(last, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_call_that_was_named_fails_and_no_other),
      cmocka_unit_test(a_full_disk_takes_its_room_and_no_byte_more),
      cmocka_unit_test(the_record_holds_what_reached_the_disk),
      cmocka_unit_test(ticks_reach_who_listens_and_nobody_else),
  };
  return cmocka_run_group_tests(tests, help_start, help_end);
}
