/* The losses. SPDX-License-Identifier: MIT */
#include "network_help.h"

static const char *const reductions[] = {"mean", "sum", "none"};

static double lse(const qn_tensor *x, int64_t row, int64_t C) {
  double sum = 0;
  for (int64_t c = 0; c < C; c++) sum += exp(value(x, row * C + c));
  return log(sum);
}

/* ---- Class scores ---- */

static void cross_entropy_follows_the_formula(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(4, 5)), *t = longs(4, (int64_t[]){0, 4, -100, 2}),
            *w = gradcheck_noise(2, 0.5, 1, SHAPE(4));
  qn_tensor *y =
      call("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t), gc_tensor(w),
                                 gc_int("ignore_index", -100), gc_num("label_smoothing", 0.1)));
  double sum = 0, total = 0;
  for (int r = 0; r < 4; r++) {
    const int64_t id = ((int64_t *)qn_tensor_view(t)->data)[r];
    if (id < 0) continue;
    double mean = 0;
    for (int c = 0; c < 5; c++) mean += value(x, r * 5 + c) / 5;
    sum += value(w, r) * (lse(x, r, 5) - 0.9 * value(x, r * 5 + id) - 0.1 * mean);
    total += value(w, r);
  }
  assert_near(value(y, 0), sum / total, 1e-14);
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(w), qn_tensor_free(y);
}

/* F.cross_entropy(torch.tensor([[1., 2., 3.], [1., 0., -1.]]), torch.tensor([2, 1]), label_smoothing=0.1) and 0 */
static void numbers_are_those_of_pytorch(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){1, 2, 3, 1, 0, -1}, SHAPE(2, 3)),
            *t = longs(2, (int64_t[]){2, 1});
  qn_tensor *y = call("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t)));
  assert_near(value(y, 0), 0.9076059, 1e-6);
  qn_tensor *z =
      call("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t), gc_num("label_smoothing", 0.1)));
  assert_near(value(z, 0), 0.9576060, 1e-6);
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(y), qn_tensor_free(z);
}

static void class_losses_are_sound(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(4, 5)), *t = longs(4, (int64_t[]){0, 4, -1, 2}),
            *w = gradcheck_noise(2, 0.5, 1, SHAPE(4));
  qn_tensor *one = noise(1, SHAPE(1, 1)), *zero = longs(1, (int64_t[]){0});
  for (int r = 0; r < 3; r++) {
    const qn_arg how = gc_str("reduction", reductions[r]), ignore = gc_int("ignore_index", -1),
                 smooth = gc_num("label_smoothing", 0.2);
    assert_sound("cross_entropy", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(t), how, ignore));
    assert_sound("cross_entropy", GRADCHECK_SECOND,
                 ARGS(gc_tensor(x), gc_tensor(t), how, ignore, smooth));
    assert_sound("cross_entropy", GRADCHECK_FIRST,
                 ARGS(gc_tensor(x), gc_tensor(t), gc_tensor(w), how, ignore, smooth));
    assert_sound("nll", GRADCHECK_SECOND, ARGS(gc_tensor(x), gc_tensor(t), how, ignore));
    assert_sound("nll", GRADCHECK_FIRST,
                 ARGS(gc_tensor(x), gc_tensor(t), gc_tensor(w), how, ignore));
    assert_sound("cross_entropy", GRADCHECK_SECOND, ARGS(gc_tensor(one), gc_tensor(zero), how));
  }
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(w), qn_tensor_free(one),
      qn_tensor_free(zero);
}

static void many_classes_give_equal_bits(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(50, 1700)), *t = some_ids(2, 1700, SHAPE(50)), *narrow = as_f32(x);
  assert_f32_near("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t)), 1e-5);
  assert_same_bits("cross_entropy", ARGS(gc_tensor(narrow), gc_tensor(t)));
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(narrow);
}

static void rows_that_do_not_count_give_zero(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3)), *t = longs(2, (int64_t[]){9, 9}),
            *none = noise(1, SHAPE(0, 3)), *no_t = longs(0, NULL);
  pass p = run_pass("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t), gc_int("ignore_index", 9)));
  assert_true(value(p.t[0], 0) == 0);
  for (int i = 0; i < 6; i++) assert_true(value(p.t[1], i) == 0);
  free_pass(&p);
  p = run_pass("cross_entropy", ARGS(gc_tensor(none), gc_tensor(no_t)));
  assert_true(value(p.t[0], 0) == 0);
  free_pass(&p);
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(none), qn_tensor_free(no_t);
}

