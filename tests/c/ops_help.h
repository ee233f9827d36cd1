/*
** What tests of ops share: calling an op by name, comparing values, equal bits for any
** number of workers.
** SPDX-License-Identifier: MIT
*/
#ifndef OPS_HELP_H
#define OPS_HELP_H

#include "check.h"
#include "gradcheck.h"

#define SHAPE(...)                                                                                 \
  (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]) { __VA_ARGS__ }
#define ARGS(...)                                                                                  \
  (int32_t)(sizeof((qn_arg[]){__VA_ARGS__}) / sizeof(qn_arg)), (qn_arg[]) { __VA_ARGS__ }
#define F32(data, ...) gc_new(QN_F32, (const float[])BRACED data, SHAPE(__VA_ARGS__))
#define F64(data, ...) gc_new(QN_F64, (const double[])BRACED data, SHAPE(__VA_ARGS__))
#define I64(data, ...) gc_new(QN_I64, (const int64_t[])BRACED data, SHAPE(__VA_ARGS__))
#define BOOLS(data, ...) gc_new(QN_BOOL, (const uint8_t[])BRACED data, SHAPE(__VA_ARGS__))
#define BRACED(...)                                                                                \
  { __VA_ARGS__ }
#define GRADCHECK(op, order, ...) assert_true(gradcheck(op, ARGS(__VA_ARGS__), order))

static inline int ops_start(void **state) {
  (void)state;
  qn_config config = {.struct_size = sizeof config, .threads = 2, .blas = "none"};
  return qn_start(&config);
}
static inline int ops_stop(void **state) {
  (void)state;
  qn_stop();
  return 0;
}

/* The op's outputs, at most max of them; the test fails if the op does. */
static inline int32_t op_outs(const char *op, int32_t n, const qn_arg *args, qn_tensor **outs,
                              int32_t max) {
  int32_t made = 0;
  const qn_opref *ref = qn_op_find(op);
  if (!ref) fail_msg("no op %s: %s", op, qn_error_last()->what);
  assert_ok(qn_op_call(ref, args, n, outs, max, &made));
  return made;
}
static inline qn_tensor *op_out(const char *op, int32_t n, const qn_arg *args) {
  qn_tensor *y = NULL;
  assert_int_equal(op_outs(op, n, args, &y, 1), 1);
  return y;
}
static inline qn_status op_status(const char *op, int32_t n, const qn_arg *args) {
  qn_tensor *y[8] = {NULL};
  int32_t made = 0;
  const qn_opref *ref = qn_op_find(op);
  assert_non_null(ref);
  qn_status st = qn_op_call(ref, args, n, y, 8, &made);
  for (int32_t i = 0; i < made; i++) qn_tensor_free(y[i]);
  return st;
}

/* Element i in row-major order, of any type, as a double. */
static inline double value_at(const qn_tensor *t, int64_t i) {
  const qn_view *v = qn_tensor_view(t);
  int64_t offset = 0;
  for (int32_t d = v->ndim - 1; d >= 0; d--) {
    offset += i % v->shape[d] * v->stride[d];
    i /= v->shape[d];
  }
  switch (v->dtype) {
  case QN_F32: return (double)((float *)v->data)[offset];
  case QN_F64: return ((double *)v->data)[offset];
  case QN_I64: return (double)((int64_t *)v->data)[offset];
  case QN_I32: return ((int32_t *)v->data)[offset];
  case QN_BF16: {
    uint32_t bits = (uint32_t)((uint16_t *)v->data)[offset] << 16;
    float f;
    memcpy(&f, &bits, 4);
    return (double)f;
  }
  default: return ((uint8_t *)v->data)[offset];
  }
}

static inline void assert_shape(const qn_tensor *t, int32_t ndim, const int64_t *shape) {
  assert_int_equal(qn_tensor_view(t)->ndim, ndim);
  for (int32_t d = 0; d < ndim; d++) assert_int_equal(qn_tensor_view(t)->shape[d], shape[d]);
}

