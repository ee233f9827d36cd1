/*
** The canonical form of a schema: parsing it gives the same schema again.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/schema_internal.h"

struct out {
  char *at;
  size_t left; /* with the NUL */
  bool full;
};

static void QNI_PRINTF(2, 3) put(struct out *o, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(o->at, o->left, format, args);
  va_end(args);
  if (n < 0 || (size_t)n >= o->left) {
    o->full = true;
    n = o->left ? (int)o->left - 1 : 0;
  }
  o->at += n;
  o->left -= (size_t)n;
}

/* The shortest digits that read back as the same number. */
static void put_number(struct out *o, double value) {
  char text[40];
  if (value == floor(value) && fabs(value) < 1e16) return put(o, "%.0f", value);
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  put(o, "%s", text);
}

static int precedence(int16_t op) {
  if (op == QNI_EX_ADD || op == QNI_EX_SUB) return 1;
  return op == QNI_EX_MUL || op == QNI_EX_DIV ? 2 : op >= QNI_EX_LT ? 0 : 3;
}

static void put_expr(struct out *o, const qni_schema *s, int32_t e, int around) {
  static const char *const signs[] = {"+", "-", "*", "/", " < ", " <= ", " == ", " >= ", " > "};
  const qni_expr *x = &s->expr[e];
  int own = precedence(x->op);
  if (x->op == QNI_EX_CONST) return put(o, "%" PRId64, x->value);
  if (x->op == QNI_EX_DIM) return put(o, "%s", s->dim_name[x->value]);
  if (x->op == QNI_EX_PARAM) return put(o, "%s", s->param[x->value].name);
  if (own < around) put(o, "(");
  put_expr(o, s, x->left, own);
  put(o, "%s", signs[x->op - QNI_EX_ADD]);
  put_expr(o, s, x->right, own + 1);
  if (own < around) put(o, ")");
}

static const char *class_name(int16_t dtype) {
  switch (dtype) {
  case QNI_DT_F: return "f";
  case QNI_DT_I: return "i";
  case QNI_DT_T: return "t";
  case QNI_DT_ANY: return "any";
  default: return qni_dtype_name(dtype);
  }
}

static void put_lead(struct out *o, const qni_tensor_type *t, int32_t j) {
  if (j != t->lead_at || t->lead == QNI_LEAD_NONE) return;
  put(o, "%s%s", j ? "," : "",
      t->lead == QNI_LEAD_ANY      ? "?"
      : t->lead == QNI_LEAD_SHARED ? "..."
                                   : "~...");
}

static void put_type(struct out *o, const qni_schema *s, const qni_tensor_type *t) {
  if (t->like >= 0) return put(o, "like %s", s->param[t->like].name);
  put(o, "%s[", class_name(t->dtype));
  for (int32_t j = 0; j <= t->n_dims; j++) {
    put_lead(o, t, j);
    if (j == t->n_dims) break;
    if (j || (t->lead && t->lead_at == 0)) put(o, ",");
    put_expr(o, s, t->dim[j], 1);
    if (j == 0 && t->jagged >= 0) put(o, "@%s", s->dim_name[t->jagged]);
  }
  put(o, "]");
  if (t->low < 0 && t->high < 0) return;
  put(o, "{");
  if (t->low >= 0) put_expr(o, s, t->low, 1);
  put(o, "..");
  if (t->high >= 0) put_expr(o, s, t->high, 1);
  put(o, "}");
}

static void put_bounds(struct out *o, const qni_param *p) {
  if (isinf(p->low) && isinf(p->high)) return;
  put(o, "{");
  if (!isinf(p->low)) put_number(o, p->low);
  put(o, "..");
  if (!isinf(p->high)) put_number(o, p->high);
  put(o, "}");
}

