/*
** The prune plugin's ops from C, where the sanitizers look: selection, products with sparse
** matrices, rows of sparse tables. SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

/* Scores with many equal ones; what is kept must be what a count of better ones says. */
static void selection_is_exact(void **state) {
  (void)state;
  for (int64_t n = 1; n <= 400000; n = n * 7 + 1) {
    qn_tensor *x = gc_new(QN_F32, NULL, 1, &n);
    float *v = qn_tensor_view(x)->data;
    for (int64_t i = 0; i < n; i++) v[i] = (float)(int)(gc_noise((uint64_t)n, i) * 20) / 4;
    for (int64_t k = 0; k <= n; k += n / 3 + 1) {
      qn_tensor *kept = op_out("topk_select", ARGS(gc_tensor(x), gc_int("k", k)));
      const uint8_t *keep = qn_tensor_view(kept)->data;
      int64_t count = 0;
      float least_kept = INFINITY, most_dropped = -INFINITY;
      for (int64_t i = 0; i < n; i++) {
        count += keep[i];
        if (keep[i] && v[i] < least_kept) least_kept = v[i];
        if (!keep[i] && v[i] > most_dropped) most_dropped = v[i];
      }
      assert_int_equal(count, k);
      assert_true(most_dropped <= least_kept);
      bool dropping = true; /* of equal ones at the border, the lowest index goes first */
      for (int64_t i = 0; i < n && most_dropped == least_kept; i++) {
        if (v[i] != least_kept) continue;
        assert_true(dropping || keep[i]);
        dropping = dropping && !keep[i];
      }
      qn_tensor_free(kept);
    }
    qn_tensor_free(x);
  }
}

static void what_cannot_be_selected_is_refused(void **state) {
  (void)state;
  qn_tensor *x = F32((1, NAN, 3), 3), *alive = BOOLS((1, 0, 1), 3);
  assert_fails(op_status("topk_select", ARGS(gc_tensor(x), gc_int("k", 1))), QN_E_NUMERIC,
               "score 2");
  ASSERT_VALUES(op_out("topk_select", ARGS(gc_tensor(x), gc_tensor(alive), gc_int("k", 1))), 0, 0,
                0, 1);
  assert_fails(op_status("topk_select", ARGS(gc_tensor(x), gc_tensor(alive), gc_int("k", 3))),
               QN_E_ARG, "2 scores that are alive");
  gc_free((qn_tensor *[]){x, alive}, 2);
}

/* Random sizes around the tiles' borders, each place of the matrix kept with probability 0.2. */
static void products_equal_dense_ones(void **state) {
  (void)state;
  const int64_t sizes[] = {1, 2, 15, 16, 17, 33, 64, 65, 130};
  for (int round = 0; round < 60; round++) {
    const int64_t n = sizes[round % 9], O = sizes[(round * 5 + 2) % 9],
                  I = sizes[(round * 7 + 4) % 9];
    qn_tensor *w = gc_new(QN_F64, NULL, 2, (int64_t[]){O, I}), *made[3], *b;
    double *v = qn_tensor_view(w)->data;
    for (int64_t i = 0; i < O * I; i++)
      v[i] = gc_noise((uint64_t)round, 2 * i) > 0.6 ? gc_noise((uint64_t)round, 2 * i + 1) : 0;
    qn_tensor *x = gradcheck_noise(100, 1, 0, 2, (int64_t[]){n, I});
    b = gradcheck_noise(101, 1, 0, 1, &O);
    op_outs("csr_make", ARGS(gc_tensor(w)), made, 3);
    qn_tensor *y = op_out("csr_linear", ARGS(gc_tensor(x), gc_tensor(made[0]), gc_tensor(made[1]),
                                             gc_tensor(made[2]), {.kind = QN_ARG_NIL}, gc_tensor(b),
                                             gc_int("outputs", O)));
    qn_tensor *want = op_out("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b)));
    assert_values(y, n * O, qn_tensor_view(want)->data, 1e-12);
    gc_free((qn_tensor *[]){w, x, b, want, made[0], made[1], made[2]}, 7);
  }
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 1, 0, 2, (int64_t[]){19, 6});
  qn_tensor *values = F64((0.5, -1, 2, 0.25, 1), 5), *rows = I64((0, 2, 2, 4, 5), 5);
  qn_tensor *cols = gc_new(QN_I32, (int32_t[]){0, 5, 1, 2, 2}, 1, (int64_t[]){5});
  qn_tensor *b = gradcheck_noise(2, 1, 0, 1, (int64_t[]){4}), *ids = I64((3, 0, 3), 3);
  GRADCHECK("csr_linear", GRADCHECK_FIRST, gc_tensor(x), gc_tensor(values), gc_tensor(rows),
            gc_tensor(cols), {.kind = QN_ARG_NIL}, gc_tensor(b), gc_int("outputs", 4),
            gc_str("act", "silu"));
  GRADCHECK("csr_embedding", GRADCHECK_FIRST, gc_tensor(ids), gc_tensor(values), gc_tensor(rows),
            gc_tensor(cols), gc_int("dim", 6));
  gc_free((qn_tensor *[]){x, values, rows, cols, b, ids}, 6);
}

static int start(void **state) { return ops_start(state) ? -1 : test_plugin("prune"); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(selection_is_exact),
      cmocka_unit_test(what_cannot_be_selected_is_refused),
      cmocka_unit_test(products_equal_dense_ones),
      cmocka_unit_test(gradients_agree_with_differences),
  };
  return cmocka_run_group_tests(tests, start, ops_stop);
}
