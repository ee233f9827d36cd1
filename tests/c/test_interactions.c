/*
** Interactions, atomic tables and the dataset cache: what files say, and what they may not.
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>

#include "io/atomic.h"
#include "io/dataset.h"
#include "io/interactions.h"

static qni_interactions *read_text(const char *text, const char *format) {
  qni_interactions *x = NULL;
  qni_interactions_options o = {.format = format};
  qn_status st = qni_interactions_parse(text, strlen(text), "text", &o, &x);
  if (st) fail_msg("%s", qn_error_last()->what);
  return x;
}

static void refuse(const char *text, const char *format, const char *why) {
  qni_interactions *x;
  qni_interactions_options o = {.format = format};
  size_t n = strlen(text);
  char *exact = qni_mem_alloc(n); /* not NUL-ended: a sanitizer sees reads beyond */
  memcpy(exact, text, n);
  help_expect(qni_interactions_parse(exact, n, "text", &o, &x), QN_E_FORMAT, why);
  assert_null(x);
  qni_mem_free(exact);
}

static void expect_items(const qni_interactions *x, int64_t user, int64_t n, const int32_t *items) {
  assert_int_equal(x->offsets[user + 1] - x->offsets[user], n);
  assert_memory_equal(x->item + x->offsets[user], items, (size_t)n * sizeof *items);
}

/* ---- Formats ---- */