static void a_bad_label_is_named_with_its_place(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 3)), *t = longs(2, (int64_t[]){0, 3}),
            *w = noise(1, SHAPE(3, 3)), *n = longs(1, (int64_t[]){5});
  const char *text = "target has 3 at element 2, but there are 3 classes";
  assert_fails(try_call("cross_entropy", ARGS(gc_tensor(x), gc_tensor(t))), QN_E_ARG, text);
  assert_fails(try_call("nll", ARGS(gc_tensor(x), gc_tensor(t))), QN_E_ARG, text);
  assert_fails(try_call("linear_cross_entropy", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(t))),
               QN_E_ARG, text);
  assert_fails(
      try_call("sampled_softmax", ARGS(gc_tensor(x), gc_tensor(w), gc_tensor(t), gc_tensor(n))),
      QN_E_ARG, "negatives has 5");
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(w), qn_tensor_free(n);
}

/* ---- Elements ---- */

static double element(int kind, double x, double t) {
  const double d = x - t;
  switch (kind) {
  case 0: return d * d;
  case 1: return fabs(d);
  case 2: return fabs(d) < 0.5 ? d * d : fabs(d) - 0.25;
  case 3: return -t * log(1 / (1 + exp(-x))) - (1 - t) * log(1 - 1 / (1 + exp(-x)));
  default: return -log(1 / (1 + exp(-d)));
  }
}

static const char *const element_ops[] = {"mse", "l1", "smooth_l1", "bce_with_logits", "bpr"};

static void element_losses_follow_the_formulas(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(3, 7)), *t = gradcheck_noise(2, 0.5, 0.5, SHAPE(3, 7));
  for (int k = 0; k < 5; k++) {
    qn_arg args[] = {gc_tensor(x), gc_tensor(t), gc_str("reduction", "none"), gc_num("beta", 0.5)};
    qn_tensor *y = call(element_ops[k], k == 2 ? 4 : 3, args);
    args[2] = gc_str("reduction", "mean");
    qn_tensor *m = call(element_ops[k], k == 2 ? 4 : 3, args);
    double mean = 0;
    for (int i = 0; i < 21; i++) {
      const double l = element(k, value(x, i), value(t, i));
      assert_near(value(y, i), l, 1e-13);
      mean += l / 21;
    }
    assert_near(value(m, 0), mean, 1e-13);
    qn_tensor_free(y), qn_tensor_free(m);
  }
  qn_tensor_free(x), qn_tensor_free(t);
}

static void element_losses_are_sound(void **state) {
  (void)state;
  qn_tensor *x = noise(1, SHAPE(2, 5)), *t = gradcheck_noise(2, 0.5, 0.5, SHAPE(2, 5)),
            *w = gradcheck_noise(3, 0.5, 1, SHAPE(2, 5));
  for (int k = 0; k < 5; k++)
    for (int r = 0; r < 3; r++) {
      const int order = k == 1 || k == 2 ? GRADCHECK_FIRST : GRADCHECK_SECOND;
      assert_sound(element_ops[k], order,
                   ARGS(gc_tensor(x), gc_tensor(t), gc_str("reduction", reductions[r])));
      if (k > 2)
        assert_sound(
            element_ops[k], GRADCHECK_FIRST,
            ARGS(gc_tensor(x), gc_tensor(t), gc_tensor(w), gc_str("reduction", reductions[r])));
    }
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(w);
  x = noise(1, SHAPE(10000)), t = noise(2, SHAPE(10000)); /* several chunks */
  qn_tensor *x32 = as_f32(x), *t32 = as_f32(t);
  for (int k = 0; k < 5; k++)
    assert_same_bits(element_ops[k], ARGS(gc_tensor(x32), gc_tensor(t32)));
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(x32), qn_tensor_free(t32);
}

