/*
** Unification: the inputs of a call against the schema.
**
** First pass, each input by itself: type, number of dimensions, named dimensions
** (the first to come binds a name, the others must agree), the shared leading part.
** Second pass, only where there is something: computed dimensions, broadcast parts,
** `like`, conditions. Nothing is allocated; texts are made on failure only.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "registry/schema_internal.h"

struct unify {
  const qni_schema *s;
  const qn_view *const *inputs;
  const int16_t *owner;
  const int64_t *n_seq;
  const qni_value *attrs;
  qni_binding *b;
  int32_t n_inputs;
  int32_t lead_from; /* input that gave the leading part as it is, or -1 */
};

static const qni_tensor_type *type_of(const struct unify *u, int32_t i) {
  return &u->s->param[u->owner[i]].tensor;
}

/* ---- Texts of failures ---- */

/* "x", or "xs[2]" for the second tensor of a variadic parameter. */
static const char *input_name(const struct unify *u, int32_t i, char *buf, size_t size) {
  const qni_param *p = &u->s->param[u->owner[i]];
  int32_t nth = 1;
  for (int32_t k = 0; k < i; k++) nth += u->owner[k] == u->owner[i];
  if (p->variadic)
    snprintf(buf, size, "%s[%d]", p->name, (int)nth);
  else
    snprintf(buf, size, "%s", p->name);
  return buf;
}

static qn_status expected(const struct unify *u, int32_t i, qn_status status, const char *problem) {
  char name[64], found[160], type[300];
  const qn_view *v = u->inputs[i];
  qni_fail(status, "%s: %s %s", u->s->name, input_name(u, i, name, sizeof name), problem);
  const qni_tensor_type t = *type_of(u, i);
  qni_tensor_type shown = t;
  shown.like = -1;
  qni_error_detail("%s is %s, expected %s", name,
                   qni_shape_text(found, sizeof found, v->dtype, v->ndim, v->shape),
                   qni_schema_type_text(u->s, &shown, type, sizeof type));
  return status;
}

/* The first input at or before `last` that gives dimension d its value. */
static int32_t giver(const struct unify *u, int32_t d, int32_t last) {
  for (int32_t i = 0; i <= last; i++) {
    const qni_tensor_type *t = type_of(u, i);
    if (!u->inputs[i]) continue;
    if (t->jagged == d) return i;
    for (int32_t j = 0; j < t->n_dims; j++)
      if (u->s->expr[t->dim[j]].op == QNI_EX_DIM && u->s->expr[t->dim[j]].value == d) return i;
  }
  return last;
}

static qn_status dim_error(const struct unify *u, int32_t d, int32_t i, int64_t size) {
  char here[64], there[64];
  int32_t first = giver(u, d, i);
  input_name(u, i, here, sizeof here);
  input_name(u, first, there, sizeof there);
  if (first == i)
    qni_fail(QN_E_SHAPE, "%s: dim %s is both %" PRId64 " and %" PRId64 " in %s", u->s->name,
             u->s->dim_name[d], u->b->dim[d], size, here);
  else
    qni_fail(QN_E_SHAPE, "%s: dim %s is %" PRId64 " in %s and %" PRId64 " in %s", u->s->name,
             u->s->dim_name[d], u->b->dim[d], there, size, here);
  return QN_E_SHAPE;
}

static qn_status lead_error(const struct unify *u, int32_t i, const int64_t *size, int32_t n) {
  char here[64], there[64], a[160], b[160];
  if (u->lead_from >= 0)
    input_name(u, u->lead_from, there, sizeof there);
  else
    snprintf(there, sizeof there, "the inputs before it");
  qni_fail(QN_E_SHAPE, "%s: the shared leading part is %s in %s and %s in %s", u->s->name,
           qni_shape_text(a, sizeof a, 0, u->b->n_lead, u->b->lead), there,
           qni_shape_text(b, sizeof b, 0, n, size), input_name(u, i, here, sizeof here));
  return QN_E_SHAPE;
}

