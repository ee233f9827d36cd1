/* The best rows of a table by scalar product. SPDX-License-Identifier: MIT */
#include "ops_help.h"

static void rows_come_from_the_best_on_and_ties_in_order(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 0, 0, 1), 2, 2), *w = F32((9, 9, 1, 5, 3, 5, 3, 0), 4, 2), *y[2];
  op_outs("top_rows", ARGS(gc_tensor(x), gc_tensor(w), gc_int("k", 3), gc_int("first", 1)), y, 2);
  ASSERT_VALUES(y[0], 0, 3, 3, 1, 5, 5, 0);
  ASSERT_VALUES(y[1], 0, 2, 3, 1, 1, 2, 3);
  gc_free((qn_tensor *[]){x, w}, 2);
}

/* Sizes on both sides of the few-rows path, of a step and of a stretch of the table. */
static void it_is_topk_of_the_product(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {{1, 700, 16}, {3, 40, 5}, {30, 1100, 7}, {5, 20000, 3}};
  for (int wide = 0; wide < 2; wide++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      const char *dtype = wide ? "f64" : "f32";
      const int64_t N = sizes[i][0], V = sizes[i][1], D = sizes[i][2];
      qn_tensor *x = op_out("normal", ARGS(gc_ints("shape", SHAPE(N, D)), gc_str("dtype", dtype)));
      qn_tensor *w = op_out("normal", ARGS(gc_ints("shape", SHAPE(V, D)), gc_str("dtype", dtype)));
      qn_tensor *z = op_out("matmul", ARGS(gc_tensor(x), gc_tensor(w), gc_bool("transpose_b", 1)));
      qn_tensor *want[2], *got[2];
      op_outs("topk", ARGS(gc_tensor(z), gc_int("k", 12)), want, 2);
      op_outs("top_rows", ARGS(gc_tensor(x), gc_tensor(w), gc_int("k", 12)), got, 2);
      for (int64_t p = 0; p < N * 12; p++) {
        assert_float_equal(value_at(got[0], p), value_at(want[0], p), 1e-5);
        assert_true(value_at(got[1], p) == value_at(want[1], p));
      }
      gc_free((qn_tensor *[]){x, w, z, want[0], want[1], got[0], got[1]}, 7);
    }
}

static void seen_rows_are_left_out(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 1), 2, 1), *w = F32((1, 2, 3, 4), 4, 1), *y[2], *jagged = NULL;
  qn_tensor *seen = I64((3, 2, 3, 1, 2), 5), *offsets = I64((0, 1, 5), 3);
  assert_ok(qn_tensor_jagged(seen, offsets, &jagged));
  op_outs("top_rows", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(jagged), gc_int("k", 2)), y, 2);
  ASSERT_VALUES(y[1], 0, 2, 1, 0, -1);
  ASSERT_VALUES(y[0], 0, 3, 2, 1, -INFINITY);
  gc_free((qn_tensor *[]){x, w, seen, offsets, jagged}, 5);
}

static void more_than_there_are_is_refused(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 1), 2, 1), *w = F32((1, 2, 3, 4), 4, 1);
  assert_int_equal(
      op_status("top_rows", ARGS(gc_tensor(x), gc_tensor(w), gc_int("k", 4), gc_int("first", 1))),
      QN_E_ARG);
  gc_free((qn_tensor *[]){x, w}, 2);
}

static void bits_do_not_depend_on_workers(void **state) {
  (void)state;
  SAME_BITS("top_rows", false, gc_tensor(noise_f32(1, 1, 0, SHAPE(50, 8))),
            gc_tensor(noise_f32(2, 1, 0, SHAPE(40000, 8))));
}

OPS_MAIN(cmocka_unit_test(rows_come_from_the_best_on_and_ties_in_order),
         cmocka_unit_test(it_is_topk_of_the_product), cmocka_unit_test(seen_rows_are_left_out),
         cmocka_unit_test(more_than_there_are_is_refused),
         cmocka_unit_test(bits_do_not_depend_on_workers))