/* Compares to a relative error and frees t. NaN equals NaN. */
static inline void assert_values(qn_tensor *t, int64_t n, const double *want, double tolerance) {
  assert_int_equal(gc_count(qn_tensor_view(t)), n);
  for (int64_t i = 0; i < n; i++) {
    double got = value_at(t, i), w = want[i];
    if (got == w || (got != got && w != w) || fabs(got - w) <= tolerance * fmax(1, fabs(w)))
      continue;
    fail_msg("element %lld is %.12g, not %.12g", (long long)i, got, w);
  }
  qn_tensor_free(t);
}
#define ASSERT_VALUES(t, tolerance, ...)                                                           \
  assert_values(t, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)),                    \
                (double[]){__VA_ARGS__}, tolerance)

static inline qn_tensor *noise_f32(uint64_t stream, double scale, double shift, int32_t ndim,
                                   const int64_t *shape) {
  qn_tensor *t = gc_new(QN_F32, NULL, ndim, shape);
  int64_t n = gc_count(qn_tensor_view(t));
  for (int64_t i = 0; i < n; i++)
    ((float *)qn_tensor_view(t)->data)[i] = (float)(shift + scale * gc_noise(stream, i));
  return t;
}

/* FNV-1a over the elements in row-major order; 0-size tensors too. */
static inline uint64_t bits_of(const qn_tensor *t, uint64_t hash) {
  int64_t n = gc_count(qn_tensor_view(t));
  for (int64_t i = 0; i < n; i++) {
    double v = value_at(t, i);
    uint64_t bits;
    memcpy(&bits, &v, 8);
    hash = (hash ^ bits) * 0x100000001B3u;
  }
  return hash;
}

/* Hash of all outputs and, if `grad`, of all gradients of f32 inputs. */
static inline uint64_t run_bits(const char *op, int32_t n, const qn_arg *args, bool grad) {
  qn_tensor *outs[GC_MAX_OUTS], *in[GC_MAX_OUTS], *grads[GC_MAX_OUTS];
  int32_t n_in = 0;
  uint64_t hash = 14695981039346656037u;
  qn_random_seed(7);
  for (int32_t i = 0; i < n && grad; i++)
    if (args[i].kind == QN_ARG_TENSOR && qn_tensor_view(args[i].v.tensor)->dtype == QN_F32) {
      in[n_in++] = args[i].v.tensor;
      assert_ok(qn_tensor_require_grad(args[i].v.tensor, 1));
    }
  int32_t made = op_outs(op, n, args, outs, GC_MAX_OUTS);
  for (int32_t o = 0; o < made; o++) hash = bits_of(outs[o], hash);
  if (n_in) {
    const qn_view *v = qn_tensor_view(outs[0]);
    qn_tensor *seed = noise_f32(99, 1, 0, v->ndim, v->shape);
    assert_ok(qn_grad(outs[0], seed, in, n_in, 0, grads));
    for (int32_t i = 0; i < n_in; i++) hash = bits_of(grads[i], hash);
    gc_free(grads, n_in);
    qn_tensor_free(seed);
  }
  gc_free(outs, made);
  return hash;
}

/* Forward and backward give equal bits with 1, 2, 3 and 7 workers; frees the tensor arguments. */
static inline void assert_same_bits(const char *op, int32_t n, const qn_arg *args, bool grad) {
  static const int32_t workers[] = {1, 2, 3, 7};
  uint64_t want = 0;
  for (int32_t w = 0; w < 4; w++) {
    assert_ok(qn_threads_set(workers[w]));
    uint64_t got = run_bits(op, n, args, grad);
    if (w == 0) want = got;
    if (got != want) fail_msg("%s: other bits with %d workers than with 1", op, (int)workers[w]);
  }
  for (int32_t i = 0; i < n; i++)
    if (args[i].kind == QN_ARG_TENSOR) qn_tensor_free(args[i].v.tensor);
  assert_ok(qn_threads_set(2));
}
#define SAME_BITS(op, grad, ...) assert_same_bits(op, ARGS(__VA_ARGS__), grad)

#define OPS_MAIN(...)                                                                              \
  int main(void) {                                                                                 \
    const struct CMUnitTest tests[] = {__VA_ARGS__};                                               \
    return cmocka_run_group_tests(tests, ops_start, ops_stop);                                     \
  }

#endif