static void weights_may_be_constants_in_second_order(void **state) {
  (void)state;
  /* f32 weights would not fit an f64 call, so the constant enters by the graph being off for it */
  qn_tensor *x = noise(1, SHAPE(4)), *t = gradcheck_noise(2, 0.5, 0.5, SHAPE(4)),
            *w = gradcheck_noise(3, 0.5, 1, SHAPE(4)), *g[1] = {NULL}, *gg[1] = {NULL};
  assert_ok(qn_tensor_require_grad(x, 1));
  qn_tensor *y = call("bce_with_logits",
                      ARGS(gc_tensor(x), gc_tensor(t), gc_tensor(w), gc_str("reduction", "sum")));
  assert_ok(qn_grad(y, NULL, &x, 1, QN_BACKWARD_CREATE, g));
  qn_tensor *s = call("sum", ARGS(gc_tensor(g[0])));
  assert_ok(qn_grad(s, NULL, &x, 1, 0, gg));
  for (int i = 0; i < 4; i++) {
    const double p = 1 / (1 + exp(-value(x, i)));
    assert_near(value(gg[0], i), value(w, i) * p * (1 - p), 1e-14);
  }
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(w), qn_tensor_free(y), qn_tensor_free(s),
      qn_tensor_free(g[0]), qn_tensor_free(gg[0]);
}

static void extreme_scores_stay_finite(void **state) {
  (void)state;
  qn_tensor *x = gc_new(QN_F32, (float[]){200, -200, 30, -30}, SHAPE(4)),
            *t = gc_new(QN_F32, (float[]){1, 0, 1, 1}, SHAPE(4));
  qn_tensor *y =
      call("bce_with_logits", ARGS(gc_tensor(x), gc_tensor(t), gc_str("reduction", "none")));
  assert_near(value(y, 0), 0, 1e-30);
  assert_near(value(y, 1), 0, 1e-30);
  assert_true(fabs(value(y, 2) / 9.3576e-14 - 1) < 1e-3); /* small losses keep their digits */
  assert_near(value(y, 3), 30, 1e-6);
  qn_tensor_free(x), qn_tensor_free(t), qn_tensor_free(y);
}

/* ---- Tables ---- */

static void linear_form_is_cross_entropy_of_the_product(void **state) {
  (void)state;
  qn_tensor *h = noise(1, SHAPE(150, 8)), *w = noise(2, SHAPE(9000, 8)),
            *t = some_ids(3, 9000, SHAPE(150)); /* three chunks */
  qn_tensor *y = call("linear_cross_entropy",
                      ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_num("temperature", 0.5)));
  double sum = 0;
  for (int n = 0; n < 150; n++) {
    double total = 0, own = 0;
    for (int v = 0; v < 9000; v++) {
      double z = 0;
      for (int d = 0; d < 8; d++) z += value(h, n * 8 + d) * value(w, v * 8 + d) / 0.5;
      total += exp(z);
      if (v == ((int64_t *)qn_tensor_view(t)->data)[n]) own = z;
    }
    sum += log(total) - own;
  }
  assert_near(value(y, 0), sum / 150, 1e-12);
  qn_tensor *narrow_h = as_f32(h), *narrow_w = as_f32(w);
  assert_f32_near("linear_cross_entropy", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t)), 1e-5);
  assert_same_bits("linear_cross_entropy",
                   ARGS(gc_tensor(narrow_h), gc_tensor(narrow_w), gc_tensor(t)));
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(y),
      qn_tensor_free(narrow_h), qn_tensor_free(narrow_w);
}

static void linear_form_is_sound(void **state) {
  (void)state;
  qn_tensor *h = noise(1, SHAPE(5, 3)), *w = noise(2, SHAPE(7, 3)),
            *t = longs(5, (int64_t[]){0, 6, -1, 2, 2}), *a = gradcheck_noise(4, 0.5, 1, SHAPE(5));
  for (int r = 0; r < 2; r++) {
    const qn_arg how = gc_str("reduction", reductions[r]), ignore = gc_int("ignore_index", -1);
    assert_sound("linear_cross_entropy", GRADCHECK_FIRST,
                 ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), how, ignore));
    assert_sound("linear_cross_entropy", GRADCHECK_FIRST,
                 ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(a), how, ignore,
                      gc_num("temperature", 0.3), gc_num("label_smoothing", 0.1)));
  }
  qn_tensor *none = noise(1, SHAPE(0, 3)), *no_t = longs(0, NULL);
  pass p = run_pass("linear_cross_entropy", ARGS(gc_tensor(none), gc_tensor(w), gc_tensor(no_t)));
  for (int i = 0; i < 21; i++) assert_true(value(p.t[2], i) == 0);
  free_pass(&p);
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(a), qn_tensor_free(none),
      qn_tensor_free(no_t);
}

