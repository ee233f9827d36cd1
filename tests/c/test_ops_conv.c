/*
** Convolution, pooling, upsampling, batch norm: known values, gradients to second order, equal
** bits.
** SPDX-License-Identifier: MIT
*/
#include "check.h"
#include "gradcheck.h"

#include "graph/call.h"
#include "tensor/tensor.h"

static qn_tensor *noise(uint64_t stream, int32_t ndim, const int64_t *shape, int32_t dtype) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(dtype, ndim, shape, &t));
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    qni_dtype_store(dtype, (char *)t->view.data + i * (int64_t)qni_dtype_size(dtype),
                    gc_noise(stream, i));
  return t;
}

static qn_tensor *call(const char *op, const qn_arg *args, int32_t n) {
  qn_tensor *out = NULL;
  assert_ok(qni_call_named(op, args, n, &out, 1));
  return out;
}

static double at(const qn_tensor *t, int64_t i) {
  return qni_dtype_load(t->view.dtype,
                        (char *)t->view.data + i * (int64_t)qni_dtype_size(t->view.dtype));
}

/* The definition, term by term. */
static double conv_at(const qn_tensor *x, const qn_tensor *w, int64_t n, int64_t o, int64_t y,
                      int64_t c, int64_t s, int64_t p, int64_t d, int64_t groups) {
  const int64_t *xs = x->view.shape, *ws = w->view.shape;
  int64_t og = ws[0] / groups;
  double sum = 0;
  for (int64_t i = 0; i < ws[1]; i++)
    for (int64_t u = 0; u < ws[2]; u++)
      for (int64_t v = 0; v < ws[3]; v++) {
        int64_t row = y * s + u * d - p, col = c * s + v * d - p, channel = o / og * ws[1] + i;
        if (row < 0 || row >= xs[2] || col < 0 || col >= xs[3]) continue;
        sum += at(x, ((n * xs[1] + channel) * xs[2] + row) * xs[3] + col) *
               at(w, ((o * ws[1] + i) * ws[2] + u) * ws[3] + v);
      }
  return sum;
}

static void convolution_follows_its_definition(void **state) {
  (void)state;
  for (int dtype = QN_F32; dtype <= QN_F64; dtype++)
    for (int64_t s = 1; s <= 2; s++)
      for (int64_t d = 1; d <= 2; d++)
        for (int64_t groups = 1; groups <= 2; groups++) {
          qn_tensor *x = noise(1, 4, (int64_t[]){2, 4, 7, 6}, dtype),
                    *w = noise(2, 4, (int64_t[]){6, 4 / groups, 3, 3}, dtype);
          qn_arg args[] = {gc_tensor(x),         gc_tensor(w),          gc_int("stride", s),
                           gc_int("padding", 1), gc_int("dilation", d), gc_int("groups", groups)};
          qn_tensor *y = call("conv2d", args, 6);
          const int64_t *ys = y->view.shape;
          for (int64_t i = 0; i < qni_tensor_count(y); i++) {
            double expected =
                conv_at(x, w, i / (ys[1] * ys[2] * ys[3]), i / (ys[2] * ys[3]) % ys[1],
                        i / ys[3] % ys[2], i % ys[3], s, 1, d, groups);
            assert_true(fabs(at(y, i) - expected) < (dtype == QN_F32 ? 1e-5 : 1e-13));
          }
          qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(y);
        }
}

static void convolutions_differentiate_to_second_order(void **state) {
  (void)state;
  qn_tensor *x = noise(1, 4, (int64_t[]){2, 2, 4, 3}, QN_F64),
            *w = noise(2, 4, (int64_t[]){4, 1, 2, 2}, QN_F64),
            *b = noise(3, 1, (int64_t[]){4}, QN_F64);
  qn_arg args[] = {gc_tensor(x),        gc_tensor(w),         gc_tensor(b),
                   gc_int("stride", 2), gc_int("padding", 1), gc_int("groups", 2)};
  assert_true(gradcheck("conv2d", 6, args, GRADCHECK_SECOND));
  qn_tensor *x1 = noise(1, 3, (int64_t[]){2, 2, 5}, QN_F64),
            *w1 = noise(2, 3, (int64_t[]){3, 2, 3}, QN_F64);
  qn_arg series[] = {gc_tensor(x1), gc_tensor(w1), gc_int("padding", 1)};
  assert_true(gradcheck("conv1d", 3, series, GRADCHECK_SECOND));
  qn_tensor *g = noise(4, 4, (int64_t[]){1, 4, 2, 2}, QN_F64),
            *w2 = noise(5, 4, (int64_t[]){4, 2, 3, 2}, QN_F64);
  qn_arg transposed[] = {gc_tensor(g), gc_tensor(w2), gc_int("stride", 2)};
  assert_true(gradcheck("conv_transpose2d", 3, transposed, GRADCHECK_SECOND));
  qn_tensor *g2 = noise(6, 4, (int64_t[]){2, 3, 3, 2}, QN_F64);
  qn_arg weight[] = {gc_tensor(x), gc_tensor(g2), gc_ints("size", 2, (int64_t[]){2, 2})};
  assert_true(gradcheck("conv2d_weight_grad", 3, weight, GRADCHECK_SECOND));
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(x1), qn_tensor_free(w1);
  qn_tensor_free(g), qn_tensor_free(w2), qn_tensor_free(g2);
}

