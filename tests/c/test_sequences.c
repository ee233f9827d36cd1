/*
** Sequences and the loader: who is input and target, and an order that timing cannot change.
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include "io/loader.h"

/* Users with 5, 2, 3 and 4 events; user 1 has items 1..5 at times 10..50. */
static qni_interactions *four_users(void) {
  static const int64_t offsets[] = {0, 5, 7, 10, 14};
  static const int32_t item[] = {1, 2, 3, 4, 5, 6, 7, 1, 3, 5, 2, 4, 6, 7};
  static const int64_t time[] = {10, 20, 30, 40, 50, 1, 2, 5, 6, 7, 100, 200, 300, 400};
  qni_interactions *x;
  assert_int_equal(qni_interactions_from(4, 7, offsets, item, time, &x), QN_OK);
  return x;
}

/* n_users users of `shortest` and more events. */
static qni_interactions *many_users(int64_t n_users, int64_t shortest) {
  int64_t *offsets = qni_mem_alloc((size_t)(n_users + 1) * 8);
  int32_t *item = qni_mem_alloc((size_t)(n_users * (shortest + 40)) * 4);
  qni_interactions *x;
  offsets[0] = 0;
  for (int64_t u = 0; u < n_users; u++) offsets[u + 1] = offsets[u] + shortest + (u * 7) % 40;
  for (int64_t i = 0; i < offsets[n_users]; i++) item[i] = (int32_t)(i % 97) + 1;
  assert_int_equal(qni_interactions_from(n_users, 97, offsets, item, NULL, &x), QN_OK);
  qni_mem_free(offsets);
  qni_mem_free(item);
  return x;
}

static qni_split *split_of(const qni_interactions *x, int32_t protocol, int64_t max_len) {
  qni_split *s;
  qni_split_options o = {.protocol = protocol, .max_len = max_len};
  if (qni_split_new(x, &o, &s)) fail_msg("%s", qn_error_last()->what);
  return s;
}

static void expect_ints(const qn_tensor *t, int64_t n, const int64_t *wanted) {
  assert_int_equal(t->view.dtype, QN_I64);
  assert_int_equal(t->view.shape[0], n);
  assert_memory_equal(t->view.data, wanted, (size_t)n * 8);
}

/* ---- Splits ---- */

static void expect_row(const qni_split *s, int32_t phase, int64_t row, int64_t user, int64_t begin,
                       int64_t end) {
  qni_row r = qni_split_row(s, phase, row);
  assert_int_equal(r.user, user);
  assert_int_equal(r.begin, begin);
  assert_int_equal(r.end, end);
}

static void the_standard_split_holds_out_two_items(void **state) {
  (void)state;
  qni_interactions *x = four_users();
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  assert_int_equal(qni_split_dropped(s), 1);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_TRAIN),
                   2); /* three events leave nothing to train on */
  assert_int_equal(qni_split_rows(s, QNI_PHASE_VALID), 3);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_TEST), 3);
  expect_row(s, QNI_PHASE_TRAIN, 0, 0, 0, 2); /* inputs 1 2, target 3 */
  expect_row(s, QNI_PHASE_VALID, 0, 0, 0, 3); /* target 4 */
  expect_row(s, QNI_PHASE_TEST, 0, 0, 0, 4);  /* target 5 */
  expect_row(s, QNI_PHASE_TRAIN, 1, 3, 10, 11);
  assert_int_equal(qni_split_tokens(s, QNI_PHASE_TRAIN), 3);
  assert_int_equal(qni_split_longest(s, QNI_PHASE_TEST), 4);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void the_meta_split_has_no_validation(void **state) {
  (void)state;
  qni_interactions *x = four_users();
  qni_split *s = split_of(x, QNI_PROTOCOL_META, 0);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_TRAIN), 3);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_VALID), 0);
  expect_row(s, QNI_PHASE_TRAIN, 0, 0, 0, 3); /* the last training target is the second-last item */
  expect_row(s, QNI_PHASE_TEST, 0, 0, 0, 4);
  qni_split_free(s);
  s = split_of(x, QNI_PROTOCOL_WHOLE, 0);
  assert_int_equal(qni_split_dropped(s), 0);
  expect_row(s, QNI_PHASE_TRAIN, 1, 1, 5, 6);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void the_most_recent_inputs_stay(void **state) {
  (void)state;
  qni_interactions *x = four_users();
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 2);
  expect_row(s, QNI_PHASE_TEST, 0, 0, 2, 4);
  expect_row(s, QNI_PHASE_TRAIN, 0, 0, 0, 2);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void splits_that_cannot_be_are_refused(void **state) {
  (void)state;
  qni_interactions *x = four_users();
  qni_split *s;
  help_expect(qni_split_new(x, &(qni_split_options){.protocol = 3}, &s), QN_E_ARG, "protocol 3");
  help_expect(qni_split_new(x, &(qni_split_options){.max_len = -1}, &s), QN_E_ARG, "-1");
  help_expect(qni_split_new(x, &(qni_split_options){.user_end = 5}, &s), QN_E_ARG, "users 1 to 5");
  help_expect(qni_split_new(x, &(qni_split_options){.min_events = 6}, &s), QN_E_FORMAT,
              "no user has the 6 events");
  assert_int_equal(qni_split_new(x, &(qni_split_options){.user_begin = 2, .user_end = 4}, &s),
                   QN_OK);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_TEST), 2);
  qni_split_free(s);
  assert_int_equal(qni_protocol_parse("meta"), QNI_PROTOCOL_META);
  assert_int_equal(qni_phase_parse("dev"), -1);
  qni_interactions_free(x);
}

