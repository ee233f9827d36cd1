/* softmax, log_softmax, masked_softmax. SPDX-License-Identifier: MIT */
#include "network_help.h"

static void rows_follow_the_formula(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(3, 5)), *y = call("softmax", ARGS(gc_tensor(x))),
            *l = call("log_softmax", ARGS(gc_tensor(x)));
  for (int r = 0; r < 3; r++) {
    double sum = 0;
    for (int c = 0; c < 5; c++) sum += exp(value(x, r * 5 + c));
    for (int c = 0; c < 5; c++) {
      assert_near(value(y, r * 5 + c), exp(value(x, r * 5 + c)) / sum, 1e-14);
      assert_near(value(l, r * 5 + c), value(x, r * 5 + c) - log(sum), 1e-14);
    }
  }
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(l);
}

/* Numbers of torch.softmax(torch.tensor([1., 2., 3.]), 0). */
static void numbers_are_those_of_pytorch(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){1, 2, 3}, SHAPE(3)),
            *y = call("softmax", ARGS(gc_tensor(x)));
  assert_near(value(y, 0), 0.09003057, 1e-7);
  assert_near(value(y, 1), 0.24472848, 1e-7);
  assert_near(value(y, 2), 0.66524094, 1e-7);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void large_scores_do_not_overflow(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){1000, 1001, -1e30f}, SHAPE(3)),
            *y = call("softmax", ARGS(gc_tensor(x)));
  assert_near(value(y, 1), 0.7310586, 1e-6);
  assert_true(value(y, 2) == 0);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void gradients_bits_and_types(void **state) {
  (void)state;
  const char *ops[] = {"softmax", "log_softmax"};
  qn_tensor *x = noise(2, SHAPE(4, 3, 70)), *small = noise(3, SHAPE(2, 3, 4)),
            *one = noise(4, SHAPE(1));
  for (int o = 0; o < 2; o++) {
    for (int64_t dim = -1; dim <= 3; dim++)
      if (dim) assert_sound(ops[o], GRADCHECK_SECOND, ARGS(gc_tensor(small), gc_int("dim", dim)));
    assert_sound(ops[o], GRADCHECK_SECOND, ARGS(gc_tensor(one)));
    for (int64_t dim = 1; dim <= 3; dim++) {
      assert_f32_near(ops[o], ARGS(gc_tensor(x), gc_int("dim", dim)), 2e-5);
      assert_same_bits(ops[o], ARGS(gc_tensor(x), gc_int("dim", dim)));
    }
  }
  qn_tensor_free(x), qn_tensor_free(small), qn_tensor_free(one);
}

static void empty_dimensions_are_legal(void **state) {
  (void)state;
  qn_tensor *x = noise(2, SHAPE(0, 3)), *z = noise(2, SHAPE(3, 0));
  qn_tensor *y = call("softmax", ARGS(gc_tensor(x))), *u = call("softmax", ARGS(gc_tensor(z)));
  assert_int_equal(qn_tensor_view(y)->shape[0], 0);
  assert_int_equal(qn_tensor_view(u)->shape[1], 0);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(u);
}

static void a_wrong_dim_is_named(void **state) {
  (void)state;
  qn_tensor *x = noise(2, SHAPE(2, 3));
  assert_fails(try_call("softmax", ARGS(gc_tensor(x), gc_int("dim", 3))), QN_E_ARG, "dim is 3");
  assert_fails(try_call("softmax", ARGS(gc_tensor(x), gc_int("dim", 0))), QN_E_ARG, "[2,3]");
  qn_tensor_free(x);
}

static void masked_places_and_rows_are_zero(void **state) {
  (void)state;
  qn_tensor *x = noise(5, SHAPE(2, 2, 3));
  qn_tensor *keep = gc_new(QN_BOOL, (uint8_t[]){1, 0, 1, 0, 0, 0},
                           SHAPE(2, 3)); /* broadcast over the first dimension */
  qn_tensor *y = call("masked_softmax", ARGS(gc_tensor(x), gc_tensor(keep)));
  for (int b = 0; b < 2; b++) {
    const double p = exp(value(x, b * 6)), q = exp(value(x, b * 6 + 2));
    assert_near(value(y, b * 6), p / (p + q), 1e-14);
    assert_true(value(y, b * 6 + 1) == 0);
    assert_near(value(y, b * 6 + 2), q / (p + q), 1e-14);
    for (int c = 3; c < 6; c++) assert_true(value(y, b * 6 + c) == 0);
  }
  assert_sound("masked_softmax", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(keep)));
  qn_tensor *wrong = noise(1, SHAPE(2, 3));
  assert_fails(try_call("masked_softmax", ARGS(gc_tensor(x), gc_tensor(wrong))), QN_E_DTYPE,
               "bool or u8");
  qn_tensor_free(x), qn_tensor_free(keep), qn_tensor_free(y), qn_tensor_free(wrong);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_follow_the_formula),
      cmocka_unit_test(numbers_are_those_of_pytorch),
      cmocka_unit_test(large_scores_do_not_overflow),
      cmocka_unit_test(gradients_bits_and_types),
      cmocka_unit_test(empty_dimensions_are_legal),
      cmocka_unit_test(a_wrong_dim_is_named),
      cmocka_unit_test(masked_places_and_rows_are_zero),
  };
  return RUN(tests);
}
