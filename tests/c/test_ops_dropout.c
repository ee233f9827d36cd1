/* dropout. SPDX-License-Identifier: MIT */
#include "network_help.h"

enum { R = 40, C = 1500 };

static void the_rate_and_the_scale_are_right(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 0, 1, SHAPE(R, C)); /* ones */
  qn_random_seed(3);
  qn_tensor *y = call("dropout", ARGS(gc_tensor(x), gc_num("p", 0.2)));
  int zeros = 0;
  for (int i = 0; i < R * C; i++) {
    if (value(y, i) == 0)
      zeros++;
    else
      assert_near(value(y, i), 1.25, 1e-15);
  }
  assert_true(fabs(zeros / (double)(R * C) - 0.2) < 0.01);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void backward_drops_the_same_elements(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 0, 1, SHAPE(R, C));
  pass p = run_pass("dropout", ARGS(gc_tensor(x), gc_num("p", 0.5)));
  for (int i = 0; i < R * C; i++)
    assert_near(value(p.t[1], i), value(p.t[0], i) * gc_noise(99, i), 1e-15);
  free_pass(&p);
  qn_tensor_free(x);
}

/* Forward keeps a bit for each element; rows of a bit more or less than whole bytes and vectors. */
static void backward_drops_the_same_at_any_width_and_type(void **state) {
  (void)state;
  const int64_t widths[] = {1, 7, 8, 9, 16, 17, 50, 1025};
  const double rates[] = {1e-12, 0.5};
  for (int k = 0; k < 8 * 2 * 2; k++) {
    const int64_t width = widths[k % 8];
    const double p_drop = rates[k / 8 % 2], grow = 1 / (1 - p_drop);
    qn_tensor *ones = gradcheck_noise(1, 0, 1, SHAPE(3, width)),
              *x = k < 16 ? qn_tensor_retain(ones) : as_f32(ones);
    pass p = run_pass("dropout", ARGS(gc_tensor(x), gc_num("p", p_drop)));
    for (int64_t i = 0; i < 3 * width; i++) {
      const int kept = value(p.t[0], i) != 0;
      assert_near(value(p.t[1], i), kept ? gc_noise(99, i) * grow : 0, 1e-6);
      assert_true(kept || p_drop > 0.1);
    }
    free_pass(&p);
    qn_tensor_free(ones), qn_tensor_free(x);
  }
}

static void a_slice_of_the_batch_draws_what_the_batch_draws(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 0, 1, SHAPE(R, C)),
            *top = gradcheck_noise(1, 0, 1, SHAPE(5, C));
  qn_random_seed(3);
  qn_tensor *y = call("dropout", ARGS(gc_tensor(x)));
  qn_random_seed(3);
  qn_tensor *z = call("dropout", ARGS(gc_tensor(top)));
  assert_memory_equal(qn_tensor_view(y)->data, qn_tensor_view(z)->data, 5 * C * 8);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(top);
}

static void calls_and_steps_draw_anew(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 0, 1, SHAPE(64));
  qn_random_seed(3);
  qn_tensor *y = call("dropout", ARGS(gc_tensor(x))), *z = call("dropout", ARGS(gc_tensor(x)));
  qn_random_step(1);
  qn_tensor *u = call("dropout", ARGS(gc_tensor(x)));
  assert_memory_not_equal(qn_tensor_view(y)->data, qn_tensor_view(z)->data, 64 * 8);
  assert_memory_not_equal(qn_tensor_view(y)->data, qn_tensor_view(u)->data, 64 * 8);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(u);
}

static void edges_copy_or_zero(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(64)), *s = noise(1, 0, NULL);
  qn_tensor *off = call("dropout", ARGS(gc_tensor(x), gc_bool("training", 0)));
  qn_tensor *none = call("dropout", ARGS(gc_tensor(x), gc_num("p", 0))),
            *all = call("dropout", ARGS(gc_tensor(x), gc_num("p", 1)));
  assert_memory_equal(qn_tensor_view(off)->data, qn_tensor_view(x)->data, 64 * 8);
  assert_memory_equal(qn_tensor_view(none)->data, qn_tensor_view(x)->data, 64 * 8);
  for (int i = 0; i < 64; i++) assert_true(value(all, i) == 0);
  assert_fails(try_call("dropout", ARGS(gc_tensor(x), gc_num("p", 1.5))), QN_E_ARG, "p");
  assert_ok(try_call("dropout", ARGS(gc_tensor(s))));
  qn_tensor_free(x), qn_tensor_free(s), qn_tensor_free(off), qn_tensor_free(none),
      qn_tensor_free(all);
}

static void types_and_workers_agree(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(R, C)), *narrow = as_f32(x);
  assert_f32_near("dropout", ARGS(gc_tensor(x), gc_num("p", 0.3)), 1e-6);
  assert_same_bits("dropout", ARGS(gc_tensor(narrow), gc_num("p", 0.3)));
  qn_tensor_free(x), qn_tensor_free(narrow);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_rate_and_the_scale_are_right),
      cmocka_unit_test(backward_drops_the_same_elements),
      cmocka_unit_test(backward_drops_the_same_at_any_width_and_type),
      cmocka_unit_test(a_slice_of_the_batch_draws_what_the_batch_draws),
      cmocka_unit_test(calls_and_steps_draw_anew),
      cmocka_unit_test(edges_copy_or_zero),
      cmocka_unit_test(types_and_workers_agree),
  };
  return RUN(tests);
}