static qn_status class_error(const struct unify *u, int32_t i, int32_t bound, char class) {
  char here[64], there[64] = "another input";
  for (int32_t k = i - 1; k >= 0; k--)
    if (u->inputs[k] && type_of(u, k)->dtype == type_of(u, i)->dtype)
      input_name(u, k, there, sizeof there);
  qni_fail(QN_E_DTYPE, "%s: %s is %s and %s is %s", u->s->name, there, qni_dtype_name(bound),
           input_name(u, i, here, sizeof here), qni_dtype_name(u->inputs[i]->dtype));
  qni_error_detail("all inputs of type '%c' must have the same element type", class);
  qni_error_hint("convert one of them, for example with :to('%s')", qni_dtype_name(bound));
  return QN_E_DTYPE;
}

static qn_status where_error(const struct unify *u, int32_t e) {
  char text[300], names[300] = "";
  const qni_schema *s = u->s;
  uint64_t dims = 0, params = 0;
  int32_t stack[QNI_EXPR_NODES], depth = 0;
  for (stack[depth++] = e; depth;) {
    const qni_expr *x = &s->expr[stack[--depth]];
    if (x->op == QNI_EX_DIM) dims |= 1ull << x->value;
    if (x->op == QNI_EX_PARAM) params |= 1ull << x->value;
    if (x->right >= 0) stack[depth++] = x->right;
    if (x->left >= 0) stack[depth++] = x->left;
  }
  size_t n = 0;
  for (int32_t d = 0; d < 32 && n < sizeof names - 80; d++) {
    if (dims >> d & 1)
      n += (size_t)snprintf(names + n, 80, "%s%s is %" PRId64, n ? ", " : "", s->dim_name[d],
                            u->b->dim[d]);
    if (params >> d & 1)
      n += (size_t)snprintf(names + n, 80, "%s%s is %" PRId64, n ? ", " : "", s->param[d].name,
                            u->attrs[d].v.i);
  }
  qn_status status = dims ? QN_E_SHAPE : QN_E_ARG;
  qni_fail(status, "%s: %s does not hold: %s", s->name,
           qni_schema_expr_text(s, e, text, sizeof text), names);
  return status;
}

static qn_status fault_error(const struct unify *u, int32_t e, enum qni_fault fault) {
  char text[300];
  return qni_fail(QN_E_SHAPE, "%s: %s %s", u->s->name,
                  qni_schema_expr_text(u->s, e, text, sizeof text),
                  fault == QNI_FAULT_DIVISION ? "divides by zero" : "is too large");
}

/* ---- First pass ---- */

static qn_status check_dtype(struct unify *u, int32_t i) {
  qni_binding *b = u->b;
  int32_t got = u->inputs[i]->dtype;
  int16_t want = type_of(u, i)->dtype;
  if (want == got || want == QNI_DT_ANY) return QN_OK;
  switch (want) {
  case QNI_DT_F:
    if (!qni_dtype_floating(got))
      return expected(u, i, QN_E_DTYPE, "must hold floating-point numbers");
    if (!b->dtype_f) b->dtype_f = got;
    return b->dtype_f == got ? QN_OK : class_error(u, i, b->dtype_f, 'f');
  case QNI_DT_I:
    if (got != QN_I64 && got != QN_I32)
      return expected(u, i, QN_E_DTYPE, "must hold integers (i64 or i32)");
    if (!b->dtype_i) b->dtype_i = got;
    return b->dtype_i == got ? QN_OK : class_error(u, i, b->dtype_i, 'i');
  case QNI_DT_T:
    if (!b->dtype_t) b->dtype_t = got;
    return b->dtype_t == got ? QN_OK : class_error(u, i, b->dtype_t, 't');
  case QN_BOOL:
    if (got == QN_U8) return QN_OK;
    /* fall through */
  default: return expected(u, i, QN_E_DTYPE, "has the wrong element type");
  }
}

