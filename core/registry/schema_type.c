/*
** Parsing of tensor types and of dimension arithmetic.
**
**   type  := class '[' items ']' [ '{' [expr] '..' [expr] '}' ]  |  'like' NAME
**   items := '?'  |  item { ',' item }          item := '...' | '~' '...' | expr ['@' NAME]
**   expr  := term { (+|-) term }   term := atom { (*|/) atom }   atom := NAME | INT | '(' expr ')'
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "registry/schema_internal.h"

enum { DEPTH = 32 };

static const qni_tensor_type NO_TYPE = {
    .jagged = -1, .like = -1, .low = -1, .high = -1, .plain = true};

/* ---- Arithmetic ---- */

static bool new_node(qni_parser *p, qni_expr node, int16_t *index) {
  if (p->s->n_expr == QNI_EXPR_NODES)
    return qni_lex_error(&p->lx, NULL, "more than %d terms in dimension arithmetic",
                         QNI_EXPR_NODES);
  *index = (int16_t)p->s->n_expr;
  p->s->expr[p->s->n_expr++] = node;
  return true;
}

bool qni_parse_dim(qni_parser *p, int16_t *dim) {
  qni_schema *s = p->s;
  char name[QNI_NAME];
  const char *at = p->lx.start;
  if (!qni_lex_name(&p->lx, "a dimension's name", name)) return false;
  for (*dim = 0; *dim < s->n_dims; (*dim)++)
    if (!strcmp(s->dim_name[*dim], name)) return true;
  if (s->n_dims == QNI_SCHEMA_DIMS)
    return qni_lex_error(&p->lx, at, "more than %d dimension names", QNI_SCHEMA_DIMS);
  p->dim_at[s->n_dims] = at;
  memcpy(s->dim_name[s->n_dims++], name, sizeof name);
  return true;
}

static bool parse_atom(qni_parser *p, int16_t *expr) {
  qni_lexer *lx = &p->lx;
  if (lx->token == QNI_TOK_NAME) {
    int16_t dim;
    return qni_parse_dim(p, &dim) && new_node(p, (qni_expr){QNI_EX_DIM, -1, -1, dim}, expr);
  }
  if (qni_lex_take(lx, '(')) {
    if (++p->depth > DEPTH) return qni_lex_error(lx, NULL, "parentheses deeper than %d", DEPTH);
    bool ok = qni_parse_expr(p, expr) && qni_lex_expect(lx, ')', "')'");
    p->depth--;
    return ok;
  }
  bool minus = qni_lex_take(lx, '-');
  if (lx->token != QNI_TOK_INT)
    return qni_lex_expected(lx, minus ? "an integer" : "a dimension: a name, an integer or '('");
  int64_t value = minus ? -lx->i : lx->i;
  qni_lex_next(lx);
  return new_node(p, (qni_expr){QNI_EX_CONST, -1, -1, value}, expr);
}

/* One level of left-associative operators: `products` for * and /, else + and -. */
static bool parse_chain(qni_parser *p, bool products, int16_t *expr) {
  if (!(products ? parse_atom(p, expr) : parse_chain(p, true, expr))) return false;
  for (;;) {
    int16_t op = -1, right;
    if (qni_lex_is(&p->lx, products ? '*' : '+'))
      op = products ? QNI_EX_MUL : QNI_EX_ADD;
    else if (qni_lex_is(&p->lx, products ? '/' : '-'))
      op = products ? QNI_EX_DIV : QNI_EX_SUB;
    if (op < 0) return true;
    qni_lex_next(&p->lx);
    if (!(products ? parse_atom(p, &right) : parse_chain(p, true, &right))) return false;
    if (!new_node(p, (qni_expr){op, *expr, right, 0}, expr)) return false;
  }
}

bool qni_parse_expr(qni_parser *p, int16_t *expr) { return parse_chain(p, false, expr); }

/* ---- Types ---- */

static int16_t class_of(const qni_lexer *lx) {
  static const struct {
    const char *name;
    int16_t class;
  } classes[] = {{"f", QNI_DT_F}, {"i", QNI_DT_I}, {"t", QNI_DT_T}, {"any", QNI_DT_ANY}};
  for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
    if (qni_lex_word(lx, classes[i].name)) return classes[i].class;
  char name[8] = "";
  size_t n = (size_t)(lx->end - lx->start);
  if (lx->token == QNI_TOK_NAME && n < sizeof name) memcpy(name, lx->start, n);
  return (int16_t)qni_dtype_parse(name);
}

