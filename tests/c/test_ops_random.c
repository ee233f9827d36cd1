/* Random tensors: repeatable, in range, with the right moments. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void moments(const qn_tensor *t, double *mean, double *deviation, double *low,
                    double *high) {
  int64_t n = gc_count(qn_tensor_view(t));
  double sum = 0, squares = 0;
  *low = INFINITY;
  *high = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    double v = value_at(t, i);
    sum += v;
    squares += v * v;
    *low = fmin(*low, v);
    *high = fmax(*high, v);
  }
  *mean = sum / (double)n;
  *deviation = sqrt(squares / (double)n - *mean * *mean);
}

static void distributions_have_their_moments_in_both_types(void **state) {
  (void)state;
  static const char *const types[] = {"f32", "f64"};
  double m, s, low, high;
  for (int t = 0; t < 2; t++) {
    qn_random_seed(1);
    qn_tensor *u = op_out("uniform", ARGS(gc_ints(NULL, SHAPE(200000)), gc_num("low", -1),
                                          gc_num("high", 3), gc_str("dtype", types[t])));
    moments(u, &m, &s, &low, &high);
    assert_true(fabs(m - 1) < 0.01 && fabs(s - 4 / sqrt(12)) < 0.01 && low >= -1 && low < -0.999 &&
                high < 3 && high > 2.999);
    qn_tensor *g = op_out("normal", ARGS(gc_ints(NULL, SHAPE(1000, 200)), gc_num("mean", 2),
                                         gc_num("std", 0.5), gc_str("dtype", types[t])));
    moments(g, &m, &s, &low, &high);
    assert_true(fabs(m - 2) < 0.005 && fabs(s - 0.5) < 0.005 && low < 0.2 && high > 3.8 &&
                low > -1.5 && high < 5.5);
    int64_t inside = 0;
    for (int64_t i = 0; i < 200000; i++) inside += fabs(value_at(g, i) - 2) < 0.5;
    assert_true(fabs((double)inside / 200000 - 0.682689) < 0.005);
    qn_tensor *w = op_out("truncated_normal", ARGS(gc_ints(NULL, SHAPE(200000)), gc_num("low", -1),
                                                   gc_num("high", 1), gc_str("dtype", types[t])));
    moments(w, &m, &s, &low, &high);
    assert_true(fabs(m) < 0.005 && fabs(s - 0.5395) < 0.005 && low >= -1 && high <= 1);
    gc_free((qn_tensor *[]){u, g, w}, 3);
  }
}

static void integers_cover_their_range_evenly(void **state) {
  (void)state;
  qn_random_seed(2);
  qn_tensor *n =
      op_out("randint", ARGS(gc_ints(NULL, SHAPE(70000)), gc_int(NULL, -3), gc_int(NULL, 4)));
  int64_t count[7] = {0};
  for (int64_t i = 0; i < 70000; i++) count[(int64_t)value_at(n, i) + 3]++;
  for (int i = 0; i < 7; i++) assert_in_range(count[i], 9600, 10400);
  qn_tensor *wide = op_out(
      "randint", ARGS(gc_ints(NULL, SHAPE(100)), gc_int(NULL, INT64_MIN), gc_int(NULL, INT64_MAX)));
  assert_int_equal(
      op_status("randint", ARGS(gc_ints(NULL, SHAPE(3)), gc_int(NULL, 5), gc_int(NULL, 5))),
      QN_E_ARG);
  gc_free((qn_tensor *[]){n, wide}, 2);
}

static void a_permutation_has_each_id_once_and_starts_anywhere(void **state) {
  (void)state;
  int64_t first[5] = {0};
  for (uint64_t seed = 0; seed < 2000; seed++) {
    qn_random_seed(seed);
    qn_tensor *p = op_out("randperm", ARGS(gc_int(NULL, 5)));
    int64_t seen = 0;
    for (int64_t i = 0; i < 5; i++) seen |= 1 << (int)value_at(p, i);
    assert_int_equal(seen, 31);
    first[(int)value_at(p, 0)]++;
    qn_tensor_free(p);
  }
  for (int i = 0; i < 5; i++) assert_in_range(first[i], 320, 480);
  qn_tensor *none = op_out("randperm", ARGS(gc_int(NULL, 0)));
  assert_shape(none, SHAPE(0));
  qn_tensor_free(none);
}

static void classes_come_with_their_probability(void **state) {
  (void)state;
  qn_random_seed(3);
  qn_tensor *p = gc_new(QN_F32, NULL, SHAPE(50000, 4)), *b = gc_new(QN_F32, NULL, SHAPE(50000));
  static const double want[] = {0.1, 0, 0.6, 0.3};
  float *x = qn_tensor_view(p)->data;
  for (int64_t i = 0; i < 200000; i++) x[i] = (float)(5 * want[i % 4]);
  for (int form = 0; form < 2; form++) {
    for (int64_t i = 0; i < 200000 && form; i++) x[i] = (float)log(want[i % 4]) + 90;
    qn_tensor *y =
        op_out("categorical", ARGS(gc_tensor(p), gc_str("form", form ? "logits" : "probs")));
    double count[4] = {0};
    for (int64_t i = 0; i < 50000; i++) count[(int)value_at(y, i)] += 1.0 / 50000;
    for (int k = 0; k < 4; k++)
      assert_true(fabs(count[k] - want[k]) < 0.01 && (want[k] > 0 || count[k] == 0));
    qn_tensor_free(y);
  }
  for (int64_t i = 0; i < 50000; i++) ((float *)qn_tensor_view(b)->data)[i] = i % 2 ? 1 : 0.25F;
  qn_tensor *coin = op_out("bernoulli", ARGS(gc_tensor(b)));
  double heads = 0;
  for (int64_t i = 0; i < 50000; i++) {
    if (i % 2)
      assert_true(value_at(coin, i) == 1);
    else
      heads += value_at(coin, i);
  }
  assert_true(fabs(heads / 25000 - 0.25) < 0.01);
  x[5] = NAN;
  assert_fails(op_status("categorical", ARGS(gc_tensor(p))), QN_E_ARG, "element 6");
  ((float *)qn_tensor_view(b)->data)[2] = 1.5F;
  assert_fails(op_status("bernoulli", ARGS(gc_tensor(b))), QN_E_ARG, "element 3");
  gc_free((qn_tensor *[]){p, b, coin}, 3);
}

static void the_same_seed_gives_the_same_numbers_and_another_op_others(void **state) {
  (void)state;
  uint64_t hash[3];
  for (int i = 0; i < 3; i++) {
    if (i < 2) qn_random_seed(5);
    qn_tensor *y = op_out("normal", ARGS(gc_ints(NULL, SHAPE(100))));
    hash[i] = bits_of(y, 1);
    qn_tensor_free(y);
  }
  assert_true(hash[0] == hash[1] && hash[1] != hash[2]);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  SAME_BITS("uniform", false, gc_ints(NULL, SHAPE(100000)));
  SAME_BITS("normal", false, gc_ints(NULL, SHAPE(100000)), gc_str("dtype", "f64"));
  SAME_BITS("truncated_normal", false, gc_ints(NULL, SHAPE(100000)));
  SAME_BITS("randint", false, gc_ints(NULL, SHAPE(100000)), gc_int(NULL, 0), gc_int(NULL, 1000));
  SAME_BITS("randperm", false, gc_int(NULL, 10000));
  SAME_BITS("categorical", false, gc_tensor(noise_f32(1, 1, 0, SHAPE(3000, 20))));
  SAME_BITS("bernoulli", false, gc_tensor(noise_f32(1, 0.5, 0.5, SHAPE(3000, 20))));
}

OPS_MAIN(cmocka_unit_test(distributions_have_their_moments_in_both_types),
         cmocka_unit_test(integers_cover_their_range_evenly),
         cmocka_unit_test(a_permutation_has_each_id_once_and_starts_anywhere),
         cmocka_unit_test(classes_come_with_their_probability),
         cmocka_unit_test(the_same_seed_gives_the_same_numbers_and_another_op_others),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
