/*
** Values against their kinds and ranges, and dimension arithmetic.
** Division rounds down, as in Lua's //.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "registry/schema_internal.h"

/* ---- Arithmetic ---- */

static enum qni_fault apply(int16_t op, int64_t a, int64_t b, int64_t *v) {
  switch (op) {
  case QNI_EX_ADD: return __builtin_add_overflow(a, b, v) ? QNI_FAULT_OVERFLOW : QNI_FAULT_NONE;
  case QNI_EX_SUB: return __builtin_sub_overflow(a, b, v) ? QNI_FAULT_OVERFLOW : QNI_FAULT_NONE;
  case QNI_EX_MUL: return __builtin_mul_overflow(a, b, v) ? QNI_FAULT_OVERFLOW : QNI_FAULT_NONE;
  case QNI_EX_DIV:
    if (b == 0) return QNI_FAULT_DIVISION;
    if (b == -1)
      return __builtin_sub_overflow((int64_t)0, a, v) ? QNI_FAULT_OVERFLOW : QNI_FAULT_NONE;
    *v = a / b - (a % b != 0 && (a < 0) != (b < 0));
    return QNI_FAULT_NONE;
  case QNI_EX_LT: return *v = a < b, QNI_FAULT_NONE;
  case QNI_EX_LE: return *v = a <= b, QNI_FAULT_NONE;
  case QNI_EX_EQ: return *v = a == b, QNI_FAULT_NONE;
  case QNI_EX_GE: return *v = a >= b, QNI_FAULT_NONE;
  default: return *v = a > b, QNI_FAULT_NONE;
  }
}

enum qni_fault qni_schema_eval(const qni_schema *s, int32_t expr, const int64_t *dim,
                               const qni_value *attrs, int64_t *value) {
  const qni_expr *x = &s->expr[expr];
  int64_t a, b;
  *value = 0;
  if (x->op == QNI_EX_CONST) return *value = x->value, QNI_FAULT_NONE;
  if (x->op == QNI_EX_DIM) {
    if (!dim || dim[x->value] < 0) return QNI_FAULT_ABSENT;
    return *value = dim[x->value], QNI_FAULT_NONE;
  }
  if (x->op == QNI_EX_PARAM) {
    if (!attrs || attrs[x->value].kind != QN_ARG_INT) return QNI_FAULT_ABSENT;
    return *value = attrs[x->value].v.i, QNI_FAULT_NONE;
  }
  enum qni_fault fault = qni_schema_eval(s, x->left, dim, attrs, &a);
  if (!fault) fault = qni_schema_eval(s, x->right, dim, attrs, &b);
  return fault ? fault : apply(x->op, a, b, value);
}

/* ---- Attributes ---- */

static bool inside(const qni_param *p, double value) { return value >= p->low && value <= p->high; }

bool qni_schema_value_fits(const qni_param *p, const qni_value *v) {
  bool bounded = !isinf(p->low) || !isinf(p->high);
  switch (v->kind) {
  case QN_ARG_NIL: return p->optional;
  case QN_ARG_INT: return (p->kind == QNI_INT || p->kind == QNI_NUM) && inside(p, (double)v->v.i);
  case QN_ARG_NUM: return p->kind == QNI_NUM && (!bounded || inside(p, v->v.f));
  case QN_ARG_BOOL: return p->kind == QNI_BOOL;
  case QN_ARG_STR:
    if (p->kind != QNI_ENUM) return p->kind == QNI_STR;
    for (int32_t i = 0; p->choices[i]; i++)
      if (!strcmp(p->choices[i], v->v.s)) return true;
    return false;
  case QN_ARG_INTS:
    for (int32_t i = 0; i < v->count; i++)
      if (!inside(p, (double)v->v.ints[i])) return false;
    return p->kind == QNI_INTS;
  case QN_ARG_NUMS:
    for (int32_t i = 0; bounded && i < v->count; i++)
      if (!inside(p, v->v.nums[i])) return false;
    return p->kind == QNI_NUMS;
  default: return false;
  }
}

static void value_text(const qni_value *v, char *buf, size_t size) {
  int32_t n = 0;
  switch (v->kind) {
  case QN_ARG_NIL: snprintf(buf, size, "nil"); return;
  case QN_ARG_INT: snprintf(buf, size, "%" PRId64, v->v.i); return;
  case QN_ARG_NUM: snprintf(buf, size, "%g", v->v.f); return;
  case QN_ARG_BOOL: snprintf(buf, size, "%s", v->v.i ? "true" : "false"); return;
  case QN_ARG_STR: snprintf(buf, size, "'%.60s'", v->v.s); return;
  case QN_ARG_INTS:
  case QN_ARG_NUMS: break;
  default: snprintf(buf, size, "a tensor"); return;
  }
  n = snprintf(buf, size, "{");
  for (int32_t i = 0; i < v->count && i < 8 && n < (int)size; i++)
    n += v->kind == QN_ARG_INTS
             ? snprintf(buf + n, size - (size_t)n, "%s%" PRId64, i ? "," : "", v->v.ints[i])
             : snprintf(buf + n, size - (size_t)n, "%s%g", i ? "," : "", v->v.nums[i]);
  if (n < (int)size) snprintf(buf + n, size - (size_t)n, v->count > 8 ? ",...}" : "}");
}

qn_status qni_schema_check_attr(const qni_schema *s, int32_t param, const qni_value *v) {
  const qni_param *p = &s->param[param];
  if (qni_schema_value_fits(p, v)) return QN_OK;
  char found[400], kind[600];
  value_text(v, found, sizeof found);
  qni_fail(QN_E_ARG, "argument '%s' of %s is %s", p->name, s->name, found);
  qni_error_detail("expected %s%s", qni_schema_kind_text(s, param, kind, sizeof kind),
                   p->optional ? " or nil" : "");
  int32_t n = 0;
  while (p->choices && p->choices[n]) n++;
  const char *near = n && v->kind == QN_ARG_STR ? qni_nearest(v->v.s, p->choices, n) : NULL;
  if (near) qni_error_hint("did you mean '%s'?", near);
  return QN_E_ARG;
}
