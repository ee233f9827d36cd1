/* The Dirichlet-process stream: its laws, counted. SPDX-License-Identifier: MIT */
#include "io_help.h"

#include "io/dirichlet.h"
#include "io/mix.h"

static qni_dirichlet *small(uint64_t seed) {
  qni_dirichlet_options o = {
      .n_items = 2000, .n_categories = 20, .n_records = 8000, .length = 64, .seed = seed};
  qni_dirichlet *d;
  assert_int_equal(qni_dirichlet_new(&o, &d), QN_OK);
  return d;
}

static void the_catalogue_opens_as_published(void **state) {
  (void)state;
  qni_dirichlet *d;
  assert_int_equal(qni_dirichlet_new(NULL, &d), QN_OK);
  assert_int_equal(qni_dirichlet_open(d, 0), 8000);
  assert_int_equal(qni_dirichlet_open(d, 500000), 14000);
  assert_int_equal(qni_dirichlet_open(d, 1000000), 20000);
  int64_t count[100] = {0};
  for (int64_t i = 1; i <= 20000; i++) count[qni_dirichlet_category(d, i)]++;
  for (int c = 0; c < 100; c++) assert_int_equal(count[c], 200);
  assert_int_equal(qni_dirichlet_category(d, 0), -1);
  assert_int_equal(qni_dirichlet_settings(d)->length, 128);
  qni_dirichlet_free(d);
}

static void a_record_is_a_function_of_seed_and_number(void **state) {
  (void)state;
  qni_dirichlet *a = small(1), *b = small(1), *c = small(2);
  int32_t x[64], y[64], z[64];
  qni_dirichlet_record(b, 17, y);
  for (int64_t r = 0; r <= 17; r++) qni_dirichlet_record(a, r, x);
  qni_dirichlet_record(b, 17, y);
  qni_dirichlet_record(c, 17, z);
  assert_memory_equal(x, y, sizeof x);
  assert_memory_not_equal(x, z, sizeof x);
  qni_dirichlet_free(a);
  qni_dirichlet_free(b);
  qni_dirichlet_free(c);
}

/* Items are open ones, of one to five categories. */
static void records_obey_the_process(void **state) {
  (void)state;
  qni_dirichlet *d = small(3);
  int32_t items[64];
  double sizes = 0;
  for (int64_t r = 0; r < 8000; r++) {
    bool seen[20] = {false};
    int n = 0;
    qni_dirichlet_record(d, r, items);
    for (int i = 0; i < 64; i++) {
      assert_in_range(items[i], 1, qni_dirichlet_open(d, r));
      int32_t c = qni_dirichlet_category(d, items[i]);
      n += !seen[c], seen[c] = true;
    }
    assert_in_range(n, 1, 5);
    sizes += n;
  }
  sizes /= 8000; /* near the mean of 1..5, less those too rare to be drawn */
  assert_true(sizes > 2.5 && sizes < 3.0);
  qni_dirichlet_free(d);
}

static void a_small_alpha_keeps_one_category(void **state) {
  (void)state;
  qni_dirichlet_options o = {.n_items = 100,
                             .n_categories = 10,
                             .n_records = 200,
                             .length = 50,
                             .alpha_min = 1e-9,
                             .alpha_max = 1e-9};
  qni_dirichlet *d;
  int32_t items[50];
  assert_int_equal(qni_dirichlet_new(&o, &d), QN_OK);
  for (int64_t r = 0; r < 200; r++) {
    qni_dirichlet_record(d, r, items);
    for (int i = 1; i < 50; i++)
      assert_int_equal(qni_dirichlet_category(d, items[i]), qni_dirichlet_category(d, items[0]));
  }
  qni_dirichlet_free(d);
}

static void records_become_interactions(void **state) {
  (void)state;
  qni_dirichlet *d = small(4);
  qni_interactions *x;
  int32_t items[64];
  assert_int_equal(qni_dirichlet_interactions(d, 7000, 7010, &x), QN_OK);
  assert_int_equal(x->n_users, 10);
  assert_int_equal(x->items.n, 2000);
  qni_dirichlet_record(d, 7003, items);
  assert_memory_equal(x->item + x->offsets[3], items, sizeof items);
  qni_interactions_free(x);
  help_expect(qni_dirichlet_interactions(d, 0, 8001, &x), QN_E_ARG, "records 1 to 8001");
  qni_dirichlet_free(d);
}

static void impossible_streams_are_refused(void **state) {
  (void)state;
  qni_dirichlet *d;
  help_expect(qni_dirichlet_new(&(qni_dirichlet_options){.n_items = -1}, &d), QN_E_ARG, "n_items");
  help_expect(qni_dirichlet_new(&(qni_dirichlet_options){.n_items = 5, .n_categories = 6}, &d),
              QN_E_ARG, "n_categories");
  help_expect(qni_dirichlet_new(&(qni_dirichlet_options){.alpha_min = -1, .alpha_max = 2}, &d),
              QN_E_ARG, "alpha");
  help_expect(qni_dirichlet_new(&(qni_dirichlet_options){.initial = 2}, &d), QN_E_ARG, "initial");
}

/* chi-square of 10 cells over 1e5 draws: 27.9 is passed once in a thousand times. */
static void small_numbers_are_uniform(void **state) {
  (void)state;
  qni_mix mix = qni_mix_start(1, 2, 3);
  double cell[10] = {0}, mean = 0, chi = 0;
  for (int i = 0; i < 100000; i++) cell[qni_mix_below(&mix, 10)]++;
  for (int i = 0; i < 10; i++) chi += (cell[i] - 1e4) * (cell[i] - 1e4) / 1e4;
  assert_true(chi < 27.9);
  for (int i = 0; i < 100000; i++) mean += qni_mix_uniform(&mix) / 1e5;
  assert_true(mean > 0.496 && mean < 0.504);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_catalogue_opens_as_published),
      cmocka_unit_test(a_record_is_a_function_of_seed_and_number),
      cmocka_unit_test(records_obey_the_process),
      cmocka_unit_test(a_small_alpha_keeps_one_category),
      cmocka_unit_test(records_become_interactions),
      cmocka_unit_test(impossible_streams_are_refused),
      cmocka_unit_test(small_numbers_are_uniform),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