static qn_status bind(struct unify *u, int32_t d, int32_t i, int64_t size) {
  int64_t *dim = &u->b->dim[d];
  if (*dim < 0) *dim = size;
  return *dim == size ? QN_OK : dim_error(u, d, i, size);
}

static qn_status bind_dims(struct unify *u, int32_t i) {
  const qni_tensor_type *t = type_of(u, i);
  const qn_view *v = u->inputs[i];
  for (int32_t j = 0; j < t->n_dims; j++) {
    const qni_expr *x = &u->s->expr[t->dim[j]];
    int64_t size = v->shape[qni_schema_position(t, j, v->ndim)];
    if (x->op == QNI_EX_DIM) {
      qn_status st = bind(u, (int32_t)x->value, i, size);
      if (st) return st;
    } else if (x->op == QNI_EX_CONST && x->value != size) {
      return expected(u, i, QN_E_SHAPE, "has the wrong size");
    }
  }
  if (t->jagged < 0) return QN_OK;
  if (u->n_seq[i] < 0) {
    expected(u, i, QN_E_SHAPE, "must be jagged");
    qni_error_hint("make it with quern.jagged(values, offsets)");
    return QN_E_SHAPE;
  }
  return bind(u, t->jagged, i, u->n_seq[i]);
}

static qn_status bind_lead(struct unify *u, int32_t i) {
  const qni_tensor_type *t = type_of(u, i);
  const int64_t *size = u->inputs[i]->shape + t->lead_at;
  int32_t n = u->inputs[i]->ndim - t->n_dims;
  if (u->lead_from < 0) {
    u->lead_from = i;
    u->b->n_lead = n;
    for (int32_t k = 0; k < n; k++) u->b->lead[k] = size[k];
    return QN_OK;
  }
  bool equal = n == u->b->n_lead;
  for (int32_t k = 0; equal && k < n; k++) equal = size[k] == u->b->lead[k];
  return equal ? QN_OK : lead_error(u, i, size, n);
}

static qn_status check_input(struct unify *u, int32_t i) {
  const qni_tensor_type *t = type_of(u, i);
  qn_status st = check_dtype(u, i);
  if (st || t->lead == QNI_LEAD_ANY) return st;
  int32_t ndim = u->inputs[i]->ndim;
  if (t->lead == QNI_LEAD_NONE ? ndim != t->n_dims : ndim < t->n_dims)
    return expected(u, i, QN_E_SHAPE,
                    ndim < t->n_dims ? "has too few dimensions" : "has too many dimensions");
  st = bind_dims(u, i);
  return st || t->lead != QNI_LEAD_SHARED ? st : bind_lead(u, i);
}

/* ---- Second pass ---- */

static qn_status check_computed(struct unify *u, int32_t i) {
  const qni_tensor_type *t = type_of(u, i);
  const qn_view *v = u->inputs[i];
  for (int32_t j = 0; j < t->n_dims; j++) {
    int64_t want, size = v->shape[qni_schema_position(t, j, v->ndim)];
    enum qni_fault fault = qni_schema_eval(u->s, t->dim[j], u->b->dim, u->attrs, &want);
    if (fault == QNI_FAULT_ABSENT || (!fault && want == size)) continue;
    if (fault) return fault_error(u, t->dim[j], fault);
    char name[64], text[300];
    qni_fail(QN_E_SHAPE, "%s: %s is %" PRId64 ", but dimension %d of %s is %" PRId64, u->s->name,
             qni_schema_expr_text(u->s, t->dim[j], text, sizeof text), want,
             (int)qni_schema_position(t, j, v->ndim) + 1, input_name(u, i, name, sizeof name),
             size);
    return QN_E_SHAPE;
  }
  return QN_OK;
}

