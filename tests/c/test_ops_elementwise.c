/*
** Broadcasting arithmetic, in place too, against plain values and finite differences.
** SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

static void arithmetic_broadcasts_like_aligned_at_the_right(void **state) {
  (void)state;
  qn_tensor *a = F32((1, 2, 3, 4, 5, 6), 2, 3), *b = F32((10, 20, 30), 3),
            *col = F32((100, 200), 2, 1);
  ASSERT_VALUES(op_out("add", ARGS(gc_tensor(a), gc_tensor(b))), 0, 11, 22, 33, 14, 25, 36);
  ASSERT_VALUES(op_out("sub", ARGS(gc_tensor(col), gc_tensor(b))), 0, 90, 80, 70, 190, 180, 170);
  ASSERT_VALUES(op_out("mul", ARGS(gc_tensor(a), gc_num(NULL, 2))), 0, 2, 4, 6, 8, 10, 12);
  ASSERT_VALUES(op_out("div", ARGS(gc_tensor(b), gc_tensor(a))), 1e-7, 10, 10, 10, 2.5, 4, 5);
  ASSERT_VALUES(op_out("maximum", ARGS(gc_tensor(a), gc_num(NULL, 3.5))), 0, 3.5, 3.5, 3.5, 4, 5,
                6);
  ASSERT_VALUES(op_out("minimum", ARGS(gc_tensor(a), gc_num(NULL, 3.5))), 0, 1, 2, 3, 3.5, 3.5,
                3.5);
  ASSERT_VALUES(op_out("pow", ARGS(gc_tensor(a), gc_num(NULL, 2))), 1e-7, 1, 4, 9, 16, 25, 36);
  gc_free((qn_tensor *[]){a, b, col}, 3);
}

static void whole_numbers_stay_exact_and_division_rounds_down(void **state) {
  (void)state;
  int64_t big = (1LL << 60) + 1;
  qn_tensor *a = I64((7, -7, 7, -7), 4), *b = I64((2, 2, -2, -2), 4),
            *c = gc_new(QN_I64, &big, 0, NULL), *zero = I64((0, 1), 2);
  ASSERT_VALUES(op_out("add", ARGS(gc_tensor(a), gc_tensor(b))), 0, 9, -5, 5, -9);
  ASSERT_VALUES(op_out("floor_divide", ARGS(gc_tensor(a), gc_tensor(b))), 0, 3, -4, -4, 3);
  ASSERT_VALUES(op_out("remainder", ARGS(gc_tensor(a), gc_tensor(b))), 0, 1, 1, -1, -1);
  qn_tensor *y = op_out("add", ARGS(gc_tensor(c), gc_int(NULL, 1)));
  assert_true(*(int64_t *)qn_tensor_view(y)->data == big + 1);
  assert_fails(op_status("floor_divide", ARGS(gc_int(NULL, 1), gc_tensor(zero))), QN_E_ARG,
               "element 1 of b");
  assert_fails(op_status("div", ARGS(gc_tensor(a), gc_tensor(b))), QN_E_DTYPE, "i64");
  gc_free((qn_tensor *[]){a, b, c, y, zero}, 5);
}

static void nan_wins_in_maximum_and_minimum(void **state) {
  (void)state;
  qn_tensor *a = F32((NAN, 1, 2), 3), *b = F32((1, NAN, 3), 3);
  ASSERT_VALUES(op_out("maximum", ARGS(gc_tensor(a), gc_tensor(b))), 0, NAN, NAN, 3);
  ASSERT_VALUES(op_out("minimum", ARGS(gc_tensor(a), gc_tensor(b))), 0, NAN, NAN, 2);
  gc_free((qn_tensor *[]){a, b}, 2);
}

static void shapes_that_do_not_fit_are_refused(void **state) {
  (void)state;
  qn_tensor *a = F32((1, 2, 3), 3), *b = F32((1, 2), 2);
  assert_int_equal(op_status("add", ARGS(gc_tensor(a), gc_tensor(b))), QN_E_SHAPE);
  assert_fails(op_status("sum_to", ARGS(gc_tensor(a), gc_ints("shape", SHAPE(2)))), QN_E_SHAPE,
               "broadcast");
  gc_free((qn_tensor *[]){a, b}, 2);
}

static void gradients_of_all_broadcasts_agree_with_differences(void **state) {
  (void)state;
  static const char *const ops[] = {"add",     "sub",     "mul", "div",
                                    "maximum", "minimum", "pow", "remainder"};
  static const struct {
    int32_t na, nb;
    int64_t a[3], b[3];
  } shapes[] = {{2, 2, {2, 3}, {2, 3}}, {2, 1, {2, 3}, {3}},       {2, 2, {2, 1}, {1, 3}},
                {0, 2, {0}, {2, 2}},    {3, 2, {2, 1, 2}, {3, 1}}, {1, 1, {1}, {1}},
                {2, 1, {0, 3}, {3}},    {0, 0, {0}, {0}}};
  for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      qn_tensor *a = gradcheck_noise(1, 0.4, 1.5, shapes[s].na, shapes[s].a);
      qn_tensor *b = gradcheck_noise(2, 0.4, 1.4, shapes[s].nb, shapes[s].b);
      GRADCHECK(ops[o], GRADCHECK_SECOND, gc_tensor(a), gc_tensor(b));
      gc_free((qn_tensor *[]){a, b}, 2);
    }
}

static void power_has_gradients_at_zero(void **state) {
  (void)state;
  qn_tensor *x = F64((0, 0, 2), 3), *e = F64((2, 1, 0), 3), *y, *g[2];
  assert_ok(qn_tensor_require_grad(x, 1));
  assert_ok(qn_tensor_require_grad(e, 1));
  y = op_out("pow", ARGS(gc_tensor(x), gc_tensor(e)));
  qn_tensor *seed = F64((1, 1, 1), 3);
  assert_ok(qn_grad(y, seed, (qn_tensor *[]){x, e}, 2, 0, g));
  ASSERT_VALUES(g[0], 0, 0, 1, 0);
  ASSERT_VALUES(g[1], 1e-12, 0, 0, log(2));
  gc_free((qn_tensor *[]){x, e, y, seed}, 4);
}

static void transposed_and_repeated_operands_give_what_copies_give(void **state) {
  (void)state;
  qn_tensor *a = noise_f32(1, 1, 0, SHAPE(150, 170)), *b = noise_f32(2, 1, 0, SHAPE(170, 150)),
            *row = noise_f32(3, 1, 0, SHAPE(1, 150));
  qn_tensor *t = op_out("transpose", ARGS(gc_tensor(a), gc_int(NULL, 1), gc_int(NULL, 2)));
  qn_tensor *r = op_out("expand", ARGS(gc_tensor(row), gc_ints(NULL, SHAPE(170, 150))));
  qn_tensor *s = op_out("mul", ARGS(gc_tensor(t), gc_tensor(b))),
            *u = op_out("mul", ARGS(gc_tensor(s), gc_tensor(r)));
  for (int64_t i = 0; i < 170; i++)
    for (int64_t j = 0; j < 150; j++) {
      float want = (float)value_at(a, j * 170 + i) * (float)value_at(b, i * 150 + j) *
                   (float)value_at(row, j);
      assert_true(value_at(u, i * 150 + j) == (double)want);
    }
  gc_free((qn_tensor *[]){a, b, row, t, r, s, u}, 7);
}

static void in_place_forms_write_their_argument(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4), 2, 2), *n = I64((1, 2), 2);
  qn_tensor *t = op_out("transpose", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, 2)));
  qn_tensor *y = op_out("add_", ARGS(gc_tensor(x), gc_tensor(t))); /* overlapping, other order */
  assert_ptr_equal(y, x);
  qn_tensor_free(y);
  ASSERT_VALUES(qn_tensor_retain(x), 0, 2, 5, 5, 8);
  qn_tensor_free(op_out("mul_", ARGS(gc_tensor(t), gc_num(NULL, 2)))); /* through a view */
  ASSERT_VALUES(qn_tensor_retain(x), 0, 4, 10, 10, 16);
  qn_tensor_free(op_out("sub_", ARGS(gc_tensor(x), gc_num(NULL, 2))));
  qn_tensor_free(op_out("div_", ARGS(gc_tensor(x), gc_num(NULL, 4))));
  ASSERT_VALUES(qn_tensor_retain(x), 0, 0.5, 2, 2, 3.5);
  qn_tensor_free(op_out("copy_", ARGS(gc_tensor(x), gc_tensor(n)))); /* converted and repeated */
  ASSERT_VALUES(qn_tensor_retain(x), 0, 1, 2, 1, 2);
  qn_tensor_free(op_out("fill_", ARGS(gc_tensor(n), gc_num(NULL, 7))));
  ASSERT_VALUES(qn_tensor_retain(n), 0, 7, 7);
  qn_tensor_free(op_out("zero_", ARGS(gc_tensor(x))));
  ASSERT_VALUES(qn_tensor_retain(x), 0, 0, 0, 0, 0);
  gc_free((qn_tensor *[]){x, n, t}, 3);
}