bool qni_parse_is_tensor(const qni_parser *p) {
  if (qni_lex_word(&p->lx, "like")) return true;
  if (!class_of(&p->lx)) return false;
  if (!qni_lex_word(&p->lx, "bool")) return true;
  qni_lexer ahead = p->lx; /* bool alone is an attribute, bool[..] a tensor */
  qni_lex_next(&ahead);
  return qni_lex_is(&ahead, '[');
}

static bool parse_lead(qni_parser *p, qni_tensor_type *t) {
  const char *at = p->lx.start;
  bool broadcast = qni_lex_take(&p->lx, '~');
  if (!qni_lex_expect(&p->lx, QNI_MARK_DOTS, "'...'")) return false;
  if (t->lead != QNI_LEAD_NONE) return qni_lex_error(&p->lx, at, "a type has one '...' at most");
  t->lead = broadcast ? QNI_LEAD_BROADCAST : QNI_LEAD_SHARED;
  t->lead_at = t->n_dims;
  return !broadcast || t->lead_at == 0 || qni_lex_error(&p->lx, at, "'~...' must come first");
}

static bool parse_item(qni_parser *p, qni_tensor_type *t) {
  const char *at = p->lx.start;
  int16_t expr;
  if (qni_lex_is(&p->lx, '~') || qni_lex_is(&p->lx, QNI_MARK_DOTS)) return parse_lead(p, t);
  if (!qni_parse_expr(p, &expr)) return false;
  int16_t op = p->s->expr[expr].op;
  if (op != QNI_EX_DIM && op != QNI_EX_CONST) t->plain = false;
  if (op == QNI_EX_CONST && p->s->expr[expr].value < 0)
    return qni_lex_error(&p->lx, at, "a size cannot be negative");
  if (t->n_dims == QN_MAX_DIMS)
    return qni_lex_error(&p->lx, at, "more than %d dimensions", QN_MAX_DIMS);
  t->dim[t->n_dims++] = expr;
  if (!qni_lex_take(&p->lx, '@')) return true;
  if (op != QNI_EX_DIM || t->n_dims > 1 || t->lead != QNI_LEAD_NONE)
    return qni_lex_error(&p->lx, at, "'@' belongs to the first dimension, which must be a name");
  return qni_parse_dim(p, &t->jagged);
}

static bool parse_items(qni_parser *p, qni_tensor_type *t) {
  if (!qni_lex_expect(&p->lx, '[', "'['")) return false;
  if (qni_lex_take(&p->lx, ']')) return true;
  if (qni_lex_take(&p->lx, '?')) {
    t->lead = QNI_LEAD_ANY;
    return qni_lex_expect(&p->lx, ']', "']' after '?'");
  }
  do {
    if (!parse_item(p, t)) return false;
  } while (qni_lex_take(&p->lx, ','));
  return qni_lex_expect(&p->lx, ']', "',' or ']'");
}

static bool parse_range(qni_parser *p, qni_tensor_type *t) {
  if (!qni_lex_take(&p->lx, '{')) return true;
  if (!qni_lex_is(&p->lx, QNI_MARK_RANGE) && !qni_parse_expr(p, &t->low)) return false;
  if (!qni_lex_expect(&p->lx, QNI_MARK_RANGE, "'..'")) return false;
  if (!qni_lex_is(&p->lx, '}') && !qni_parse_expr(p, &t->high)) return false;
  if (t->low < 0 && t->high < 0) return qni_lex_expected(&p->lx, "a bound on one side of '..'");
  return qni_lex_expect(&p->lx, '}', "'}'");
}

static bool parse_like(qni_parser *p, qni_tensor_type *t) {
  char name[QNI_NAME];
  const char *at = p->lx.start;
  if (!qni_lex_name(&p->lx, "a tensor parameter's name after 'like'", name)) return false;
  int32_t i = qni_schema_param(p->s, name);
  if (i < 0 || p->s->param[i].kind != QNI_TENSOR)
    return qni_lex_error(&p->lx, at, "'like %s', but no tensor parameter %s comes before", name,
                         name);
  if (p->s->param[i].variadic)
    return qni_lex_error(&p->lx, at, "'like %s', but %s is variadic", name, name);
  *t = p->s->param[i].tensor;
  if (t->like < 0) t->like = (int16_t)i;
  t->strided = false;
  return true;
}

bool qni_parse_tensor(qni_parser *p, qni_tensor_type *t) {
  *t = NO_TYPE;
  if (qni_lex_word(&p->lx, "like")) {
    qni_lex_next(&p->lx);
    return parse_like(p, t);
  }
  t->dtype = class_of(&p->lx);
  if (!t->dtype)
    return qni_lex_expected(
        &p->lx, "a type (f, i, t, any, f32, ..., int, num, bool, str, enum, [int], [num], like)");
  qni_lex_next(&p->lx);
  return parse_items(p, t) && parse_range(p, t);
}
