/*
** Gradient checks through the embedding API: central differences in f64 against backward,
** along every coordinate of every floating input, first and second order.
**
** For outputs y_o and fixed pseudo-random weights w_o the checked number is
** L = sum_o <w_o, y_o>; its gradient by qn_grad must agree with
** (L(x + h e_i) - L(x - h e_i)) / 2h for each coordinate i to a relative error of
** GRADCHECK_TOLERANCE (against max(1, |a|, |b|)). Second order does the same with
** G = sum_i <v_i, dL/dx_i> in the place of L, where qn_grad records itself.
**
**   double x[] = {...};
**   qn_tensor *t = gradcheck_f64(x, 2, (int64_t[]){2, 3});
**   assert_true(gradcheck("exp", 1, (qn_arg[]){gc_tensor(t)}, GRADCHECK_SECOND));
** Header only; needs "quern/quern.h" and a runtime that was started.
** SPDX-License-Identifier: MIT
*/
#ifndef GRADCHECK_H
#define GRADCHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "quern/quern.h"

#define GRADCHECK_TOLERANCE 1e-6

enum { GRADCHECK_FIRST = 0, GRADCHECK_SECOND = 1 };
enum { GC_MAX = 8, GC_MAX_OUTS = 64 };

/* ---- Arguments ---- */

static inline qn_arg gc_tensor(qn_tensor *t) {
  return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t};
}
static inline qn_arg gc_num(const char *name, double x) {
  return (qn_arg){.name = name, .kind = QN_ARG_NUM, .v.f = x};
}
static inline qn_arg gc_int(const char *name, int64_t i) {
  return (qn_arg){.name = name, .kind = QN_ARG_INT, .v.i = i};
}
static inline qn_arg gc_bool(const char *name, bool on) {
  return (qn_arg){.name = name, .kind = QN_ARG_BOOL, .v.i = on};
}
static inline qn_arg gc_str(const char *name, const char *s) {
  return (qn_arg){.name = name, .kind = QN_ARG_STR, .v.s = s};
}
static inline qn_arg gc_ints(const char *name, int32_t n, const int64_t *ints) {
  return (qn_arg){.name = name, .kind = QN_ARG_INTS, .count = n, .v.ints = ints};
}
static inline qn_arg gc_tensors(qn_tensor *const *ts, int32_t n) {
  return (qn_arg){.kind = QN_ARG_TENSORS, .count = n, .v.tensors = ts};
}

/* ---- Tensors ---- */

/* A number in [-1, 1): the same for the same pair on every machine. */
static inline double gc_noise(uint64_t stream, int64_t i) {
  uint64_t z =
      stream * 0x9E3779B97F4A7C15u + (uint64_t)i * 0xBF58476D1CE4E5B9u + 0x94D049BB133111EBu;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (double)(int64_t)(z ^ z >> 31) * 0x1p-63;
}

static inline int64_t gc_count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

/* A contiguous tensor of a copy of `data`; NULL data: zeros. The caller frees it. */
static inline qn_tensor *gc_new(int32_t dtype, const void *data, int32_t ndim,
                                const int64_t *shape) {
  qn_tensor *t = NULL;
  if (qn_tensor_new(dtype, ndim, shape, &t)) return NULL;
  const qn_view *v = qn_tensor_view(t);
  size_t size = dtype == QN_F64 || dtype == QN_I64   ? 8
                : dtype == QN_F32 || dtype == QN_I32 ? 4
                : dtype == QN_BF16                   ? 2
                                                     : 1;
  if (data) memcpy(v->data, data, (size_t)gc_count(v) * size);
  return t;
}

static inline qn_tensor *gradcheck_f64(const double *data, int32_t ndim, const int64_t *shape) {
  return gc_new(QN_F64, data, ndim, shape);
}

/* f64 noise times `scale` plus `shift`, another for each stream. */
static inline qn_tensor *gradcheck_noise(uint64_t stream, double scale, double shift, int32_t ndim,
                                         const int64_t *shape) {
  qn_tensor *t = gc_new(QN_F64, NULL, ndim, shape);
  if (!t) return NULL;
  double *x = qn_tensor_view(t)->data;
  int64_t n = gc_count(qn_tensor_view(t));
  for (int64_t i = 0; i < n; i++) x[i] = shift + scale * gc_noise(stream, i);
  return t;
}

