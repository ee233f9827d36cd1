/* Picking and adding by ids. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void ids_pick_elements_slices_and_rows(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4, 5, 6), 2, 3), *ids = I64((2, 0, 1, 1), 2, 2),
            *rows = I64((1, 0, 1), 3), *low = I64((1), 1, 1);
  ASSERT_VALUES(op_out("gather", ARGS(gc_tensor(x), gc_tensor(ids), gc_int(NULL, 2))), 0, 3, 1, 5,
                5);
  ASSERT_VALUES(op_out("gather", ARGS(gc_tensor(x), gc_tensor(low), gc_int(NULL, 1))), 0, 4);
  ASSERT_VALUES(op_out("index_select", ARGS(gc_tensor(x), gc_tensor(rows), gc_int(NULL, 1))), 0, 4,
                5, 6, 1, 2, 3, 4, 5, 6);
  ASSERT_VALUES(op_out("index_select", ARGS(gc_tensor(x), gc_tensor(rows), gc_int(NULL, 2))), 0, 2,
                1, 2, 5, 4, 5);
  qn_tensor *small = I64((1, 0, 0, 1), 2, 2),
            *y = op_out("take", ARGS(gc_tensor(x), gc_tensor(small)));
  assert_shape(y, SHAPE(2, 2, 3));
  ASSERT_VALUES(y, 0, 4, 5, 6, 1, 2, 3, 1, 2, 3, 4, 5, 6);
  gc_free((qn_tensor *[]){x, ids, rows, low, small}, 5);
}

static void repeated_ids_add_up(void **state) {
  (void)state;
  qn_tensor *x = F32((10, 20, 30), 3), *ids = I64((0, 2, 2), 3), *src = F32((1, 2, 3), 3);
  ASSERT_VALUES(
      op_out("scatter_add", ARGS(gc_tensor(x), gc_tensor(ids), gc_tensor(src), gc_int(NULL, 1))), 0,
      11, 20, 35);
  ASSERT_VALUES(
      op_out("index_add", ARGS(gc_tensor(x), gc_tensor(ids), gc_tensor(src), gc_int(NULL, 1))), 0,
      11, 20, 35);
  qn_tensor *n = I64((1, 1), 2), *one = I64((1), 1), *inc = I64((5), 1);
  ASSERT_VALUES(
      op_out("index_add", ARGS(gc_tensor(n), gc_tensor(one), gc_tensor(inc), gc_int(NULL, 1))), 0,
      1, 6);
  gc_free((qn_tensor *[]){x, ids, src, n, one, inc}, 6);
}

static void ids_outside_are_named_with_place_and_value(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3), 3), *bad = I64((0, 3), 2), *neg = I64((0, -1), 2),
            *src = F32((1, 2), 2);
  assert_fails(op_status("gather", ARGS(gc_tensor(x), gc_tensor(bad), gc_int(NULL, 1))), QN_E_ARG,
               "element 2 of ids is 3; ids run from 0 to 2");
  assert_fails(op_status("index_select", ARGS(gc_tensor(x), gc_tensor(neg), gc_int(NULL, 1))),
               QN_E_ARG, "element 2 of ids is -1");
  assert_fails(
      op_status("scatter_add", ARGS(gc_tensor(x), gc_tensor(bad), gc_tensor(src), gc_int(NULL, 1))),
      QN_E_ARG, "is 3");
  assert_fails(
      op_status("index_add", ARGS(gc_tensor(x), gc_tensor(neg), gc_tensor(src), gc_int(NULL, 1))),
      QN_E_ARG, "is -1");
  assert_fails(op_status("take", ARGS(gc_tensor(x), gc_tensor(bad))), QN_E_ARG, "is 3");
  assert_fails(
      op_status("index_add", ARGS(gc_tensor(x), gc_tensor(bad), gc_tensor(x), gc_int(NULL, 1))),
      QN_E_SHAPE, "as many positions");
  gc_free((qn_tensor *[]){x, bad, neg, src}, 4);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 1, 0, SHAPE(3, 4)), *ids = I64((2, 0, 0, 1, 1, 1), 3, 2),
            *src = gradcheck_noise(2, 1, 0, SHAPE(3, 2));
  qn_tensor *k = I64((2, 0, 2), 3), *part = gradcheck_noise(3, 1, 0, SHAPE(3, 3)),
            *none = gc_new(QN_I64, NULL, SHAPE(0));
  GRADCHECK("gather", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(ids), gc_int(NULL, 2));
  GRADCHECK("gather", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(ids), gc_int(NULL, 1));
  GRADCHECK("scatter_add", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(ids), gc_tensor(src),
            gc_int(NULL, -1));
  GRADCHECK("index_select", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(k), gc_int(NULL, 1));
  GRADCHECK("index_select", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(k), gc_int(NULL, 2));
  GRADCHECK("index_select", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(none), gc_int(NULL, 2));
  GRADCHECK("index_add", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(k), gc_tensor(part),
            gc_int(NULL, 2));
  GRADCHECK("take", GRADCHECK_SECOND, gc_tensor(x), gc_tensor(ids));
  gc_free((qn_tensor *[]){x, ids, src, k, part, none}, 6);
}

static qn_tensor *random_ids(int64_t high, int32_t ndim, const int64_t *shape) {
  return op_out("randint", ARGS(gc_ints(NULL, ndim, shape), gc_int(NULL, 0), gc_int(NULL, high)));
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  SAME_BITS("gather", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))),
            gc_tensor(random_ids(200, SHAPE(300, 300))), gc_int(NULL, 2));
  SAME_BITS("scatter_add", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(50, 200))),
            gc_tensor(random_ids(50, SHAPE(900, 200))),
            gc_tensor(noise_f32(2, 1, 0, SHAPE(900, 200))), gc_int(NULL, 1));
  SAME_BITS("index_select", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(100, 150))),
            gc_tensor(random_ids(100, SHAPE(2000))), gc_int(NULL, 1));
  SAME_BITS("take", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(100, 150))),
            gc_tensor(random_ids(100, SHAPE(20, 100))));
}

OPS_MAIN(cmocka_unit_test(ids_pick_elements_slices_and_rows), cmocka_unit_test(repeated_ids_add_up),
         cmocka_unit_test(ids_outside_are_named_with_place_and_value),
         cmocka_unit_test(gradients_agree_with_differences),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