static void in_place_forms_are_refused_while_recording(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2), 2);
  assert_ok(qn_tensor_require_grad(x, 1));
  assert_int_equal(op_status("add_", ARGS(gc_tensor(x), gc_num(NULL, 1))), QN_E_STATE);
  qn_tensor_free(x);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  static const char *const ops[] = {"add", "sub", "mul", "div", "maximum", "minimum", "pow"};
  for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(1, 1, 2, SHAPE(301, 130))),
              gc_tensor(noise_f32(2, 1, 2, SHAPE(130))));
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(1, 1, 2, SHAPE(3000, 7))),
              gc_tensor(noise_f32(2, 1, 2, SHAPE(3000, 1))));
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(1, 1, 2, SHAPE(100000))),
              gc_tensor(noise_f32(2, 1, 2, SHAPE(1))));
  }
}

static void bf16_and_small_integers_are_converted_on_the_way(void **state) {
  (void)state;
  qn_tensor *x = F32((1.5F, -2.25F, 300), 3),
            *h = op_out("cast", ARGS(gc_tensor(x), gc_str("dtype", "bf16")));
  qn_tensor *u = op_out("cast", ARGS(gc_tensor(x), gc_str("dtype", "u8"))), *y;
  y = op_out("add", ARGS(gc_tensor(h), gc_tensor(h)));
  assert_int_equal(qn_tensor_view(y)->dtype, QN_BF16);
  ASSERT_VALUES(y, 0, 3, -4.5, 600);
  ASSERT_VALUES(op_out("add", ARGS(gc_tensor(u), gc_tensor(u))), 0, 2, 252,
                88); /* 254 + 254, 44 + 44 */
  gc_free((qn_tensor *[]){x, h, u}, 3);
}

OPS_MAIN(cmocka_unit_test(arithmetic_broadcasts_like_aligned_at_the_right),
         cmocka_unit_test(whole_numbers_stay_exact_and_division_rounds_down),
         cmocka_unit_test(nan_wins_in_maximum_and_minimum),
         cmocka_unit_test(shapes_that_do_not_fit_are_refused),
         cmocka_unit_test(gradients_of_all_broadcasts_agree_with_differences),
         cmocka_unit_test(power_has_gradients_at_zero),
         cmocka_unit_test(transposed_and_repeated_operands_give_what_copies_give),
         cmocka_unit_test(in_place_forms_write_their_argument),
         cmocka_unit_test(in_place_forms_are_refused_while_recording),
         cmocka_unit_test(bits_do_not_depend_on_the_workers),
         cmocka_unit_test(bf16_and_small_integers_are_converted_on_the_way))
