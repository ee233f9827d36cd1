/* Comparisons, logic and choosing. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void comparisons_give_truth_values(void **state) {
  (void)state;
  qn_tensor *a = F32((1, 2, NAN), 3), *b = F32((2, 2, NAN), 3), *n = I64((1, 2), 2);
  qn_tensor *y = op_out("eq", ARGS(gc_tensor(a), gc_tensor(b)));
  assert_int_equal(qn_tensor_view(y)->dtype, QN_BOOL);
  ASSERT_VALUES(y, 0, 0, 1, 0);
  ASSERT_VALUES(op_out("ne", ARGS(gc_tensor(a), gc_tensor(b))), 0, 1, 0, 1);
  ASSERT_VALUES(op_out("lt", ARGS(gc_tensor(a), gc_tensor(b))), 0, 1, 0, 0);
  ASSERT_VALUES(op_out("le", ARGS(gc_tensor(a), gc_tensor(b))), 0, 1, 1, 0);
  ASSERT_VALUES(op_out("gt", ARGS(gc_tensor(b), gc_tensor(a))), 0, 1, 0, 0);
  ASSERT_VALUES(op_out("ge", ARGS(gc_tensor(a), gc_num(NULL, 2))), 0, 0, 1, 0);
  ASSERT_VALUES(op_out("lt", ARGS(gc_tensor(n), gc_int(NULL, 2))), 0, 1, 0);
  gc_free((qn_tensor *[]){a, b, n}, 3);
}

static void logic_takes_any_type(void **state) {
  (void)state;
  qn_tensor *a = F32((0, 0.5F, 2, 0), 4), *b = I64((0, 0, 3, 1), 4);
  ASSERT_VALUES(op_out("logical_not", ARGS(gc_tensor(a))), 0, 1, 0, 0, 1);
  ASSERT_VALUES(op_out("logical_and", ARGS(gc_tensor(a), gc_tensor(b))), 0, 0, 0, 1, 0);
  ASSERT_VALUES(op_out("logical_or", ARGS(gc_tensor(a), gc_tensor(b))), 0, 0, 1, 1, 1);
  gc_free((qn_tensor *[]){a, b}, 2);
}

static void where_picks_and_broadcasts(void **state) {
  (void)state;
  qn_tensor *cond = BOOLS((1, 0), 2, 1), *a = F32((1, 2, 3), 3), *n = I64((5, 6, 7), 3);
  ASSERT_VALUES(op_out("where", ARGS(gc_tensor(cond), gc_tensor(a), gc_num(NULL, -1))), 0, 1, 2, 3,
                -1, -1, -1);
  ASSERT_VALUES(op_out("where", ARGS(gc_tensor(cond), gc_int(NULL, 0), gc_tensor(n))), 0, 0, 0, 0,
                5, 6, 7);
  gc_free((qn_tensor *[]){cond, a, n}, 3);
}

static void what_is_not_picked_gets_no_gradient_even_if_it_is_nan(void **state) {
  (void)state;
  qn_tensor *cond = BOOLS((1, 0), 2), *a = F32((1, NAN), 2), *b = F32((INFINITY, 2), 2),
            *seed = F32((3, 4), 2), *g[2];
  assert_ok(qn_tensor_require_grad(a, 1));
  assert_ok(qn_tensor_require_grad(b, 1));
  qn_tensor *y = op_out("where", ARGS(gc_tensor(cond), gc_tensor(a), gc_tensor(b)));
  assert_ok(qn_grad(y, seed, (qn_tensor *[]){a, b}, 2, 0, g));
  ASSERT_VALUES(g[0], 0, 3, 0);
  ASSERT_VALUES(g[1], 0, 0, 4);
  gc_free((qn_tensor *[]){cond, a, b, y, seed}, 5);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *cond = BOOLS((1, 0, 0, 1, 1, 0), 2, 3), *row = BOOLS((1, 0, 1), 3);
  qn_tensor *a = gradcheck_noise(1, 1, 0, SHAPE(3)), *b = gradcheck_noise(2, 1, 0, SHAPE(2, 1)),
            *x = gradcheck_noise(3, 1, 0, SHAPE(2, 3));
  GRADCHECK("where", GRADCHECK_SECOND, gc_tensor(cond), gc_tensor(a), gc_tensor(b));
  GRADCHECK("where", GRADCHECK_SECOND, gc_tensor(row), gc_tensor(x), gc_tensor(b));
  GRADCHECK("masked_fill", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(row), gc_num(NULL, 9));
  ASSERT_VALUES(op_out("masked_fill", ARGS(gc_tensor(a), gc_tensor(row), gc_num(NULL, -INFINITY))),
                0, -INFINITY, value_at(a, 1), -INFINITY);
  gc_free((qn_tensor *[]){cond, row, a, b, x}, 5);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    qn_tensor *x = noise_f32(1, 1, 0, SHAPE(300, 200)), *row = noise_f32(2, 1, 0, SHAPE(1, 200));
    qn_tensor *cond = op_out("gt", ARGS(gc_tensor(x), gc_num(NULL, 0)));
    if (i == 0)
      SAME_BITS("where", true, gc_tensor(cond), gc_tensor(x), gc_tensor(row));
    else
      SAME_BITS("masked_fill", true, gc_tensor(x), gc_tensor(cond), gc_num(NULL, 3));
    if (i == 1) qn_tensor_free(row);
  }
}

OPS_MAIN(cmocka_unit_test(comparisons_give_truth_values), cmocka_unit_test(logic_takes_any_type),
         cmocka_unit_test(where_picks_and_broadcasts),
         cmocka_unit_test(what_is_not_picked_gets_no_gradient_even_if_it_is_nan),
         cmocka_unit_test(gradients_agree_with_differences),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
