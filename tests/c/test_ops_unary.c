/*
** Elementary functions, activations, casts: plain values, differences, bits.
** SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

static double ref_logistic(double x) { return 1 / (1 + exp(-x)); }
static double ref_neg(double x) { return -x; }
static double ref_rsqrt(double x) { return 1 / sqrt(x); }
static double ref_square(double x) { return x * x; }
static double ref_reciprocal(double x) { return 1 / x; }
static double ref_silu(double x) { return x * ref_logistic(x); }
static double ref_gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static double ref_relu(double x) { return x > 0 ? x : 0; }
static double ref_leaky(double x) { return x > 0 ? x : 0.01 * x; }
static double ref_elu(double x) { return x > 0 ? x : expm1(x); }
static double ref_softplus(double x) { return log1p(exp(x)); }
static double ref_sign(double x) { return (x > 0) - (x < 0); }

static const struct {
  const char *op;
  double (*f)(double);
  bool positive, smooth_at_noise; /* defined for x > 0 only; has a gradient */
} table[] = {{"neg", ref_neg, false, true},
             {"abs", fabs, false, true},
             {"exp", exp, false, true},
             {"log", log, true, true},
             {"log1p", log1p, true, true},
             {"sqrt", sqrt, true, true},
             {"rsqrt", ref_rsqrt, true, true},
             {"square", ref_square, false, true},
             {"reciprocal", ref_reciprocal, true, true},
             {"sin", sin, false, true},
             {"cos", cos, false, true},
             {"erf", erf, false, true},
             {"tanh", tanh, false, true},
             {"sigmoid", ref_logistic, false, true},
             {"silu", ref_silu, false, true},
             {"gelu", ref_gelu, false, true},
             {"relu", ref_relu, false, true},
             {"leaky_relu", ref_leaky, false, true},
             {"elu", ref_elu, false, true},
             {"softplus", ref_softplus, false, true},
             {"floor", floor, false, false},
             {"ceil", ceil, false, false},
             {"round", rint, false, false},
             {"sign", ref_sign, false, false}};
enum { N_OPS = sizeof table / sizeof *table };

static void values_agree_with_libm(void **state) {
  (void)state;
  for (size_t o = 0; o < N_OPS; o++)
    for (int32_t dtype = QN_F32; dtype <= QN_F64; dtype++) {
      double scale = table[o].positive ? 2.9 : 6, shift = table[o].positive ? 3 : 0;
      qn_tensor *x = dtype == QN_F32 ? noise_f32(o, scale, shift, SHAPE(37, 41))
                                     : gradcheck_noise(o, scale, shift, SHAPE(37, 41));
      qn_tensor *y = op_out(table[o].op, ARGS(gc_tensor(x)));
      assert_shape(y, SHAPE(37, 41));
      for (int64_t i = 0; i < 37 * 41; i++) {
        double v = value_at(x, i), want = table[o].f(v), got = value_at(y, i);
        if (fabs(got - want) > (dtype == QN_F32 ? 1e-6 : 1e-14) * fmax(1, fabs(want)))
          fail_msg("%s(%.9g) is %.9g, not %.9g", table[o].op, v, got, want);
      }
      gc_free((qn_tensor *[]){x, y}, 2);
    }
}

static void first_and_second_gradients_agree_with_differences(void **state) {
  (void)state;
  for (size_t o = 0; o < N_OPS; o++) {
    if (!table[o].smooth_at_noise) continue;
    for (int32_t s = 0; s < 3; s++) {
      static const int64_t shape[3][2] = {{3, 4}, {0, 3}, {1, 1}};
      qn_tensor *x = gradcheck_noise(o + 3, table[o].positive ? 0.8 : 1.5,
                                     table[o].positive ? 1.5 : 0.05, s == 2 ? 0 : 2, shape[s]);
      GRADCHECK(table[o].op, GRADCHECK_SECOND, gc_tensor(x));
      qn_tensor_free(x);
    }
  }
}

