/* matmul. SPDX-License-Identifier: MIT */
#include "network_help.h"

static void products_follow_the_formula(void **state) {
  (void)state;
  qn_tensor *a = noise(1, SHAPE(2, 3, 4)), *b = noise(2, SHAPE(4, 5)),
            *y = call("matmul", ARGS(gc_tensor(a), gc_tensor(b)));
  assert_int_equal(qn_tensor_view(y)->ndim, 3);
  for (int r = 0; r < 6; r++)
    for (int n = 0; n < 5; n++) {
      double sum = 0;
      for (int k = 0; k < 4; k++) sum += value(a, r * 4 + k) * value(b, k * 5 + n);
      assert_near(value(y, r * 5 + n), sum, 1e-14);
    }
  qn_tensor_free(a), qn_tensor_free(b), qn_tensor_free(y);
}

static void all_transposes_and_broadcasts_are_sound(void **state) {
  (void)state;
  /* leading dimensions of a and b */
  const int64_t lead[][2][3] = {{{1, 1, 1}, {1, 1, 1}}, {{2, 3, 1}, {1, 1, 1}},
                                {{1, 1, 1}, {2, 3, 1}}, {{2, 1, 1}, {2, 3, 1}},
                                {{2, 3, 1}, {2, 3, 1}}, {{1, 3, 1}, {2, 1, 1}}};
  for (int l = 0; l < 6; l++)
    for (int t = 0; t < 4; t++) {
      const int ta = t & 1, tb = t >> 1;
      qn_tensor *a = noise(1, SHAPE(lead[l][0][0], lead[l][0][1], ta ? 4 : 3, ta ? 3 : 4));
      qn_tensor *b = noise(2, SHAPE(lead[l][1][0], lead[l][1][1], tb ? 2 : 4, tb ? 4 : 2));
      assert_sound(
          "matmul", GRADCHECK_SECOND,
          ARGS(gc_tensor(a), gc_tensor(b), gc_bool("transpose_a", ta), gc_bool("transpose_b", tb)));
      qn_tensor_free(a), qn_tensor_free(b);
    }
}

static void vectors_lose_their_dimension(void **state) {
  (void)state;
  qn_tensor *u = noise(1, SHAPE(4)), *v = noise(2, SHAPE(4)), *m = noise(3, SHAPE(2, 3, 4)),
            *n = noise(4, SHAPE(2, 4, 3));
  qn_tensor *dot = call("matmul", ARGS(gc_tensor(u), gc_tensor(v)));
  assert_int_equal(qn_tensor_view(dot)->ndim, 0);
  assert_sound("matmul", GRADCHECK_SECOND, ARGS(gc_tensor(u), gc_tensor(v)));
  assert_sound("matmul", GRADCHECK_SECOND, ARGS(gc_tensor(m), gc_tensor(v)));
  assert_sound("matmul", GRADCHECK_SECOND, ARGS(gc_tensor(u), gc_tensor(n)));
  qn_tensor_free(u), qn_tensor_free(v), qn_tensor_free(m), qn_tensor_free(n), qn_tensor_free(dot);
}

static void strided_operands_are_taken_as_they_lie(void **state) {
  (void)state;
  qn_tensor *a = noise(1, SHAPE(4, 3)), *b = noise(2, SHAPE(4, 5));
  qn_tensor *at = call("transpose", ARGS(gc_tensor(a), {.kind = QN_ARG_INT, .v.i = 1},
                                         {.kind = QN_ARG_INT, .v.i = 2}));
  qn_tensor *y = call("matmul", ARGS(gc_tensor(at), gc_tensor(b)));
  qn_tensor *z = call("matmul", ARGS(gc_tensor(a), gc_tensor(b), gc_bool("transpose_a", 1)));
  assert_memory_equal(qn_tensor_view(y)->data, qn_tensor_view(z)->data, 15 * 8);
  qn_tensor_free(a), qn_tensor_free(b), qn_tensor_free(at), qn_tensor_free(y), qn_tensor_free(z);
}

static void bits_do_not_depend_on_workers(void **state) {
  (void)state;
  qn_tensor *a = noise(1, SHAPE(6, 90, 65)), *b = noise(2, SHAPE(65, 130)),
            *c = noise(2, SHAPE(6, 65, 33));
  qn_tensor *a32 = as_f32(a), *b32 = as_f32(b), *c32 = as_f32(c);
  assert_same_bits("matmul", ARGS(gc_tensor(a32), gc_tensor(b32)));
  assert_same_bits("matmul", ARGS(gc_tensor(a32), gc_tensor(c32)));
  assert_f32_near("matmul", ARGS(gc_tensor(a), gc_tensor(b)), 1e-4);
  qn_tensor_free(a), qn_tensor_free(b), qn_tensor_free(c), qn_tensor_free(a32), qn_tensor_free(b32),
      qn_tensor_free(c32);
}

static void empty_sizes_give_zeros(void **state) {
  (void)state;
  qn_tensor *a = noise(1, SHAPE(2, 0)), *b = noise(2, SHAPE(0, 3)),
            *none = noise(1, SHAPE(0, 2, 2)), *m = noise(3, SHAPE(2, 2));
  pass p = run_pass("matmul", ARGS(gc_tensor(a), gc_tensor(b)));
  for (int i = 0; i < 6; i++) assert_true(value(p.t[0], i) == 0);
  free_pass(&p);
  p = run_pass("matmul", ARGS(gc_tensor(none), gc_tensor(m)));
  for (int i = 0; i < 4; i++) assert_true(value(p.t[2], i) == 0);
  free_pass(&p);
  qn_tensor_free(a), qn_tensor_free(b), qn_tensor_free(none), qn_tensor_free(m);
}

static void a_mismatch_names_both_shapes(void **state) {
  (void)state;
  qn_tensor *a = noise(1, SHAPE(2, 3)), *b = noise(2, SHAPE(4, 5)), *s = noise(2, SHAPE(1)),
            *x = noise(1, SHAPE(2, 3, 4)), *y = noise(1, SHAPE(3, 4, 2));
  assert_fails(try_call("matmul", ARGS(gc_tensor(a), gc_tensor(b))), QN_E_SHAPE,
               "a [2,3] and b [4,5]");
  assert_fails(try_call("matmul", ARGS(gc_tensor(x), gc_tensor(y))), QN_E_SHAPE,
               "leading dimensions");
  qn_tensor_free(a), qn_tensor_free(b), qn_tensor_free(s), qn_tensor_free(x), qn_tensor_free(y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_follow_the_formula),
      cmocka_unit_test(all_transposes_and_broadcasts_are_sound),
      cmocka_unit_test(vectors_lose_their_dimension),
      cmocka_unit_test(strided_operands_are_taken_as_they_lie),
      cmocka_unit_test(bits_do_not_depend_on_workers),
      cmocka_unit_test(empty_sizes_give_zeros),
      cmocka_unit_test(a_mismatch_names_both_shapes),
  };
  return RUN(tests);
}
