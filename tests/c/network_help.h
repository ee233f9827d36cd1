/*
** What the tests of the network ops share: tensors of noise, one forward and backward
** of an op, equality of bits over worker counts, and f32 against f64.
** SPDX-License-Identifier: MIT
*/
#ifndef NETWORK_HELP_H
#define NETWORK_HELP_H

#include "check.h"
#include "gradcheck.h"

#define SHAPE(...)                                                                                 \
  (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) { __VA_ARGS__ }
#define ARGS(...)                                                                                  \
  (int32_t)(sizeof((qn_arg[]){__VA_ARGS__}) / sizeof(qn_arg)), (qn_arg[]) { __VA_ARGS__ }

static inline qn_tensor *noise(uint64_t stream, int32_t ndim, const int64_t *shape) {
  qn_tensor *t = gradcheck_noise(stream, 1, 0, ndim, shape);
  assert_non_null(t);
  return t;
}

static inline qn_tensor *longs(int32_t n, const int64_t *values) {
  return gc_new(QN_I64, values, 1, (int64_t[]){n});
}

/* Ids in 0..limit-1, the same each time. */
static inline qn_tensor *some_ids(uint64_t stream, int64_t limit, int32_t ndim,
                                  const int64_t *shape) {
  qn_tensor *t = gc_new(QN_I64, NULL, ndim, shape);
  const qn_view *v = qn_tensor_view(t);
  for (int64_t i = 0, n = gc_count(v); i < n; i++)
    ((int64_t *)v->data)[i] = (int64_t)((gc_noise(stream, i) * 0.5 + 0.5) * (double)limit) % limit;
  return t;
}

static inline qn_tensor *jagged(qn_tensor *values, int32_t n, const int64_t *lengths) {
  int64_t offsets[64] = {0};
  for (int32_t i = 0; i < n; i++) offsets[i + 1] = offsets[i] + lengths[i];
  qn_tensor *o = longs(n + 1, offsets), *t = NULL;
  assert_ok(qn_tensor_jagged(values, o, &t));
  qn_tensor_free(o);
  qn_tensor_free(values);
  return t;
}

static inline qn_tensor *as_f32(const qn_tensor *t) {
  const qn_view *v = qn_tensor_view(t);
  qn_tensor *y = gc_new(QN_F32, NULL, v->ndim, v->shape);
  for (int64_t i = 0, n = gc_count(v); i < n; i++)
    ((float *)qn_tensor_view(y)->data)[i] = (float)*gc_at(v, i);
  if (!qn_tensor_offsets(t)) return y;
  qn_tensor *j;
  assert_ok(qn_tensor_jagged(y, qn_tensor_offsets(t), &j));
  qn_tensor_free(y);
  return j;
}

static inline double value(const qn_tensor *t, int64_t i) {
  const qn_view *v = qn_tensor_view(t);
  return v->dtype == QN_F64 ? ((double *)v->data)[i] : (double)((float *)v->data)[i];
}

static inline void assert_near(double a, double b, double tolerance) {
  if (!(fabs(a - b) <= tolerance * fmax(1, fmax(fabs(a), fabs(b)))))
    fail_msg("%.12g is not %.12g", a, b);
}

static inline qn_tensor *call(const char *op, int32_t n_args, const qn_arg *args) {
  qn_tensor *y = NULL;
  int32_t n = 0;
  const qn_opref *ref = qn_op_find(op);
  assert_non_null(ref);
  assert_ok(qn_op_call(ref, args, n_args, &y, 1, &n));
  return y;
}

static inline qn_status try_call(const char *op, int32_t n_args, const qn_arg *args) {
  qn_tensor *y = NULL;
  int32_t n = 0;
  qn_status st = qn_op_call(qn_op_find(op), args, n_args, &y, 1, &n);
  if (!st) qn_tensor_free(y);
  return st;
}

/* ---- Forward and backward at once ---- */

