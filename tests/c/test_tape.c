/* The tape: gradients, accumulation, second order, versions, hooks, row gradients. SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>

#include "graph/call.h"
#include "graph/tape.h"
#include "tensor/tensor.h"

static qn_tensor *vec(int64_t n, const double *values, int grad) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(QN_F64, 1, &n, &t));
  memcpy(t->view.data, values, (size_t)n * 8);
  assert_ok(qn_tensor_require_grad(t, grad));
  return t;
}

static double item(const qn_tensor *t, int64_t i) { return ((const double *)t->view.data)[i]; }

static qn_tensor *op2(const char *name, qn_tensor *a, qn_tensor *b) {
  qn_tensor *out = NULL;
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = a}, {.kind = QN_ARG_TENSOR, .v.tensor = b}};
  assert_ok(qni_call_named(name, args, b ? 2 : 1, &out, 1));
  return out;
}

static void gradients_add_up_over_uses_and_over_calls(void **state) {
  (void)state;
  qn_tensor *x = vec(2, (double[]){3, 5}, 1), *y = op2("mul", x, x), *z = op2("add", y, x),
            *s = op2("sum", z, NULL);
  assert_ok(qn_backward(s, NULL, QN_BACKWARD_KEEP));
  assert_true(item(qn_tensor_grad(x), 0) == 7 && item(qn_tensor_grad(x), 1) == 11);
  assert_ok(qn_backward(s, NULL, 0));
  assert_true(item(qn_tensor_grad(x), 0) == 14);
  assert_fails(qn_backward(s, NULL, 0), QN_E_STATE, "given back");
  qn_tensor_clear_grad(x);
  assert_null(qn_tensor_grad(x));
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(s);
}

static void second_order_through_composed_backwards(void **state) {
  (void)state;
  qn_tensor *x = vec(2, (double[]){2, 3}, 1), *y = op2("mul", x, x), *z = op2("mul", y, x),
            *s = op2("sum", z, NULL), *g, *h;
  assert_ok(qn_grad(s, NULL, &x, 1, QN_BACKWARD_CREATE, &g));
  assert_true(fabs(item(g, 0) - 12) < 1e-12 && fabs(item(g, 1) - 27) < 1e-12);
  qn_tensor *gs = op2("sum", g, NULL);
  assert_ok(qn_grad(gs, NULL, &x, 1, 0, &h));
  assert_true(fabs(item(h, 0) - 12) < 1e-12 && fabs(item(h, 1) - 18) < 1e-12);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(s);
  qn_tensor_free(g), qn_tensor_free(h), qn_tensor_free(gs);
}

static void gradients_of_inner_results_can_be_asked_for(void **state) {
  (void)state;
  qn_tensor *x = vec(1, (double[]){2}, 1), *y = op2("mul", x, x), *z = op2("mul", y, y),
            *inputs[] = {y, x}, *g[2];
  assert_ok(qn_grad(z, NULL, inputs, 2, 0, g));
  assert_true(item(g[0], 0) == 8 && item(g[1], 0) == 32);
  assert_null(qn_tensor_grad(x));
  qn_tensor_free(g[0]), qn_tensor_free(g[1]), qn_tensor_free(x), qn_tensor_free(y),
      qn_tensor_free(z);
}

static void a_write_after_saving_is_noticed(void **state) {
  (void)state;
  qn_tensor *x = vec(1, (double[]){2}, 1), *c = vec(1, (double[]){5}, 0), *y = op2("mul", x, c),
            *same;
  same = op2("add_", c, c);
  assert_fails(qn_backward(y, NULL, 0), QN_E_STATE, "changed in place");
  assert_null(qn_tensor_grad(x));
  qn_tensor_free(x), qn_tensor_free(c), qn_tensor_free(y), qn_tensor_free(same);
}

static void writing_in_place_while_recording_is_refused(void **state) {
  (void)state;
  qn_tensor *x = vec(1, (double[]){2}, 1), *c = vec(1, (double[]){5}, 0), *out = NULL;
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = x}, {.kind = QN_ARG_TENSOR, .v.tensor = c}};
  assert_fails(qni_call_named("add_", args, 2, &out, 1), QN_E_STATE, "no_grad");
  qn_grad_enable(0);
  assert_ok(qni_call_named("add_", args, 2, &out, 1));
  qn_grad_enable(1);
  assert_true(item(x, 0) == 7);
  qn_tensor_free(x), qn_tensor_free(c), qn_tensor_free(out);
}

static void without_recording_nothing_is_kept(void **state) {
  (void)state;
  qn_tensor *x = vec(1, (double[]){2}, 1);
  assert_int_equal(qn_grad_enable(0), 1);
  qn_tensor *y = op2("mul", x, x);
  qn_grad_enable(1);
  assert_false(qn_tensor_requires_grad(y));
  assert_fails(qn_backward(y, NULL, 0), QN_E_STATE, "requires_grad");
  qn_tensor_free(x), qn_tensor_free(y);
}

static void a_seed_must_fit(void **state) {
  (void)state;
  qn_tensor *x = vec(2, (double[]){2, 3}, 1), *y = op2("mul", x, x),
            *seed = vec(2, (double[]){1, 10}, 0), *bad = vec(3, (double[]){1, 1, 1}, 0);
  assert_fails(qn_backward(y, NULL, 0), QN_E_SHAPE, "f64[2]");
  assert_fails(qn_backward(y, bad, 0), QN_E_SHAPE, "seed: f64[3]");
  assert_ok(qn_backward(y, seed, 0));
  assert_true(item(qn_tensor_grad(x), 1) == 60);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(seed), qn_tensor_free(bad);
}

static qn_status halve(void *ctx, qn_tensor **grad) {
  ++*(int *)ctx;
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = *grad}, {.kind = QN_ARG_NUM, .v.f = 0.5}};
  qn_tensor *half;
  qn_status st = qni_call_named("mul", args, 2, &half, 1);
  if (st) return st;
  qn_tensor_free(*grad);
  *grad = half;
  return QN_OK;
}

static void hooks_see_and_replace_gradients(void **state) {
  (void)state;
  int leaf = 0, inner = 0;
  qn_tensor *x = vec(1, (double[]){3}, 1), *y = op2("mul", x, x), *z = op2("add", y, y);
  assert_ok(qni_tensor_hook(x, halve, &leaf, NULL));
  assert_ok(qni_tensor_hook(y, halve, &inner, NULL));
  assert_ok(qn_backward(z, NULL, 0));
  assert_int_equal(inner, 1);
  assert_int_equal(leaf, 2); /* mul sends x two contributions */
  assert_true(item(qn_tensor_grad(x), 0) == 3);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(z);
}