static void sampled_form_follows_the_formula(void **state) {
  (void)state;
  qn_tensor *h = noise(1, SHAPE(2, 3)), *w = noise(2, SHAPE(5, 3)),
            *t = longs(2, (int64_t[]){1, 4});
  qn_tensor *n =
      gc_new(QN_I64, (int64_t[]){0, 2, 1, 3, 3, 0}, SHAPE(2, 3)); /* the 1 is a hit of row 1 */
  for (int drop = 0; drop < 2; drop++) {
    qn_tensor *y =
        call("sampled_softmax", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(n),
                                     gc_num("temperature", 0.5), gc_bool("drop_hits", drop),
                                     gc_str("reduction", "none")));
    for (int r = 0; r < 2; r++) {
      double sum = 0, own = 0;
      for (int j = 0; j < 4; j++) {
        const int64_t target = ((int64_t *)qn_tensor_view(t)->data)[r],
                      id = j ? ((int64_t *)qn_tensor_view(n)->data)[r * 3 + j - 1] : target;
        double z = 0;
        for (int d = 0; d < 3; d++) z += value(h, r * 3 + d) * value(w, id * 3 + d) / 0.5;
        if (!j) own = z;
        if (!j || !drop || id != target) sum += exp(z);
      }
      assert_near(value(y, r), log(sum) - own, 1e-14);
    }
    qn_tensor_free(y);
  }
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(n);
}

static void sampled_form_is_sound(void **state) {
  (void)state;
  qn_tensor *h = noise(1, SHAPE(4, 3)), *w = noise(2, SHAPE(6, 3)),
            *t = longs(4, (int64_t[]){1, 4, 0, 1}), *a = gradcheck_noise(4, 0.5, 1, SHAPE(4));
  qn_tensor *own = some_ids(5, 6, SHAPE(4, 5)), *shared = some_ids(6, 6, SHAPE(5));
  for (int r = 0; r < 3; r++) {
    const qn_arg how = gc_str("reduction", reductions[r]), hot = gc_num("temperature", 0.4);
    assert_sound("sampled_softmax", GRADCHECK_FIRST,
                 ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(own), how, hot));
    assert_sound(
        "sampled_softmax", GRADCHECK_FIRST,
        ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(shared), gc_tensor(a), how, hot));
    assert_sound("sampled_softmax", GRADCHECK_FIRST,
                 ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(own), how,
                      gc_bool("drop_hits", 0)));
  }
  assert_fails(try_call("sampled_softmax", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t),
                                                gc_tensor(shared), gc_num("temperature", 0))),
               QN_E_ARG, "temperature is 0");
  qn_tensor *odd = some_ids(6, 6, SHAPE(3, 5));
  assert_fails(
      try_call("sampled_softmax", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(odd))),
      QN_E_SHAPE, "[3,5]");
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(a), qn_tensor_free(own),
      qn_tensor_free(shared), qn_tensor_free(odd);
  h = noise(1, SHAPE(300, 50)), w = noise(2, SHAPE(1000, 50)), t = some_ids(3, 1000, SHAPE(300)),
  own = some_ids(5, 1000, SHAPE(300, 32));
  qn_tensor *h32 = as_f32(h), *w32 = as_f32(w);
  assert_same_bits("sampled_softmax",
                   ARGS(gc_tensor(h32), gc_tensor(w32), gc_tensor(t), gc_tensor(own)));
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(own), qn_tensor_free(h32),
      qn_tensor_free(w32);
}

