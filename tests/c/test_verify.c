/*
** The check of a captured step against the eager one: errors are found in small gradients too, and
** gradients that are zero but for rounding are no error.
** SPDX-License-Identifier: MIT
*/
#include "ops_help.h"

#include "graph/call.h"
#include "graph/capture.h"
#include "registry/registry.h"

/* ---- An op that says its rows are independent, and may lie ---- */

static double planted; /* relative error for each row of the call */

/* y[n] = sum_d x[n,d] v[d], times 1 + planted N */
static qn_status leaky_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *v = h->in(c, 1);
  const double factor = 1 + planted * (double)x->shape[0];
  for (int64_t n = 0; n < x->shape[0]; n++) {
    double sum = 0;
    for (int64_t d = 0; d < x->shape[1]; d++)
      sum += (double)((float *)x->data)[n * x->shape[1] + d] * (double)((float *)v->data)[d];
    ((float *)h->out(c, 0)->data)[n] = (float)(sum * factor);
  }
  return h->save(c, 0, x);
}

static qn_status leaky_backward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->saved(c, 0), *dy = h->in(c, 0);
  const double factor = 1 + planted * (double)x->shape[0];
  float *dv = h->out(c, 1)->data;
  for (int64_t d = 0; d < x->shape[1]; d++) {
    double sum = 0;
    for (int64_t n = 0; n < x->shape[0]; n++)
      sum += (double)((float *)dy->data)[n] * (double)((float *)x->data)[n * x->shape[1] + d];
    dv[d] = (float)(sum * factor);
  }
  return QN_OK;
}

static const qn_op leaky = {.struct_size = sizeof(qn_op),
                            .det = QN_DET_BITWISE,
                            .batch = QN_BATCH_ROWS,
                            .schema = "leaky(x: f[N,D], v: f[D]) -> y: f[N]",
                            .summary = "Products that depend on how many rows there are.",
                            .forward = leaky_forward,
                            .backward = leaky_backward};

static int start(void **state) {
  static const qn_op *const ops[] = {&leaky, NULL};
  qni_plugin plugin = {
      .id = "test.verify", .name = "verify_test", .version = "1", .path = "", .build = ""};
  return ops_start(state) || qni_registry_publish(&plugin, ops);
}

/* ---- A step ---- */

enum { B = 96, D = 6, CLASSES = 4 };

struct model {
  qn_tensor *w, *v, *shift;
};

static qn_tensor *filled(int32_t ndim, const int64_t *shape, int64_t seed) {
  qn_tensor *t;
  assert_ok(qn_tensor_new(QN_F32, ndim, shape, &t));
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    ((float *)t->view.data)[i] = (float)((i + seed) * 37 % 101) / 101 - 0.45f;
  return t;
}

static qn_tensor *leaf(int32_t ndim, const int64_t *shape) {
  qn_tensor *t = filled(ndim, shape, 5);
  assert_ok(qn_tensor_require_grad(t, 1));
  return t;
}

static qn_status call(const char *op, qn_tensor *a, qn_tensor *b, qn_tensor **out) {
  qn_arg args[] = {{.kind = QN_ARG_TENSOR, .v.tensor = a}, {.kind = QN_ARG_TENSOR, .v.tensor = b}};
  return qni_call_named(op, args, 2, out, 1);
}

/*
** mean over rows of cross_entropy(x w + shift 1) + 1e-4 mean(leaky(x, v)): v's gradient is far below
** w's, shift's is zero but for rounding (a softmax does not see a common summand).
*/
static qn_status step(const struct model *m, qn_tensor *const *batch, qn_tensor **loss) {
  qn_tensor *y = NULL, *z = NULL, *far = NULL, *mean = NULL, *small = NULL, *tiny = NULL, *e = NULL;
  float little = 1e-4f;
  qn_arg ones = {.kind = QN_ARG_TENSOR};
  *loss = NULL;
  qn_status st = qn_tensor_new(QN_F32, 0, (int64_t[]){0}, &tiny);
  if (!st) *(float *)tiny->view.data = little;
  if (!st) st = call("linear", batch[0], m->w, &y);
  if (!st) st = call("add", y, m->shift, &z);
  if (!st) st = call("cross_entropy", z, batch[1], &e);
  if (!st) st = call("leaky", batch[0], m->v, &far);
  ones.v.tensor = far;
  if (!st) st = qni_call_named("mean", &ones, 1, &mean, 1);
  if (!st) st = call("mul", mean, tiny, &small);
  if (!st) st = call("add", e, small, loss);
  if (!st) st = qn_backward(*loss, NULL, 0);
  qn_tensor *all[] = {y, z, far, mean, small, tiny, e};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qn_tensor_free(all[i]);
  return st;
}

