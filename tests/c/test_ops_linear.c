/* linear and its activations. SPDX-License-Identifier: MIT */
#include "network_help.h"

static double act(int kind, double z) {
  if (kind == 1) return z > 0 ? z : 0;
  if (kind == 2) return z / (1 + exp(-z));
  return kind == 3 ? z * 0.5 * (1 + erf(z / sqrt(2))) : z;
}

static const char *const names[] = {"none", "relu", "silu", "gelu"};

static void rows_follow_the_formula(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3, 4)), *w = noise(2, SHAPE(5, 4)), *b = noise(3, SHAPE(5));
  for (int k = 0; k < 4; k++) {
    qn_tensor *y =
        call("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", names[k])));
    assert_int_equal(qn_tensor_view(y)->ndim, 3);
    for (int r = 0; r < 6; r++)
      for (int o = 0; o < 5; o++) {
        double z = value(b, o);
        for (int i = 0; i < 4; i++) z += value(x, r * 4 + i) * value(w, o * 4 + i);
        assert_near(value(y, r * 5 + o), act(k, z), 1e-14);
      }
    qn_tensor_free(y);
  }
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b);
}

static void gradients_bits_and_types(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3, 4)), *w = noise(2, SHAPE(5, 4)), *b = noise(3, SHAPE(5)),
            *v = noise(4, SHAPE(4));
  for (int k = 0; k < 4; k++) {
    assert_sound("linear", GRADCHECK_SECOND,
                 ARGS(gc_tensor(x), gc_tensor(w), gc_str("act", names[k])));
    assert_sound("linear", GRADCHECK_SECOND,
                 ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", names[k])));
  }
  assert_sound("linear", GRADCHECK_SECOND, ARGS(gc_tensor(v), gc_tensor(w), gc_tensor(b)));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(v);
}

/* 500: backward goes through the rows of a slice of a batch part by part. */
static void rows_of_slices_and_of_batches(void **state) {
  (void)state;
  qn_tensor *w = noise(2, SHAPE(200, 50)), *b = noise(3, SHAPE(200));
  qn_tensor *w32 = as_f32(w), *b32 = as_f32(b);
  for (int rows = 500; rows <= 1100; rows += 600) {
    qn_tensor *x = noise(1, SHAPE(rows, 50)), *x32 = as_f32(x);
    for (int k = 0; k < 4; k++)
      assert_same_bits(
          "linear", ARGS(gc_tensor(x32), gc_tensor(w32), gc_tensor(b32), gc_str("act", names[k])));
    assert_f32_near("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", "silu")),
                    2e-4);
    qn_tensor_free(x), qn_tensor_free(x32);
  }
  qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(w32), qn_tensor_free(b32);
}

/* y = act(x W' + b) + r: the bits of linear and add one after the other. */
static void a_residual_is_added_behind_the_activation(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3, 4)), *w = noise(2, SHAPE(5, 4)), *b = noise(3, SHAPE(5)),
            *r = noise(4, SHAPE(2, 3, 5)), *bad = noise(4, SHAPE(3, 5));
  for (int k = 0; k < 4; k++) {
    qn_arg args[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_tensor(r),
                     gc_str("act", names[k])};
    qn_arg without[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", names[k])};
    qn_tensor *y = call("linear", 5, args), *z = call("linear", 4, without);
    for (int i = 0; i < 30; i++) assert_true(value(y, i) == value(z, i) + value(r, i));
    qn_tensor_free(y), qn_tensor_free(z);
    assert_sound("linear", GRADCHECK_SECOND, 5, args);
  }
  assert_fails(try_call("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_tensor(bad))),
               QN_E_SHAPE, "r");
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(r), qn_tensor_free(bad);
  x = noise(1, SHAPE(1100, 50)), w = noise(2, SHAPE(200, 50)), r = noise(3, SHAPE(1100, 200));
  qn_tensor *x32 = as_f32(x), *w32 = as_f32(w), *r32 = as_f32(r);
  assert_same_bits("linear", ARGS(gc_tensor(x32), gc_tensor(w32), (qn_arg){.kind = QN_ARG_NIL},
                                  gc_tensor(r32), gc_str("act", "relu")));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(r);
  qn_tensor_free(x32), qn_tensor_free(w32), qn_tensor_free(r32);
}

static void no_rows_give_zero_gradients(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(0, 4)), *w = noise(2, SHAPE(5, 4)), *b = noise(3, SHAPE(5));
  pass p =
      run_pass("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_str("act", "gelu")));
  for (int i = 0; i < 20; i++) assert_true(value(p.t[2], i) == 0);
  for (int i = 0; i < 5; i++) assert_true(value(p.t[3], i) == 0);
  free_pass(&p);
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b);
}

static void a_mismatch_names_the_dimension(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3)), *w = noise(2, SHAPE(5, 4));
  assert_fails(try_call("linear", ARGS(gc_tensor(x), gc_tensor(w))), QN_E_SHAPE, "I");
  assert_fails(try_call("linear", ARGS(gc_tensor(x), gc_tensor(w), gc_str("act", "tanh"))),
               QN_E_ARG, "act");
  qn_tensor_free(x), qn_tensor_free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_follow_the_formula),
      cmocka_unit_test(gradients_bits_and_types),
      cmocka_unit_test(a_residual_is_added_behind_the_activation),
      cmocka_unit_test(rows_of_slices_and_of_batches),
      cmocka_unit_test(no_rows_give_zero_gradients),
      cmocka_unit_test(a_mismatch_names_the_dimension),
  };
  return RUN(tests);
}