static void put_kind(struct out *o, const qni_schema *s, const qni_param *p) {
  static const char *const words[] = {
      [QNI_INT] = "int",    [QNI_NUM] = "num",   [QNI_BOOL] = "bool", [QNI_STR] = "str",
      [QNI_ENUM] = "enum{", [QNI_INTS] = "[int", [QNI_NUMS] = "[num"};
  if (p->kind == QNI_TENSOR) return put_type(o, s, &p->tensor);
  put(o, "%s", words[p->kind]);
  for (int32_t i = 0; p->choices && p->choices[i]; i++) put(o, "%s%s", i ? "|" : "", p->choices[i]);
  if (p->kind == QNI_ENUM) put(o, "}");
  put_bounds(o, p);
  if (p->kind == QNI_INTS || p->kind == QNI_NUMS) put(o, "]");
}

static void put_string(struct out *o, const char *text) {
  put(o, "\"");
  for (; *text; text++) put(o, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  put(o, "\"");
}

static void put_value(struct out *o, const qni_param *p) {
  const qni_value *v = &p->value;
  switch (v->kind) {
  case QN_ARG_INT: return put(o, "%" PRId64, v->v.i);
  case QN_ARG_NUM: return put_number(o, v->v.f);
  case QN_ARG_BOOL: return put(o, "%s", v->v.i ? "true" : "false");
  case QN_ARG_STR: return p->kind == QNI_ENUM ? put(o, "%s", v->v.s) : put_string(o, v->v.s);
  case QN_ARG_INTS:
  case QN_ARG_NUMS: break;
  default: return put(o, "nil");
  }
  put(o, "[");
  for (int32_t i = 0; i < v->count; i++) {
    if (i) put(o, ",");
    if (v->kind == QN_ARG_INTS)
      put(o, "%" PRId64, v->v.ints[i]);
    else
      put_number(o, v->v.nums[i]);
  }
  put(o, "]");
}

static void put_param(struct out *o, const qni_schema *s, const qni_param *p) {
  put(o, "%s%s: ", p->name, p->written ? "!" : p->reusable ? "~" : "");
  put_kind(o, s, p);
  put(o, "%s%s%s", p->kind == QNI_TENSOR && p->tensor.strided ? " strided" : "",
      p->variadic ? "*" : "", p->optional ? "?" : "");
  if (!p->has_default) return;
  put(o, " = ");
  put_value(o, p);
}

static void put_output(struct out *o, const qni_schema *s, const qni_output *y) {
  put(o, "%s", y->name);
  if (y->same) return;
  if (y->alias >= 0) put(o, "&%s", s->param[y->alias].name);
  put(o, ": ");
  put_type(o, s, &y->tensor);
  for (int32_t i = 0; i < y->n_with; i++) {
    put(o, "%s%s=", i ? ", " : " with ", s->dim_name[y->with_dim[i]]);
    put_expr(o, s, y->with_expr[i], 1);
  }
}

bool qni_schema_print(const qni_schema *s, char *buf, size_t size) {
  struct out o = {buf, size, false};
  bool keyword = false;
  put(&o, "%s(", s->name);
  for (int32_t i = 0; i < s->n_params; i++) {
    if (i) put(&o, ", ");
    if (s->param[i].keyword && !keyword) put(&o, "*, ");
    keyword = s->param[i].keyword;
    put_param(&o, s, &s->param[i]);
  }
  put(&o, ")");
  for (int32_t i = 0; i < s->n_outputs; i++) {
    put(&o, i ? ", " : " -> ");
    put_output(&o, s, &s->output[i]);
  }
  for (int32_t i = 0; i < s->n_where; i++) {
    put(&o, i ? ", " : " where ");
    put_expr(&o, s, s->where[i], 0);
  }
  return !o.full;
}

char *qni_schema_type_text(const qni_schema *s, const qni_tensor_type *type, char *buf,
                           size_t size) {
  struct out o = {buf, size, false};
  put_type(&o, s, type);
  return buf;
}

char *qni_schema_expr_text(const qni_schema *s, int32_t expr, char *buf, size_t size) {
  struct out o = {buf, size, false};
  put_expr(&o, s, expr, 0);
  return buf;
}

char *qni_schema_kind_text(const qni_schema *s, int32_t param, char *buf, size_t size) {
  struct out o = {buf, size, false};
  put_kind(&o, s, &s->param[param]);
  return buf;
}