static void parameters_change_function_and_gradient(void **state) {
  (void)state;
  qn_tensor *x = gradcheck_noise(1, 2, 0.01, SHAPE(11));
  GRADCHECK("gelu", GRADCHECK_SECOND, gc_tensor(x), gc_str("form", "tanh"));
  GRADCHECK("leaky_relu", GRADCHECK_SECOND, gc_tensor(x), gc_num("slope", 0.3));
  GRADCHECK("elu", GRADCHECK_SECOND, gc_tensor(x), gc_num("alpha", 1.7));
  GRADCHECK("softplus", GRADCHECK_SECOND, gc_tensor(x), gc_num("beta", 2.5));
  GRADCHECK("clamp", GRADCHECK_SECOND, gc_tensor(x), gc_num("min", -0.5), gc_num("max", 0.7));
  GRADCHECK("clamp", GRADCHECK_SECOND, gc_tensor(x), gc_num("max", 0.7));
  qn_tensor *y = noise_f32(2, 5, 0, SHAPE(300));
  qn_tensor *g = op_out("gelu", ARGS(gc_tensor(y), gc_str("form", "tanh"))),
            *s = op_out("softplus", ARGS(gc_tensor(y), gc_num("beta", 2)));
  for (int64_t i = 0; i < 300; i++) {
    double v = value_at(y, i), u = 0.79788456080286535588 * (v + 0.044715 * v * v * v);
    assert_true(fabs(value_at(g, i) - 0.5 * v * (1 + tanh(u))) < 1e-6 * fmax(1, fabs(v)));
    assert_true(fabs(value_at(s, i) - log1p(exp(2 * v)) / 2) < 1e-6 * fmax(1, fabs(v)));
  }
  assert_fails(op_status("clamp", ARGS(gc_tensor(x), gc_num("min", 2), gc_num("max", 1))), QN_E_ARG,
               "min is 2");
  assert_fails(op_status("softplus", ARGS(gc_tensor(x), gc_num("beta", 0))), QN_E_ARG, "beta");
  gc_free((qn_tensor *[]){x, y, g, s}, 4);
}

static void extremes_do_not_overflow_and_nan_stays(void **state) {
  (void)state;
  qn_tensor *x = F32((-1000, 1000, NAN, INFINITY, -INFINITY), 5), *small = F32((-50, -20), 2);
  ASSERT_VALUES(op_out("softplus", ARGS(gc_tensor(x))), 0, 0, 1000, NAN, INFINITY, 0);
  ASSERT_VALUES(op_out("sigmoid", ARGS(gc_tensor(x))), 0, 0, 1, NAN, 1, 0);
  ASSERT_VALUES(op_out("relu", ARGS(gc_tensor(x))), 0, 0, 1000, NAN, INFINITY, 0);
  ASSERT_VALUES(op_out("clamp", ARGS(gc_tensor(x), gc_num("min", -1), gc_num("max", 1))), 0, -1, 1,
                NAN, 1, -1);
  ASSERT_VALUES(op_out("tanh", ARGS(gc_tensor(x))), 0, -1, 1, NAN, 1, -1);
  qn_tensor *y = op_out("softplus", ARGS(gc_tensor(small)));
  for (int64_t i = 0; i < 2; i++)
    assert_true(fabs(value_at(y, i) / exp(value_at(small, i)) - 1) < 1e-5);
  gc_free((qn_tensor *[]){x, small, y}, 3);
}

static void whole_numbers_have_their_own_forms(void **state) {
  (void)state;
  qn_tensor *x = I64((-3, 0, 4), 3);
  ASSERT_VALUES(op_out("neg", ARGS(gc_tensor(x))), 0, 3, 0, -4);
  ASSERT_VALUES(op_out("abs", ARGS(gc_tensor(x))), 0, 3, 0, 4);
  ASSERT_VALUES(op_out("square", ARGS(gc_tensor(x))), 0, 9, 0, 16);
  ASSERT_VALUES(op_out("sign", ARGS(gc_tensor(x))), 0, -1, 0, 1);
  ASSERT_VALUES(op_out("clamp", ARGS(gc_tensor(x), gc_num("min", -1))), 0, -1, 0, 4);
  assert_int_equal(op_status("exp", ARGS(gc_tensor(x))), QN_E_DTYPE);
  qn_tensor_free(x);
}

