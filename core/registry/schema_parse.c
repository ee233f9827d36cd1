/*
** The schema parser: recursive descent, one function per rule.
**
**   schema := NAME '(' params ')' '->' output { ',' output } [ 'where' cond { ',' cond } ]
**   param  := '*' | NAME ['!' | '~'] ':' type { 'strided' | '*' | '?' } [ '=' value ]
**   output := NAME | NAME ['&' NAME] ':' tensor [ 'with' NAME '=' expr { ',' NAME '=' expr } ]
** SPDX-License-Identifier: MIT
*/
#include <locale.h>
#include <math.h>
#include <string.h>

#include "registry/schema_internal.h"

void *qni_parse_memory(qni_parser *p, size_t bytes) {
  void *memory = qni_arena_alloc(&p->s->memory, bytes);
  if (!memory && !p->lx.status) p->lx.status = QN_E_NOMEM;
  return memory;
}

int32_t qni_schema_param(const qni_schema *s, const char *name) {
  for (int32_t i = 0; i < s->n_params; i++)
    if (!strcmp(s->param[i].name, name)) return i;
  return -1;
}

/* ---- Values ---- */

static bool parse_number(qni_parser *p, double *value) {
  bool minus = qni_lex_take(&p->lx, '-');
  bool inf = qni_lex_word(&p->lx, "inf");
  if (!inf && p->lx.token != QNI_TOK_INT && p->lx.token != QNI_TOK_NUM)
    return qni_lex_expected(&p->lx, "a number");
  *value = inf ? INFINITY : p->lx.f;
  if (minus) *value = -*value;
  qni_lex_next(&p->lx);
  return true;
}

static bool parse_int(qni_parser *p, int64_t *value) {
  bool minus = qni_lex_take(&p->lx, '-');
  if (p->lx.token != QNI_TOK_INT) return qni_lex_expected(&p->lx, "an integer");
  *value = minus ? -p->lx.i : p->lx.i;
  qni_lex_next(&p->lx);
  return true;
}

/* A bound of a range: finite, and for int whole and exact as a double. */
static bool parse_bound(qni_parser *p, bool whole, double *value) {
  const int64_t exact = (int64_t)1 << 53;
  int64_t i = 0;
  const char *at = p->lx.start;
  if (!whole)
    return parse_number(p, value) &&
           (!isinf(*value) || qni_lex_error(&p->lx, at, "leave an infinite bound out"));
  if (!parse_int(p, &i)) return false;
  *value = (double)i;
  return (i <= exact && i >= -exact) ||
         qni_lex_error(&p->lx, at, "a bound of int lies within 2^53");
}

/* '{' [number] '..' [number] '}' after int or num. */
static bool parse_bounds(qni_parser *p, qni_param *q) {
  const char *at = p->lx.start;
  bool whole = q->kind == QNI_INT || q->kind == QNI_INTS;
  if (!qni_lex_take(&p->lx, '{')) return true;
  if (!qni_lex_is(&p->lx, QNI_MARK_RANGE) && !parse_bound(p, whole, &q->low)) return false;
  if (!qni_lex_expect(&p->lx, QNI_MARK_RANGE, "'..'")) return false;
  if (!qni_lex_is(&p->lx, '}') && !parse_bound(p, whole, &q->high)) return false;
  if (isinf(q->low) && isinf(q->high))
    return qni_lex_expected(&p->lx, "a bound on one side of '..'");
  if (!qni_lex_expect(&p->lx, '}', "'}'")) return false;
  return q->low <= q->high || qni_lex_error(&p->lx, at, "the range is empty");
}

static bool parse_choices(qni_parser *p, qni_param *q) {
  char name[64][QNI_NAME];
  int32_t n = 0;
  if (!qni_lex_expect(&p->lx, '{', "'{' after enum")) return false;
  do {
    const char *at = p->lx.start;
    if (n == 64) return qni_lex_error(&p->lx, NULL, "more than 64 words in an enum");
    if (!qni_lex_name(&p->lx, "a word", name[n])) return false;
    for (int32_t i = 0; i < n; i++)
      if (!strcmp(name[i], name[n]))
        return qni_lex_error(&p->lx, at, "'%s' is listed twice", name[n]);
    n++;
  } while (qni_lex_take(&p->lx, '|'));
  const char **list = qni_parse_memory(p, ((size_t)n + 1) * sizeof *list);
  char(*words)[QNI_NAME] = list ? qni_parse_memory(p, (size_t)n * QNI_NAME) : NULL;
  if (!words) return false;
  memcpy(words, name, (size_t)n * QNI_NAME);
  for (int32_t i = 0; i < n; i++) list[i] = words[i];
  list[n] = NULL;
  q->choices = list;
  return qni_lex_expect(&p->lx, '}', "'|' or '}'");
}