/* NumPy's rule, from the right: equal sizes, or 1. The part grows unless an input fixed it. */
static qn_status broadcast(struct unify *u, int32_t i) {
  qni_binding *b = u->b;
  const qni_tensor_type *t = type_of(u, i);
  const int64_t *size = u->inputs[i]->shape;
  int32_t n = u->inputs[i]->ndim - t->n_dims;
  if (n > b->n_lead) {
    if (u->lead_from >= 0) return lead_error(u, i, size, n);
    for (int32_t k = b->n_lead - 1; k >= 0; k--) b->lead[k + n - b->n_lead] = b->lead[k];
    for (int32_t k = 0; k < n - b->n_lead; k++) b->lead[k] = 1;
    b->n_lead = n;
  }
  int64_t *lead = b->lead + b->n_lead - n;
  for (int32_t k = 0; k < n; k++) {
    if (size[k] == lead[k] || size[k] == 1) continue;
    if (lead[k] != 1 || u->lead_from >= 0) return lead_error(u, i, size, n);
    lead[k] = size[k];
  }
  return QN_OK;
}

static qn_status check_like(struct unify *u, int32_t i) {
  const qn_view *v = u->inputs[i], *w = NULL;
  int16_t like = type_of(u, i)->like;
  for (int32_t k = 0; k < u->n_inputs; k++)
    if (u->owner[k] == like) w = u->inputs[k];
  if (!w) return QN_OK;
  bool equal = v->ndim == w->ndim && v->dtype == w->dtype;
  for (int32_t k = 0; equal && k < v->ndim; k++) equal = v->shape[k] == w->shape[k];
  if (equal) return QN_OK;
  char a[160], b[160];
  qn_status status = v->dtype == w->dtype ? QN_E_SHAPE : QN_E_DTYPE;
  qni_fail(status, "%s: %s must be like %s", u->s->name, u->s->param[u->owner[i]].name,
           u->s->param[like].name);
  qni_error_detail("%s is %s, %s is %s", u->s->param[u->owner[i]].name,
                   qni_shape_text(a, sizeof a, v->dtype, v->ndim, v->shape), u->s->param[like].name,
                   qni_shape_text(b, sizeof b, w->dtype, w->ndim, w->shape));
  return status;
}

static qn_status check_where(struct unify *u, int32_t e) {
  int64_t holds;
  enum qni_fault fault = qni_schema_eval(u->s, e, u->b->dim, u->attrs, &holds);
  if (fault == QNI_FAULT_ABSENT) return QN_OK; /* an argument it speaks of is not given */
  if (fault) return fault_error(u, e, fault);
  return holds ? QN_OK : where_error(u, e);
}

static qn_status run(struct unify *u) {
  qn_status st = QN_OK;
  for (int32_t i = 0; i < u->n_inputs; i++)
    if (u->inputs[i] && (st = check_input(u, i))) return st;
  for (int32_t i = 0; i < u->n_inputs && !st; i++) {
    const qni_tensor_type *t = type_of(u, i);
    if (!u->inputs[i]) continue;
    if (!t->plain) st = check_computed(u, i);
    if (!st && t->lead == QNI_LEAD_BROADCAST) st = broadcast(u, i);
    if (!st && t->like >= 0) st = check_like(u, i);
  }
  for (int32_t i = 0; i < u->s->n_where && !st; i++) st = check_where(u, u->s->where[i]);
  return st;
}

qn_status qni_schema_unify(const qni_schema *s, int32_t n_inputs, const qn_view *const *inputs,
                           const int16_t *owner, const int64_t *n_seq, const qni_value *attrs,
                           qni_binding *b) {
  struct unify u = {s, inputs, owner, n_seq, attrs, b, n_inputs, -1};
  for (int32_t d = 0; d < s->n_dims; d++) b->dim[d] = -1;
  b->dtype_f = b->dtype_i = b->dtype_t = b->n_lead = 0;
  return run(&u);
}