/* ---- Batches ---- */

static void a_batch_is_jagged_and_shifted_by_one(void **state) {
  (void)state;
  qni_interactions *x = four_users();
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 3);
  qni_batch *b;
  assert_int_equal(qni_batch_new(s, QNI_PHASE_TEST, (int64_t[]){1, 0}, 2, &b), QN_OK);
  expect_ints(b->items, 5, (int64_t[]){1, 3, 2, 3, 4});
  expect_ints(b->targets, 5, (int64_t[]){3, 5, 3, 4, 5});
  expect_ints(b->items->offsets, 3, (int64_t[]){0, 2, 5});
  assert_ptr_equal(b->items->offsets, b->targets->offsets);
  expect_ints(b->times, 5, (int64_t[]){5, 6, 20, 30, 40});
  expect_ints(b->next_times, 5, (int64_t[]){6, 7, 30, 40, 50});
  expect_ints(b->all_times, 7, (int64_t[]){5, 6, 7, 20, 30, 40, 50});
  expect_ints(b->all_times->offsets, 3, (int64_t[]){0, 3, 7});
  expect_ints(b->users, 2, (int64_t[]){3, 1});
  expect_ints(b->last_targets, 2, (int64_t[]){5, 5});
  assert_int_equal(b->longest, 3);
  assert_null(b->ratings);
  qni_batch_free(b);
  help_expect(qni_batch_new(s, QNI_PHASE_TRAIN, (int64_t[]){2}, 1, &b), QN_E_ARG, "row 3");
  qni_split_free(s);
  qni_interactions_free(x);
}

/* ---- The loader ---- */

/* A running hash of what an epoch gives. */
static uint64_t hash_epoch(qni_loader *l, int64_t *n_batches) {
  uint64_t h = 0xcbf29ce484222325u;
  qni_batch *b;
  for (*n_batches = 0;; ++*n_batches) {
    if (qni_loader_next(l, &b)) fail_msg("%s", qn_error_last()->what);
    if (!b) return h;
    assert_int_equal(b->index, *n_batches);
    const int64_t *users = b->users->view.data, *items = b->items->view.data;
    for (int64_t i = 0; i < b->n_sequences; i++) h = (h ^ (uint64_t)users[i]) * 0x100000001b3u;
    for (int64_t i = 0; i < b->n_tokens; i++) h = (h ^ (uint64_t)items[i]) * 0x100000001b3u;
    qni_batch_free(b);
  }
}

