/* embedding and embedding_grad. SPDX-License-Identifier: MIT */
#include "network_help.h"

static void rows_are_fetched(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(6, 3)), *ids = some_ids(2, 6, SHAPE(2, 4)),
            *y = call("embedding", ARGS(gc_tensor(w), gc_tensor(ids)));
  const int64_t *id = qn_tensor_view(ids)->data;
  assert_int_equal(qn_tensor_view(y)->ndim, 3);
  for (int p = 0; p < 8; p++)
    for (int c = 0; c < 3; c++) assert_true(value(y, p * 3 + c) == value(w, id[p] * 3 + c));
  qn_tensor_free(w), qn_tensor_free(ids), qn_tensor_free(y);
}

static void narrow_ids_and_numbers_of_pytorch(void **state) {
  (void)state;
  qn_tensor *w = gc_new(QN_F32, (float[]){1, 2, 3, 4}, SHAPE(2, 2)),
            *ids = gc_new(QN_I32, (int32_t[]){1, 0, 1}, SHAPE(3));
  pass p = run_pass("embedding", ARGS(gc_tensor(w), gc_tensor(ids)));
  assert_true(value(p.t[0], 0) == 3 && value(p.t[0], 3) == 2 && value(p.t[0], 4) == 3);
  assert_near(value(p.t[1], 0), gc_noise(99, 2), 1e-6);
  assert_near(value(p.t[1], 2), gc_noise(99, 0) + gc_noise(99, 4), 1e-6);
  free_pass(&p);
  qn_tensor_free(w), qn_tensor_free(ids);
}

static void gradients_bits_and_types(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(6, 3)), *ids = some_ids(2, 6, SHAPE(2, 4)),
            *dy = noise(3, SHAPE(2, 4, 3));
  assert_sound("embedding", GRADCHECK_SECOND, ARGS(gc_tensor(w), gc_tensor(ids)));
  assert_sound("embedding", GRADCHECK_SECOND,
               ARGS(gc_tensor(w), gc_tensor(ids), gc_int("padding", 3)));
  assert_sound("embedding_grad", GRADCHECK_FIRST,
               ARGS(gc_tensor(dy), gc_tensor(ids), gc_int("rows", 6), gc_int("padding", 3)));
  qn_tensor_free(w), qn_tensor_free(ids), qn_tensor_free(dy);
  w = noise(1, SHAPE(5000, 50)), ids = some_ids(2, 5000, SHAPE(20000));
  qn_tensor *narrow = as_f32(w);
  assert_same_bits("embedding", ARGS(gc_tensor(narrow), gc_tensor(ids)));
  qn_tensor_free(w), qn_tensor_free(ids), qn_tensor_free(narrow);
}

static void padding_is_zero_and_gets_no_gradient(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(3, 2)), *ids = longs(3, (int64_t[]){0, 2, 0});
  pass p = run_pass("embedding", ARGS(gc_tensor(w), gc_tensor(ids), gc_int("padding", 0)));
  for (int i = 0; i < 2; i++) assert_true(value(p.t[0], i) == 0 && value(w, i) != 0);
  assert_true(value(p.t[0], 2) == value(w, 4));
  for (int i = 0; i < 4; i++) assert_true(value(p.t[1], i) == 0);
  assert_near(value(p.t[1], 4), gc_noise(99, 2), 1e-15);
  free_pass(&p);
  qn_tensor_free(w), qn_tensor_free(ids);
}

static void sparse_rows_are_the_dense_gradient(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(40, 3)), *ids = some_ids(2, 40, SHAPE(30)),
            *seed = noise(99, SHAPE(30, 3)), *id, *rows;
  pass p = run_pass("embedding", ARGS(gc_tensor(w), gc_tensor(ids)));
  qn_tensor *y = call("embedding", ARGS(gc_tensor(w), gc_tensor(ids), gc_bool("sparse", 1)));
  assert_ok(qn_backward(y, seed, 0));
  assert_null(qn_tensor_grad(w));
  assert_true(qn_tensor_grad_rows(w, &id, &rows));
  const int64_t n = qn_tensor_view(id)->shape[0], *at = qn_tensor_view(id)->data;
  assert_true(n > 10 && n < 30);
  for (int64_t g = 0; g < n; g++)
    for (int64_t c = 0; c < 3; c++)
      assert_true(value(rows, g * 3 + c) == value(p.t[1], at[g] * 3 + c));
  free_pass(&p);
  qn_tensor_free(w), qn_tensor_free(ids), qn_tensor_free(seed), qn_tensor_free(y);
}

/* Enough ids for three chunks of the sort and two passes of digits, one of them left out. */
static void many_ids_add_up_in_their_order(void **state) {
  (void)state;
  enum { ROWS = 9000, IDS = 70000, PADDING = 3 };
  qn_tensor *w = noise(1, SHAPE(ROWS, 1)), *ids = some_ids(2, ROWS, SHAPE(IDS)),
            *seed = noise(99, SHAPE(IDS, 1));
  const int64_t *id = qn_tensor_view(ids)->data;
  double *sum = calloc(ROWS, sizeof *sum);
  assert_non_null(sum);
  for (int64_t p = 0; p < IDS; p++) sum[id[p]] += id[p] == PADDING ? 0 : value(seed, p);
  for (int32_t workers = 1; workers <= 3; workers++) {
    assert_ok(qn_threads_set(workers));
    pass p = run_pass("embedding", ARGS(gc_tensor(w), gc_tensor(ids), gc_int("padding", PADDING)));
    for (int64_t v = 0; v < ROWS; v++) assert_true(value(p.t[1], v) == sum[v]);
    free_pass(&p);
  }
  assert_ok(qn_threads_set(2));
  free(sum);
  qn_tensor_free(w), qn_tensor_free(ids), qn_tensor_free(seed);
}

static void no_ids_give_no_rows(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(3, 2)), *ids = longs(0, NULL);
  pass p = run_pass("embedding", ARGS(gc_tensor(w), gc_tensor(ids)));
  for (int i = 0; i < 6; i++) assert_true(value(p.t[1], i) == 0);
  free_pass(&p);
  qn_tensor_free(w), qn_tensor_free(ids);
}

static void a_bad_id_is_named_with_its_place(void **state) {
  (void)state;
  qn_tensor *w = noise(1, SHAPE(3, 2)), *high = longs(3, (int64_t[]){0, 1, 3}),
            *low = longs(1, (int64_t[]){-1});
  assert_fails(try_call("embedding", ARGS(gc_tensor(w), gc_tensor(high))), QN_E_ARG,
               "ids has 3 at element 3, but the table has 3 rows");
  assert_fails(try_call("embedding", ARGS(gc_tensor(w), gc_tensor(low))), QN_E_ARG,
               "ids has -1 at element 1");
  qn_tensor_free(w), qn_tensor_free(high), qn_tensor_free(low);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_fetched),
      cmocka_unit_test(narrow_ids_and_numbers_of_pytorch),
      cmocka_unit_test(gradients_bits_and_types),
      cmocka_unit_test(padding_is_zero_and_gets_no_gradient),
      cmocka_unit_test(sparse_rows_are_the_dense_gradient),
      cmocka_unit_test(many_ids_add_up_in_their_order),
      cmocka_unit_test(no_ids_give_no_rows),
      cmocka_unit_test(a_bad_id_is_named_with_its_place),
  };
  return RUN(tests);
}