static bool parse_text(qni_parser *p, qni_value *v) {
  if (p->lx.token != QNI_TOK_STR) return qni_lex_expected(&p->lx, "a string in double quotes");
  char *copy = qni_parse_memory(p, (size_t)(p->lx.end - p->lx.start));
  if (!copy) return false;
  v->v.s = copy;
  for (const char *at = p->lx.start + 1; at < p->lx.end - 1; at++) {
    if (*at == '\\' && (at[1] == '"' || at[1] == '\\')) at++;
    *copy++ = *at;
  }
  *copy = 0;
  qni_lex_next(&p->lx);
  return true;
}

static bool parse_word(qni_parser *p, const qni_param *q, qni_value *v) {
  for (int32_t i = 0; q->choices[i]; i++)
    if (qni_lex_word(&p->lx, q->choices[i])) {
      v->v.s = q->choices[i];
      qni_lex_next(&p->lx);
      return true;
    }
  return qni_lex_expected(&p->lx, "one of the enum's words");
}

static bool parse_list(qni_parser *p, bool whole, qni_value *v) {
  int64_t ints[64];
  double nums[64];
  int32_t n = 0;
  if (!qni_lex_expect(&p->lx, '[', "'['")) return false;
  if (!qni_lex_is(&p->lx, ']')) do {
      if (n == 64) return qni_lex_error(&p->lx, NULL, "more than 64 numbers in a default");
      if (!(whole ? parse_int(p, &ints[n]) : parse_number(p, &nums[n]))) return false;
      n++;
    } while (qni_lex_take(&p->lx, ','));
  void *copy = qni_parse_memory(p, 8 * (size_t)n);
  if (!copy) return false;
  memcpy(copy, whole ? (void *)ints : (void *)nums, 8 * (size_t)n);
  v->count = n;
  if (whole)
    v->v.ints = copy;
  else
    v->v.nums = copy;
  return qni_lex_expect(&p->lx, ']', "',' or ']'");
}

static bool parse_bool(qni_parser *p, qni_value *v) {
  v->v.i = qni_lex_word(&p->lx, "true");
  if (!v->v.i && !qni_lex_word(&p->lx, "false")) return qni_lex_expected(&p->lx, "true or false");
  qni_lex_next(&p->lx);
  return true;
}

static bool parse_value(qni_parser *p, const qni_param *q, qni_value *v) {
  static const int32_t kinds[] = {
      [QNI_TENSOR] = QN_ARG_NIL, [QNI_INT] = QN_ARG_INT,  [QNI_NUM] = QN_ARG_NUM,
      [QNI_BOOL] = QN_ARG_BOOL,  [QNI_STR] = QN_ARG_STR,  [QNI_ENUM] = QN_ARG_STR,
      [QNI_INTS] = QN_ARG_INTS,  [QNI_NUMS] = QN_ARG_NUMS};
  v->kind = kinds[q->kind];
  switch (q->kind) {
  case QNI_INT: return parse_int(p, &v->v.i);
  case QNI_NUM: return parse_number(p, &v->v.f);
  case QNI_BOOL: return parse_bool(p, v);
  case QNI_STR: return parse_text(p, v);
  case QNI_ENUM: return parse_word(p, q, v);
  case QNI_INTS: return parse_list(p, true, v);
  case QNI_NUMS: return parse_list(p, false, v);
  default: return qni_lex_expected(&p->lx, "nil, the only default of a tensor");
  }
}

static bool parse_default(qni_parser *p, qni_param *q) {
  const char *at = p->lx.start;
  q->has_default = q->optional;
  if (!qni_lex_take(&p->lx, '=')) return true;
  q->has_default = true;
  bool nil = qni_lex_word(&p->lx, "nil");
  if (nil != q->optional)
    return qni_lex_error(&p->lx, at,
                         nil ? "a default of nil needs '?' after the type"
                             : "'?' admits no default but nil");
  if (nil) return qni_lex_next(&p->lx), true;
  if (!parse_value(p, q, &q->value)) return false;
  return qni_schema_value_fits(q, &q->value) ||
         qni_lex_error(&p->lx, at, "the default lies outside the range");
}

