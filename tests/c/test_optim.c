/* Optimizer steps against a plain double reference. SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "quern/quern.h"

enum { N = 40000, ROWS = 300, WIDTH = 37 };

static uint64_t random_state;

static double uniform(void) { /* -1..1 */
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (double)(int64_t)(random_state >> 11) * 0x1p-52 - 1;
}

static qn_tensor *tensor(int32_t dtype, int32_t ndim, int64_t a, int64_t b) {
  qn_tensor *t;
  assert_int_equal(qn_tensor_new(dtype, ndim, (int64_t[]){a, b}, &t), QN_OK);
  return t;
}

static void set(qn_tensor *t, int64_t i, double x) {
  const qn_view *v = qn_tensor_view(t);
  if (v->dtype == QN_F64)
    ((double *)v->data)[i] = x;
  else if (v->dtype == QN_F32)
    ((float *)v->data)[i] = (float)x;
  else if (v->dtype == QN_I64)
    ((int64_t *)v->data)[i] = (int64_t)x;
  else
    ((uint8_t *)v->data)[i] = x != 0;
}

static double get(const qn_tensor *t, int64_t i) {
  const qn_view *v = qn_tensor_view(t);
  return v->dtype == QN_F64 ? ((double *)v->data)[i] : (double)((float *)v->data)[i];
}

static qn_arg of(const char *name, qn_tensor *t) {
  return (qn_arg){.name = name, .kind = t ? QN_ARG_TENSOR : QN_ARG_NIL, .v.tensor = t};
}
static qn_arg num(const char *name, double x) {
  return (qn_arg){.name = name, .kind = QN_ARG_NUM, .v.f = x};
}
static qn_arg whole(const char *name, int64_t x) {
  return (qn_arg){.name = name, .kind = QN_ARG_INT, .v.i = x};
}
static qn_arg flag(const char *name, bool on) {
  return (qn_arg){.name = name, .kind = QN_ARG_BOOL, .v.i = on};
}

static qn_status call(const char *op, const qn_arg *args, int32_t n, qn_tensor **out) {
  int32_t n_outs;
  const qn_opref *ref = qn_op_find(op);
  assert_non_null(ref);
  return qn_op_call(ref, args, n, out, 1, &n_outs);
}

static void must(const char *op, const qn_arg *args, int32_t n) {
  qn_tensor *out = NULL;
  if (call(op, args, n, &out)) fail_msg("%s\n%s", qn_error_last()->what, qn_error_last()->detail);
  assert_ptr_equal(qn_tensor_view(out)->data, qn_tensor_view(args[0].v.tensor)->data);
  qn_tensor_free(out);
}

static double tolerance(int32_t dtype) { return dtype == QN_F64 ? 1e-13 : 4e-6; }

static void near_to(double found, double wanted, double within, const char *what, int64_t i) {
  if (!(fabs(found - wanted) <= within * (1 + fabs(wanted))))
    fail_msg("%s[%d] is %.17g, expected %.17g", what, (int)i, found, wanted);
}

/* ---- Dense steps ---- */

struct dense {
  qn_tensor *w, *g, *m, *v, *mask;
  double *rw, *rm, *rv;
};

static double memory[3][N];

static struct dense dense(int32_t dtype) {
  struct dense d = {tensor(dtype, 1, N, 0),
                    tensor(dtype, 1, N, 0),
                    tensor(dtype, 1, N, 0),
                    tensor(dtype, 1, N, 0),
                    tensor(QN_U8, 1, N, 0),
                    memory[0],
                    memory[1],
                    memory[2]};
  random_state = 7;
  for (int64_t i = 0; i < N; i++) {
    set(d.w, i, uniform());
    set(d.mask, i, uniform() > 0);
    d.rw[i] = get(d.w, i);
    d.rm[i] = d.rv[i] = 0;
  }
  return d;
}

static void free_dense(struct dense *d) {
  qn_tensor_free(d->w), qn_tensor_free(d->g), qn_tensor_free(d->m), qn_tensor_free(d->v),
      qn_tensor_free(d->mask);
}

static void new_gradient(struct dense *d) {
  for (int64_t i = 0; i < N; i++) set(d->g, i, uniform());
}

