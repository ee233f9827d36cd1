/*
** The autosparse plugin's op from C, where the sanitizers look: the lookup against its formula,
** edges, gradients, refusals. SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

enum { A = 7, B = 5 };

#define AXES                                                                                       \
  gc_num("x_unit", 0.5), gc_num("x_low", -2), gc_num("x_span", 4.5), gc_num("y_unit", 2),          \
      gc_num("y_low", -1), gc_num("y_span", 3)

static double clamp(double v, double high) { return v < 0 ? 0 : v > high ? high : v; }

/* The formula, by the book. */
static double looked_up(const double *grid, double x, double y) {
  double a = clamp((asinh(x / 0.5) + 2) * (A - 1) / 4.5, A - 1),
         b = clamp((asinh(y / 2) + 1) * (B - 1) / 3, B - 1);
  int i = (int)fmin(floor(a), A - 2), j = (int)fmin(floor(b), B - 2);
  double f = a - i, h = b - j;
  const double *t = grid + i * B + j;
  return (1 - f) * (1 - h) * t[0] + f * (1 - h) * t[B] + (1 - f) * h * t[1] + f * h * t[B + 1];
}

static void the_lookup_is_its_formula_also_beyond_the_ends(void **state) {
  (void)state;
  enum { N = 1000 }; /* some blocks, the last one incomplete */
  qn_tensor *x = gradcheck_noise(1, 9, 0, 1, (int64_t[]){N}),
            *y = gradcheck_noise(2, 30, 0, 1, (int64_t[]){N}),
            *grid = gradcheck_noise(3, 1, 0, 2, (int64_t[]){A, B});
  double want[N];
  for (int k = 0; k < N; k++)
    want[k] = looked_up(qn_tensor_view(grid)->data, value_at(x, k), value_at(y, k));
  qn_tensor *s = op_out("grid_lookup", ARGS(gc_tensor(x), gc_tensor(y), gc_tensor(grid), AXES));
  assert_values(s, N, want, 1e-12);
  gc_free((qn_tensor *[]){x, y, grid}, 3);
}

static void floats_agree_with_doubles(void **state) {
  (void)state;
  enum { N = 515 };
  qn_tensor *x = noise_f32(1, 9, 0, 1, (int64_t[]){N}), *y = noise_f32(2, 9, 0, 1, (int64_t[]){N}),
            *grid = noise_f32(3, 1, 0, 2, (int64_t[]){A, B});
  double want[N], exact[A * B];
  for (int k = 0; k < A * B; k++) exact[k] = value_at(grid, k);
  for (int k = 0; k < N; k++) want[k] = looked_up(exact, value_at(x, k), value_at(y, k));
  qn_tensor *s = op_out("grid_lookup", ARGS(gc_tensor(x), gc_tensor(y), gc_tensor(grid), AXES));
  assert_values(s, N, want, 1e-5);
  SAME_BITS("grid_lookup", true, gc_tensor(x), gc_tensor(y), gc_tensor(grid), AXES);
}

static void gradients_agree_with_differences(void **state) {
  (void)state;
  qn_tensor *x = F64((-0.61, 0.27, 1.13, 50, 0.27), 5), *y = F64((-1.3, 0.4, 7.7, 1.9, 0.41), 5),
            *grid = gradcheck_noise(3, 1, 0, 2, (int64_t[]){A, B});
  GRADCHECK("grid_lookup", GRADCHECK_FIRST, gc_tensor(x), gc_tensor(y), gc_tensor(grid), AXES);
  gc_free((qn_tensor *[]){x, y, grid}, 3);
}

static void nan_stays_and_a_grid_without_cells_is_refused(void **state) {
  (void)state;
  qn_tensor *x = F64((NAN, 0.5), 2), *grid = F64((1, 2, 3, 4), 2, 2), *thin = F64((1, 2), 1, 2);
  qn_tensor *s = op_out("grid_lookup", ARGS(gc_tensor(x), gc_tensor(x), gc_tensor(grid)));
  assert_true(value_at(s, 0) != value_at(s, 0));
  assert_true(value_at(s, 1) == value_at(s, 1));
  assert_fails(op_status("grid_lookup", ARGS(gc_tensor(x), gc_tensor(x), gc_tensor(thin))),
               QN_E_SHAPE, "1 x 2 values has no cells");
  gc_free((qn_tensor *[]){x, grid, thin, s}, 4);
}

static int start(void **state) { return ops_start(state) ? -1 : test_plugin("autosparse"); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_lookup_is_its_formula_also_beyond_the_ends),
      cmocka_unit_test(floats_agree_with_doubles),
      cmocka_unit_test(gradients_agree_with_differences),
      cmocka_unit_test(nan_stays_and_a_grid_without_cells_is_refused),
  };
  return cmocka_run_group_tests(tests, start, ops_stop);
}