/* ---- Parameters ---- */

static bool parse_element_kind(qni_parser *p, qni_param *q) {
  bool whole = qni_lex_word(&p->lx, "int");
  if (!whole && !qni_lex_word(&p->lx, "num")) return qni_lex_expected(&p->lx, "int or num");
  q->kind = whole ? QNI_INTS : QNI_NUMS;
  qni_lex_next(&p->lx);
  return parse_bounds(p, q) && qni_lex_expect(&p->lx, ']', "']'");
}

static bool parse_type(qni_parser *p, qni_param *q) {
  static const struct {
    const char *name;
    int16_t kind;
  } kinds[] = {
      {"int", QNI_INT}, {"num", QNI_NUM}, {"bool", QNI_BOOL}, {"str", QNI_STR}, {"enum", QNI_ENUM}};
  if (qni_lex_take(&p->lx, '[')) return parse_element_kind(p, q);
  if (!qni_parse_is_tensor(p))
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
      if (!qni_lex_word(&p->lx, kinds[i].name)) continue;
      q->kind = kinds[i].kind;
      qni_lex_next(&p->lx);
      if (q->kind == QNI_ENUM) return parse_choices(p, q);
      return (q->kind != QNI_INT && q->kind != QNI_NUM) || parse_bounds(p, q);
    }
  q->kind = QNI_TENSOR;
  p->s->n_tensors++;
  return qni_parse_tensor(p, &q->tensor);
}

static bool parse_suffixes(qni_parser *p, qni_param *q) {
  for (;;) {
    const char *at = p->lx.start;
    bool *flag = qni_lex_word(&p->lx, "strided") ? &q->tensor.strided
                 : qni_lex_is(&p->lx, '*')       ? &q->variadic
                 : qni_lex_is(&p->lx, '?')       ? &q->optional
                                                 : NULL;
    if (!flag) return true;
    if (*flag) return qni_lex_error(&p->lx, at, "it is written twice");
    if (flag != &q->optional && q->kind != QNI_TENSOR)
      return qni_lex_error(&p->lx, at, "only tensors can be strided or variadic");
    if (flag == &q->variadic && q->tensor.like >= 0)
      return qni_lex_error(&p->lx, at, "'like' cannot be variadic");
    *flag = true;
    qni_lex_next(&p->lx);
  }
}

/* What one parameter must be in view of those before it. */
static bool check_param(qni_parser *p, const qni_param *q, const char *at) {
  const qni_schema *s = p->s;
  if (q->kind != QNI_TENSOR && (q->written || q->reusable))
    return qni_lex_error(&p->lx, at, "'!' and '~' are for tensors");
  if (q->variadic && (q->written || q->reusable))
    return qni_lex_error(&p->lx, at, "a variadic parameter cannot have '!' or '~'");
  for (int32_t i = 0; i < s->n_params; i++) {
    const qni_param *o = &s->param[i];
    if (!strcmp(o->name, q->name))
      return qni_lex_error(&p->lx, at, "%s is declared twice", q->name);
    if (o->variadic && q->kind == QNI_TENSOR)
      return qni_lex_error(&p->lx, at, "no tensor can follow the variadic %s", o->name);
    if (o->has_default && !q->has_default && !q->keyword)
      return qni_lex_error(&p->lx, at, "%s needs a default, since %s before it has one", q->name,
                           o->name);
  }
  return true;
}

static bool parse_param(qni_parser *p, bool keyword) {
  qni_schema *s = p->s;
  const char *at = p->lx.start;
  if (s->n_params == QN_MAX_PARAMS)
    return qni_lex_error(&p->lx, NULL, "more than %d parameters", QN_MAX_PARAMS);
  qni_param *q = &s->param[s->n_params];
  *q = (qni_param){.keyword = keyword, .low = -INFINITY, .high = INFINITY};
  if (!qni_lex_name(&p->lx, "a parameter's name", q->name)) return false;
  q->written = qni_lex_take(&p->lx, '!');
  q->reusable = !q->written && qni_lex_take(&p->lx, '~');
  if (!qni_lex_expect(&p->lx, ':', "':'")) return false;
  if (!parse_type(p, q) || !parse_suffixes(p, q) || !parse_default(p, q) || !check_param(p, q, at))
    return false;
  p->param_at[s->n_params++] = at;
  return true;
}