/* Captures the step, and checks it as lua/quern/capture.lua does; *turns: how often noise was asked for. */
static qn_status verified(const struct model *m, qn_tensor *const *batch, int32_t *turns) {
  qni_capture *c;
  qni_extent extent;
  qn_tensor *loss = NULL;
  bool shared[2] = {false, false}, doubt = false;
  *turns = 0;
  qn_status st = qni_capture_new(batch, shared, 2, 512, &c);
  for (int32_t t = 0; !st && t < QNI_TRIALS; t++) {
    assert_ok(qni_capture_begin(c, t));
    assert_ok(step(m, qni_capture_inputs(c, t, &extent), &loss));
    st = qni_capture_end(c, t, loss);
    qn_tensor_free(loss);
  }
  if (!st) st = qni_capture_build(c);
  if (!st) st = qni_capture_check_begin(c);
  if (!st) st = step(m, batch, &loss);
  if (!st) st = qni_capture_check_end(c, batch, 2, loss, &doubt);
  qn_tensor_free(loss);
  for (int32_t k = 0; !st && doubt && k < QNI_NOISE_TURNS; k++) {
    assert_ok(qni_capture_noise_begin(c, k));
    assert_ok(step(m, batch, &loss));
    qni_capture_noise_end(c);
    qn_tensor_free(loss);
    ++*turns;
  }
  if (!st && doubt) st = qni_capture_judge(c);
  qni_capture_free(c);
  return st;
}

static void small_gradients_are_held_to_their_own_digits(void **state) {
  (void)state;
  struct model m = {leaf(SHAPE(CLASSES, D)), leaf(SHAPE(D)), leaf(SHAPE(1))};
  qn_tensor *batch[2] = {filled(SHAPE(B, D), 0), NULL}, *was;
  int32_t turns;
  assert_ok(qn_tensor_new(QN_I64, 1, (int64_t[]){B}, &batch[1]));
  for (int64_t i = 0; i < B; i++) ((int64_t *)batch[1]->view.data)[i] = i * 7 % CLASSES;
  assert_ok(qni_tensor_cast(m.w, QN_F32, &was));
  planted = 0;
  assert_ok(verified(&m, batch, &turns));
  assert_int_equal(turns, QNI_NOISE_TURNS); /* because of shift */
  assert_memory_equal(m.w->view.data, was->view.data, CLASSES * D * 4);
  assert_null(qn_tensor_grad(m.w));
  for (planted = 1e-3; planted > 2e-7; planted /= 10) { /* with 12 rows in a slice: 84 times that */
    qn_status st = verified(&m, batch, &turns);
    if (st != QN_E_UNSUPPORTED)
      fail_msg("an error of %g in a small gradient was not seen", planted);
    assert_non_null(strstr(qn_error_last()->what, "gradients of the eager one"));
    assert_non_null(strstr(qn_error_last()->detail, "f32[6]"));
    assert_memory_equal(m.w->view.data, was->view.data, CLASSES * D * 4);
  }
  planted = 0;
  qn_tensor_free(was), qn_tensor_free(batch[0]), qn_tensor_free(batch[1]);
  qn_tensor_free(m.w), qn_tensor_free(m.v), qn_tensor_free(m.shift);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_gradients_are_held_to_their_own_digits),
  };
  return cmocka_run_group_tests(tests, start, ops_stop);
}
