/*
** The arguments of an op call: matched to the schema's parameters and turned into what a
** kernel takes.
**
** A number given for a tensor becomes a 0-d constant of the type the other tensors have. bf16 is
** a storage type: floating parameters see it as f32. Inputs are made contiguous unless the schema
** says strided; the call copies one written in place back.
** SPDX-License-Identifier: MIT
*/
#include "graph/arguments.h"

#include <math.h>
#include <string.h>

/* ---- Binding ---- */

static qn_status param_error(const qni_param *p, const char *problem) {
  return qni_fail(QN_E_ARG, "argument '%s' %s", p->name, problem);
}

static qn_status place_args(qni_binder *b, const qn_arg *args, int32_t n_args) {
  const qni_schema *s = b->s;
  memset(b->given, 0, sizeof b->given[0] * (size_t)s->n_params);
  for (int32_t i = 0, next = 0; i < n_args; i++) {
    int32_t p = args[i].name ? qni_schema_param(s, args[i].name) : next++;
    if (p < 0) {
      qni_fail(QN_E_ARG, "%s has no argument '%s'", s->name, args[i].name);
      qni_error_hint("its signature is %s", s->canonical);
      return QN_E_ARG;
    }
    if (p >= s->n_params || (!args[i].name && s->param[p].keyword && args[i].kind != QN_ARG_NIL)) {
      qni_fail(QN_E_ARG, "%s was given %d positional arguments", s->name, (int)n_args);
      qni_error_hint("its signature is %s; arguments after * are given by name", s->canonical);
      return QN_E_ARG;
    }
    if (b->given[p]) return param_error(&s->param[p], "is given twice");
    b->given[p] = &args[i];
  }
  return QN_OK;
}

static const char *kind_words(int16_t kind) {
  switch (kind) {
  case QNI_INT: return "must be an integer";
  case QNI_NUM: return "must be a number";
  case QNI_BOOL: return "must be true or false";
  case QNI_INTS: return "must be a list of integers";
  case QNI_NUMS: return "must be a list of numbers";
  default: return "must be a string";
  }
}

/* An argument as the kind its parameter has; integers pass for numbers, one element for a list. */
static bool convert(const qni_param *p, const qn_arg *a, qni_value *v) {
  *v = (qni_value){.kind = a->kind, .count = a->count};
  switch (p->kind) {
  case QNI_INT: return v->v.i = a->v.i, a->kind == QN_ARG_INT;
  case QNI_BOOL: return v->v.i = a->v.i, a->kind == QN_ARG_BOOL;
  case QNI_NUM:
    v->kind = QN_ARG_NUM;
    v->v.f = a->kind == QN_ARG_INT ? (double)a->v.i : a->v.f;
    return a->kind == QN_ARG_INT || a->kind == QN_ARG_NUM;
  case QNI_STR:
  case QNI_ENUM: return v->v.s = a->v.s, a->kind == QN_ARG_STR;
  case QNI_INTS:
    if (a->kind == QN_ARG_INT) return *v = (qni_value){QN_ARG_INTS, 1, {.ints = &a->v.i}}, true;
    return v->v.ints = a->v.ints, a->kind == QN_ARG_INTS;
  case QNI_NUMS:
    if (a->kind == QN_ARG_NUM) return *v = (qni_value){QN_ARG_NUMS, 1, {.nums = &a->v.f}}, true;
    return v->v.nums = a->v.nums, a->kind == QN_ARG_NUMS;
  default: return false;
  }
}

static qn_status bind_attr(qni_binder *b, int32_t p) {
  const qni_param *q = &b->s->param[p];
  const qn_arg *a = b->given[p];
  if (!a || a->kind == QN_ARG_NIL) {
    b->attrs[p] = q->value;
    if (q->has_default || q->optional) return QN_OK;
    qni_fail(QN_E_ARG, "argument '%s' is missing", q->name);
    qni_error_hint("its signature is %s", b->s->canonical);
    return QN_E_ARG;
  }
  if (!convert(q, a, &b->attrs[p])) return param_error(q, kind_words(q->kind));
  return qni_schema_check_attr(b->s, p, &b->attrs[p]);
}

static qn_status add_input(qni_binder *b, int32_t p, qn_tensor *t) {
  qn_call *c = b->c;
  if (c->n_in >= QN_MAX_TENSORS)
    return qni_fail(QN_E_ARG, "more than %d tensors are given", QN_MAX_TENSORS);
  b->owner[c->n_in] = (int16_t)p;
  c->input[c->n_in] = c->dense[c->n_in] = t;
  c->n_in++;
  return QN_OK;
}