static bool parse_params(qni_parser *p) {
  bool keyword = false;
  if (!qni_lex_expect(&p->lx, '(', "'(' after the op's name")) return false;
  if (qni_lex_take(&p->lx, ')')) return true;
  do {
    if (!keyword && qni_lex_take(&p->lx, '*')) {
      keyword = true;
      if (!qni_lex_expect(&p->lx, ',', "',' and the parameters given by name")) return false;
    }
    if (!parse_param(p, keyword)) return false;
  } while (qni_lex_take(&p->lx, ','));
  return qni_lex_expect(&p->lx, ')', "',' or ')'");
}

/* ---- Outputs and conditions ---- */

/* Is the token after the coming comma a name, and the one after that `mark`? */
static bool comma_name_mark(const qni_parser *p, int32_t mark) {
  qni_lexer ahead = p->lx;
  if (!qni_lex_take(&ahead, ',') || ahead.token != QNI_TOK_NAME) return false;
  qni_lex_next(&ahead);
  return qni_lex_is(&ahead, mark);
}

static bool parse_with(qni_parser *p, qni_output *o) {
  if (!qni_lex_word(&p->lx, "with")) return true;
  if (o->tensor.like < 0) return qni_lex_error(&p->lx, NULL, "'with' belongs to 'like'");
  do {
    qni_lex_next(&p->lx); /* 'with', or the comma */
    const char *at = p->lx.start;
    if (o->n_with == QN_MAX_DIMS)
      return qni_lex_error(&p->lx, NULL, "more than %d dimensions", QN_MAX_DIMS);
    if (!qni_parse_dim(p, &o->with_dim[o->n_with])) return false;
    if (!qni_lex_expect(&p->lx, '=', "'='") || !qni_parse_expr(p, &o->with_expr[o->n_with]))
      return false;
    bool found = false;
    for (int32_t j = 0; j < o->tensor.n_dims; j++) {
      const qni_expr *e = &p->s->expr[o->tensor.dim[j]];
      found = found || (e->op == QNI_EX_DIM && e->value == o->with_dim[o->n_with]);
    }
    const qni_param *like = &p->s->param[o->tensor.like];
    if (!found)
      return qni_lex_error(&p->lx, at, "%s has no dimension %s", like->name,
                           p->s->dim_name[o->with_dim[o->n_with]]);
    o->n_with++;
  } while (comma_name_mark(p, '='));
  return true;
}

static bool parse_view_of(qni_parser *p, qni_output *o) {
  char name[QNI_NAME];
  const char *at = p->lx.start;
  if (!qni_lex_take(&p->lx, '&')) return true;
  if (!qni_lex_name(&p->lx, "the parameter it is a view of", name)) return false;
  o->alias = (int16_t)qni_schema_param(p->s, name);
  if (o->alias < 0 || p->s->param[o->alias].kind != QNI_TENSOR || p->s->param[o->alias].variadic)
    return qni_lex_error(&p->lx, at, "no tensor parameter is named %s", name);
  return !p->s->param[o->alias].optional ||
         qni_lex_error(&p->lx, at, "%s is optional, a view needs it", name);
}

static bool parse_same(qni_parser *p, qni_output *o, const char *at) {
  o->alias = (int16_t)qni_schema_param(p->s, o->name);
  o->same = true;
  if (o->alias < 0) return qni_lex_expected(&p->lx, "':' and the output's type");
  if (!p->s->param[o->alias].written)
    return qni_lex_error(&p->lx, at, "output %s is the input itself, which must be marked %s!",
                         o->name, o->name);
  o->tensor = p->s->param[o->alias].tensor;
  o->tensor.strided = false;
  return true;
}

static bool parse_output(qni_parser *p) {
  qni_schema *s = p->s;
  const char *at = p->lx.start;
  if (s->n_outputs == 8) return qni_lex_error(&p->lx, NULL, "more than 8 outputs");
  qni_output *o = &s->output[s->n_outputs];
  *o = (qni_output){.alias = -1};
  if (!qni_lex_name(&p->lx, "an output's name", o->name)) return false;
  for (int32_t i = 0; i < s->n_outputs; i++)
    if (!strcmp(s->output[i].name, o->name))
      return qni_lex_error(&p->lx, at, "output %s is declared twice", o->name);
  p->output_at[s->n_outputs++] = at;
  if (!qni_lex_is(&p->lx, '&') && !qni_lex_is(&p->lx, ':')) return parse_same(p, o, at);
  if (qni_schema_param(s, o->name) >= 0)
    return qni_lex_error(&p->lx, at, "%s is a parameter already", o->name);
  if (!parse_view_of(p, o) || !qni_lex_expect(&p->lx, ':', "':'")) return false;
  return qni_parse_tensor(p, &o->tensor) && parse_with(p, o);
}

