/* What the files of the schema share: tokens, and expressions. SPDX-License-Identifier: MIT */
#ifndef QNI_SCHEMA_INTERNAL_H
#define QNI_SCHEMA_INTERNAL_H

#include "registry/schema.h"

/* ---- Tokens (schema_lex.c) ---- */

enum qni_token {
  QNI_TOK_END,
  QNI_TOK_NAME,
  QNI_TOK_INT,
  QNI_TOK_NUM,
  QNI_TOK_STR,
  QNI_TOK_MARK,
  QNI_TOK_BAD
};
/* Marks of one character are that character. */
enum qni_mark {
  QNI_MARK_ARROW = 256,
  QNI_MARK_RANGE,
  QNI_MARK_DOTS,
  QNI_MARK_LE,
  QNI_MARK_EQ,
  QNI_MARK_GE
};

typedef struct qni_lexer {
  const char *text, *start, *end; /* whole text; current token */
  enum qni_token token;
  int32_t mark;
  int64_t i;        /* of an INT */
  double f;         /* of an INT or NUM */
  qn_status status; /* the first error */
} qni_lexer;

void qni_lex_next(qni_lexer *lx);
/* Records "schema: <text>" with the line and a caret at `at` (NULL: the token); returns false. */
bool qni_lex_error(qni_lexer *lx, const char *at, const char *format, ...) QNI_PRINTF(3, 4);
bool qni_lex_expected(qni_lexer *lx, const char *what); /* "expected <what>, found <token>" */
bool qni_lex_is(const qni_lexer *lx, int32_t mark);
bool qni_lex_take(qni_lexer *lx, int32_t mark); /* takes the mark if it is there */
bool qni_lex_expect(qni_lexer *lx, int32_t mark, const char *what);
bool qni_lex_word(const qni_lexer *lx, const char *word);
/* Copies the current name into name[QNI_NAME] and goes on. */
bool qni_lex_name(qni_lexer *lx, const char *what, char *name);

/* ---- Parsing (schema_parse.c, schema_type.c, schema_resolve.c) ---- */

typedef struct qni_parser {
  qni_lexer lx;
  qni_schema *s;
  int32_t depth;                       /* of parentheses */
  const char *dim_at[QNI_SCHEMA_DIMS]; /* first use */
  const char *param_at[QN_MAX_PARAMS];
  const char *output_at[8], *where_at[8];
} qni_parser;

bool qni_parse_expr(qni_parser *p, int16_t *expr);
bool qni_parse_dim(qni_parser *p, int16_t *dim); /* a name, as an index into dim_name */
/* f[...,A]{..}, like p, with `strided`; at the type's first word. */
bool qni_parse_tensor(qni_parser *p, qni_tensor_type *type);
bool qni_parse_is_tensor(const qni_parser *p); /* does a tensor type begin here? */
/* Tells int parameters from dimensions and checks that every name means something. */
bool qni_parse_resolve(qni_parser *p);
void *qni_parse_memory(qni_parser *p, size_t bytes); /* of the schema; NULL sets the status */

/* ---- Values and expressions (schema_value.c) ---- */

enum qni_fault { QNI_FAULT_NONE, QNI_FAULT_ABSENT, QNI_FAULT_DIVISION, QNI_FAULT_OVERFLOW };
/* dim NULL: none is known. */
enum qni_fault qni_schema_eval(const qni_schema *s, int32_t expr, const int64_t *dim,
                               const qni_value *attrs, int64_t *value);
bool qni_schema_value_fits(const qni_param *p, const qni_value *v);
/* Where dimension j of a type lies in a tensor of ndim dimensions. */
static inline int32_t qni_schema_position(const qni_tensor_type *t, int32_t j, int32_t ndim) {
  return j < t->lead_at ? j : ndim - t->n_dims + j;
}
/* The printed form of the whole schema; false if it is too long. */
bool qni_schema_print(const qni_schema *s, char *buf, size_t size);

#endif