/* The type a bare number takes: that of a tensor whose parameter has the same class. */
static int32_t number_dtype(const qni_binder *b, int32_t p, const qn_arg *a) {
  int16_t class = b->s->param[p].tensor.dtype;
  if (b->s->param[p].tensor.like >= 0) class = b->s->param[b->s->param[p].tensor.like].tensor.dtype;
  if (class < QNI_DT_F) return class;
  for (int32_t q = 0; q < b->s->n_params; q++) {
    const qn_arg *g = b->given[q];
    if (g && g->kind == QN_ARG_TENSOR && g->v.tensor && b->s->param[q].tensor.dtype == class)
      return class == QNI_DT_F && g->v.tensor->view.dtype == QN_BF16 ? QN_F32
                                                                     : g->v.tensor->view.dtype;
  }
  return class == QNI_DT_I || (class != QNI_DT_F && a->kind == QN_ARG_INT) ? QN_I64 : QN_F32;
}

static qn_status bind_number(qni_binder *b, int32_t p, const qn_arg *a) {
  qn_tensor *t;
  int32_t dtype = number_dtype(b, p, a);
  double value = a->kind == QN_ARG_INT ? (double)a->v.i : a->v.f;
  if (!qni_dtype_floating(dtype) && a->kind == QN_ARG_NUM && value != floor(value)) {
    qni_fail(QN_E_DTYPE, "argument '%s' is %g, but the other tensor holds integers",
             b->s->param[p].name, value);
    qni_error_hint("convert the tensor first, for example with :to('f32')");
    return QN_E_DTYPE;
  }
  qn_status st = qni_tensor_empty(dtype, 0, NULL, &t);
  if (st) return st;
  if (dtype == QN_I64 && a->kind == QN_ARG_INT)
    *(int64_t *)t->view.data = a->v.i;
  else
    qni_dtype_store(dtype, t->view.data, value);
  st = qni_frame_hold(b->c, t);
  return st ? st : add_input(b, p, t);
}

static qn_status bind_tensor(qni_binder *b, int32_t p) {
  const qni_param *q = &b->s->param[p];
  const qn_arg *a = b->given[p];
  qn_status st = QN_OK;
  if (!a || a->kind == QN_ARG_NIL) {
    if (q->variadic) return QN_OK;
    if (q->optional || q->has_default) return add_input(b, p, NULL);
    qni_fail(QN_E_ARG, "argument '%s' is missing", q->name);
    qni_error_hint("its signature is %s", b->s->canonical);
    return QN_E_ARG;
  }
  if (a->kind == QN_ARG_TENSOR && a->v.tensor) return add_input(b, p, a->v.tensor);
  if (a->kind == QN_ARG_TENSORS && q->variadic) {
    for (int32_t i = 0; !st && i < a->count; i++) st = add_input(b, p, a->v.tensors[i]);
    return st;
  }
  if ((a->kind == QN_ARG_INT || a->kind == QN_ARG_NUM) && !q->written) return bind_number(b, p, a);
  return param_error(q, q->variadic ? "must be a list of tensors" : "must be a tensor");
}

static qn_status bind_all(qni_binder *b) {
  qn_status st = QN_OK;
  for (int32_t p = 0; !st && p < b->s->n_params; p++) {
    if (b->s->param[p].kind == QNI_TENSOR) {
      b->attrs[p] = (qni_value){0};
      st = bind_tensor(b, p);
    } else {
      st = bind_attr(b, p);
    }
  }
  return st;
}

/* ---- What kernels see ---- */

/* What the kernel gets for input i: bf16 is storage, so `f` parameters see it as f32. */
static qn_status make_dense_input(qn_call *c, const qni_tensor_type *type, int32_t i) {
  qn_tensor *t = c->input[i], *dense;
  qn_status st;
  if (t->view.dtype == QN_BF16 && type->dtype == QNI_DT_F)
    st = qni_tensor_cast(t, QN_F32, &dense);
  else if (!type->strided && !qni_view_contiguous(&t->view))
    st = qni_tensor_contiguous(t, &dense);
  else
    return QN_OK;
  if (!st) st = qni_frame_hold(c, dense);
  if (!st) c->dense[i] = dense;
  return st;
}

static qn_status make_dense(qni_binder *b) {
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < b->c->n_in; i++) {
    const qni_tensor_type *type = &b->s->param[b->owner[i]].tensor;
    if (type->like >= 0) type = &b->s->param[type->like].tensor;
    if (b->c->input[i]) st = make_dense_input(b->c, type, i);
  }
  return st;
}

void qni_binder_init(qni_binder *b, qn_call *c) {
  b->c = c;
  b->s = c->op->schema;
  c->attrs = b->attrs;
  c->owner = b->owner;
}

qn_status qni_binder_bind(qni_binder *b, const qn_arg *args, int32_t n_args) {
  qn_status st = place_args(b, args, n_args);
  if (!st) st = bind_all(b);
  return st ? st : make_dense(b);
}
