/*
** After parsing: names that are int parameters become parameters, the others stay
** dimensions; then every name must be given a value by some input.
**
** A dimension is given by standing alone in an input's type ([N,C], T@B). One that
** only outputs have is for infer to decide, and may only stand alone.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "registry/schema_internal.h"

/* ---- Parameters among the dimension names ---- */

static bool uses_dim_elsewhere(const qni_schema *s, int16_t dim) {
  for (int32_t i = 0; i < s->n_params; i++)
    if (s->param[i].kind == QNI_TENSOR && s->param[i].tensor.jagged == dim) return true;
  for (int32_t i = 0; i < s->n_outputs; i++) {
    if (s->output[i].tensor.jagged == dim) return true;
    for (int32_t j = 0; j < s->output[i].n_with; j++)
      if (s->output[i].with_dim[j] == dim) return true;
  }
  return false;
}

static bool to_parameters(qni_parser *p) {
  qni_schema *s = p->s;
  for (int16_t d = 0; d < s->n_dims; d++) {
    int32_t q = qni_schema_param(s, s->dim_name[d]);
    if (q < 0) continue;
    if (s->param[q].kind != QNI_INT)
      return qni_lex_error(&p->lx, p->dim_at[d], "%s is a parameter, but not an int",
                           s->dim_name[d]);
    if (uses_dim_elsewhere(s, d))
      return qni_lex_error(&p->lx, p->dim_at[d], "%s is a parameter, a dimension is needed",
                           s->dim_name[d]);
    for (int32_t e = 0; e < s->n_expr; e++)
      if (s->expr[e].op == QNI_EX_DIM && s->expr[e].value == d)
        s->expr[e].op = QNI_EX_PARAM, s->expr[e].value = q;
    s->dim_name[d][0] = 0;
  }
  return true;
}

static void renumber(int16_t *dim, const int16_t *now) {
  if (*dim >= 0) *dim = now[*dim];
}

/* Closes the gaps left by names that turned out to be parameters. */
static void compact(qni_parser *p) {
  qni_schema *s = p->s;
  int16_t now[QNI_SCHEMA_DIMS], n = 0;
  for (int32_t d = 0; d < s->n_dims; d++) {
    now[d] = n;
    if (!s->dim_name[d][0]) continue;
    memmove(s->dim_name[n], s->dim_name[d], QNI_NAME);
    p->dim_at[n++] = p->dim_at[d];
  }
  s->n_dims = n;
  for (int32_t e = 0; e < s->n_expr; e++)
    if (s->expr[e].op == QNI_EX_DIM) s->expr[e].value = now[s->expr[e].value];
  for (int32_t i = 0; i < s->n_params; i++)
    if (s->param[i].kind == QNI_TENSOR) renumber(&s->param[i].tensor.jagged, now);
  for (int32_t i = 0; i < s->n_outputs; i++) {
    renumber(&s->output[i].tensor.jagged, now);
    for (int32_t j = 0; j < s->output[i].n_with; j++) renumber(&s->output[i].with_dim[j], now);
  }
}

/* ---- What gives each dimension its value ---- */

static uint32_t given_dims(const qni_schema *s) {
  uint32_t given = 0;
  for (int32_t i = 0; i < s->n_params; i++) {
    const qni_tensor_type *t = &s->param[i].tensor;
    if (s->param[i].kind != QNI_TENSOR) continue;
    if (t->jagged >= 0) given |= 1u << t->jagged;
    for (int32_t j = 0; j < t->n_dims; j++)
      if (s->expr[t->dim[j]].op == QNI_EX_DIM) given |= 1u << s->expr[t->dim[j]].value;
  }
  return given;
}

static bool check_expr(qni_parser *p, int32_t e, uint32_t given) {
  const qni_expr *x = &p->s->expr[e];
  if (x->op == QNI_EX_DIM && !(given >> x->value & 1))
    return qni_lex_error(&p->lx, p->dim_at[x->value], "no input gives %s a value",
                         p->s->dim_name[x->value]);
  return (x->left < 0 || check_expr(p, x->left, given)) &&
         (x->right < 0 || check_expr(p, x->right, given));
}

static bool check_type(qni_parser *p, const qni_tensor_type *t, uint32_t given, bool output) {
  for (int32_t j = 0; j < t->n_dims; j++) {
    if (output && p->s->expr[t->dim[j]].op == QNI_EX_DIM) continue;
    if (!check_expr(p, t->dim[j], given)) return false;
  }
  return (t->low < 0 || check_expr(p, t->low, given)) &&
         (t->high < 0 || check_expr(p, t->high, given));
}

