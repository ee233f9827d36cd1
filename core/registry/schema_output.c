/*
** Shapes and element types of outputs, from what unification found.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <string.h>

#include "registry/schema_internal.h"

struct call {
  const qni_schema *s;
  const qni_binding *b;
  const qn_view *const *inputs;
  const int16_t *owner;
  const qni_value *attrs;
  int32_t n_inputs;
};

static const qn_view *input_of(const struct call *c, int32_t param) {
  for (int32_t i = 0; i < c->n_inputs; i++)
    if (c->owner[i] == param) return c->inputs[i];
  return NULL;
}

/* The type that an argument named dtype asks for; 0: none given. */
static qn_status asked_dtype(const struct call *c, int32_t *dtype) {
  int32_t q = qni_schema_param(c->s, "dtype");
  *dtype = 0;
  if (q < 0 || c->s->param[q].kind == QNI_TENSOR || !c->attrs || c->attrs[q].kind != QN_ARG_STR)
    return QN_OK;
  *dtype = qni_dtype_parse(c->attrs[q].v.s);
  if (*dtype) return QN_OK;
  qni_fail(QN_E_ARG, "%s: '%.40s' is no element type", c->s->name, c->attrs[q].v.s);
  qni_error_hint("there are f32, f64, bf16, i64, i32, u8 and bool");
  return QN_E_ARG;
}

/* `any`: the type of the first input that is `any` too; infer may set another. */
static int32_t any_dtype(const struct call *c, const qni_output *o) {
  for (int32_t i = 0; i < c->n_inputs; i++)
    if (c->inputs[i] && c->s->param[c->owner[i]].tensor.dtype == QNI_DT_ANY &&
        (o->alias < 0 || c->owner[i] == o->alias))
      return c->inputs[i]->dtype;
  return 0;
}

static qn_status output_dtype(const struct call *c, const qni_output *o, int32_t *dtype) {
  const qni_binding *b = c->b;
  switch (o->tensor.dtype) {
  case QNI_DT_F: *dtype = b->dtype_f; break;
  case QNI_DT_I: *dtype = b->dtype_i; break;
  case QNI_DT_T: *dtype = b->dtype_t; break;
  case QNI_DT_ANY: *dtype = 0; break;
  default: return *dtype = o->tensor.dtype, QN_OK;
  }
  if (*dtype) return QN_OK;
  qn_status st = asked_dtype(c, dtype);
  if (st || *dtype) return st;
  if (o->tensor.dtype == QNI_DT_ANY) *dtype = any_dtype(c, o);
  if (*dtype) return QN_OK;
  *dtype = o->tensor.dtype == QNI_DT_I ? QN_I64 : QN_F32;
  return QN_OK;
}

static qn_status size_of(const struct call *c, const qni_output *o, int32_t expr, int64_t *size,
                         bool *decided) {
  enum qni_fault fault = qni_schema_eval(c->s, expr, c->b->dim, c->attrs, size);
  if (!fault && *size >= 0) return QN_OK;
  if (fault == QNI_FAULT_ABSENT) return *size = -1, *decided = false, QN_OK;
  char text[300];
  qni_schema_expr_text(c->s, expr, text, sizeof text);
  if (fault)
    return qni_fail(QN_E_SHAPE, "%s: size %s of output %s %s", c->s->name, text, o->name,
                    fault == QNI_FAULT_DIVISION ? "divides by zero" : "is too large");
  return qni_fail(QN_E_SHAPE, "%s: size %s of output %s would be %" PRId64, c->s->name, text,
                  o->name, *size);
}

static qn_status like_shape(const struct call *c, const qni_output *o, const qn_view *like,
                            int64_t *shape, bool *decided) {
  const qni_tensor_type *t = &o->tensor;
  for (int32_t k = 0; k < like->ndim; k++) shape[k] = like->shape[k];
  for (int32_t w = 0; w < o->n_with; w++)
    for (int32_t j = 0; j < t->n_dims; j++) {
      const qni_expr *x = &c->s->expr[t->dim[j]];
      if (x->op != QNI_EX_DIM || x->value != o->with_dim[w]) continue;
      qn_status st =
          size_of(c, o, o->with_expr[w], &shape[qni_schema_position(t, j, like->ndim)], decided);
      if (st) return st;
    }
  return QN_OK;
}

static qn_status pattern_shape(const struct call *c, const qni_output *o, int32_t ndim,
                               int64_t *shape, bool *decided) {
  const qni_tensor_type *t = &o->tensor;
  if (ndim > QN_MAX_DIMS)
    return qni_fail(QN_E_SHAPE, "%s: output %s would have %d dimensions, more than %d", c->s->name,
                    o->name, (int)ndim, QN_MAX_DIMS);
  for (int32_t k = 0; k < ndim - t->n_dims; k++) shape[t->lead_at + k] = c->b->lead[k];
  for (int32_t j = 0; j < t->n_dims; j++) {
    qn_status st = size_of(c, o, t->dim[j], &shape[qni_schema_position(t, j, ndim)], decided);
    if (st) return st;
  }
  return QN_OK;
}

qn_status qni_schema_output(const qni_schema *s, int32_t o, const qni_binding *binding,
                            const qn_view *const *inputs, const int16_t *owner, int32_t n_inputs,
                            const qni_value *attrs, qn_view *out, bool *decided) {
  struct call c = {s, binding, inputs, owner, attrs, n_inputs};
  const qni_output *y = &s->output[o];
  int32_t source = y->same ? y->alias : y->tensor.like, ndim = 0, dtype;
  int64_t shape[QN_MAX_DIMS];
  qn_status st = QN_OK;
  *decided = true;
  if (source >= 0) {
    const qn_view *like = input_of(&c, source);
    if (!like)
      return qni_fail(QN_E_ARG, "%s: output %s is like %s, which is not given", s->name, y->name,
                      s->param[source].name);
    dtype = like->dtype;
    ndim = like->ndim;
    st = like_shape(&c, y, like, shape, decided);
  } else {
    st = output_dtype(&c, y, &dtype);
    *decided = y->tensor.lead != QNI_LEAD_ANY;
    ndim = y->tensor.n_dims + (y->tensor.lead == QNI_LEAD_SHARED ? binding->n_lead : 0);
    if (!st) st = pattern_shape(&c, y, ndim, shape, decided);
  }
  if (!st) qni_view_dense(out, NULL, dtype, ndim, shape);
  return st;
}