/* Element i in row-major order of an f64 view, whatever its strides. */
static inline double *gc_at(const qn_view *v, int64_t i) {
  int64_t offset = 0;
  for (int32_t d = v->ndim - 1; d >= 0; d--) {
    offset += i % v->shape[d] * v->stride[d];
    i /= v->shape[d];
  }
  return (double *)v->data + offset;
}

/* ---- The check ---- */

typedef struct gc_call {
  const qn_opref *op;
  const char *name;
  int32_t n_args, n_in;
  const qn_arg *args;
  qn_tensor *in[GC_MAX_OUTS]; /* the f64 inputs, each once */
} gc_call;

static inline void gc_report(const gc_call *g, const char *what) {
  const qn_error *e = qn_error_last();
  printf("gradcheck %s: %s: %s %s\n", g->name, what, e->what, e->detail);
}

static inline void gc_add_input(gc_call *g, qn_tensor *t) {
  if (!t || qn_tensor_view(t)->dtype != QN_F64) return;
  for (int32_t i = 0; i < g->n_in; i++)
    if (g->in[i] == t) return;
  g->in[g->n_in++] = t;
}

static inline void gc_free(qn_tensor **ts, int32_t n) {
  for (int32_t i = 0; i < n; i++) qn_tensor_free(ts[i]);
}

/* A constant tensor of weights in t's shape. */
static inline qn_tensor *gc_weights(const qn_tensor *t, uint64_t stream) {
  const qn_view *v = qn_tensor_view(t);
  return gradcheck_noise(1000 + stream, 1, 0, v->ndim, v->shape);
}

static inline double gc_dot(const qn_tensor *t, uint64_t stream) {
  const qn_view *v = qn_tensor_view(t);
  double sum = 0;
  int64_t n = gc_count(v);
  for (int64_t i = 0; i < n; i++) sum += *gc_at(v, i) * gc_noise(1000 + stream, i);
  return sum;
}

/* grads[i] += d root / d in[i], weighted by the root's weights. */
static inline bool gc_grad_of(gc_call *g, qn_tensor *root, uint64_t stream, int32_t flags,
                              qn_tensor **grads) {
  qn_tensor *seed = gc_weights(root, stream), *part[GC_MAX_OUTS] = {NULL};
  bool ok = seed && !qn_grad(root, seed, g->in, g->n_in, flags, part);
  qn_tensor_free(seed);
  for (int32_t i = 0; ok && i < g->n_in; i++) {
    if (!grads[i] || !part[i]) {
      if (part[i]) grads[i] = part[i];
      continue;
    }
    int32_t n = 0;
    qn_tensor *sum = NULL;
    qn_arg args[] = {gc_tensor(grads[i]), gc_tensor(part[i])};
    ok = !qn_op_call(qn_op_find("add"), args, 2, &sum, 1, &n);
    qn_tensor_free(grads[i]);
    qn_tensor_free(part[i]);
    grads[i] = sum;
  }
  return ok;
}

/* dL/dx for each input; grads may stay NULL where nothing flows. */
static inline bool gc_first(gc_call *g, int32_t flags, qn_tensor **grads) {
  qn_tensor *outs[GC_MAX_OUTS] = {NULL};
  int32_t n = 0;
  memset(grads, 0, sizeof *grads * (size_t)g->n_in);
  if (qn_op_call(g->op, g->args, g->n_args, outs, GC_MAX_OUTS, &n))
    return gc_report(g, "forward failed"), false;
  bool ok = true;
  for (int32_t o = 0; o < n && ok; o++)
    if (qn_tensor_view(outs[o])->dtype == QN_F64 && qn_tensor_requires_grad(outs[o]))
      ok = gc_grad_of(g, outs[o], (uint64_t)o, flags | QN_BACKWARD_KEEP, grads);
  if (!ok) gc_report(g, "backward failed");
  gc_free(outs, n);
  return ok;
}