static void pooling_has_known_values_and_gradients(void **state) {
  (void)state;
  qn_tensor *x = noise(9, 4, (int64_t[]){1, 2, 4, 5}, QN_F64);
  qn_arg args[] = {gc_tensor(x), gc_int("kernel", 2)};
  qn_tensor *y = call("max_pool", args, 2), *z = call("avg_pool", args, 2);
  assert_int_equal(y->view.shape[2], 2);
  assert_int_equal(y->view.shape[3], 2);
  assert_true(at(y, 0) == fmax(fmax(at(x, 0), at(x, 1)), fmax(at(x, 5), at(x, 6))));
  assert_true(fabs(at(z, 0) - (at(x, 0) + at(x, 1) + at(x, 5) + at(x, 6)) / 4) < 1e-15);
  qn_arg padded[] = {gc_tensor(x), gc_int("kernel", 3), gc_int("stride", 2), gc_int("padding", 1)};
  qn_arg sized[] = {gc_tensor(x), gc_int("size", 3)};
  assert_true(gradcheck("max_pool", 4, padded, GRADCHECK_FIRST));
  assert_true(gradcheck("avg_pool", 4, padded, GRADCHECK_FIRST));
  assert_true(gradcheck("adaptive_avg_pool", 2, sized, GRADCHECK_FIRST));
  qn_arg bilinear[] = {gc_tensor(x), gc_int("scale", 2), gc_str("mode", "bilinear")};
  assert_true(gradcheck("upsample", 3, bilinear, GRADCHECK_FIRST));
  assert_true(gradcheck("upsample", 2, bilinear, GRADCHECK_FIRST));
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z);
}

static void batch_norm_normalises_and_differentiates(void **state) {
  (void)state;
  qn_tensor *x = noise(3, 4, (int64_t[]){3, 2, 2, 2}, QN_F64),
            *w = noise(4, 1, (int64_t[]){2}, QN_F64), *b = noise(5, 1, (int64_t[]){2}, QN_F64),
            *out[3];
  qn_arg args[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b)};
  assert_ok(qni_call_named("batch_norm", args, 1, out, 3));
  double sum = 0, square = 0;
  for (int64_t n = 0; n < 3; n++)
    for (int64_t p = 0; p < 4; p++)
      sum += at(out[0], n * 8 + p), square += at(out[0], n * 8 + p) * at(out[0], n * 8 + p);
  assert_true(fabs(sum) < 1e-12 && fabs(square / 12 - 1) < 1e-3);
  assert_true(gradcheck("batch_norm", 3, args, GRADCHECK_FIRST));
  qn_tensor *var;
  qn_arg positive[] = {gc_tensor(out[2]), gc_num(NULL, 0.5)};
  var = call("add", positive, 2);
  qn_arg eval[] = {gc_tensor(x), gc_tensor(w), gc_tensor(b), gc_tensor(out[1]), gc_tensor(var)};
  qn_tensor *y[3];
  assert_ok(qni_call_named("batch_norm", eval, 5, y, 3));
  assert_true(fabs(at(y[0], 0) - (at(w, 0) * (at(x, 0) - at(out[1], 0)) / sqrt(at(var, 0) + 1e-5) +
                                  at(b, 0))) < 1e-12);
  assert_true(gradcheck("batch_norm", 5, eval, GRADCHECK_FIRST));
  for (int i = 0; i < 3; i++) qn_tensor_free(out[i]), qn_tensor_free(y[i]);
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(b), qn_tensor_free(var);
}

/* <v, grad of sum(w y)> against central differences of itself, through y alone. */
static double directional(qn_tensor *x, qn_tensor *weights, qn_tensor *v, qn_tensor **second) {
  qn_tensor *out[3], *loss, *g, *s;
  assert_ok(qn_tensor_require_grad(x, 1));
  qn_arg one[] = {gc_tensor(x), gc_tensor(weights)};
  assert_ok(qni_call_named("batch_norm", one, 1, out, 3));
  one[0] = gc_tensor(out[0]);
  qn_tensor *product = call("mul", one, 2), *cube;
  one[0] = gc_tensor(product);
  cube = call("square", one, 1);
  one[0] = gc_tensor(cube);
  loss = call("sum", one, 1);
  assert_ok(qn_grad(loss, NULL, &x, 1, QN_BACKWARD_CREATE, &g));
  qn_arg pair[] = {gc_tensor(g), gc_tensor(v)};
  qn_tensor *gv = call("mul", pair, 2);
  one[0] = gc_tensor(gv);
  s = call("sum", one, 1);
  double value = at(s, 0);
  if (second) assert_ok(qn_grad(s, NULL, &x, 1, 0, second));
  qn_tensor *all[] = {out[0], out[1], out[2], product, cube, loss, g, gv, s};
  for (int i = 0; i < 9; i++) qn_tensor_free(all[i]);
  return value;
}

