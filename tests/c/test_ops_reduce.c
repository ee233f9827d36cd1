/*
** Reductions and running sums against plain loops, differences, and any number of workers.
** SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

static void totals_over_all_one_or_several_dimensions(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), 2, 3, 2);
  ASSERT_VALUES(op_out("sum", ARGS(gc_tensor(x))), 0, 78);
  ASSERT_VALUES(op_out("sum", ARGS(gc_tensor(x), gc_int("dim", 1))), 0, 8, 10, 12, 14, 16, 18);
  ASSERT_VALUES(op_out("sum", ARGS(gc_tensor(x), gc_int("dim", 2))), 0, 9, 12, 27, 30);
  ASSERT_VALUES(op_out("mean", ARGS(gc_tensor(x), gc_ints("dim", SHAPE(1, -1)))), 1e-7, 4.5, 6.5,
                8.5);
  ASSERT_VALUES(op_out("prod", ARGS(gc_tensor(x), gc_int("dim", -1))), 0, 2, 12, 30, 56, 90, 132);
  ASSERT_VALUES(op_out("max", ARGS(gc_tensor(x), gc_ints("dim", SHAPE(2, 3)))), 0, 6, 12);
  ASSERT_VALUES(op_out("min", ARGS(gc_tensor(x))), 0, 1);
  qn_tensor *y =
      op_out("sum", ARGS(gc_tensor(x), gc_ints("dim", SHAPE(1, 3)), gc_bool("keepdim", true)));
  assert_shape(y, SHAPE(1, 3, 1));
  ASSERT_VALUES(y, 0, 18, 26, 34);
  assert_fails(op_status("sum", ARGS(gc_tensor(x), gc_int("dim", 4))), QN_E_ARG, "dim is 4");
  assert_fails(op_status("sum", ARGS(gc_tensor(x), gc_int("dim", 0))), QN_E_ARG, "dim is 0");
  assert_fails(op_status("sum", ARGS(gc_tensor(x), gc_ints("dim", SHAPE(1, -3)))), QN_E_ARG,
               "twice");
  qn_tensor_free(x);
}

static void spread_and_logsumexp_match_their_formulas(void **state) {
  (void)state;
  qn_tensor *x = F64((1, 2, 4, 8, 8, 8), 2, 3),
            *big = F32((1000, 1000, -INFINITY, -INFINITY), 2, 2);
  ASSERT_VALUES(op_out("var", ARGS(gc_tensor(x), gc_int("dim", 2))), 1e-14, 7.0 / 3, 0);
  ASSERT_VALUES(op_out("std", ARGS(gc_tensor(x), gc_int("dim", 2), gc_bool("keepdim", false),
                                   gc_int("correction", 0))),
                1e-14, sqrt(14.0 / 9), 0);
  ASSERT_VALUES(op_out("logsumexp", ARGS(gc_tensor(x), gc_int("dim", 1))), 1e-14,
                log(exp(1) + exp(8)), log(exp(2) + exp(8)), log(exp(4) + exp(8)));
  ASSERT_VALUES(op_out("logsumexp", ARGS(gc_tensor(big), gc_int("dim", 2))), 1e-6, 1000 + log(2),
                -INFINITY);
  gc_free((qn_tensor *[]){x, big}, 2);
}

static void integers_and_truth_values_add_up_in_i64(void **state) {
  (void)state;
  qn_tensor *m = BOOLS((1, 0, 1, 1), 2, 2), *y = op_out("sum", ARGS(gc_tensor(m)));
  assert_int_equal(qn_tensor_view(y)->dtype, QN_I64);
  ASSERT_VALUES(y, 0, 3);
  ASSERT_VALUES(op_out("all", ARGS(gc_tensor(m), gc_int("dim", 2))), 0, 0, 1);
  ASSERT_VALUES(op_out("any", ARGS(gc_tensor(m), gc_int("dim", 1))), 0, 1, 1);
  int64_t big = (1LL << 60) + 1;
  qn_tensor *n = gc_new(QN_I64, (int64_t[]){big, 1}, 1, (int64_t[]){2}),
            *s = op_out("sum", ARGS(gc_tensor(n)));
  assert_true(*(int64_t *)qn_tensor_view(s)->data == big + 1);
  qn_tensor *t = op_out("max", ARGS(gc_tensor(n)));
  assert_true(*(int64_t *)qn_tensor_view(t)->data == big);
  gc_free((qn_tensor *[]){m, n, s, t}, 4);
}

static void nothing_has_a_sum_but_no_maximum(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, NULL, SHAPE(0, 3));
  ASSERT_VALUES(op_out("sum", ARGS(gc_tensor(x), gc_int("dim", 1))), 0, 0, 0, 0);
  ASSERT_VALUES(op_out("prod", ARGS(gc_tensor(x))), 0, 1);
  ASSERT_VALUES(op_out("mean", ARGS(gc_tensor(x))), 0, NAN);
  ASSERT_VALUES(op_out("logsumexp", ARGS(gc_tensor(x))), 0, -INFINITY);
  assert_fails(op_status("max", ARGS(gc_tensor(x), gc_int("dim", 1))), QN_E_SHAPE, "no elements");
  assert_fails(op_status("argmax", ARGS(gc_tensor(x))), QN_E_SHAPE, "no elements");
  qn_tensor *y = op_out("max", ARGS(gc_tensor(x), gc_int("dim", 2)));
  assert_shape(y, SHAPE(0));
  gc_free((qn_tensor *[]){x, y}, 2);
}

static void places_count_from_zero_and_ties_go_to_the_first(void **state) {
  (void)state;
  qn_tensor *x = F32((3, 5, 5, 1, NAN, 2), 2, 3), *outs[2];
  ASSERT_VALUES(op_out("argmax", ARGS(gc_tensor(x), gc_int("dim", 2))), 0, 1, 1);
  ASSERT_VALUES(op_out("argmin", ARGS(gc_tensor(x), gc_int("dim", 1))), 0, 1, 1, 1);
  ASSERT_VALUES(op_out("argmax", ARGS(gc_tensor(x))), 0, 4);
  op_outs("max_dim", ARGS(gc_tensor(x), gc_int("dim", 1), gc_bool("keepdim", true)), outs, 2);
  assert_shape(outs[0], SHAPE(1, 3));
  ASSERT_VALUES(outs[0], 0, 3, NAN, 5);
  ASSERT_VALUES(outs[1], 0, 0, 1, 0);
  op_outs("min_dim", ARGS(gc_tensor(x), gc_int("dim", -1)), outs, 2);
  ASSERT_VALUES(outs[0], 0, 3, NAN);
  ASSERT_VALUES(outs[1], 0, 0, 1);
  qn_tensor_free(x);
}

static void running_sums_go_either_way(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2, 3, 4, 5, 6), 2, 3), *n = BOOLS((1, 1, 0, 1), 4);
  ASSERT_VALUES(op_out("cumsum", ARGS(gc_tensor(x), gc_int("dim", 2))), 0, 1, 3, 6, 4, 9, 15);
  ASSERT_VALUES(op_out("cumsum", ARGS(gc_tensor(x), gc_int("dim", 1), gc_bool("reverse", true))), 0,
                5, 7, 9, 4, 5, 6);
  ASSERT_VALUES(op_out("cumsum", ARGS(gc_tensor(n), gc_int("dim", 1))), 0, 1, 2, 2, 3);
  gc_free((qn_tensor *[]){x, n}, 2);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  static const char *const ops[] = {"sum", "mean", "max", "min", "var", "std", "logsumexp"};
  static const int64_t dims[][2] = {{1, 0}, {2, 0}, {-1, 0}, {1, 3}, {2, 3}};
  for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
    qn_tensor *x = gradcheck_noise(o + 1, 1, 0, SHAPE(2, 3, 2));
    GRADCHECK(ops[o], GRADCHECK_SECOND, gc_tensor(x));
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
      for (int keep = 0; keep < 2; keep++)
        GRADCHECK(ops[o], GRADCHECK_SECOND, gc_tensor(x),
                  gc_ints("dim", dims[d][1] ? 2 : 1, dims[d]), gc_bool("keepdim", keep));
    qn_tensor_free(x);
  }
}

static void gradients_of_other_folds_and_small_shapes_agree_too(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 1, 0, SHAPE(2, 3, 2)), *zero = F64((2, 0, 3, 0, 0, 4), 2, 3);
  qn_tensor *empty = gradcheck_noise(1, 1, 0, SHAPE(0, 3)),
            *one = gradcheck_noise(1, 1, 0, SHAPE(1)), *scalar = gradcheck_noise(2, 1, 0, 0, NULL);
  GRADCHECK("prod", GRADCHECK_FIRST, gc_tensor(x), gc_int("dim", 2));
  GRADCHECK("prod", GRADCHECK_FIRST, gc_tensor(zero), gc_int("dim", 2));
  GRADCHECK("cumsum", GRADCHECK_SECOND, gc_tensor(x), gc_int("dim", 2));
  GRADCHECK("cumsum", GRADCHECK_SECOND, gc_tensor(x), gc_int("dim", 1), gc_bool("reverse", true));
  GRADCHECK("max_dim", GRADCHECK_SECOND, gc_tensor(x), gc_int("dim", 2));
  GRADCHECK("min_dim", GRADCHECK_SECOND, gc_tensor(x), gc_int("dim", 3), gc_bool("keepdim", true));
  GRADCHECK("sum_to", GRADCHECK_SECOND, gc_tensor(x), gc_ints("shape", SHAPE(3, 1)));
  GRADCHECK("sum", GRADCHECK_SECOND, gc_tensor(empty), gc_int("dim", 1));
  GRADCHECK("sum", GRADCHECK_SECOND, gc_tensor(scalar));
  GRADCHECK("mean", GRADCHECK_SECOND, gc_tensor(one));
  GRADCHECK("logsumexp", GRADCHECK_SECOND, gc_tensor(one), gc_int("dim", 1));
  gc_free((qn_tensor *[]){x, zero, empty, one, scalar}, 5);
}

static void equal_extremes_share_the_gradient(void **state) {
  (void)state;
  qn_tensor *x = F32((2, 2, 1), 3), *y, *g;
  assert_ok(qn_tensor_require_grad(x, 1));
  y = op_out("max", ARGS(gc_tensor(x)));
  assert_ok(qn_grad(y, NULL, &x, 1, 0, &g));
  ASSERT_VALUES(g, 0, 0.5, 0.5, 0);
  gc_free((qn_tensor *[]){x, y}, 2);
}

static void large_f32_sums_stay_accurate_on_every_path(void **state) {
  (void)state;
  static const int64_t shapes[][2] = {
      {1, 1000000}, {1000000, 1}, {1000, 1000}, {3, 200001}, {200001, 3}};
  for (size_t s = 0; s < 5; s++) {
    qn_tensor *x = noise_f32(s, 1, 0.1, 2, shapes[s]);
    for (int64_t dim = 1; dim <= 2; dim++) {
      qn_tensor *y = op_out("sum", ARGS(gc_tensor(x), gc_int("dim", dim)));
      int64_t n = shapes[s][2 - dim], r = shapes[s][dim - 1];
      for (int64_t i = 0; i < n; i += 1 + n / 50) {
        double want = 0, size = 0;
        for (int64_t k = 0; k < r; k++) {
          double v = value_at(x, dim == 1 ? k * n + i : i * r + k);
          want += v;
          size += fabs(v);
        }
        assert_true(fabs(value_at(y, i) - want) <= 1e-6 * size + 1e-6 * fabs(want));
      }
      qn_tensor_free(y);
    }
    qn_tensor_free(x);
  }
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  static const char *const ops[] = {"sum", "mean", "max", "min", "var", "std", "logsumexp", "prod"};
  for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(o, 0.01, 1, SHAPE(300000))));
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(o, 0.01, 1, SHAPE(70000, 5))), gc_int("dim", 1));
    SAME_BITS(ops[o], true, gc_tensor(noise_f32(o, 0.01, 1, SHAPE(30, 40, 50))),
              gc_ints("dim", SHAPE(1, 3)));
  }
  SAME_BITS("cumsum", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 100))), gc_int("dim", 2));
  SAME_BITS("max_dim", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 100))), gc_int("dim", 2));
  SAME_BITS("argmax", false, gc_tensor(noise_f32(1, 1, 0, SHAPE(300, 100))), gc_int("dim", 1));
  SAME_BITS("sum_to", true, gc_tensor(noise_f32(1, 1, 0, SHAPE(3000, 30))),
            gc_ints("shape", SHAPE(30)));
}

OPS_MAIN(cmocka_unit_test(totals_over_all_one_or_several_dimensions),
         cmocka_unit_test(spread_and_logsumexp_match_their_formulas),
         cmocka_unit_test(integers_and_truth_values_add_up_in_i64),
         cmocka_unit_test(nothing_has_a_sum_but_no_maximum),
         cmocka_unit_test(places_count_from_zero_and_ties_go_to_the_first),
         cmocka_unit_test(running_sums_go_either_way),
         cmocka_unit_test(gradients_agree_with_differences),
         cmocka_unit_test(gradients_of_other_folds_and_small_shapes_agree_too),
         cmocka_unit_test(equal_extremes_share_the_gradient),
         cmocka_unit_test(large_f32_sums_stay_accurate_on_every_path),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