/* L, or G for second order. */
static inline bool gc_value(gc_call *g, bool second, double *value) {
  qn_tensor *outs[GC_MAX_OUTS] = {NULL};
  int32_t n = 0;
  *value = 0;
  if (second) {
    if (!gc_first(g, 0, outs)) return false;
    for (int32_t i = 0; i < g->n_in; i++)
      if (outs[i]) *value += gc_dot(outs[i], 500 + (uint64_t)i);
    gc_free(outs, g->n_in);
    return true;
  }
  int32_t former = qn_grad_enable(0);
  qn_status st = qn_op_call(g->op, g->args, g->n_args, outs, GC_MAX_OUTS, &n);
  qn_grad_enable(former);
  for (int32_t o = 0; !st && o < n; o++)
    if (qn_tensor_view(outs[o])->dtype == QN_F64) *value += gc_dot(outs[o], (uint64_t)o);
  gc_free(outs, n);
  if (st) gc_report(g, "forward failed");
  return !st;
}

/* dG/dx by recording the gradient itself. */
static inline bool gc_second(gc_call *g, qn_tensor **grads) {
  qn_tensor *first[GC_MAX_OUTS];
  bool ok = gc_first(g, QN_BACKWARD_CREATE, first);
  memset(grads, 0, sizeof *grads * (size_t)g->n_in);
  for (int32_t i = 0; ok && i < g->n_in; i++)
    if (first[i] && qn_tensor_requires_grad(first[i]))
      ok = gc_grad_of(g, first[i], 500 + (uint64_t)i, QN_BACKWARD_KEEP, grads);
  if (!ok) gc_report(g, "second backward failed");
  gc_free(first, g->n_in);
  return ok;
}

static inline bool gc_compare(gc_call *g, bool second, qn_tensor **grads) {
  const double step = second ? 1e-5 : 2e-6;
  for (int32_t k = 0; k < g->n_in; k++) {
    const qn_view *x = qn_tensor_view(g->in[k]);
    int64_t n = gc_count(x);
    for (int64_t i = 0; i < n; i++) {
      double *at = gc_at(x, i), old = *at, up, down;
      *at = old + step;
      bool ok = gc_value(g, second, &up);
      *at = old - step;
      ok = ok && gc_value(g, second, &down);
      *at = old;
      if (!ok) return false;
      double numeric = (up - down) / (2 * step),
             exact = grads[k] ? *gc_at(qn_tensor_view(grads[k]), i) : 0;
      double scale = fmax(1, fmax(fabs(numeric), fabs(exact)));
      if (fabs(numeric - exact) <= GRADCHECK_TOLERANCE * scale) continue;
      printf("gradcheck %s, order %d: input %d, element %lld: backward gives %.12g, differences "
             "%.12g\n",
             g->name, second ? 2 : 1, (int)k + 1, (long long)i + 1, exact, numeric);
      return false;
    }
  }
  return true;
}

/*
** Checks an op on its arguments. All f64 tensors among them are differentiated; they must be
** leaves. Prints what differs; true if nothing does.
*/
static inline bool gradcheck(const char *op, int32_t n_args, const qn_arg *args, int order) {
  gc_call g = {.op = qn_op_find(op), .name = op, .n_args = n_args, .args = args};
  qn_tensor *grads[GC_MAX_OUTS] = {NULL};
  if (!g.op) return printf("gradcheck: there is no op '%s'\n", op), false;
  for (int32_t i = 0; i < n_args; i++) {
    if (args[i].kind == QN_ARG_TENSOR) gc_add_input(&g, args[i].v.tensor);
    for (int32_t k = 0; args[i].kind == QN_ARG_TENSORS && k < args[i].count; k++)
      gc_add_input(&g, args[i].v.tensors[k]);
  }
  bool ok = true;
  for (int32_t i = 0; i < g.n_in; i++) ok = ok && !qn_tensor_require_grad(g.in[i], 1);
  if (!ok) gc_report(&g, "an input is no leaf");
  ok = ok && gc_first(&g, 0, grads) && gc_compare(&g, false, grads);
  gc_free(grads, g.n_in);
  if (ok && order == GRADCHECK_SECOND) {
    ok = gc_second(&g, grads) && gc_compare(&g, true, grads);
    gc_free(grads, g.n_in);
  }
  return ok;
}

#endif