static void batch_norm_has_a_second_order(void **state) {
  (void)state;
  const int64_t shape[] = {3, 2, 2, 2};
  qn_tensor *x = noise(3, 4, shape, QN_F64), *w = noise(4, 4, shape, QN_F64),
            *v = noise(5, 4, shape, QN_F64), *h;
  directional(x, w, v, &h);
  for (int64_t i = 0; i < qni_tensor_count(x); i++) {
    double *p = (double *)x->view.data + i, saved = *p, up, down;
    *p = saved + 1e-5, up = directional(x, w, v, NULL);
    *p = saved - 1e-5, down = directional(x, w, v, NULL);
    *p = saved;
    double measured = (up - down) / 2e-5;
    assert_true(fabs(measured - at(h, i)) < 1e-5 * fmax(1, fabs(measured)));
  }
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(v), qn_tensor_free(h);
}

/* Everything once forward and backward; the bits of results and gradients, as one sum. */
static uint64_t fingerprint(void) {
  qn_tensor *x = noise(1, 4, (int64_t[]){9, 3, 8, 8}, QN_F32),
            *w = noise(2, 4, (int64_t[]){5, 3, 3, 3}, QN_F32), *out[3], *s;
  uint64_t hash = 1469598103934665603u;
  assert_ok(qn_tensor_require_grad(x, 1));
  assert_ok(qn_tensor_require_grad(w, 1));
  qn_arg args[] = {gc_tensor(x), gc_tensor(w), gc_int("padding", 1)};
  qn_tensor *y = call("conv2d", args, 3);
  qn_arg one[] = {gc_tensor(y), gc_int("kernel", 2)};
  qn_tensor *p = call("max_pool", one, 2);
  one[0] = gc_tensor(p);
  assert_ok(qni_call_named("batch_norm", one, 1, out, 3));
  one[0] = gc_tensor(out[0]);
  qn_tensor *q = call("square", one, 1);
  one[0] = gc_tensor(q);
  s = call("sum", one, 1);
  assert_ok(qn_backward(s, NULL, 0));
  const qn_tensor *all[] = {y, out[0], qn_tensor_grad(x), qn_tensor_grad(w)};
  for (int i = 0; i < 4; i++)
    for (int64_t j = 0; j < qni_tensor_count(all[i]); j++)
      hash = (hash ^ ((const uint32_t *)all[i]->view.data)[j]) * 1099511628211u;
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(y), qn_tensor_free(p), qn_tensor_free(q),
      qn_tensor_free(s);
  for (int i = 0; i < 3; i++) qn_tensor_free(out[i]);
  return hash;
}

static void bits_do_not_depend_on_the_workers(void **state) {
  (void)state;
  assert_ok(qn_threads_set(1));
  uint64_t one = fingerprint();
  const int32_t workers[] = {2, 3, 7};
  for (int i = 0; i < 3; i++) {
    assert_ok(qn_threads_set(workers[i]));
    assert_true(fingerprint() == one);
  }
  assert_ok(qn_threads_set(2));
}

static void misfits_are_named(void **state) {
  (void)state;
  qn_tensor *x = noise(1, 4, (int64_t[]){1, 3, 4, 4}, QN_F32),
            *w = noise(2, 4, (int64_t[]){2, 2, 3, 3}, QN_F32),
            *big = noise(2, 4, (int64_t[]){2, 3, 9, 9}, QN_F32), *y = NULL;
  qn_arg args[] = {gc_tensor(x), gc_tensor(w)};
  assert_fails(qni_call_named("conv2d", args, 2, &y, 1), QN_E_SHAPE, "3 channels");
  args[1] = gc_tensor(big);
  assert_fails(qni_call_named("conv2d", args, 2, &y, 1), QN_E_SHAPE, "9x9");
  qn_arg stride[] = {gc_tensor(x), gc_tensor(x), gc_ints("stride", 3, (int64_t[]){1, 1, 1})};
  assert_fails(qni_call_named("conv2d", stride, 3, &y, 1), QN_E_ARG, "'stride' has 3 numbers");
  qn_tensor_free(x), qn_tensor_free(w), qn_tensor_free(big);
}

static int start(void **state) {
  (void)state;
  return qn_start(NULL);
}

static int stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(convolution_follows_its_definition),
      cmocka_unit_test(convolutions_differentiate_to_second_order),
      cmocka_unit_test(pooling_has_known_values_and_gradients),
      cmocka_unit_test(batch_norm_normalises_and_differentiates),
      cmocka_unit_test(batch_norm_has_a_second_order),
      cmocka_unit_test(bits_do_not_depend_on_the_workers),
      cmocka_unit_test(misfits_are_named),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
