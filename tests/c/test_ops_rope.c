/* rope. SPDX-License-Identifier: MIT */
#include "network_help.h"

static void assert_turned(const qn_tensor *x, const qn_tensor *y, int64_t first, int64_t D,
                          double position, double theta) {
  for (int64_t k = 0; k < D / 2; k++) {
    const double a = position * pow(theta, -2.0 * (double)k / (double)D),
                 u = value(x, first + 2 * k), v = value(x, first + 2 * k + 1);
    assert_near(value(y, first + 2 * k), u * cos(a) - v * sin(a), 1e-14);
    assert_near(value(y, first + 2 * k + 1), u * sin(a) + v * cos(a), 1e-14);
  }
}

static void pairs_turn_by_their_position(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 5, 6)),
            *y = call("rope", ARGS(gc_tensor(x), gc_num("theta", 100), gc_int("offset", 3)));
  for (int64_t b = 0; b < 2; b++)
    for (int64_t t = 0; t < 5; t++) assert_turned(x, y, (b * 5 + t) * 6, 6, (double)(t + 3), 100);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void jagged_positions_start_with_each_sequence(void **state) {
  (void)state;
  const int64_t lengths[] = {0, 1, 2, 7};
  qn_tensor *x = jagged(noise(1, SHAPE(10, 2, 4)), 4, lengths),
            *y = call("rope", ARGS(gc_tensor(x)));
  assert_non_null(qn_tensor_offsets(y));
  for (int64_t b = 0, r = 0; b < 4; b++)
    for (int64_t t = 0; t < lengths[b]; t++, r++)
      for (int64_t h = 0; h < 2; h++) assert_turned(x, y, (r * 2 + h) * 4, 4, (double)t, 10000);
  assert_sound("rope", GRADCHECK_FIRST, ARGS(gc_tensor(x)));
  qn_tensor_free(x), qn_tensor_free(y);
}

static void gradients_bits_and_types(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3, 4)), *large = noise(1, SHAPE(40, 20, 64)),
            *narrow = as_f32(large);
  assert_sound("rope", GRADCHECK_SECOND,
               ARGS(gc_tensor(x), gc_num("theta", 50), gc_int("offset", 2)));
  assert_sound("rope", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_bool("inverse", 1)));
  assert_same_bits("rope", ARGS(gc_tensor(narrow)));
  qn_tensor_free(x), qn_tensor_free(large), qn_tensor_free(narrow);
}

static void the_inverse_undoes_it(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(3, 4)), *y = call("rope", ARGS(gc_tensor(x))),
            *z = call("rope", ARGS(gc_tensor(y), gc_bool("inverse", 1)));
  for (int i = 0; i < 12; i++) assert_near(value(z, i), value(x, i), 1e-14);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z);
}

static void odd_widths_are_refused(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(3, 5));
  assert_fails(try_call("rope", ARGS(gc_tensor(x))), QN_E_SHAPE, "[3,5]");
  qn_tensor_free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pairs_turn_by_their_position),
      cmocka_unit_test(jagged_positions_start_with_each_sequence),
      cmocka_unit_test(gradients_bits_and_types),
      cmocka_unit_test(the_inverse_undoes_it),
      cmocka_unit_test(odd_widths_are_refused),
  };
  return RUN(tests);
}