static void a_graph_of_any_length_is_walked_and_freed(void **state) {
  (void)state;
  qn_memory before, after;
  qn_memory_stats(&before);
  qn_tensor *x = vec(1, (double[]){1}, 1), *one = vec(1, (double[]){1}, 0),
            *y = qn_tensor_retain(x);
  for (int i = 0; i < 100000; i++) {
    qn_tensor *next = op2("mul", y, one);
    qn_tensor_free(y);
    y = next;
  }
  assert_ok(qn_backward(y, NULL, 0));
  assert_true(item(qn_tensor_grad(x), 0) == 1);
  qn_tensor_free(x), qn_tensor_free(one), qn_tensor_free(y);
  qn_memory_stats(&after);
  assert_int_equal(before.live, after.live);
}

static qn_tensor *ids_of(int64_t n, const int64_t *values) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(QN_I64, 1, &n, &t));
  memcpy(t->view.data, values, (size_t)n * 8);
  return t;
}

static void row_gradients_come_sorted_and_summed(void **state) {
  (void)state;
  qn_tensor *table, *ids = ids_of(4, (int64_t[]){7, 2, 7, 0}), *e, *s, *rows, *row_ids;
  assert_ok(qn_tensor_new(QN_F64, 2, (int64_t[]){9, 2}, &table));
  assert_ok(qn_tensor_require_grad(table, 1));
  for (int round = 1; round <= 2; round++) {
    qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = table},
                     {.kind = QN_ARG_TENSOR, .v.tensor = ids},
                     {.name = "sparse", .kind = QN_ARG_BOOL, .v.i = 1}};
    assert_ok(qni_call_named("embedding", args, 3, &e, 1));
    s = op2("sum", e, NULL);
    assert_ok(qn_backward(s, NULL, 0));
    assert_null(qn_tensor_grad(table));
    assert_true(qn_tensor_grad_rows(table, &row_ids, &rows));
    assert_int_equal(row_ids->view.shape[0], 3);
    assert_memory_equal(row_ids->view.data, ((int64_t[]){0, 2, 7}), 24);
    assert_true(item(rows, 0) == round && item(rows, 4) == 2 * round);
    qn_tensor_free(e), qn_tensor_free(s);
  }
  qn_tensor_free(table), qn_tensor_free(ids);
}

static void a_bf16_leaf_gets_a_gradient(void **state) {
  (void)state;
  const char *const ops[] = {"sum", "logsumexp", "var", "max", "sqrt"};
  for (int i = 0; i < 5; i++) {
    qn_tensor *x, *y, *s;
    assert_ok(qn_tensor_new(QN_BF16, 1, (int64_t[]){2}, &x));
    ((uint16_t *)x->view.data)[0] = qni_bf16_from_f32(0.5f);
    ((uint16_t *)x->view.data)[1] = qni_bf16_from_f32(2.0f);
    assert_ok(qn_tensor_require_grad(x, 1));
    y = op2(ops[i], x, NULL);
    s = op2("sum", y, NULL);
    assert_ok(qn_backward(s, NULL, 0));
    assert_int_equal(qn_tensor_grad(x)->view.shape[0], 2);
    qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(s);
  }
}

static void backward_draws_what_forward_drew_whatever_was_seeded_since(void **state) {
  (void)state;
  const double ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  qn_tensor *x = vec(8, ones, 1), *y, *s;
  qn_random_seed(5);
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = x},
                   {.name = "p", .kind = QN_ARG_NUM, .v.f = 0.5}};
  assert_ok(qni_call_named("dropout", args, 2, &y, 1));
  s = op2("sum", y, NULL);
  qn_random_seed(6);
  assert_ok(qn_backward(s, NULL, 0));
  assert_memory_equal(qn_tensor_grad(x)->view.data, y->view.data, 64);
  qn_tensor_free(x), qn_tensor_free(y), qn_tensor_free(s);
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
      cmocka_unit_test(gradients_add_up_over_uses_and_over_calls),
      cmocka_unit_test(second_order_through_composed_backwards),
      cmocka_unit_test(gradients_of_inner_results_can_be_asked_for),
      cmocka_unit_test(a_write_after_saving_is_noticed),
      cmocka_unit_test(writing_in_place_while_recording_is_refused),
      cmocka_unit_test(without_recording_nothing_is_kept),
      cmocka_unit_test(a_seed_must_fit),
      cmocka_unit_test(hooks_see_and_replace_gradients),
      cmocka_unit_test(a_graph_of_any_length_is_walked_and_freed),
      cmocka_unit_test(row_gradients_come_sorted_and_summed),
      cmocka_unit_test(a_bf16_leaf_gets_a_gradient),
      cmocka_unit_test(backward_draws_what_forward_drew_whatever_was_seeded_since),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