static void every_format_is_recognised_and_read(void **state) {
  (void)state;
  static const struct {
    const char *format, *text;
    bool time, rating;
  } cases[] = {
      {"ml-100k", "7\t3\t4\t20\n2\t1\t5\t5\n7\t1\t3\t10\n", true, true},
      {"ml-1m", "7::3::4::20\n2::1::5::5\n7::1::3::10\n", true, true},
      {"ml-20m", "userId,movieId,rating,timestamp\n7,3,4.5,20\n2,1,5,5\n7,1,3,10\n", true, true},
      {"recbole",
       "user_id:token\titem_id:token\trating:float\ttimestamp:"
       "float\n7\t3\t4\t20\n2\t1\t5\t5\n7\t1\t3\t10.5\n",
       true, true},
      {"csv", "time,title,user,item\n20,\"a, b\",7,3\n5,c,2,1\n10,\"\"\"d\"\"\",7,1\n", true,
       false},
      {"tsv", "user_id\titem_id\ttime\n7\t3\t20\n2\t1\t5\n7\t1\t10\n", true, false},
      {"amazon", "7,3,4.0,20\n2,1,5.0,5\n7,1,3.0,10\n", true, true},
      {"pairs", "7 1\n2 1\n7 3\n", false, false},
      {"sequences", "1\n\n1 3\n", false, false},
      {"user-sequences", "1 1\n2 1 3\n", false, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    qni_interactions *x = read_text(cases[i].text, NULL);
    assert_string_equal(x->format, cases[i].format);
    assert_int_equal(x->n_users, 2);
    assert_int_equal(x->n_rows, 3);
    assert_true((x->time != NULL) == cases[i].time);
    assert_true((x->rating != NULL) == cases[i].rating);
    bool text = !strcmp(x->format, "amazon"); /* its ids are text, in order of appearance */
    expect_items(x, text || x->format[0] == 'x' ? 0 : 1, 2,
                 text ? (int32_t[]){2, 1} : (int32_t[]){1, 3});
    qni_interactions_free(x);
  }
}

static void line_ends_and_marks_do_not_matter(void **state) {
  (void)state;
  static const char *const texts[] = {"1\t2\t3\t4\n5\t6\t1\t8\n", "1\t2\t3\t4\r\n5\t6\t1\t8\r\n",
                                      ("\xef\xbb\xbf"
                                       "1\t2\t3\t4\n5\t6\t1\t8"),
                                      "1\t2\t3\t4\r\n\r\n5\t6\t1\t8\r\n\n"};
  for (int i = 0; i < 4; i++) {
    qni_interactions *x = read_text(texts[i], NULL);
    assert_int_equal(x->n_rows, 2);
    assert_int_equal(x->time[1], 8);
    qni_interactions_free(x);
  }
}

static void bad_lines_are_refused_with_their_number(void **state) {
  (void)state;
  refuse("1\t2\t3\t4\n1\tx\t3\t4\n", "ml-100k", "text, line 2: item \"x\" is not a whole number");
  refuse("1\t2\t3\t4\n-1\t2\t3\t4\n", "ml-100k", "line 2: user \"-1\" is negative");
  refuse("1\t0\t3\t4\n", "ml-100k", "line 1: item \"0\" is zero");
  refuse("1\t2147483648\t3\t4\n", "ml-100k", "beyond 2147483647");
  refuse("1\t99999999999999999999\t3\t4\n", "ml-100k", "beyond 2147483647");
  refuse("1\t2\t3\tnan\n", "ml-100k", "time \"nan\" is not a finite");
  refuse("1\t2\t3\t1e300\n", "ml-100k", "not a finite time");
  refuse("1\t2\t3\t\n", "ml-100k", "time \"\" is not a number");
  refuse("1\t2\tinf\t4\n", "ml-100k", "rating \"inf\"");
  refuse("1\t2\t0x5\t4\n", "ml-100k", "rating \"0x5\" is not a number");
  refuse("1\t2\t3\n", "ml-100k", "3 columns instead of 4");
  refuse("1\t2\t3\t4\t5\n", "ml-100k", "5 columns instead of 4");
  refuse("1::2::3\n", "ml-1m", "3 columns instead of 4");
  refuse("\t2\t3\t4\n", "ml-100k", "user \"\" is empty");
  refuse("1 2 3\n1 a\n", "sequences", "line 2: item \"a\"");
  refuse("1 2\n2\n", "user-sequences", "line 2: a user without items");
  refuse("user,item\n1,-3\n", "csv", "item \"-3\" is negative");
  refuse("user\tprice\n1\t2\n", "tsv", "no column for the item");
  refuse("", NULL, "is empty");
  refuse("user,item\n", "csv", "no interactions");
  refuse("{\"a\": 1}\n", "csv", "no column for the user");
  refuse("version https://git-lfs.github.com/spec/v1\n", NULL, "Git LFS pointer");
  refuse("\x1f\x8b\b", NULL, "gzip");
  refuse("a\tb\tc\n", NULL, "does not look like any");
}

static void unknown_formats_and_columns_are_named(void **state) {
  (void)state;
  qni_interactions *x;
  qni_interactions_options o = {.format = "ml-2m"};
  help_expect(qni_interactions_parse("1 2", 3, "text", &o, &x), QN_E_ARG, "\"ml-2m\"");
  o = (qni_interactions_options){.item = "film"};
  help_expect(qni_interactions_parse("user,item\n1,2\n", 14, "text", &o, &x), QN_E_FORMAT, "film");
  const char *text = "who,film,user\na,b,c\n";
  o = (qni_interactions_options){.user = "who", .item = "film"};
  assert_int_equal(qni_interactions_parse(text, strlen(text), "text", &o, &x), QN_OK);
  char buf[24];
  qni_span name = qni_ids_name(&x->users, 1, buf);
  assert_true(qni_span_is(name, "a"));
  qni_interactions_free(x);
}

/* ---- Ids ---- */

static void text_ids_are_numbered_and_found_again(void **state) {
  (void)state;
  qni_interactions *x = read_text("user,item,type\nu7,B00,view\n12,A11,cart\nu7,A11,view\n", "csv");
  char buf[24];
  assert_int_equal(x->n_users, 2);
  assert_int_equal(x->items.kind, QNI_IDS_NAMES);
  expect_items(x, 0, 2, (int32_t[]){1, 2});
  assert_int_equal(qni_ids_find(&x->items, (qni_span){"A11", 3}), 2);
  assert_int_equal(qni_ids_find(&x->items, (qni_span){"A1", 2}), 0);
  assert_int_equal(qni_ids_find(&x->users, (qni_span){"12", 2}), 2);
  assert_true(qni_span_is(qni_ids_name(&x->items, 1, buf), "B00"));
  assert_int_equal(x->behaviour[0], 1);
  assert_int_equal(x->behaviour[2], 2);
  qni_interactions_free(x);
}

static void numbers_are_kept_or_made_dense(void **state) {
  (void)state;
  char buf[24];
  qni_interactions *x = read_text("5 10\n5 40\n9 10\n", "pairs");
  assert_int_equal(x->items.n, 40); /* near enough to keep */
  assert_int_equal(x->items.seen, 2);
  assert_int_equal(qni_ids_find(&x->users, (qni_span){"9", 1}), 2);
  assert_true(qni_span_is(qni_ids_name(&x->users, 1, buf), "5"));
  qni_interactions_free(x);
  x = read_text("5 10\n5 2000000000\n9 10\n", "pairs");
  assert_int_equal(x->items.n, 2);
  expect_items(x, 0, 2, (int32_t[]){1, 2});
  assert_int_equal(qni_ids_find(&x->items, (qni_span){"2000000000", 10}), 2);
  qni_interactions_free(x);
  x = read_text("user\titem\n0\t0\n0\t5\n", "tsv"); /* from 0: no id may be 0, so they move */
  expect_items(x, 0, 2, (int32_t[]){1, 2});
  assert_int_equal(qni_ids_find(&x->items, (qni_span){"0", 1}), 1);
  qni_interactions_free(x);
  qni_interactions_options keep = {.id_rule = QNI_ID_KEEP};
  const char *zero = "user\titem\n0\t0\n0\t5\n";
  help_expect(qni_interactions_parse(zero, strlen(zero), "text", &keep, &x), QN_E_FORMAT,
              "cannot be kept");
  const char *words = "user\titem\n0\ta\n";
  help_expect(qni_interactions_parse(words, strlen(words), "text", &keep, &x), QN_E_FORMAT,
              "cannot be kept");
}

static void a_number_too_large_makes_a_column_text_where_that_is_allowed(void **state) {
  (void)state;
  qni_interactions *x = read_text("user,item\n1,1\n10000009418151094273,2\n", "csv");
  assert_int_equal(x->users.kind, QNI_IDS_NAMES);
  assert_int_equal(qni_ids_find(&x->users, (qni_span){"10000009418151094273", 20}), 2);
  qni_interactions_free(x);
}

/* ---- Order and statistics ---- */

static void events_are_in_order_of_time_then_of_the_file(void **state) {
  (void)state;
  qni_interactions *x = read_text(
      "1\t5\t1\t30\n2\t9\t1\t1\n1\t4\t2\t10\n1\t3\t3\t30\n1\t2\t4\t10\n1\t5\t5\t30\n", NULL);
  expect_items(x, 0, 5, (int32_t[]){4, 2, 5, 3, 5});
  static const float ratings[] = {2, 4, 1, 3, 5};
  assert_memory_equal(x->rating, ratings, sizeof ratings);
  assert_int_equal(x->n_duplicates, 1);
  assert_int_equal(x->n_reordered, 1);
  qni_interactions_stats s;
  qni_interactions_measure(x, &s);
  assert_int_equal(s.length_min, 1);
  assert_int_equal(s.length_max, 5);
  assert_true(s.length_mean == 3 && s.density == 6 / 10.0 && s.rating_mean == 16 / 6.0);
  assert_int_equal(s.time_min, 1);
  assert_int_equal(s.time_max, 30);
  qni_interactions_free(x);
}

static void failed_allocations_are_errors(void **state) {
  (void)state;
  const char *text = "user,item,time\nu7,B00,3\n12,A11,4\nu7,A11,1\n";
  for (int n = 1; n < 500; n++) {
    qni_interactions *x = NULL;
    qni_mem_fail_after(n, 0);
    qn_status st = qni_interactions_parse(text, strlen(text), "text", NULL, &x);
    qni_mem_fail_after(0, 0);
    qni_error_reset();
    qni_interactions_free(x);
    if (st == QN_OK) return;
    assert_int_equal(st, QN_E_NOMEM);
  }
  fail();
}

/* ---- Real files ---- */

static void expect_real(const char *name, const char *format, int64_t users, int64_t items,
                        int64_t rows, int64_t shortest, int64_t longest) {
  const char *path = help_real(name);
  qni_interactions *x;
  qni_interactions_stats s;
  if (!path) return;
  if (qni_interactions_read(path, NULL, &x)) fail_msg("%s", qn_error_last()->what);
  assert_string_equal(x->format, format);
  qni_interactions_measure(x, &s);
  if (s.users != users || s.items_seen != items || s.rows != rows || s.length_min != shortest ||
      s.length_max != longest)
    fail_msg("%s: %d users, %d items, %d rows, lengths %d to %d", name, (int)s.users,
             (int)s.items_seen, (int)s.rows, (int)s.length_min, (int)s.length_max);
  qni_interactions_free(x);
}

static void real_files_have_their_published_counts(void **state) {
  (void)state;
  expect_real("ml100k/ml-100k.inter", "recbole", 943, 1682, 100000, 20, 737);
  expect_real("ml1m/train_input.txt", "sequences", 6040, 3416, 987019, 16, 2275);
  expect_real("s3rec/Beauty.txt", "user-sequences", 22363, 12101, 198502, 5, 204);
  expect_real("s3rec/Sports_and_Outdoors.txt", "user-sequences", 35598, 18357, 296337, 5, 296);
  expect_real("s3rec/LastFM.txt", "user-sequences", 1090, 3646, 52551, 5, 899);
  expect_real("grocery/train.csv", "tsv", 14681, 8687, 121892, 3, 202);
  expect_real("multibehaviour/retailrocket.tsv", "tsv", 2174, 29905, 97381, 1, 4961);
}

static void real_atomic_files_are_read(void **state) {
  (void)state;
  qni_atomic *t;
  const char *path = help_real("ml100k/ml-100k.item");
  if (!path) return;
  assert_int_equal(qni_atomic_read(path, &t), QN_OK);
  assert_int_equal(t->n_rows, 1682);
  const qni_column *c = qni_atomic_column(t, "class");
  assert_int_equal(c->type, QNI_COLUMN_TOKENS);
  assert_int_equal(c->offsets[1], 3); /* Toy Story: Animation Children's Comedy */
  assert_int_equal(c->ids.n, 19);
  qni_atomic_free(t);
  path = help_real("ml100k/ml-100k.user");
  if (!path) return;
  assert_int_equal(qni_atomic_read(path, &t), QN_OK);
  assert_int_equal(t->n_rows, 943);
  assert_int_equal(qni_atomic_column(t, "gender")->ids.n, 2);
  qni_atomic_free(t);
}

/* ---- Atomic tables ---- */

static void atomic_columns_are_typed(void **state) {
  (void)state;
  const char *text =
      "id:token\ttags:token_seq\tx:float\tv:float_seq\n7\ta b a\t1.5\t1 2\n8\t\t\t\r\n7\tb\t-2\t3";
  qni_atomic *t;
  char buf[24];
  assert_int_equal(qni_atomic_parse(text, strlen(text), "t.item", &t), QN_OK);
  assert_int_equal(t->n_rows, 3);
  const qni_column *id = qni_atomic_column(t, "id"), *tags = qni_atomic_column(t, "tags"),
                   *x = qni_atomic_column(t, "x"), *v = qni_atomic_column(t, "v");
  assert_null(qni_atomic_column(t, "none"));
  assert_memory_equal(id->codes, ((int32_t[]){1, 2, 1}), 12);
  assert_memory_equal(tags->codes, ((int32_t[]){1, 2, 1, 2}), 16);
  assert_memory_equal(tags->offsets, ((int64_t[]){0, 3, 3, 4}), 32);
  assert_true(x->values[0] == 1.5 && x->values[1] != x->values[1] && x->values[2] == -2);
  assert_memory_equal(v->offsets, ((int64_t[]){0, 2, 2, 3}), 32);
  assert_true(qni_span_is(qni_ids_name(&id->ids, 2, buf), "8"));
  qni_atomic_free(t);
}

static void bad_atomic_tables_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {{"", "empty"},
               {"id\n1\n", "name:type"},
               {"id:int\n1\n", "type is none"},
               {"id:token\tx:float\n1\n", "line 2 does not have 2"},
               {"id:token\n1\t2\n", "line 2 does not have 1"},
               {"x:float\nabc\n", "line 2: x \"abc\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    qni_atomic *t;
    help_expect(qni_atomic_parse(cases[i].text, strlen(cases[i].text), "t.item", &t), QN_E_FORMAT,
                cases[i].why);
  }
}

/* ---- The cache ---- */

static const char *const SOURCE =
    "user,item,time,rating,type\nu7,B00,3,1,a\n12,A11,4,2,b\nu7,A11,1,3,a\n";

static void expect_same(const qni_interactions *a, const qni_interactions *b) {
  assert_int_equal(a->n_users, b->n_users);
  assert_int_equal(a->n_rows, b->n_rows);
  assert_string_equal(a->format, b->format);
  assert_memory_equal(a->offsets, b->offsets, (size_t)(a->n_users + 1) * 8);
  assert_memory_equal(a->item, b->item, (size_t)a->n_rows * 4);
  assert_memory_equal(a->time, b->time, (size_t)a->n_rows * 8);
  assert_memory_equal(a->rating, b->rating, (size_t)a->n_rows * 4);
  assert_memory_equal(a->behaviour, b->behaviour, (size_t)a->n_rows * 4);
  assert_int_equal(qni_ids_find(&b->items, (qni_span){"A11", 3}),
                   qni_ids_find(&a->items, (qni_span){"A11", 3}));
}

static bool opened_from_cache(const char *source, const char *cache,
                              const qni_interactions_options *o, const char *notice) {
  qni_dataset *d;
  qni_interactions *x;
  if (qni_dataset_open(source, cache, o, &d)) fail_msg("%s", qn_error_last()->what);
  assert_int_equal(qni_interactions_read(source, o, &x), QN_OK);
  expect_same(x, qni_dataset_interactions(d));
  if (!strstr(qni_dataset_notice(d), notice) || (*notice == 0) != (*qni_dataset_notice(d) == 0))
    fail_msg("notice \"%s\", wanted \"%s\"", qni_dataset_notice(d), notice);
  bool cached = qni_dataset_from_cache(d);
  qni_interactions_free(x);
  qni_dataset_close(d);
  return cached;
}

static void the_second_opening_maps_the_cache(void **state) {
  (void)state;
  const char *source = help_write("s.csv", SOURCE, strlen(SOURCE)), *cache = help_path("sub/c");
  qni_interactions_options other = {.id_rule = QNI_ID_DENSE};
  assert_false(opened_from_cache(source, cache, NULL, ""));
  assert_true(opened_from_cache(source, cache, NULL, ""));
  assert_false(opened_from_cache(source, cache, &other, "")); /* read otherwise: another dataset */
  assert_false(opened_from_cache(source, "", NULL, ""));
  setenv("QUERN_CACHE", help_path("folder"), 1);
  assert_false(opened_from_cache(source, NULL, NULL, ""));
  assert_true(opened_from_cache(source, NULL, NULL, ""));
  assert_false(opened_from_cache(source, NULL, &other, ""));
  assert_true(opened_from_cache(source, NULL, NULL, ""));
  unsetenv("QUERN_CACHE");
}

static void a_changed_source_is_read_again(void **state) {
  (void)state;
  const char *source = help_write("s.csv", SOURCE, strlen(SOURCE)), *cache = help_path("c");
  assert_false(opened_from_cache(source, cache, NULL, ""));
  struct timespec later[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
  assert_int_equal(utimensat(AT_FDCWD, source, later, 0), 0);
  assert_true(opened_from_cache(source, cache, NULL, "")); /* same size and hash: only touched */
  char *changed = qni_mem_strdup(SOURCE);
  changed[strlen(changed) - 4] = '9';
  help_write("s.csv", changed, strlen(changed));
  qni_mem_free(changed);
  assert_false(opened_from_cache(source, cache, NULL, ""));
}

static void any_damage_to_the_cache_is_found_and_mended(void **state) {
  (void)state;
  const char *source = help_write("s.csv", SOURCE, strlen(SOURCE)), *cache = help_path("c");
  assert_false(opened_from_cache(source, cache, NULL, ""));
  char *sound, *bad;
  size_t n;
  assert_int_equal(qni_file_read(cache, 1 << 20, &sound, &n), QN_OK);
  for (size_t at = 0; at < n; at += 5) {
    bad = qni_mem_alloc(n);
    memcpy(bad, sound, n);
    bad[at] = (char)(bad[at] ^ 0x10);
    assert_int_equal(qni_file_write(cache, bad, n), QN_OK);
    assert_false(opened_from_cache(source, cache, NULL, "built again"));
    qni_mem_free(bad);
  }
  for (size_t cut = 0; cut < n; cut += 97) {
    assert_int_equal(qni_file_write(cache, sound, cut), QN_OK);
    assert_false(opened_from_cache(source, cache, NULL, "built again"));
  }
  assert_true(opened_from_cache(source, cache, NULL, ""));
  qni_mem_free(sound);
}

static void a_cache_that_cannot_be_written_costs_a_line(void **state) {
  (void)state;
  const char *source = help_write("s.csv", SOURCE, strlen(SOURCE));
  help_write("file", "", 0);
  assert_false(opened_from_cache(source, help_path("file/c"), NULL, "no cache was written"));
  qni_dataset *d;
  help_expect(qni_dataset_open(help_path("none"), "", NULL, &d), QN_E_NOT_FOUND, "none");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_format_is_recognised_and_read),
      cmocka_unit_test(line_ends_and_marks_do_not_matter),
      cmocka_unit_test(bad_lines_are_refused_with_their_number),
      cmocka_unit_test(unknown_formats_and_columns_are_named),
      cmocka_unit_test(text_ids_are_numbered_and_found_again),
      cmocka_unit_test(numbers_are_kept_or_made_dense),
      cmocka_unit_test(a_number_too_large_makes_a_column_text_where_that_is_allowed),
      cmocka_unit_test(events_are_in_order_of_time_then_of_the_file),
      cmocka_unit_test(failed_allocations_are_errors),
      cmocka_unit_test(real_files_have_their_published_counts),
      cmocka_unit_test(real_atomic_files_are_read),
      cmocka_unit_test(atomic_columns_are_typed),
      cmocka_unit_test(bad_atomic_tables_are_refused),
      FOLDER_TEST(the_second_opening_maps_the_cache),
      FOLDER_TEST(a_changed_source_is_read_again),
      FOLDER_TEST(any_damage_to_the_cache_is_found_and_mended),
      FOLDER_TEST(a_cache_that_cannot_be_written_costs_a_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