static void adam_case(int32_t dtype, bool decoupled, bool masked, double wd) {
  struct dense d = dense(dtype);
  const double lr = 1e-2, b1 = 0.9, b2 = 0.98, eps = 1e-6, scale = 0.5;
  for (int t = 1; t <= 5; t++) {
    new_gradient(&d);
    const qn_arg args[] = {of("w", d.w),
                           of("g", d.g),
                           of("m", d.m),
                           of("v", d.v),
                           of("mask", masked ? d.mask : NULL),
                           whole("step", t),
                           num("lr", lr),
                           num("beta1", b1),
                           num("beta2", b2),
                           num("eps", eps),
                           num("weight_decay", wd),
                           flag("decoupled", decoupled),
                           num("scale", scale)};
    must("adam_step_", args, 13);
    for (int64_t i = 0; i < N; i++) {
      if (masked && !((uint8_t *)qn_tensor_view(d.mask)->data)[i]) continue;
      double g = scale * get(d.g, i) + (decoupled ? 0 : wd * d.rw[i]);
      d.rm[i] = b1 * d.rm[i] + (1 - b1) * g;
      d.rv[i] = b2 * d.rv[i] + (1 - b2) * g * g;
      if (decoupled) d.rw[i] *= 1 - lr * wd;
      d.rw[i] -= lr * (d.rm[i] / (1 - pow(b1, t))) / (sqrt(d.rv[i] / (1 - pow(b2, t))) + eps);
    }
  }
  for (int64_t i = 0; i < N; i++) {
    /* f32: a gradient that nearly cancels with its decay is divided by its own size */
    near_to(get(d.w, i), d.rw[i], dtype == QN_F32 && !decoupled ? 1e-4 : tolerance(dtype), "w", i);
    near_to(get(d.m, i), d.rm[i], tolerance(dtype), "m", i);
    near_to(get(d.v, i), d.rv[i], tolerance(dtype), "v", i);
  }
  free_dense(&d);
}

static void adam_matches_the_reference(void **state) {
  (void)state;
  for (int32_t k = 0; k < 8; k++) adam_case(k & 1 ? QN_F64 : QN_F32, k & 2, k & 4, 0.1);
}

static void sgd_case(int32_t dtype, double momentum, bool nesterov, bool decoupled, bool masked) {
  struct dense d = dense(dtype);
  const double lr = 0.05, wd = 0.1;
  for (int t = 0; t < 4; t++) {
    new_gradient(&d);
    const qn_arg args[] = {of("w", d.w),
                           of("g", d.g),
                           of("m", momentum > 0 ? d.m : NULL),
                           of("mask", masked ? d.mask : NULL),
                           num("lr", lr),
                           num("momentum", momentum),
                           flag("nesterov", nesterov),
                           num("weight_decay", wd),
                           flag("decoupled", decoupled)};
    must("sgd_step_", args, 9);
    for (int64_t i = 0; i < N; i++) {
      if (masked && !((uint8_t *)qn_tensor_view(d.mask)->data)[i]) continue;
      double g = get(d.g, i) + (decoupled ? 0 : wd * d.rw[i]);
      d.rm[i] = momentum * d.rm[i] + g;
      if (decoupled) d.rw[i] *= 1 - lr * wd;
      d.rw[i] -= lr * (nesterov ? g + momentum * d.rm[i] : d.rm[i]);
    }
  }
  for (int64_t i = 0; i < N; i++) near_to(get(d.w, i), d.rw[i], tolerance(dtype), "w", i);
  free_dense(&d);
}

static void sgd_matches_the_reference(void **state) {
  (void)state;
  sgd_case(QN_F32, 0, false, false, false);
  sgd_case(QN_F64, 0, false, true, true);
  sgd_case(QN_F32, 0.9, false, false, true);
  sgd_case(QN_F64, 0.9, true, false, false);
  sgd_case(QN_F32, 0.9, true, true, false);
}

/* ---- Rows ---- */

enum method { ADAM_ROWS, ROWWISE, ADAGRAD };

