/*
** What the checks share: calling an op on random valid inputs, comparing results.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check/check.h"
#include "graph/call.h"

qn_status qni_check_call(const qn_opref *op, const qni_sample *sample, qni_outputs *out) {
  qni_error_reset();
  qn_random_seed(7);
  return qn_op_call(op, sample->arg, sample->n_args, out->t, QN_MAX_TENSORS, &out->n);
}

void qni_outputs_free(qni_outputs *out) {
  for (int32_t i = 0; i < out->n; i++) qn_tensor_free(out->t[i]);
  out->n = 0;
}

qn_status qni_check_both(const qn_opref *op, qni_sample *sample, qni_result *r) {
  qn_tensor *floats[QN_MAX_TENSORS];
  int32_t n = qni_check_floats(sample, floats, QN_MAX_TENSORS);
  bool differentiate = qni_check_differentiable(op);
  *r = (qni_result){0};
  for (int32_t i = 0; i < n; i++) {
    qn_tensor_clear_grad(floats[i]);
    floats[i]->requires_grad = differentiate;
  }
  qn_status st = qni_check_call(op, sample, &r->out);
  for (int32_t o = 0; !st && o < r->out.n; o++) {
    if (!r->out.t[o]->requires_grad) continue;
    qn_tensor *seed = NULL;
    st = qni_tensor_detach(r->out.t[o], &seed);
    if (!st) st = qn_backward(r->out.t[o], seed, QN_BACKWARD_KEEP);
    qn_tensor_free(seed);
  }
  for (int32_t i = 0; i < n; i++) {
    qn_tensor *g = floats[i]->grad ? floats[i]->grad : floats[i]->grad_rows;
    if (!st && g) r->grad[r->n_grads++] = qn_tensor_retain(g);
    qn_tensor_clear_grad(floats[i]);
    floats[i]->requires_grad = false;
  }
  return st;
}

void qni_result_free(qni_result *r) {
  qni_outputs_free(&r->out);
  for (int32_t i = 0; i < r->n_grads; i++) qn_tensor_free(r->grad[i]);
  r->n_grads = 0;
}

static bool same_shape(const qn_view *a, const qn_view *b) {
  bool same = a->ndim == b->ndim && a->dtype == b->dtype;
  for (int32_t d = 0; same && d < a->ndim; d++) same = a->shape[d] == b->shape[d];
  return same;
}

/* A contiguous f64 copy, or NULL when memory is short. */
static qn_tensor *as_doubles(const qn_tensor *t) {
  qn_tensor *copy = NULL;
  return qni_tensor_cast(t, QN_F64, &copy) ? NULL : copy;
}

bool qni_check_equal(const qn_tensor *a, const qn_tensor *b) {
  if (!same_shape(&a->view, &b->view)) return false;
  qn_tensor *x = NULL, *y = NULL;
  bool equal = !qni_tensor_contiguous((qn_tensor *)(uintptr_t)a, &x) &&
               !qni_tensor_contiguous((qn_tensor *)(uintptr_t)b, &y);
  size_t bytes = equal ? (size_t)qni_tensor_count(x) * qni_dtype_size(x->view.dtype) : 0;
  equal = equal && !memcmp(x->view.data, y->view.data, bytes);
  qn_tensor_free(x);
  qn_tensor_free(y);
  return equal;
}

double qni_check_distance(const qn_tensor *a, const qn_tensor *b) {
  double worst = 0;
  int64_t n = qni_tensor_count(a);
  if (n != qni_tensor_count(b)) return INFINITY;
  qn_tensor *x = as_doubles(a), *y = as_doubles(b);
  const double *p = x ? x->view.data : NULL, *q = y ? y->view.data : NULL;
  for (int64_t i = 0; p && q && i < n; i++) {
    if (isnan(p[i]) != isnan(q[i])) worst = INFINITY;
    if (p[i] == q[i] || isnan(p[i]) || isnan(q[i])) continue;
    double d = fabs(p[i] - q[i]) / fmax(1, fmax(fabs(p[i]), fabs(q[i])));
    if (isnan(d) || d > worst) worst = isnan(d) ? INFINITY : d;
  }
  qn_tensor_free(x);
  qn_tensor_free(y);
  return p && q ? worst : INFINITY;
}

int32_t qni_check_floats(const qni_sample *sample, qn_tensor **tensors, int32_t max) {
  int32_t n = 0;
  for (int32_t i = 0; i < sample->n_args; i++) {
    const qn_arg *a = &sample->arg[i];
    int32_t count = a->kind == QN_ARG_TENSORS ? a->count : a->kind == QN_ARG_TENSOR;
    for (int32_t j = 0; j < count; j++) {
      qn_tensor *t = a->kind == QN_ARG_TENSOR ? a->v.tensor : a->v.tensors[j];
      if (t && qni_dtype_floating(t->view.dtype) && n < max) tensors[n++] = t;
    }
  }
  return n;
}

bool qni_check_writes(const qn_opref *op) {
  for (int32_t p = 0; p < op->schema->n_params; p++)
    if (op->schema->param[p].written) return true;
  return false;
}

bool qni_check_differentiable(const qn_opref *op) {
  return (op->op->backward || op->op->compose) && !(op->op->flags & QN_OP_NO_GRAD) &&
         !qni_check_writes(op);
}

const char *qni_check_describe(const qn_opref *op, const qni_sample *sample, char *text,
                               size_t room) {
  size_t used = (size_t)snprintf(text, room, "%s(", op->name);
  for (int32_t i = 0; i < sample->n_args && used < room; i++) {
    const qn_arg *a = &sample->arg[i];
    const qn_view *v = a->kind == QN_ARG_TENSOR && a->v.tensor ? &a->v.tensor->view : NULL;
    char shape[160] = "...";
    if (v)
      qni_shape_text(shape, sizeof shape, v->dtype, v->ndim, v->shape);
    else if (a->kind == QN_ARG_INT || a->kind == QN_ARG_BOOL)
      snprintf(shape, sizeof shape, "%lld", (long long)a->v.i);
    else if (a->kind == QN_ARG_NUM)
      snprintf(shape, sizeof shape, "%g", a->v.f);
    else if (a->kind == QN_ARG_STR)
      snprintf(shape, sizeof shape, "%s", a->v.s);
    else if (a->kind == QN_ARG_NIL)
      continue;
    used += (size_t)snprintf(text + used, room - used, "%s%s%s%s", i ? ", " : "",
                             a->name ? a->name : "", a->name ? "=" : "", shape);
  }
  if (used < room) snprintf(text + used, room - used, ")");
  return text;
}

static qn_status each_sample(qni_check_context *x, const qn_opref *op,
                             const qni_sample_options *options, qni_sample_body body) {
  size_t before = strlen(x->text);
  for (int32_t i = 0; i < x->samples && strlen(x->text) == before; i++) {
    qni_sample_options o = *options;
    o.seed = x->seed * 1000003u + (uint64_t)i;
    qni_sample sample;
    qni_error_reset();
    qn_status st = qni_schema_sample(op->schema, &o, &sample);
    if (st) return st;
    body(x, op, &sample);
    qni_sample_free(&sample);
  }
  return QN_OK;
}

qn_status qni_check_each(qni_check_context *x, const qni_sample_options *options,
                         qni_sample_body body) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < x->n_ops; i++) {
    st = each_sample(x, x->ops[i], options, body);
    if (st == QN_E_UNSUPPORTED)
      st = QN_OK; /* no valid input can be drawn for it from the schema alone */
  }
  return st;
}
