/* One op call: binding, errors that name things, failure of every allocation. SPDX-License-Identifier: MIT */
#include "check.h"

#include "graph/call.h"
#include "graph/tape.h"
#include "tensor/tensor.h"

static qn_tensor *vec(int32_t n, const float *values) {
  qn_tensor *t;
  int64_t shape = n;
  assert_ok(qn_tensor_new(QN_F32, 1, &shape, &t));
  memcpy(t->view.data, values, (size_t)n * 4);
  return t;
}

static qn_arg tensor_arg(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }

static int64_t live(void) {
  qn_memory m;
  qn_memory_stats(&m);
  return m.live;
}

/* An op of this test's own: y = a x + b, with every kind of argument. */
static qn_status affine_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  double a = h->arg_num(c, "a") * (h->arg_bool(c, "negate") ? -1 : 1);
  int32_t n = 0;
  const int64_t *shift = h->arg_ints(c, "shift", &n);
  for (int64_t i = 0; i < x->shape[0]; i++)
    ((float *)h->out(c, 0)->data)[i] = (float)(a * (double)((float *)x->data)[i]) + (float)(n ? shift[i % n] : 0) +
                                       (h->arg_int(c, "mode") == 1 ? 100.0f : 0.0f);
  return QN_OK;
}

static const qn_op affine = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .schema = "test_affine(x: f32[N], *, a: num{0..10} = 1, shift: [int]? = nil, negate: bool = false, mode: enum{plain|raised} = plain) -> y: f32[N]",
    .summary = "Test.",
    .forward = affine_forward,
};

static qn_status call1(const char *op, const qn_arg *args, int32_t n, qn_tensor **out) {
  int32_t made;
  const qn_opref *ref = qn_op_find(op);
  assert_non_null(ref);
  return qn_op_call(ref, args, n, out, 1, &made);
}

static void arguments_arrive_by_position_and_by_name(void **state) {
  (void)state;
  qn_tensor *x = vec(3, (float[]){1, 2, 3}), *y;
  const int64_t shift[] = {10, 20, 30};
  qn_arg args[] = {tensor_arg(x),
                   {.name = "a", .kind = QN_ARG_INT, .v.i = 2},
                   {.name = "shift", .kind = QN_ARG_INTS, .count = 3, .v.ints = shift},
                   {.name = "negate", .kind = QN_ARG_BOOL, .v.i = 1},
                   {.name = "mode", .kind = QN_ARG_STR, .v.s = "raised"}};
  assert_ok(call1("test_affine", args, 5, &y));
  const float *v = y->view.data;
  assert_true(v[0] == 108 && v[1] == 116 && v[2] == 124);
  qn_tensor_free(y);
  assert_ok(call1("test_affine", args, 1, &y));
  assert_memory_equal(y->view.data, x->view.data, 12);
  qn_tensor_free(y), qn_tensor_free(x);
}

static void refusals_name_argument_and_values(void **state) {
  (void)state;
  qn_tensor *x = vec(3, (float[]){1, 2, 3}), *y = vec(2, (float[]){1, 2}), *out;
  qn_arg two[] = {tensor_arg(x), tensor_arg(y)};
  assert_fails(call1("add", two, 2, &out), QN_E_SHAPE, "f32[2]");
  qn_arg bad[] = {tensor_arg(x), {.name = "a", .kind = QN_ARG_NUM, .v.f = 11}};
  assert_fails(call1("test_affine", bad, 2, &out), QN_E_ARG, "'a'");
  bad[1] = (qn_arg){.name = "aa", .kind = QN_ARG_NUM, .v.f = 1};
  assert_fails(call1("test_affine", bad, 2, &out), QN_E_ARG, "no argument 'aa'");
  bad[1] = (qn_arg){.name = "negate", .kind = QN_ARG_NUM, .v.f = 1};
  assert_fails(call1("test_affine", bad, 2, &out), QN_E_ARG, "must be true or false");
  bad[1] = (qn_arg){.name = "x", .kind = QN_ARG_TENSOR, .v.tensor = x};
  assert_fails(call1("test_affine", bad, 2, &out), QN_E_ARG, "given twice");
  bad[1] = (qn_arg){.kind = QN_ARG_NUM, .v.f = 1};
  assert_fails(call1("test_affine", bad, 2, &out), QN_E_ARG, "by name");
  assert_fails(call1("test_affine", bad, 0, &out), QN_E_ARG, "'x' is missing");
  qni_error_reset();
  assert_null(qn_op_find("test_afine"));
  assert_string_not_equal(qn_error_last()->hint, "");
  qn_tensor_free(x), qn_tensor_free(y);
}