static bool parse_condition(qni_parser *p) {
  static const int32_t marks[] = {'<', QNI_MARK_LE, QNI_MARK_EQ, QNI_MARK_GE, '>'};
  qni_schema *s = p->s;
  int16_t left, right, op = 0;
  if (s->n_where == 8) return qni_lex_error(&p->lx, NULL, "more than 8 conditions");
  p->where_at[s->n_where] = p->lx.start;
  if (!qni_parse_expr(p, &left)) return false;
  while (op < 5 && !qni_lex_is(&p->lx, marks[op])) op++;
  if (op == 5) return qni_lex_expected(&p->lx, "one of < <= == >= >");
  qni_lex_next(&p->lx);
  if (!qni_parse_expr(p, &right)) return false;
  if (s->n_expr == QNI_EXPR_NODES)
    return qni_lex_error(&p->lx, NULL, "the conditions are too long");
  s->expr[s->n_expr] = (qni_expr){(int16_t)(QNI_EX_LT + op), left, right, 0};
  s->where[s->n_where++] = (int16_t)s->n_expr++;
  return true;
}

/* Settings and methods of things may have no outputs; ops must, which the registry says. */
static bool parse_outputs(qni_parser *p) {
  if (p->lx.token == QNI_TOK_END || qni_lex_word(&p->lx, "where")) return true;
  if (!qni_lex_expect(&p->lx, QNI_MARK_ARROW, "'->' and the outputs")) return false;
  do {
    if (!parse_output(p)) return false;
  } while (qni_lex_take(&p->lx, ','));
  return true;
}

static bool parse_all(qni_parser *p) {
  qni_lex_next(&p->lx);
  if (!qni_lex_name(&p->lx, "the op's name", p->s->name) || !parse_params(p)) return false;
  if (!parse_outputs(p)) return false;
  if (qni_lex_word(&p->lx, "where")) do {
      qni_lex_next(&p->lx);
      if (!parse_condition(p)) return false;
    } while (qni_lex_is(&p->lx, ','));
  if (p->lx.token != QNI_TOK_END)
    return qni_lex_expected(&p->lx, p->s->n_where ? "',' or the end" : "',', 'where' or the end");
  return qni_parse_resolve(p);
}

static uint64_t hash_text(const char *text) { /* FNV-1a */
  uint64_t hash = 0xcbf29ce484222325u;
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
  return hash;
}

static bool keep_canonical(qni_parser *p) {
  char text[QNI_SCHEMA_TEXT];
  if (!qni_schema_print(p->s, text, sizeof text))
    return qni_lex_error(&p->lx, p->lx.text, "it is too long");
  p->s->canonical = qni_parse_memory(p, strlen(text) + 1);
  if (!p->s->canonical) return false;
  memcpy(p->s->canonical, text, strlen(text) + 1);
  p->s->hash = hash_text(text);
  return true;
}

qn_status qni_schema_parse(const char *text, qni_schema **schema) {
  *schema = NULL;
  if (strlen(text) >= QNI_SCHEMA_TEXT)
    return qni_fail(QN_E_FORMAT, "schema: longer than %d bytes", QNI_SCHEMA_TEXT - 1);
  qni_schema *s = qni_mem_zalloc(1, sizeof *s);
  if (!s) return QN_E_NOMEM;
  qni_parser p = {.lx = {.text = text, .start = text, .end = text}, .s = s};
  locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0),
           former = uselocale(c ? c : (locale_t)0);
  bool ok = parse_all(&p) && keep_canonical(&p);
  uselocale(former);
  if (c) freelocale(c);
  if (ok) return *schema = s, QN_OK;
  qni_schema_free(s);
  return p.lx.status;
}

void qni_schema_free(qni_schema *s) {
  if (!s) return;
  qni_arena_free(&s->memory);
  qni_mem_free(s);
}
