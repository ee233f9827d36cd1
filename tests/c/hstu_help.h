/*
** What the tests of the hstu plugin share: tensors by hand, calls by name, loading it.
** Header only. SPDX-License-Identifier: MIT
*/
#ifndef HSTU_HELP_H
#define HSTU_HELP_H

#include "check.h"
#include "gradcheck.h"

/* ---- Tensors and calls ---- */

static inline qn_tensor *f32(const float *data, int32_t ndim, int64_t a, int64_t b, int64_t c) {
  return gc_new(QN_F32, data, ndim, (int64_t[]){a, b, c});
}

static inline qn_tensor *i64(const int64_t *data, int64_t n) { return gc_new(QN_I64, data, 1, &n); }

/* Sequences of the given lengths over the rows of `values`, which it takes over. */
static inline qn_tensor *jagged(qn_tensor *values, int32_t n_seq, const int64_t *lengths) {
  int64_t offsets[64] = {0}, n = n_seq + 1;
  qn_tensor *o, *t;
  for (int32_t b = 0; b < n_seq; b++) offsets[b + 1] = offsets[b] + lengths[b];
  o = i64(offsets, n);
  assert_ok(qn_tensor_jagged(values, o, &t));
  qn_tensor_free(values);
  qn_tensor_free(o);
  return t;
}

static inline qn_tensor *noise(uint64_t stream, double scale, int32_t ndim, int64_t a, int64_t b,
                               int64_t c) {
  return gradcheck_noise(stream, scale, 0, ndim, (int64_t[]){a, b, c});
}

static inline qn_tensor *to_f32(const qn_tensor *t) {
  const qn_view *v = qn_tensor_view(t);
  qn_tensor *out = gc_new(QN_F32, NULL, v->ndim, v->shape);
  float *to = qn_tensor_view(out)->data;
  for (int64_t i = 0; i < gc_count(v); i++) to[i] = (float)((const double *)v->data)[i];
  return out;
}

static inline qn_arg tensor(const char *name, qn_tensor *t) {
  if (!t) return (qn_arg){.name = name, .kind = QN_ARG_NIL};
  return (qn_arg){.name = name, .kind = QN_ARG_TENSOR, .v.tensor = t};
}

static inline qn_status call(const char *op, int32_t n, const qn_arg *args, qn_tensor **outs,
                             int32_t max) {
  int32_t made;
  const qn_opref *ref = qn_op_find(op);
  assert_non_null(ref);
  return qn_op_call(ref, args, n, outs, max, &made);
}

static inline qn_tensor *run(const char *op, int32_t n, const qn_arg *args) {
  qn_tensor *out = NULL;
  assert_ok(call(op, n, args, &out, 1));
  return out;
}
#define RUN(op, ...)                                                                               \
  run(op, (int32_t)(sizeof((qn_arg[]){__VA_ARGS__}) / sizeof(qn_arg)), (qn_arg[]){__VA_ARGS__})
#define STATUS(op, out, ...)                                                                       \
  call(op, (int32_t)(sizeof((qn_arg[]){__VA_ARGS__}) / sizeof(qn_arg)), (qn_arg[]){__VA_ARGS__},   \
       out, 2)
#define CHECK(op, ...)                                                                             \
  assert_true(gradcheck(op, (int32_t)(sizeof((qn_arg[]){__VA_ARGS__}) / sizeof(qn_arg)),           \
                        (qn_arg[]){__VA_ARGS__}, GRADCHECK_FIRST))

static inline const float *floats(const qn_tensor *t) { return qn_tensor_view(t)->data; }
static inline const double *doubles(const qn_tensor *t) { return qn_tensor_view(t)->data; }

static inline void assert_close(const qn_tensor *t, const double *expected, int64_t n,
                                double tolerance) {
  assert_int_equal(gc_count(qn_tensor_view(t)), n);
  for (int64_t i = 0; i < n; i++) {
    double x = qn_tensor_view(t)->dtype == QN_F32 ? (double)floats(t)[i] : doubles(t)[i];
    if (!(fabs(x - expected[i]) <= tolerance))
      fail_msg("element %d is %.9g, not %.9g", (int)i, x, expected[i]);
  }
}

static inline void free_all(int32_t n, qn_tensor **t) {
  for (int32_t i = 0; i < n; i++) qn_tensor_free(t[i]);
}
#define FREE(...)                                                                                  \
  free_all((int32_t)(sizeof((qn_tensor *[]){__VA_ARGS__}) / sizeof(qn_tensor *)),                  \
           (qn_tensor *[]){__VA_ARGS__})

/* ---- Setting up ---- */

static inline int hstu_start(void **state) {
  (void)state;
  return qn_start(NULL) ? -1 : test_plugin("hstu");
}

#endif