static void numbers_become_constants_of_the_other_type(void **state) {
  (void)state;
  qn_tensor *x = vec(2, (float[]){1, 2}), *ids, *y;
  qn_arg args[] = {tensor_arg(x), {.kind = QN_ARG_NUM, .v.f = 0.5}};
  assert_ok(call1("mul", args, 2, &y));
  assert_int_equal(y->view.dtype, QN_F32);
  assert_true(((float *)y->view.data)[1] == 1.0f);
  qn_tensor_free(y);
  assert_ok(qn_tensor_new(QN_I64, 1, (int64_t[]){2}, &ids));
  args[0] = tensor_arg(ids);
  assert_fails(call1("add", args, 2, &y), QN_E_DTYPE, "0.5");
  qn_tensor_free(ids), qn_tensor_free(x);
}

static void bf16_is_seen_as_f32(void **state) {
  (void)state;
  qn_tensor *x, *y;
  assert_ok(qn_tensor_new(QN_BF16, 1, (int64_t[]){2}, &x));
  ((uint16_t *)x->view.data)[0] = qni_bf16_from_f32(2.25f);
  qn_arg args[] = {tensor_arg(x)};
  assert_ok(call1("sqrt", args, 1, &y));
  assert_int_equal(y->view.dtype, QN_F32);
  assert_true(((float *)y->view.data)[0] == 1.5f);
  qn_tensor_free(x), qn_tensor_free(y);
}

static void jagged_tensors_keep_their_sequences(void **state) {
  (void)state;
  qn_tensor *v = vec(3, (float[]){1, -2, 3}), *offsets, *x, *y;
  assert_ok(qn_tensor_new(QN_I64, 1, (int64_t[]){3}, &offsets));
  memcpy(offsets->view.data, (int64_t[]){0, 1, 3}, 24);
  assert_ok(qn_tensor_jagged(v, offsets, &x));
  qn_arg args[] = {tensor_arg(x)};
  assert_ok(call1("relu", args, 1, &y));
  assert_ptr_equal(qn_tensor_offsets(y), offsets);
  qn_tensor_free(y), qn_tensor_free(x), qn_tensor_free(offsets), qn_tensor_free(v);
}

/* Forward and backward of a small expression, once for each allocation that can fail. */
static qn_status expression(qn_tensor *x) {
  qn_tensor *y = NULL, *z = NULL, *s = NULL;
  qn_arg args[2] = {tensor_arg(x), tensor_arg(x)};
  qn_status st = call1("mul", args, 2, &y);
  if (!st) args[0] = args[1] = tensor_arg(y), st = call1("add", args, 2, &z);
  if (!st) args[0] = tensor_arg(z), st = call1("sum", args, 1, &s);
  if (!st) st = qn_backward(s, NULL, 0);
  qn_tensor_free(y), qn_tensor_free(z), qn_tensor_free(s);
  return st;
}

static void every_allocation_may_fail_and_nothing_is_lost(void **state) {
  (void)state;
  qn_tensor *x = vec(3, (float[]){1, 2, 3});
  assert_ok(qn_tensor_require_grad(x, 1));
  int64_t n, before = live();
  for (n = 1; n < 1000; n++) {
    qni_mem_trim();
    qni_mem_fail_after(n, 1);
    qn_status st = expression(x);
    qni_mem_fail_after(0, 0);
    qn_tensor_clear_grad(x);
    assert_int_equal(live(), before);
    if (!st) break;
    assert_int_equal(st, QN_E_NOMEM);
  }
  assert_in_range(n, 10, 999);
  assert_ok(expression(x));
  assert_true(((float *)qn_tensor_grad(x)->view.data)[2] == 12);
  qn_tensor_free(x);
}

static void a_value_that_is_not_finite_is_found_at_its_op(void **state) {
  (void)state;
  qn_tensor *x = vec(2, (float[]){1, 0}), *y;
  qn_arg args[] = {tensor_arg(x)};
  qni_call_check_finite(true);
  assert_fails(call1("log", args, 1, &y), QN_E_NUMERIC, "element 2 of f32[2]");
  qni_call_check_finite(false);
  qn_tensor_free(x);
}

static int start(void **state) {
  (void)state;
  static const qn_op *const ops[] = {&affine, NULL};
  qni_plugin plugin = {.id = "test.call", .name = "call_test", .version = "1", .path = "", .build = ""};
  return qn_start(NULL) || qni_registry_publish(&plugin, ops);
}

static int stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arguments_arrive_by_position_and_by_name),
      cmocka_unit_test(refusals_name_argument_and_values),
      cmocka_unit_test(numbers_become_constants_of_the_other_type),
      cmocka_unit_test(bf16_is_seen_as_f32),
      cmocka_unit_test(jagged_tensors_keep_their_sequences),
      cmocka_unit_test(every_allocation_may_fail_and_nothing_is_lost),
      cmocka_unit_test(a_value_that_is_not_finite_is_found_at_its_op),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