static void rows_case(int32_t dtype, enum method method, bool sorted) {
  static const char *const ops[] = {"adam_rows_", "adam_rowwise_", "adagrad_rows_"};
  enum { M = 40 };
  qn_tensor *w = tensor(dtype, 2, ROWS, WIDTH), *m = tensor(dtype, 2, ROWS, WIDTH),
            *g = tensor(dtype, 2, M, WIDTH);
  qn_tensor *v = method == ADAM_ROWS ? tensor(dtype, 2, ROWS, WIDTH) : tensor(dtype, 1, ROWS, 0),
            *ids = tensor(QN_I64, 1, M, 0);
  static double rw[ROWS * WIDTH], rm[ROWS * WIDTH], rv[ROWS * WIDTH];
  const double lr = 0.01, b1 = 0.9, b2 = 0.98, eps = 1e-6;
  memset(rm, 0, sizeof rm), memset(rv, 0, sizeof rv);
  for (int64_t i = 0; i < ROWS * WIDTH; i++) set(w, i, uniform()), rw[i] = get(w, i);
  for (int t = 1; t <= 3; t++) {
    for (int64_t r = 0; r < M; r++)
      set(ids, r, sorted ? (double)(r * 7 + t) : (double)((r * 13 + t) % 31)); /* repeats */
    for (int64_t i = 0; i < M * WIDTH; i++) set(g, i, uniform());
    qn_arg args[10] = {of("w", w),    of(method == ADAGRAD ? "h" : "v", v),
                       of("rows", g), of("ids", ids),
                       num("lr", lr), num("eps", eps)};
    const qn_arg more[] = {of("m", m), whole("step", t), num("beta1", b1), num("beta2", b2)};
    memcpy(args + 6, more, sizeof more);
    must(ops[method], args, method == ADAGRAD ? 6 : 10);
    for (int64_t r = 0; r < M; r++) {
      int64_t row = ((int64_t *)qn_tensor_view(ids)->data)[r];
      double mean = 0;
      for (int64_t k = 0; k < WIDTH; k++)
        mean += get(g, r * WIDTH + k) * get(g, r * WIDTH + k) / WIDTH;
      if (method == ROWWISE) rv[row] = b2 * rv[row] + (1 - b2) * mean;
      if (method == ADAGRAD) rv[row] += mean;
      for (int64_t k = 0; k < WIDTH; k++) {
        int64_t i = row * WIDTH + k;
        double d = get(g, r * WIDTH + k), second = rv[row];
        rm[i] = b1 * rm[i] + (1 - b1) * d;
        if (method == ADAM_ROWS) second = rv[i] = b2 * rv[i] + (1 - b2) * d * d;
        if (method == ADAGRAD)
          rw[i] -= lr * d / (sqrt(second) + eps);
        else
          rw[i] -= lr * (rm[i] / (1 - pow(b1, t))) / (sqrt(second / (1 - pow(b2, t))) + eps);
      }
    }
  }
  for (int64_t i = 0; i < ROWS * WIDTH; i++)
    near_to(get(w, i), rw[i], tolerance(dtype), ops[method], i);
  qn_tensor_free(w), qn_tensor_free(m), qn_tensor_free(g), qn_tensor_free(v), qn_tensor_free(ids);
}

static void row_steps_match_the_reference(void **state) {
  (void)state;
  for (int32_t k = 0; k < 12; k++) rows_case(k & 1 ? QN_F64 : QN_F32, (enum method)(k / 4), k & 2);
}

static void rows_without_gradient_stay_and_dense_equals_all_rows(void **state) {
  (void)state;
  qn_tensor *w = tensor(QN_F32, 2, 4, 3), *m = tensor(QN_F32, 2, 4, 3),
            *v = tensor(QN_F32, 2, 4, 3), *g = tensor(QN_F32, 2, 4, 3);
  qn_tensor *w2 = tensor(QN_F32, 2, 4, 3), *m2 = tensor(QN_F32, 2, 4, 3),
            *v2 = tensor(QN_F32, 2, 4, 3);
  for (int64_t i = 0; i < 12; i++) set(g, i, uniform());
  const qn_arg lazy[] = {of("w", w),    of("m", m),       of("v", v),
                         of("rows", g), whole("step", 1), num("lr", 0.1)};
  const qn_arg exact[] = {of("w", w2), of("m", m2),      of("v", v2),
                          of("g", g),  whole("step", 1), num("lr", 0.1)};
  must("adam_rows_", lazy, 6);
  must("adam_step_", exact, 6);
  assert_memory_equal(qn_tensor_view(w)->data, qn_tensor_view(w2)->data, 48);
  assert_memory_equal(qn_tensor_view(v)->data, qn_tensor_view(v2)->data, 48);
  qn_tensor_free(w), qn_tensor_free(m), qn_tensor_free(v), qn_tensor_free(g), qn_tensor_free(w2),
      qn_tensor_free(m2), qn_tensor_free(v2);
}

static void wrong_rows_are_refused_by_name(void **state) {
  (void)state;
  qn_tensor *w = tensor(QN_F32, 2, 4, 3), *h = tensor(QN_F32, 1, 4, 0),
            *g = tensor(QN_F32, 2, 2, 3), *ids = tensor(QN_I64, 1, 2, 0), *out = NULL;
  set(ids, 1, 4);
  const qn_arg args[] = {of("w", w), of("h", h), of("rows", g), of("ids", ids), num("lr", 0.1)};
  assert_int_equal(call("adagrad_rows_", args, 5, &out), QN_E_ARG);
  assert_non_null(strstr(qn_error_last()->what, "ids[2] is 4, the table has rows 0 to 3"));
  const qn_arg none[] = {of("w", w), of("h", h), of("rows", g), num("lr", 0.1)};
  assert_int_equal(call("adagrad_rows_", none, 4, &out), QN_E_SHAPE);
  const qn_arg bad[] = {of("w", w), of("g", w), num("lr", 0.1), num("momentum", 0.9)};
  assert_int_equal(call("sgd_step_", bad, 4, &out), QN_E_ARG);
  const qn_arg clip[] = {of("w", w), of("g", w), num("lr", 0.1), num("max_norm", 1)};
  assert_int_equal(call("sgd_step_", clip, 4, &out), QN_E_ARG);
  qn_tensor_free(w), qn_tensor_free(h), qn_tensor_free(g), qn_tensor_free(ids);
}