static void cast_follows_its_rules(void **state) {
  (void)state;
  qn_tensor *x = F64((1.75, -1.75, NAN, 1e300, 0), 5), *y, *n = I64((300, -1, 0), 3);
  ASSERT_VALUES(op_out("cast", ARGS(gc_tensor(x), gc_str("dtype", "bool"))), 0, 1, 1, 1, 1, 0);
  y = op_out("cast", ARGS(gc_tensor(x), gc_str("dtype", "i64")));
  assert_int_equal(qn_tensor_view(y)->dtype, QN_I64);
  ASSERT_VALUES(y, 0, 1, -1, 0, 9223372036854775807.0, 0);
  ASSERT_VALUES(op_out("cast", ARGS(gc_tensor(n), gc_str("dtype", "u8"))), 0, 44, 255, 0);
  ASSERT_VALUES(op_out("cast", ARGS(gc_tensor(n), gc_str("dtype", "f32"))), 0, 300, -1, 0);
  assert_int_equal(op_status("cast", ARGS(gc_tensor(x), gc_str("dtype", "f16"))), QN_E_ARG);
  qn_tensor *z = gradcheck_noise(1, 1, 0, SHAPE(2, 3));
  GRADCHECK("cast", GRADCHECK_SECOND, gc_tensor(z), gc_str("dtype", "f64"));
  GRADCHECK("clone", GRADCHECK_SECOND, gc_tensor(z));
  GRADCHECK("contiguous", GRADCHECK_SECOND, gc_tensor(z));
  gc_free((qn_tensor *[]){x, n, z}, 3);
}

static void gradients_pass_casts_and_stop_at_detach(void **state) {
  (void)state;
  qn_tensor *x = F32((1, 2), 2), *y, *d, *g, *seed = F64((3, 4), 2);
  assert_ok(qn_tensor_require_grad(x, 1));
  y = op_out("cast", ARGS(gc_tensor(x), gc_str("dtype", "f64")));
  assert_ok(qn_grad(y, seed, &x, 1, 0, &g));
  assert_int_equal(qn_tensor_view(g)->dtype, QN_F32);
  ASSERT_VALUES(g, 0, 3, 4);
  d = op_out("detach", ARGS(gc_tensor(x)));
  assert_false(qn_tensor_requires_grad(d));
  assert_ptr_equal(qn_tensor_view(d)->data, qn_tensor_view(x)->data);
  gc_free((qn_tensor *[]){x, y, d, seed}, 4);
}

static void views_and_copies_give_the_same_bits(void **state) {
  (void)state;
  qn_tensor *x = noise_f32(5, 0.9, 1, SHAPE(97, 201)),
            *t = op_out("transpose", ARGS(gc_tensor(x), gc_int(NULL, 1), gc_int(NULL, 2)));
  qn_tensor *c = op_out("contiguous", ARGS(gc_tensor(t)));
  for (size_t o = 0; o < N_OPS; o++) {
    qn_tensor *a = op_out(table[o].op, ARGS(gc_tensor(t))),
              *b = op_out(table[o].op, ARGS(gc_tensor(c)));
    assert_true(bits_of(a, 1) == bits_of(b, 1));
    gc_free((qn_tensor *[]){a, b}, 2);
  }
  gc_free((qn_tensor *[]){x, t, c}, 3);
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  for (size_t o = 0; o < N_OPS; o++)
    SAME_BITS(table[o].op, table[o].smooth_at_noise, gc_tensor(noise_f32(o, 0.9, 1, SHAPE(70001))));
}

OPS_MAIN(cmocka_unit_test(values_agree_with_libm),
         cmocka_unit_test(first_and_second_gradients_agree_with_differences),
         cmocka_unit_test(parameters_change_function_and_gradient),
         cmocka_unit_test(extremes_do_not_overflow_and_nan_stays),
         cmocka_unit_test(whole_numbers_have_their_own_forms),
         cmocka_unit_test(cast_follows_its_rules),
         cmocka_unit_test(gradients_pass_casts_and_stop_at_detach),
         cmocka_unit_test(views_and_copies_give_the_same_bits),
         cmocka_unit_test(bits_do_not_depend_on_the_workers))
