/* layer_norm, rms_norm, l2_normalize. SPDX-License-Identifier: MIT */
#include "network_help.h"

enum { R = 3, C = 21 };

static void rows_follow_the_formulas(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(R, C)), *w = noise(2, SHAPE(C)), *b = noise(3, SHAPE(C));
  qn_tensor *layer =
      call("layer_norm", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_num("eps", 1e-3)));
  qn_tensor *rms = call("rms_norm", ARGS(gc_tensor(x), gc_tensor(w), gc_num("eps", 1e-3)));
  qn_tensor *l2 = call("l2_normalize", ARGS(gc_tensor(x)));
  for (int r = 0; r < R; r++) {
    double mean = 0, var = 0, square = 0;
    for (int c = 0; c < C; c++)
      mean += value(x, r * C + c) / C, square += pow(value(x, r * C + c), 2);
    for (int c = 0; c < C; c++) var += pow(value(x, r * C + c) - mean, 2) / C;
    for (int c = 0; c < C; c++) {
      const double v = value(x, r * C + c);
      assert_near(value(layer, r * C + c),
                  (v - mean) / sqrt(var + 1e-3) * value(w, c) + value(b, c), 1e-13);
      assert_near(value(rms, r * C + c), v / sqrt(square / C + 1e-3) * value(w, c), 1e-13);
      assert_near(value(l2, r * C + c), v / sqrt(square), 1e-13);
    }
  }
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b);
  qn_tensor_free(layer), qn_tensor_free(rms), qn_tensor_free(l2);
}

/* torch.nn.functional.layer_norm(torch.tensor([1., 2., 4.]), (3,)) */
static void numbers_are_those_of_pytorch(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){1, 2, 4}, SHAPE(3)),
            *y = call("layer_norm", ARGS(gc_tensor(x)));
  assert_near(value(y, 0), -1.0690411, 1e-6);
  assert_near(value(y, 1), -0.2672603, 1e-6);
  assert_near(value(y, 2), 1.3363014, 1e-6);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void gradients_bits_and_types(void **state) {
  (void)state;
  qn_tensor *x = noise(4, SHAPE(2, 3, 5)), *w = noise(5, SHAPE(5)), *b = noise(6, SHAPE(5));
  assert_sound("layer_norm", GRADCHECK_SECOND, ARGS(gc_tensor(x)));
  assert_sound("layer_norm", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(w)));
  assert_sound("layer_norm", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b)));
  assert_sound("rms_norm", GRADCHECK_SECOND, ARGS(gc_tensor(x)));
  assert_sound("rms_norm", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(w)));
  assert_sound("l2_normalize", GRADCHECK_FIRST, ARGS(gc_tensor(x)));
  assert_sound("l2_normalize", GRADCHECK_FIRST,
               ARGS(gc_tensor(x), gc_num("eps", 10))); /* below eps */
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b);
  x = noise(7, SHAPE(700, 50)), w = noise(8, SHAPE(50)),
  b = noise(9, SHAPE(50)); /* several chunks */
  assert_same_bits("layer_norm", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b)));
  assert_f32_near("layer_norm", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b)), 1e-4);
  assert_same_bits("rms_norm", ARGS(gc_tensor(x), gc_tensor(w)));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b);
}

static void rows_of_one_and_none(void **state) {
  (void)state;
  qn_tensor *x = noise(4, SHAPE(3, 1)), *none = noise(4, SHAPE(0, 4)), *w = noise(5, SHAPE(4));
  qn_tensor *y = call("layer_norm", ARGS(gc_tensor(x)));
  for (int i = 0; i < 3; i++) assert_true(value(y, i) == 0);
  pass p = run_pass("layer_norm", ARGS(gc_tensor(none), gc_tensor(w)));
  for (int i = 0; i < 4; i++) assert_true(value(p.t[2], i) == 0); /* no rows: no gradient */
  free_pass(&p);
  qn_tensor_free(x), qn_tensor_free(none), qn_tensor_free(w), qn_tensor_free(y);
}

/* Two passes: a large common offset does not ruin the variance. */
static void a_large_mean_keeps_its_digits(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){10001, 10002, 10004}, SHAPE(3)),
            *y = call("layer_norm", ARGS(gc_tensor(x)));
  assert_near(value(y, 0), -1.0690411, 1e-3);
  assert_near(value(y, 2), 1.3363014, 1e-3);
  qn_tensor_free(x), qn_tensor_free(y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_follow_the_formulas),
      cmocka_unit_test(numbers_are_those_of_pytorch),
      cmocka_unit_test(gradients_bits_and_types),
      cmocka_unit_test(rows_of_one_and_none),
      cmocka_unit_test(a_large_mean_keeps_its_digits),
  };
  return RUN(tests);
}