static void the_order_does_not_depend_on_the_thread(void **state) {
  (void)state;
  qni_interactions *x = many_users(301, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 20);
  for (int mode = 0; mode < 3; mode++) {
    uint64_t wanted[3] = {0};
    for (int32_t prefetch = 0; prefetch <= 5; prefetch += prefetch ? 4 : 1) {
      qni_loader_options o = {.phase = QNI_PHASE_TRAIN,
                              .batch = 16,
                              .seed = 7,
                              .shuffle = mode > 0,
                              .bucket = mode > 1,
                              .prefetch = prefetch};
      qni_loader *l;
      int64_t n;
      assert_int_equal(qni_loader_new(s, &o, &l), QN_OK);
      assert_int_equal(qni_ahead_batches(qni_loader_ahead(l)), 19);
      for (int epoch = 0; epoch < 3; epoch++) {
        uint64_t h = hash_epoch(l, &n);
        assert_int_equal(n, 19);
        if (!prefetch) wanted[epoch] = h;
        assert_true(h == wanted[epoch]);
      }
      qni_loader_free(l);
    }
    assert_true((wanted[0] == wanted[1]) == (mode == 0)); /* shuffled epochs differ */
  }
  qni_split_free(s);
  qni_interactions_free(x);
}

static void each_epoch_has_every_row_once(void **state) {
  (void)state;
  qni_interactions *x = many_users(1000, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  int64_t n = qni_split_rows(s, QNI_PHASE_TRAIN), *rows = qni_mem_alloc((size_t)n * 8);
  for (int64_t batch = 1; batch <= 2000; batch = batch * 5 + 2)
    for (int bucket = 0; bucket < 2; bucket++) {
      qni_loader_options o = {
          .phase = QNI_PHASE_TRAIN, .batch = batch, .seed = 3, .shuffle = true, .bucket = bucket};
      uint8_t seen[1000] = {0};
      assert_int_equal(qni_loader_order(s, &o, 4, rows), QN_OK);
      for (int64_t i = 0; i < n; i++) assert_int_equal(seen[rows[i]]++, 0);
    }
  qni_mem_free(rows);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void buckets_hold_like_lengths(void **state) {
  (void)state;
  qni_interactions *x = many_users(2000, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  int64_t spread[2] = {0};
  for (int bucket = 0; bucket < 2; bucket++) {
    qni_loader_options o = {
        .phase = QNI_PHASE_TRAIN, .batch = 8, .shuffle = true, .bucket = bucket};
    qni_loader *l;
    qni_batch *b;
    assert_int_equal(qni_loader_new(s, &o, &l), QN_OK);
    while (!qni_loader_next(l, &b) && b) {
      spread[bucket] += b->longest * b->n_sequences - b->n_tokens; /* what padding would cost */
      qni_batch_free(b);
    }
    qni_loader_free(l);
  }
  assert_true(spread[1] * 10 < spread[0]);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void a_saved_position_is_taken_up_again(void **state) {
  (void)state;
  qni_interactions *x = many_users(100, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  qni_loader_options o = {.phase = QNI_PHASE_TRAIN,
                          .batch = 7,
                          .seed = 5,
                          .shuffle = true,
                          .bucket = true,
                          .prefetch = 3};
  qni_loader *a, *b;
  qni_batch *x1, *x2;
  assert_int_equal(qni_loader_new(s, &o, &a), QN_OK);
  for (int skip = 0; skip < 40; skip += 3) {
    const qni_position at = qni_ahead_tell(qni_loader_ahead(a));
    o.seed = 99; /* the state carries the seed */
    assert_int_equal(qni_loader_new(s, &o, &b), QN_OK);
    assert_int_equal(qni_ahead_seek(qni_loader_ahead(b), &at), QN_OK);
    for (int i = 0; i < 3; i++) {
      assert_int_equal(qni_loader_next(a, &x1), QN_OK);
      assert_int_equal(qni_loader_next(b, &x2), QN_OK);
      assert_true((x1 == NULL) == (x2 == NULL));
      if (x1) {
        assert_int_equal(x1->epoch, x2->epoch);
        assert_int_equal(x1->n_tokens, x2->n_tokens);
        assert_memory_equal(x1->items->view.data, x2->items->view.data, (size_t)x1->n_tokens * 8);
      }
      qni_batch_free(x1);
      qni_batch_free(x2);
    }
    qni_loader_free(b);
  }
  help_expect(qni_ahead_seek(qni_loader_ahead(a), &(qni_position){.index = 1000}), QN_E_ARG,
              "no batch 1001");
  qni_loader_free(a);
  qni_split_free(s);
  qni_interactions_free(x);
}

static void the_last_batch_may_be_left_out(void **state) {
  (void)state;
  qni_interactions *x = many_users(100, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  qni_loader_options o = {.phase = QNI_PHASE_TEST, .batch = 30, .drop_last = true};
  qni_loader *l;
  assert_int_equal(qni_loader_new(s, &o, &l), QN_OK);
  assert_int_equal(qni_ahead_batches(qni_loader_ahead(l)), 3);
  qni_loader_free(l);
  o.batch = 0;
  help_expect(qni_loader_new(s, &o, &l), QN_E_ARG, "batch of 0");
  o = (qni_loader_options){.batch = 1, .bucket = true};
  help_expect(qni_loader_new(s, &o, &l), QN_E_ARG, "need shuffle");
  qni_split_free(s);
  qni_interactions_free(x);
}

static void an_error_in_the_thread_reaches_the_reader(void **state) {
  (void)state;
  qni_interactions *x = many_users(50, 4);
  qni_split *s = split_of(x, QNI_PROTOCOL_STANDARD, 0);
  qni_loader_options o = {.phase = QNI_PHASE_TEST, .batch = 5, .prefetch = 1};
  qni_loader *l;
  qni_batch *b;
  assert_int_equal(qni_loader_new(s, &o, &l), QN_OK);
  assert_int_equal(qni_loader_next(l, &b), QN_OK);
  qni_batch_free(b);
  qni_mem_fail_after(1, 1);
  qn_status st = QN_OK;
  for (int i = 0; i < 5 && !st; i++) {
    st = qni_loader_next(l, &b);
    if (!st) qni_batch_free(b);
  }
  qni_mem_fail_after(0, 0);
  help_expect(st, QN_E_NOMEM, "out of memory");
  help_expect(qni_loader_next(l, &b), QN_E_NOMEM, "out of memory");
  const qni_position at = qni_ahead_tell(qni_loader_ahead(l));
  assert_int_equal(qni_ahead_seek(qni_loader_ahead(l), &at), QN_OK); /* goes on from there */
  assert_int_equal(qni_loader_next(l, &b), QN_OK);
  assert_int_equal(b->index, at.index);
  qni_batch_free(b);
  qni_loader_free(l);
  qni_split_free(s);
  qni_interactions_free(x);
}

/* ---- Real data ---- */

static void movielens_gives_the_known_tokens(void **state) {
  (void)state;
  const char *path = help_real("ml100k/ml-100k.inter");
  qni_interactions *x;
  if (!path) return;
  assert_int_equal(qni_interactions_read(path, NULL, &x), QN_OK);
  qni_split *s = split_of(x, QNI_PROTOCOL_META, 200);
  assert_int_equal(qni_split_rows(s, QNI_PHASE_TEST), 943);
  assert_int_equal(qni_split_dropped(s), 0);
  assert_int_equal(qni_split_tokens(s, QNI_PHASE_TRAIN), 84087);
  qni_loader_options o = {
      .phase = QNI_PHASE_TRAIN, .batch = 32, .shuffle = true, .bucket = true, .prefetch = 2};
  qni_loader *l;
  int64_t n;
  assert_int_equal(qni_loader_new(s, &o, &l), QN_OK);
  hash_epoch(l, &n);
  assert_int_equal(n, 30);
  qni_loader_free(l);
  qni_split_free(s);
  qni_interactions_free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_standard_split_holds_out_two_items),
      cmocka_unit_test(the_meta_split_has_no_validation),
      cmocka_unit_test(the_most_recent_inputs_stay),
      cmocka_unit_test(splits_that_cannot_be_are_refused),
      cmocka_unit_test(a_batch_is_jagged_and_shifted_by_one),
      cmocka_unit_test(the_order_does_not_depend_on_the_thread),
      cmocka_unit_test(each_epoch_has_every_row_once),
      cmocka_unit_test(buckets_hold_like_lengths),
      cmocka_unit_test(a_saved_position_is_taken_up_again),
      cmocka_unit_test(the_last_batch_may_be_left_out),
      cmocka_unit_test(an_error_in_the_thread_reaches_the_reader),
      cmocka_unit_test(movielens_gives_the_known_tokens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