typedef struct pass {
  int32_t n; /* the output, then a gradient for each floating input */
  qn_tensor *t[10];
} pass;

static inline bool floating(const qn_arg *a) {
  return a->kind == QN_ARG_TENSOR && (qn_tensor_view(a->v.tensor)->dtype == QN_F64 ||
                                      qn_tensor_view(a->v.tensor)->dtype == QN_F32);
}

static inline pass run_pass(const char *op, int32_t n_args, const qn_arg *args) {
  qn_tensor *inputs[8], *grads[8] = {NULL};
  pass p = {0};
  int32_t n = 0;
  for (int32_t i = 0; i < n_args; i++)
    if (floating(&args[i])) {
      inputs[n++] = args[i].v.tensor;
      assert_ok(qn_tensor_require_grad(args[i].v.tensor, 1));
    }
  qn_random_seed(7);
  p.t[p.n++] = call(op, n_args, args);
  const qn_view *y = qn_tensor_view(p.t[0]);
  qn_tensor *seed = noise(99, y->ndim, y->shape),
            *used = y->dtype == QN_F32 ? as_f32(seed) : qn_tensor_retain(seed);
  assert_ok(qn_grad(p.t[0], used, inputs, n, 0, grads));
  for (int32_t i = 0; i < n; i++) p.t[p.n++] = grads[i];
  qn_tensor_free(seed);
  qn_tensor_free(used);
  return p;
}

static inline void free_pass(pass *p) { gc_free(p->t, p->n); }

/* Forward and backward give equal bits for 1, 2, 3 and 7 workers. */
static inline void assert_same_bits(const char *op, int32_t n_args, const qn_arg *args) {
  const int32_t counts[] = {1, 2, 3, 7};
  pass first = {0};
  for (int k = 0; k < 4; k++) {
    assert_ok(qn_threads_set(counts[k]));
    pass p = run_pass(op, n_args, args);
    for (int32_t i = 0; k > 0 && i < p.n; i++) {
      const qn_view *a = qn_tensor_view(first.t[i]), *b = qn_tensor_view(p.t[i]);
      assert_memory_equal(a->data, b->data, (size_t)gc_count(a) * (a->dtype == QN_F64 ? 8 : 4));
    }
    if (k)
      free_pass(&p);
    else
      first = p;
  }
  free_pass(&first);
  assert_ok(qn_threads_set(2));
}

/* The f32 forms of forward and backward agree with the f64 ones; args are f64. */
static inline void assert_f32_near(const char *op, int32_t n_args, const qn_arg *args,
                                   double tolerance) {
  qn_arg narrow[16];
  memcpy(narrow, args, (size_t)n_args * sizeof *args);
  for (int32_t i = 0; i < n_args; i++)
    if (floating(&args[i])) narrow[i].v.tensor = as_f32(args[i].v.tensor);
  pass a = run_pass(op, n_args, args), b = run_pass(op, n_args, narrow);
  for (int32_t i = 0; i < a.n; i++)
    for (int64_t e = 0, n = gc_count(qn_tensor_view(a.t[i])); e < n; e++)
      assert_near(value(a.t[i], e), value(b.t[i], e), tolerance);
  free_pass(&a);
  free_pass(&b);
  for (int32_t i = 0; i < n_args; i++)
    if (floating(&args[i])) qn_tensor_free(narrow[i].v.tensor);
}

/* All three: gradients in f64, f32 against f64, equal bits in both types. */
static inline void assert_sound(const char *op, int order, int32_t n_args, const qn_arg *args) {
  assert_true(gradcheck(op, n_args, args, order));
  assert_f32_near(op, n_args, args, 2e-5);
  assert_same_bits(op, n_args, args);
}

static inline int start_runtime(void **state) {
  (void)state;
  return qn_start(NULL) ? -1 : 0;
}
static inline int stop_runtime(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

#define RUN(tests) cmocka_run_group_tests(tests, start_runtime, stop_runtime)

#endif
