/* Views, joins, pads and their gradients. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void views_share_memory_and_count_dimensions_from_one(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4, 5, 6), 2, 3);
  qn_tensor *t = op_out("transpose", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, -1)));
  assert_ptr_equal(qn_tensor_view(t)->data, qn_tensor_view(x)->data);
  assert_shape(t, SHAPE(3, 2));
  ASSERT_VALUES(qn_tensor_retain(t), 0, 1, 4, 2, 5, 3, 6);
  qn_tensor *r = op_out("reshape", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(3, -1))));
  assert_ptr_equal(qn_tensor_view(r)->data, qn_tensor_view(x)->data);
  ASSERT_VALUES(r, 0, 1, 2, 3, 4, 5, 6);
  ASSERT_VALUES(op_out("reshape", ARGS(gc_tensor(t), gc_ints(NULL, SHAPE(6)))), 0, 1, 4, 2, 5, 3,
                6);
  ASSERT_VALUES(
      op_out("narrow", ARGS(gc_tensor(x), gc_int(NULL, 2), gc_int(NULL, 2), gc_int(NULL, 2))), 0, 2,
      3, 5, 6);
  ASSERT_VALUES(
      op_out("narrow", ARGS(gc_tensor(x), gc_int(NULL, 2), gc_int(NULL, -1), gc_int(NULL, 1))), 0,
      3, 6);
  ASSERT_VALUES(op_out("select", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, -1))), 0, 4, 5,
                6);
  ASSERT_VALUES(op_out("select", ARGS(gc_tensor(t), gc_int(NULL, 1), gc_int(NULL, 2))), 0, 2, 5);
  ASSERT_VALUES(op_out("permute", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(2, 1)))), 0, 1, 4, 2, 5, 3,
                6);
  qn_tensor *u = op_out("unsqueeze", ARGS(gc_tensor(x), gc_int(NULL, 2))),
            *e = op_out("expand", ARGS(gc_tensor(u), gc_ints(NULL, SHAPE(2, 2, 3))));
  assert_shape(u, SHAPE(2, 1, 3));
  ASSERT_VALUES(e, 0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6);
  qn_tensor *s = op_out("squeeze", ARGS(gc_tensor(u))),
            *f = op_out("flatten", ARGS(gc_tensor(u), gc_int(NULL, 2)));
  assert_shape(s, SHAPE(2, 3));
  assert_shape(f, SHAPE(2, 3));
  gc_free((qn_tensor *[]){x, t, u, s, f}, 5);
}

static void writing_through_a_view_reaches_the_base(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4), 2, 2),
            *row = op_out("select", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, 2)));
  qn_tensor_free(op_out("zero_", ARGS(gc_tensor(row))));
  ASSERT_VALUES(x, 0, 1, 2, 0, 0);
  qn_tensor_free(row);
}

static void impossible_views_are_refused_by_name(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4, 5, 6), 2, 3);
  assert_fails(op_status("reshape", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(4, -1)))), QN_E_SHAPE,
               "do not divide");
  assert_fails(op_status("reshape", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(5)))), QN_E_SHAPE,
               "6 elements");
  assert_fails(op_status("reshape", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(-1, -1)))), QN_E_SHAPE,
               "may be -1");
  assert_fails(op_status("reshape", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(INT64_MAX, 4)))),
               QN_E_SHAPE, "too large");
  assert_fails(op_status("transpose", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, 3))),
               QN_E_ARG, "b is 3");
  assert_fails(op_status("permute", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(1, 1)))), QN_E_ARG,
               "twice");
  assert_fails(
      op_status("narrow", ARGS(gc_tensor(x), gc_int(NULL, 2), gc_int(NULL, 2), gc_int(NULL, 3))),
      QN_E_ARG, "start 2");
  assert_fails(op_status("narrow", ARGS(gc_tensor(x), gc_int(NULL, 2), gc_int(NULL, 2),
                                        gc_int(NULL, INT64_MAX))),
               QN_E_ARG, "start 2");
  assert_fails(op_status("select", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, 0))), QN_E_ARG,
               "index 0");
  assert_fails(op_status("select", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, INT64_MIN))),
               QN_E_ARG, "index");
  assert_fails(op_status("expand", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(2, 4)))), QN_E_SHAPE,
               "only size 1");
  assert_fails(op_status("flatten", ARGS(gc_tensor(x), gc_int(NULL, 2), gc_int(NULL, 1))), QN_E_ARG,
               "comes after");
  qn_tensor_free(x);
}

static void joins_put_tensors_side_by_side(void **state) {
  (void)state;
  qn_tensor *a = F32((1, 2, 3, 4), 2, 2), *b = F32((5, 6), 2, 1), *c = F32((7, 8, 9, 10), 2, 2),
            *e = gc_new(QN_F32, NULL, SHAPE(0, 2));
  ASSERT_VALUES(op_out("concat", ARGS(gc_tensors((qn_tensor *[]){a, b, c}, 3), gc_int("dim", 2))),
                0, 1, 2, 5, 7, 8, 3, 4, 6, 9, 10);
  ASSERT_VALUES(op_out("concat", ARGS(gc_tensors((qn_tensor *[]){a, e, c}, 3))), 0, 1, 2, 3, 4, 7,
                8, 9, 10);
  qn_tensor *y = op_out("stack", ARGS(gc_tensors((qn_tensor *[]){a, c}, 2), gc_int("dim", 3)));
  assert_shape(y, SHAPE(2, 2, 2));
  ASSERT_VALUES(y, 0, 1, 7, 2, 8, 3, 9, 4, 10);
  assert_fails(op_status("concat", ARGS(gc_tensors((qn_tensor *[]){a, b}, 2))), QN_E_SHAPE,
               "tensor 2");
  assert_fails(op_status("stack", ARGS(gc_tensors((qn_tensor *[]){a, b}, 2))), QN_E_SHAPE,
               "tensor 2");
  assert_fails(op_status("concat", ARGS(gc_tensors(NULL, 0))), QN_E_ARG, "empty");
  gc_free((qn_tensor *[]){a, b, c, e}, 4);
}

static void repeats_flips_pads_and_triangles(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4), 2, 2), *v = F32((1, 2), 2);
  ASSERT_VALUES(op_out("repeat", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(2, 2)))), 0, 1, 2, 1, 2, 3,
                4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4);
  ASSERT_VALUES(op_out("repeat", ARGS(gc_tensor(v), gc_ints(NULL, SHAPE(2, 1)))), 0, 1, 2, 1, 2);
  ASSERT_VALUES(op_out("repeat", ARGS(gc_tensor(v), gc_ints(NULL, SHAPE(3)))), 0, 1, 2, 1, 2, 1, 2);
  qn_tensor *none = op_out("repeat", ARGS(gc_tensor(v), gc_ints(NULL, SHAPE(0, 3))));
  assert_shape(none, SHAPE(0, 6));
  ASSERT_VALUES(op_out("flip", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(1, 2)))), 0, 4, 3, 2, 1);
  ASSERT_VALUES(op_out("flip", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(-1)))), 0, 2, 1, 4, 3);
  ASSERT_VALUES(
      op_out("pad", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(1, 0, 0, 1)), gc_num(NULL, 9))), 0, 9, 1,
      2, 9, 3, 4, 9, 9, 9);
  ASSERT_VALUES(op_out("tril", ARGS(gc_tensor(x))), 0, 1, 0, 3, 4);
  ASSERT_VALUES(op_out("triu", ARGS(gc_tensor(x), gc_int(NULL, 1))), 0, 0, 2, 0, 0);
  ASSERT_VALUES(op_out("tril", ARGS(gc_tensor(x), gc_int(NULL, INT64_MAX))), 0, 1, 2, 3, 4);
  assert_fails(op_status("pad", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(1)))), QN_E_ARG, "pair");
  assert_fails(op_status("repeat", ARGS(gc_tensor(x), gc_ints(NULL, SHAPE(2)))), QN_E_ARG, "times");
  gc_free((qn_tensor *[]){x, v, none}, 3);
}

static void full_and_one_hot_make_the_type_asked_for(void **state) {
  (void)state;
  qn_tensor *ids = I64((2, 0), 2),
            *y =
                op_out("full", ARGS(gc_ints(NULL, SHAPE(2)), gc_num(NULL, 7), gc_str(NULL, "i64")));
  assert_int_equal(qn_tensor_view(y)->dtype, QN_I64);
  ASSERT_VALUES(y, 0, 7, 7);
  static const char *const types[] = {"f32", "f64", "bf16", "i64", "i32", "u8", "bool"};
  for (int32_t t = 0; t < 7; t++) {
    y = op_out("one_hot", ARGS(gc_tensor(ids), gc_int(NULL, 3), gc_str(NULL, types[t])));
    assert_int_equal(qn_tensor_view(y)->dtype, t + 1);
    ASSERT_VALUES(y, 0, 0, 0, 1, 1, 0, 0);
  }
  assert_fails(op_status("one_hot", ARGS(gc_tensor(ids), gc_int(NULL, 2))), QN_E_ARG,
               "element 1 of ids is 2");
  qn_tensor_free(ids);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 1, 0, SHAPE(2, 3)), *y = gradcheck_noise(2, 1, 0, SHAPE(2, 3)),
            *z = gradcheck_noise(3, 1, 0, SHAPE(2, 1));
  qn_tensor *c = gradcheck_noise(4, 1, 0, SHAPE(2, 3, 2)), *v = gradcheck_noise(5, 1, 0, SHAPE(2)),
            *empty = gradcheck_noise(5, 1, 0, SHAPE(0, 3));
  const int second = GRADCHECK_SECOND;
  GRADCHECK("reshape", second, gc_tensor(x), gc_ints(NULL, SHAPE(3, 2)));
  GRADCHECK("reshape", second, gc_tensor(empty), gc_ints(NULL, SHAPE(3, 0)));
  GRADCHECK("flatten", second, gc_tensor(c), gc_int(NULL, 2));
  GRADCHECK("transpose", second, gc_tensor(c), gc_int(NULL, 1), gc_int(NULL, 3));
  GRADCHECK("permute", second, gc_tensor(c), gc_ints(NULL, SHAPE(3, 1, 2)));
  GRADCHECK("narrow", second, gc_tensor(c), gc_int(NULL, 2), gc_int(NULL, 2), gc_int(NULL, 2));
  GRADCHECK("narrow", second, gc_tensor(c), gc_int(NULL, 2), gc_int(NULL, 2), gc_int(NULL, 0));
  GRADCHECK("select", second, gc_tensor(c), gc_int(NULL, 2), gc_int(NULL, -1));
  GRADCHECK("expand", second, gc_tensor(z), gc_ints(NULL, SHAPE(3, 2, 4)));
  GRADCHECK("squeeze", second, gc_tensor(z));
  GRADCHECK("unsqueeze", second, gc_tensor(z), gc_int(NULL, -1));
  GRADCHECK("concat", second, gc_tensors((qn_tensor *[]){x, z, y}, 3), gc_int("dim", 2));
  GRADCHECK("stack", second, gc_tensors((qn_tensor *[]){x, y}, 2), gc_int("dim", 2));
  GRADCHECK("repeat", second, gc_tensor(x), gc_ints(NULL, SHAPE(2, 3, 2)));
  GRADCHECK("repeat", second, gc_tensor(v), gc_ints(NULL, SHAPE(3)));
  GRADCHECK("flip", second, gc_tensor(c), gc_ints(NULL, SHAPE(1, 3)));
  GRADCHECK("pad", second, gc_tensor(c), gc_ints(NULL, SHAPE(1, 2, 0, 1)));
  GRADCHECK("tril", second, gc_tensor(x), gc_int(NULL, 1));
  GRADCHECK("triu", second, gc_tensor(x));
  gc_free((qn_tensor *[]){x, y, z, c, v, empty}, 6);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  SAME_BITS("transpose", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))), gc_int(NULL, 1),
            gc_int(NULL, 2));
  SAME_BITS("expand", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 1))),
            gc_ints(NULL, SHAPE(300, 400)));
  SAME_BITS("repeat", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(100, 30))),
            gc_ints(NULL, SHAPE(7, 5)));
  SAME_BITS("pad", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))),
            gc_ints(NULL, SHAPE(3, 4)));
  SAME_BITS("tril", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(30, 40, 50))));
}

OPS_MAIN(cmocka_unit_test(views_share_memory_and_count_dimensions_from_one),
         cmocka_unit_test(writing_through_a_view_reaches_the_base),
         cmocka_unit_test(impossible_views_are_refused_by_name),
         cmocka_unit_test(joins_put_tensors_side_by_side),
         cmocka_unit_test(repeats_flips_pads_and_triangles),
         cmocka_unit_test(full_and_one_hot_make_the_type_asked_for),
         cmocka_unit_test(gradients_agree_with_differences),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
