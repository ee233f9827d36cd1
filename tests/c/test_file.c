/*
** Files: whatever call fails, the old file stays, nothing is left over, and the error says why.
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- A layer whose n-th call fails ---- */

static int calls, fail_at, fail_code;
static int64_t disk_room; /* bytes until ENOSPC; -1: endless */
static size_t most_at_once;

static int refused(void) { return ++calls == fail_at ? errno = fail_code, 1 : 0; }

static int f_open(const char *path, int flags, mode_t mode) {
  return refused() ? -1 : qni_file_system.open(path, flags, mode);
}
static ssize_t f_write(int fd, const void *data, size_t n) {
  if (refused()) return -1;
  if (most_at_once && n > most_at_once) n = most_at_once;
  if (disk_room >= 0 && (int64_t)n > disk_room) n = (size_t)disk_room;
  if (disk_room == 0) return errno = ENOSPC, -1;
  ssize_t done = qni_file_system.write(fd, data, n);
  if (disk_room > 0 && done > 0) disk_room -= done;
  return done;
}
static int f_truncate(int fd, off_t size) {
  return refused() ? -1 : qni_file_system.truncate(fd, size);
}
static int f_sync(int fd) { return refused() ? -1 : qni_file_system.sync(fd); }
static int f_close(int fd) {
  int failed = refused(), code = errno;
  qni_file_system.close(fd); /* the system closes even when it reports a failure */
  return failed ? errno = code, -1 : 0;
}
static int f_rename(const char *a, const char *b) {
  return refused() ? -1 : qni_file_system.rename(a, b);
}
static int f_unlink(const char *path) { return qni_file_system.unlink(path); }

static const qni_file_layer faulty = {f_open,  f_write,  f_truncate, f_sync,
                                      f_close, f_rename, f_unlink};

static void fault(int at, int code) {
  calls = 0, fail_at = at, fail_code = code, disk_room = -1, most_at_once = 0;
  qni_file_set_layer(&faulty);
}

static void expect_content(const char *path, const char *text) {
  char *data;
  size_t n;
  assert_int_equal(qni_file_read(path, 1 << 20, &data, &n), QN_OK);
  assert_int_equal(n, strlen(text));
  assert_string_equal(data, text);
  qni_mem_free(data);
}

static void expect_files(int64_t n) {
  qni_folder_list list;
  assert_int_equal(qni_folder_read(help_folder, &list), QN_OK);
  assert_int_equal(list.n, n);
  qni_folder_list_free(&list);
}

/* ---- Writing ---- */

static void a_write_replaces_the_whole_file(void **state) {
  (void)state;
  const char *path = help_path("a");
  assert_int_equal(qni_file_write(path, "old and long", 12), QN_OK);
  assert_int_equal(qni_file_write(path, "new", 3), QN_OK);
  expect_content(path, "new");
  expect_files(1);
}

static void any_failing_call_leaves_the_old_file_and_no_temporary(void **state) {
  (void)state;
  const char *path = help_write("a", "old", 3);
  int n_calls = 0, failures = 0;
  for (int at = 1; at <= (n_calls ? n_calls : 1); at++) {
    assert_int_equal(qni_file_write(path, "old", 3), QN_OK);
    fault(n_calls ? at : 0, EIO);
    qn_status st = qni_file_write(path, "fresh", 5);
    qni_file_set_layer(NULL);
    if (!n_calls) {
      assert_int_equal(st, QN_OK);
      n_calls = calls, at = 0;
      assert_true(n_calls >= 8); /* open write sync close rename, open sync close of the folder */
      continue;
    }
    expect_files(1);
    if (at == n_calls) continue; /* closing the folder is past all promises */
    failures++;
    assert_int_equal(st, QN_E_IO);
    assert_non_null(strstr(qn_error_last()->what, strerror(EIO)));
    assert_non_null(strstr(qn_error_last()->what, help_folder));
    assert_true(*qn_error_last()->hint);
    qni_error_reset();
    expect_content(path, at <= 5 ? "old" : "fresh"); /* after the rename the new one is in place */
  }
  assert_true(failures >= 7);
}

static void a_full_disk_keeps_the_old_file(void **state) {
  (void)state;
  const char *path = help_write("a", "old", 3);
  char *big = qni_mem_zalloc(1, 300000);
  for (int64_t room = 0; room < 300000; room += 77777) {
    fault(0, 0);
    disk_room = room;
    qn_status st = qni_file_write(path, big, 300000);
    qni_file_set_layer(NULL);
    help_expect(st, QN_E_IO, strerror(ENOSPC));
    expect_content(path, "old");
    expect_files(1);
  }
  qni_mem_free(big);
}

static void short_writes_are_continued(void **state) {
  (void)state;
  const char *path = help_path("a");
  qni_file_writer *w;
  fault(0, 0);
  most_at_once = 7;
  assert_int_equal(qni_file_writer_open(path, &w), QN_OK);
  for (int i = 0; i < 3; i++) assert_int_equal(qni_file_writer_write(w, "0123456789", 10), QN_OK);
  assert_int_equal(qni_file_writer_size(w), 30);
  assert_int_equal(qni_file_writer_commit(w), QN_OK);
  qni_file_set_layer(NULL);
  expect_content(path, "012345678901234567890123456789");
}

