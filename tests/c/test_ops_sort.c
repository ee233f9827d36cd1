/* Sorting, the best k, and searching. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void sorting_is_stable_and_nan_is_greatest(void **state) {
  (void)state;
  qn_tensor *x = F32((2, 1, NAN, 2, 1, -INFINITY), 6), *y[2];
  op_outs("sort", ARGS(gc_tensor(x)), y, 2);
  ASSERT_VALUES(y[0], 0, -INFINITY, 1, 1, 2, 2, NAN);
  ASSERT_VALUES(y[1], 0, 5, 1, 4, 0, 3, 2);
  op_outs("sort", ARGS(gc_tensor(x), gc_int("dim", 1), gc_bool("descending", true)), y, 2);
  ASSERT_VALUES(y[0], 0, NAN, 2, 2, 1, 1, -INFINITY);
  ASSERT_VALUES(y[1], 0, 2, 0, 3, 1, 4, 5);
  ASSERT_VALUES(op_out("argsort", ARGS(gc_tensor(x))), 0, 5, 1, 4, 0, 3, 2);
  qn_tensor_free(x);
}

static void any_dimension_and_exact_integers(void **state) {
  (void)state;
  int64_t big = (1LL << 60);
  qn_tensor *n = gc_new(QN_I64, (int64_t[]){big + 2, 5, big + 1, 7, big, 6}, 2, (int64_t[]){3, 2}),
            *y[2];
  op_outs("sort", ARGS(gc_tensor(n), gc_int("dim", 1)), y, 2);
  const int64_t *v = qn_tensor_view(y[0])->data;
  assert_true(v[0] == big && v[2] == big + 1 && v[4] == big + 2 && v[1] == 5 && v[3] == 6 &&
              v[5] == 7);
  ASSERT_VALUES(y[1], 0, 2, 0, 1, 2, 0, 1);
  gc_free((qn_tensor *[]){n, y[0]}, 2);
}

static void topk_is_the_head_of_the_sorted_list(void **state) {
  (void)state;
  qn_tensor *x =
      op_out("randint", ARGS(gc_ints(NULL, SHAPE(20, 50)), gc_int(NULL, 0), gc_int(NULL, 30)));
  for (int largest = 0; largest < 2; largest++)
    for (int64_t dim = 1; dim <= 2; dim++)
      for (int64_t k = 0; k <= 20; k += 5) {
        qn_tensor *s[2], *t[2];
        op_outs("sort", ARGS(gc_tensor(x), gc_int("dim", dim), gc_bool("descending", largest)), s,
                2);
        op_outs(
            "topk",
            ARGS(gc_tensor(x), gc_int(NULL, k), gc_int("dim", dim), gc_bool("largest", largest)), t,
            2);
        for (int i = 0; i < 2; i++) {
          qn_tensor *head = op_out(
              "narrow", ARGS(gc_tensor(s[i]), gc_int(NULL, dim), gc_int(NULL, 1), gc_int(NULL, k)));
          assert_true(bits_of(head, 1) == bits_of(t[i], 1));
          qn_tensor_free(head);
        }
        gc_free(s, 2);
        gc_free(t, 2);
      }
  assert_fails(op_status("topk", ARGS(gc_tensor(x), gc_int(NULL, 51))), QN_E_ARG, "k is 51");
  qn_tensor_free(x);
}

static void searching_counts_what_comes_before(void **state) {
  (void)state;
  qn_tensor *list = F32((1, 3, 3, 5), 4), *x = F32((0, 3, 9), 3), *rows = F32((1, 2, 5, 6), 2, 2),
            *q = F32((2, 7, 5, 1), 2, 2);
  ASSERT_VALUES(op_out("searchsorted", ARGS(gc_tensor(list), gc_tensor(x))), 0, 0, 1, 4);
  ASSERT_VALUES(op_out("searchsorted", ARGS(gc_tensor(list), gc_tensor(x), gc_bool("right", true))),
                0, 0, 3, 4);
  ASSERT_VALUES(op_out("searchsorted", ARGS(gc_tensor(rows), gc_tensor(q))), 0, 1, 2, 0, 0);
  assert_int_equal(op_status("searchsorted", ARGS(gc_tensor(rows), gc_tensor(x))), QN_E_SHAPE);
  gc_free((qn_tensor *[]){list, x, rows, q}, 4);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(4, 1, 0, SHAPE(3, 4)),
            *empty = gradcheck_noise(4, 1, 0, SHAPE(0, 4));
  GRADCHECK("sort", GRADCHECK_SECOND, gc_tensor(x));
  GRADCHECK("sort", GRADCHECK_SECOND, gc_tensor(x), gc_int("dim", 1), gc_bool("descending", true));
  GRADCHECK("sort", GRADCHECK_SECOND, gc_tensor(empty), gc_int("dim", 1));
  GRADCHECK("topk", GRADCHECK_SECOND, gc_tensor(x), gc_int(NULL, 2));
  GRADCHECK("topk", GRADCHECK_SECOND, gc_tensor(x), gc_int(NULL, 3), gc_int("dim", 1),
            gc_bool("largest", false));
  gc_free((qn_tensor *[]){x, empty}, 2);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  SAME_BITS("sort", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))), gc_int("dim", 2));
  SAME_BITS("sort", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))), gc_int("dim", 1));
  SAME_BITS("topk", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 200))), gc_int(NULL, 10));
}

OPS_MAIN(cmocka_unit_test(sorting_is_stable_and_nan_is_greatest),
         cmocka_unit_test(any_dimension_and_exact_integers),
         cmocka_unit_test(topk_is_the_head_of_the_sorted_list),
         cmocka_unit_test(searching_counts_what_comes_before),
         cmocka_unit_test(gradients_agree_with_differences),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