static bool has_lead(const qni_schema *s) {
  for (int32_t i = 0; i < s->n_params; i++) {
    int16_t lead = s->param[i].kind == QNI_TENSOR ? s->param[i].tensor.lead : QNI_LEAD_NONE;
    if (lead == QNI_LEAD_SHARED || lead == QNI_LEAD_BROADCAST) return true;
  }
  return false;
}

static bool has_class(const qni_schema *s, int16_t class) {
  for (int32_t i = 0; i < s->n_params; i++)
    if (s->param[i].kind == QNI_TENSOR && s->param[i].tensor.dtype == class) return true;
  return false;
}

/* T@B of an output takes the offsets of an input that is T@B too. */
static bool has_jagged(const qni_schema *s, const qni_tensor_type *t) {
  for (int32_t i = 0; i < s->n_params; i++) {
    const qni_tensor_type *in = &s->param[i].tensor;
    if (s->param[i].kind == QNI_TENSOR && in->jagged == t->jagged &&
        s->expr[in->dim[0]].op == QNI_EX_DIM &&
        s->expr[in->dim[0]].value == s->expr[t->dim[0]].value)
      return true;
  }
  return false;
}

static bool check_output(qni_parser *p, int32_t o, uint32_t given) {
  const qni_schema *s = p->s;
  const qni_output *out = &s->output[o];
  const qni_tensor_type *t = &out->tensor;
  const char *at = p->output_at[o];
  if (out->same) return true;
  for (int32_t j = 0; j < out->n_with; j++)
    if (!check_expr(p, out->with_expr[j], given)) return false;
  if (t->like >= 0) return true;
  if (t->lead == QNI_LEAD_BROADCAST)
    return qni_lex_error(&p->lx, at, "an output has '...', not '~...'");
  if (t->lead == QNI_LEAD_SHARED && !has_lead(s))
    return qni_lex_error(&p->lx, at, "'...' in output %s, but in no input", out->name);
  if (t->jagged >= 0 && !has_jagged(s, t))
    return qni_lex_error(&p->lx, at, "output %s needs an input with the same T@B", out->name);
  int32_t q = qni_schema_param(s, "dtype");
  bool chosen = q >= 0 && (s->param[q].kind == QNI_ENUM || s->param[q].kind == QNI_STR);
  if (!chosen && (t->dtype == QNI_DT_ANY || t->dtype == QNI_DT_T) && !has_class(s, t->dtype))
    return qni_lex_error(&p->lx, at,
                         "nothing gives output %s its type: use 'like', 't', or a parameter dtype",
                         out->name);
  return check_type(p, t, given, true);
}

bool qni_parse_resolve(qni_parser *p) {
  qni_schema *s = p->s;
  if (!to_parameters(p)) return false;
  compact(p);
  uint32_t given = given_dims(s);
  for (int32_t i = 0; i < s->n_params; i++) {
    qni_tensor_type *t = &s->param[i].tensor;
    if (s->param[i].kind != QNI_TENSOR) continue;
    for (int32_t j = 0; j < t->n_dims; j++)
      if (s->expr[t->dim[j]].op == QNI_EX_PARAM) t->plain = false;
    if (t->jagged >= 0 && s->expr[t->dim[0]].op != QNI_EX_DIM)
      return qni_lex_error(&p->lx, p->param_at[i], "'@' needs a dimension, not a parameter");
    if (!check_type(p, t, given, false)) return false;
  }
  for (int32_t o = 0; o < s->n_outputs; o++)
    if (!check_output(p, o, given)) return false;
  for (int32_t i = 0; i < s->n_where; i++)
    if (!check_expr(p, s->where[i], given)) return false;
  return true;
}

/* ---- What stays open ---- */

static bool expr_open(const qni_schema *s, int32_t e, uint32_t given) {
  const qni_expr *x = &s->expr[e];
  if (x->op == QNI_EX_DIM) return !(given >> x->value & 1);
  if (x->op == QNI_EX_PARAM) return s->param[x->value].optional;
  return (x->left >= 0 && expr_open(s, x->left, given)) ||
         (x->right >= 0 && expr_open(s, x->right, given));
}

bool qni_schema_open(const qni_schema *s, int32_t o) {
  const qni_output *out = &s->output[o];
  uint32_t given = given_dims(s);
  if (out->same) return false;
  for (int32_t j = 0; j < out->n_with; j++)
    if (expr_open(s, out->with_expr[j], given)) return true;
  if (out->tensor.like >= 0) return false;
  if (out->tensor.lead == QNI_LEAD_ANY) return true;
  for (int32_t j = 0; j < out->tensor.n_dims; j++)
    if (expr_open(s, out->tensor.dim[j], given)) return true;
  return false;
}