static void an_interrupted_write_is_repeated(void **state) {
  (void)state;
  const char *path = help_path("a");
  fault(2, EINTR); /* the first write */
  assert_int_equal(qni_file_write(path, "text", 4), QN_OK);
  qni_file_set_layer(NULL);
  expect_content(path, "text");
}

static void an_abandoned_writer_leaves_nothing(void **state) {
  (void)state;
  qni_file_writer *w;
  assert_int_equal(qni_file_writer_open(help_path("a"), &w), QN_OK);
  assert_int_equal(qni_file_writer_write(w, "x", 1), QN_OK);
  qni_file_writer_abort(w);
  qni_file_writer_abort(NULL);
  expect_files(0);
}

static void a_left_writer_is_continued(void **state) {
  (void)state;
  const char *path = help_path("a"), *part = help_path("a.part");
  qni_file_writer *w;
  int64_t have;
  assert_int_equal(qni_file_writer_resume(path, part, &have, &w), QN_OK);
  assert_int_equal(have, 0);
  assert_int_equal(qni_file_writer_write(w, "one ", 4), QN_OK);
  qni_file_writer_leave(w);
  assert_int_equal(qni_file_writer_resume(path, part, &have, &w), QN_OK);
  assert_int_equal(have, 4);
  assert_int_equal(qni_file_writer_write(w, "two", 3), QN_OK);
  assert_int_equal(qni_file_writer_commit(w), QN_OK);
  expect_content(path, "one two");
  expect_files(1);
}

static void every_failed_allocation_is_an_error_and_nothing_more(void **state) {
  (void)state;
  const char *path = help_write("a", "old", 3);
  for (int n = 1;; n++) {
    qni_mem_fail_after(n, 0);
    qn_status st = qni_file_write(path, "new", 3);
    qni_mem_fail_after(0, 0);
    qni_error_reset();
    expect_files(1);
    if (st == QN_OK) break;
    assert_int_equal(st, QN_E_NOMEM);
    assert_true(n < 20);
  }
  expect_content(path, "new");
}

static void a_kill_at_any_time_leaves_one_of_the_two_files(void **state) {
  (void)state;
  const char *path = help_path("a");
  size_t n = 1 << 20;
  char *data = qni_mem_alloc(n), *back;
  memset(data, 'a', n);
  assert_int_equal(qni_file_write(path, data, n), QN_OK);
  for (int i = 0; i < 12; i++) {
    pid_t child = fork();
    if (child == 0) {
      for (char c = 'a';; c = (char)(c == 'z' ? 'a' : c + 1)) {
        memset(data, c, n);
        if (qni_file_write(path, data, n)) _exit(1);
      }
    }
    usleep((useconds_t)(1000 + 1700 * i));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    size_t got;
    assert_int_equal(qni_file_read(path, n, &back, &got), QN_OK);
    assert_int_equal(got, n);
    for (size_t k = 1; k < n; k++) assert_int_equal(back[k], back[0]);
    qni_mem_free(back);
  }
  qni_mem_free(data);
}

/* ---- Logs ---- */

static void a_log_grows_by_whole_lines(void **state) {
  (void)state;
  const char *path = help_path("log");
  qni_file_log *log;
  assert_int_equal(qni_file_log_open(path, &log), QN_OK);
  assert_int_equal(qni_file_log_append(log, "one\n", 4, true), QN_OK);
  assert_int_equal(qni_file_log_append(log, "two\n", 4, false), QN_OK);
  assert_int_equal(qni_file_log_close(log), QN_OK);
  expect_content(path, "one\ntwo\n");
}

static void a_torn_last_line_is_cut_off(void **state) {
  (void)state;
  const char *path = help_write("log", "one\ntwo\nthr", 11);
  qni_file_log *log;
  assert_int_equal(qni_file_log_open(path, &log), QN_OK);
  assert_int_equal(qni_file_log_size(log), 8);
  assert_int_equal(qni_file_log_append(log, "four\n", 5, true), QN_OK);
  assert_int_equal(qni_file_log_close(log), QN_OK);
  expect_content(path, "one\ntwo\nfour\n");
  char *long_line = qni_mem_alloc(10000);
  memset(long_line, 'x', 10000);
  path = help_write("long", long_line, 10000);
  qni_mem_free(long_line);
  assert_int_equal(qni_file_log_open(path, &log), QN_OK);
  assert_int_equal(qni_file_log_size(log), 0);
  assert_int_equal(qni_file_log_close(log), QN_OK);
}