/* ---- Clipping, workers, denormals ---- */

static void norm_is_exact_and_clips(void **state) {
  (void)state;
  struct dense d = dense(QN_F32);
  new_gradient(&d);
  qn_tensor *small = tensor(QN_F32, 2, 3, 5), *norm = NULL;
  for (int64_t i = 0; i < 15; i++) set(small, i, 2);
  qn_tensor *both[] = {d.g, small};
  const qn_arg xs = {.name = "xs", .kind = QN_ARG_TENSORS, .count = 2, .v.tensors = both};
  assert_int_equal(call("grad_norm_sq", &xs, 1, &norm), QN_OK);
  double sum = 60;
  for (int64_t i = 0; i < N; i++) sum += get(d.g, i) * get(d.g, i);
  near_to(get(norm, 0), sum, 1e-13, "norm", 0);
  const qn_arg args[] = {of("w", d.w), of("g", d.g), of("norm_sq", norm), num("lr", 1),
                         num("max_norm", 3)};
  must("sgd_step_", args, 5);
  for (int64_t i = 0; i < N; i++)
    near_to(get(d.w, i), d.rw[i] - get(d.g, i) * 3 / (sqrt(sum) + 1e-6), 1e-6, "w", i);
  qn_tensor_free(small), qn_tensor_free(norm), free_dense(&d);
}

static uint64_t steps_with(int32_t threads) {
  assert_int_equal(qn_threads_set(threads), QN_OK);
  struct dense d = dense(QN_F32);
  qn_tensor *norm = NULL;
  for (int t = 1; t <= 2; t++) {
    new_gradient(&d);
    const qn_arg xs = {.name = "xs", .kind = QN_ARG_TENSORS, .count = 1, .v.tensors = &d.g};
    assert_int_equal(call("grad_norm_sq", &xs, 1, &norm), QN_OK);
    const qn_arg args[] = {of("w", d.w),   of("g", d.g),        of("m", d.m),
                           of("v", d.v),   of("norm_sq", norm), whole("step", t),
                           num("lr", 0.1), num("max_norm", 5)};
    must("adam_step_", args, 8);
    qn_tensor_free(norm);
  }
  uint64_t hash = 1469598103934665603u;
  const unsigned char *bytes = qn_tensor_view(d.w)->data;
  for (int64_t i = 0; i < N * 4; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
  free_dense(&d);
  return hash;
}

static void bits_do_not_depend_on_workers(void **state) {
  (void)state;
  uint64_t one = steps_with(1);
  assert_true(steps_with(2) == one && steps_with(3) == one && steps_with(7) == one);
}

/* Denormal numbers are read as zero in every worker: a step on them would take many times as long. */
static void decayed_state_is_flushed_to_zero(void **state) {
  (void)state;
  assert_int_equal(qn_threads_set(2), QN_OK);
  struct dense d = dense(QN_F32);
  for (int64_t i = 0; i < N; i++) set(d.g, i, 0), set(d.m, i, 1e-39), set(d.v, i, 1e-41);
  const qn_arg args[] = {of("w", d.w), of("g", d.g),          of("m", d.m),
                         of("v", d.v), whole("step", 100000), num("lr", 1e-3)};
  must("adam_step_", args, 6);
  const float *m = qn_tensor_view(d.m)->data, *v = qn_tensor_view(d.v)->data;
  for (int64_t i = 0; i < N; i++) assert_true(m[i] == 0 && v[i] == 0);
  free_dense(&d);
}

static int start(void **state) {
  (void)state;
  if (!qn_start(NULL)) return 0;
  print_message("%s\n%s\n%s\n", qn_error_last()->what, qn_error_last()->detail,
                qn_error_last()->hint);
  return 1;
}

static int stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adam_matches_the_reference),
      cmocka_unit_test(sgd_matches_the_reference),
      cmocka_unit_test(row_steps_match_the_reference),
      cmocka_unit_test(rows_without_gradient_stay_and_dense_equals_all_rows),
      cmocka_unit_test(wrong_rows_are_refused_by_name),
      cmocka_unit_test(norm_is_exact_and_clips),
      cmocka_unit_test(bits_do_not_depend_on_workers),
      cmocka_unit_test(decayed_state_is_flushed_to_zero),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