static void sampled_rows_are_the_dense_gradient(void **state) {
  (void)state;
  qn_tensor *h = noise(1, SHAPE(4, 3)), *w = noise(2, SHAPE(50, 3)), *t = some_ids(3, 50, SHAPE(4)),
            *n = some_ids(5, 50, SHAPE(4, 5)), *id, *rows;
  pass p =
      run_pass("sampled_softmax", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t), gc_tensor(n)));
  qn_tensor *y = call("sampled_softmax", ARGS(gc_tensor(h), gc_tensor(w), gc_tensor(t),
                                              gc_tensor(n), gc_bool("sparse", 1))),
            *seed = noise(99, 0, NULL);
  assert_ok(qn_backward(y, seed, 0));
  assert_true(qn_tensor_grad_rows(w, &id, &rows));
  double left = 0;
  for (int64_t i = 0; i < 150; i++) left += fabs(value(p.t[2], i));
  for (int64_t g = 0; g < qn_tensor_view(id)->shape[0]; g++)
    for (int64_t c = 0; c < 3; c++) {
      const double dense = value(p.t[2], ((int64_t *)qn_tensor_view(id)->data)[g] * 3 + c);
      assert_true(value(rows, g * 3 + c) == dense);
      left -= fabs(dense);
    }
  assert_near(left, 0, 1e-12);
  free_pass(&p);
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(n), qn_tensor_free(y),
      qn_tensor_free(seed);
}

/* Three blocks of 256 rows; 326 columns end in vectors and single ones at every level. */
static void sampled_blocks_add_up_to_the_rows(void **state) {
  (void)state;
  enum { N = 600, D = 326, V = 300, R = 20 };
  qn_tensor *h = gradcheck_noise(1, -0.1, 0.1, SHAPE(N, D)),
            *w = gradcheck_noise(2, -0.1, 0.1, SHAPE(V, D)), *t = some_ids(3, V, SHAPE(N)),
            *n = some_ids(5, V, SHAPE(N, R)), *h32 = as_f32(h), *w32 = as_f32(w), *id, *rows;
  qn_tensor *const tables[] = {w, w32}, *const inputs[] = {h, h32};
  for (int k = 0; k < 2; k++) {
    qn_tensor *table = tables[k], *input = inputs[k];
    const qn_arg sum = gc_str("reduction", "sum");
    pass p = run_pass("sampled_softmax",
                      ARGS(gc_tensor(input), gc_tensor(table), gc_tensor(t), gc_tensor(n), sum));
    qn_tensor *y = call("sampled_softmax", ARGS(gc_tensor(input), gc_tensor(table), gc_tensor(t),
                                                gc_tensor(n), sum, gc_bool("sparse", 1)));
    qn_tensor *seed = noise(99, 0, NULL), *used = k ? as_f32(seed) : qn_tensor_retain(seed);
    assert_ok(qn_backward(y, used, 0));
    assert_true(qn_tensor_grad_rows(table, &id, &rows));
    const int64_t count = qn_tensor_view(id)->shape[0];
    for (int64_t g = 0; g < count; g++)
      for (int64_t c = 0; c < D; c++)
        assert_near(value(p.t[2], ((int64_t *)qn_tensor_view(id)->data)[g] * D + c),
                    value(rows, g * D + c), k ? 1e-5 : 1e-13);
    free_pass(&p);
    qn_tensor_free(y), qn_tensor_free(seed), qn_tensor_free(used);
    assert_same_bits("sampled_softmax",
                     ARGS(gc_tensor(input), gc_tensor(table), gc_tensor(t), gc_tensor(n)));
  }
  qn_tensor_free(h), qn_tensor_free(w), qn_tensor_free(t), qn_tensor_free(n), qn_tensor_free(h32),
      qn_tensor_free(w32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cross_entropy_follows_the_formula),
      cmocka_unit_test(numbers_are_those_of_pytorch),
      cmocka_unit_test(class_losses_are_sound),
      cmocka_unit_test(many_classes_give_equal_bits),
      cmocka_unit_test(rows_that_do_not_count_give_zero),
      cmocka_unit_test(a_bad_label_is_named_with_its_place),
      cmocka_unit_test(element_losses_follow_the_formulas),
      cmocka_unit_test(element_losses_are_sound),
      cmocka_unit_test(weights_may_be_constants_in_second_order),
      cmocka_unit_test(extreme_scores_stay_finite),
      cmocka_unit_test(linear_form_is_cross_entropy_of_the_product),
      cmocka_unit_test(linear_form_is_sound),
      cmocka_unit_test(sampled_form_follows_the_formula),
      cmocka_unit_test(sampled_form_is_sound),
      cmocka_unit_test(sampled_rows_are_the_dense_gradient),
      cmocka_unit_test(sampled_blocks_add_up_to_the_rows),
  };
  return RUN(tests);
}