static void a_failed_append_leaves_no_half_line(void **state) {
  (void)state;
  const char *path = help_path("log");
  qni_file_log *log;
  assert_int_equal(qni_file_log_open(path, &log), QN_OK);
  assert_int_equal(qni_file_log_append(log, "one\n", 4, true), QN_OK);
  fault(0, 0);
  disk_room = 2;
  help_expect(qni_file_log_append(log, "two\n", 4, true), QN_E_IO, strerror(ENOSPC));
  disk_room = -1;
  assert_int_equal(qni_file_log_append(log, "three\n", 6, true), QN_OK);
  qni_file_set_layer(NULL);
  assert_int_equal(qni_file_log_cut(log, 4), QN_OK);
  help_expect(qni_file_log_cut(log, 5), QN_E_ARG, "cannot cut");
  assert_int_equal(qni_file_log_append(log, "2\n", 2, true), QN_OK);
  assert_int_equal(qni_file_log_close(log), QN_OK);
  expect_content(path, "one\n2\n");
}

/* ---- Reading, folders, paths ---- */

static void a_read_obeys_its_cap(void **state) {
  (void)state;
  const char *path = help_write("a", "12345", 5);
  char *data;
  size_t n;
  assert_int_equal(qni_file_read(path, 5, &data, &n), QN_OK);
  assert_string_equal(data, "12345");
  qni_mem_free(data);
  help_expect(qni_file_read(path, 4, &data, &n), QN_E_FORMAT, "too large");
  assert_null(data);
  help_expect(qni_file_read("/dev/zero", 100000, &data, &n), QN_E_FORMAT, "too large");
  help_expect(qni_file_read(help_path("none"), 4, &data, &n), QN_E_NOT_FOUND, "No such file");
}

static void a_mapping_shows_the_bytes(void **state) {
  (void)state;
  qni_file_map map;
  assert_int_equal(qni_file_map_open(help_write("a", "12345", 5), &map), QN_OK);
  assert_int_equal(map.n_bytes, 5);
  assert_memory_equal(map.data, "12345", 5);
  qni_file_map_close(&map);
  qni_file_map_close(&map);
  assert_int_equal(qni_file_map_open(help_write("b", "", 0), &map), QN_OK);
  assert_int_equal(map.n_bytes, 0);
  help_expect(qni_file_map_open(help_folder, &map), QN_E_IO, "directory");
  help_expect(qni_file_map_open("/dev/null", &map), QN_E_IO, "ordinary");
}

static void folders_are_made_listed_moved_and_removed(void **state) {
  (void)state;
  const char *deep = help_path("x/y//z");
  qni_folder_list list;
  assert_int_equal(qni_folder_make(deep), QN_OK);
  assert_int_equal(qni_folder_make(deep), QN_OK);
  help_write("x/y/b", "", 0);
  help_write("x/y/a", "", 0);
  assert_int_equal(symlink(help_folder, help_path("x/y/link")), 0);
  assert_int_equal(qni_folder_read(help_path("x/y"), &list), QN_OK);
  assert_int_equal(list.n, 4);
  assert_string_equal(list.names[0], "a");
  assert_string_equal(list.names[3], "z");
  qni_folder_list_free(&list);
  help_expect(qni_folder_make(help_path("x/y/a/below")), QN_E_IO, "make folder");
  assert_int_equal(qni_file_move(help_path("x"), help_path("moved")), QN_OK);
  assert_false(qni_file_exists(help_path("x")));
  assert_int_equal(qni_folder_remove(help_path("moved")), QN_OK);
  assert_int_equal(qni_folder_remove(help_path("moved")), QN_OK);
  expect_files(0); /* and the link was not followed: the folder is still there to be listed */
}

static void paths_split_and_join(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"a/b", "a"}, {"b", "."}, {"/b", "/"}, {"a//b", "a"}, {"a/b/", "a"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *folder = qni_path_folder(cases[i][0]);
    assert_string_equal(folder, cases[i][1]);
    qni_mem_free(folder);
  }
  static const char *const joins[][3] = {
      {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}};
  for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
    char *path = qni_path_join(joins[i][0], joins[i][1]);
    assert_string_equal(path, joins[i][2]);
    qni_mem_free(path);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      FOLDER_TEST(a_write_replaces_the_whole_file),
      FOLDER_TEST(any_failing_call_leaves_the_old_file_and_no_temporary),
      FOLDER_TEST(a_full_disk_keeps_the_old_file),
      FOLDER_TEST(short_writes_are_continued),
      FOLDER_TEST(an_interrupted_write_is_repeated),
      FOLDER_TEST(an_abandoned_writer_leaves_nothing),
      FOLDER_TEST(a_left_writer_is_continued),
      FOLDER_TEST(every_failed_allocation_is_an_error_and_nothing_more),
      FOLDER_TEST(a_kill_at_any_time_leaves_one_of_the_two_files),
      FOLDER_TEST(a_log_grows_by_whole_lines),
      FOLDER_TEST(a_torn_last_line_is_cut_off),
      FOLDER_TEST(a_failed_append_leaves_no_half_line),
      FOLDER_TEST(a_read_obeys_its_cap),
      FOLDER_TEST(a_mapping_shows_the_bytes),
      FOLDER_TEST(folders_are_made_listed_moved_and_removed),
      FOLDER_TEST(paths_split_and_join),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
