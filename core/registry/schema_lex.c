/*
** Tokens of the schema language, and errors with a caret.
** SPDX-License-Identifier: MIT
*/
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/schema_internal.h"

enum { SHOWN = 100 }; /* columns of a long line that an error shows */

static bool letter(char c) { return isalpha((unsigned char)c) || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static void lex_number(qni_lexer *lx) {
  const char *at = lx->start;
  lx->token = QNI_TOK_INT;
  while (digit(*at)) at++;
  if (*at == '.' && digit(at[1])) {
    lx->token = QNI_TOK_NUM;
    for (at++; digit(*at);) at++;
  }
  if ((*at == 'e' || *at == 'E') &&
      (digit(at[1]) || ((at[1] == '-' || at[1] == '+') && digit(at[2])))) {
    lx->token = QNI_TOK_NUM;
    for (at += 2; digit(*at);) at++;
  }
  lx->end = at;
  errno = 0;
  lx->f = strtod(lx->start, NULL);
  if (lx->token == QNI_TOK_INT) lx->i = strtoll(lx->start, NULL, 10);
  if (errno == ERANGE && (lx->token == QNI_TOK_INT || isinf(lx->f))) lx->token = QNI_TOK_BAD;
}

static void lex_string(qni_lexer *lx) {
  const char *at = lx->start + 1;
  while (*at && *at != '"' && *at != '\n')
    at += at[0] == '\\' && (at[1] == '"' || at[1] == '\\') ? 2 : 1;
  lx->token = *at == '"' ? QNI_TOK_STR : QNI_TOK_BAD;
  lx->end = *at == '"' ? at + 1 : at;
}

static void lex_mark(qni_lexer *lx) {
  static const struct {
    const char *text;
    int32_t mark;
  } longer[] = {{"...", QNI_MARK_DOTS}, {"..", QNI_MARK_RANGE}, {"->", QNI_MARK_ARROW},
                {"<=", QNI_MARK_LE},    {">=", QNI_MARK_GE},    {"==", QNI_MARK_EQ}};
  lx->token = QNI_TOK_MARK;
  for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
    size_t n = strlen(longer[i].text);
    if (strncmp(lx->start, longer[i].text, n)) continue;
    lx->mark = longer[i].mark;
    lx->end = lx->start + n;
    return;
  }
  lx->mark = (unsigned char)*lx->start;
  lx->end = lx->start + 1;
  if (!strchr("()[]{}:,*?!~&@=|+-/<>", *lx->start)) lx->token = QNI_TOK_BAD;
}

void qni_lex_next(qni_lexer *lx) {
  const char *at = lx->end;
  while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
  lx->start = lx->end = at;
  lx->mark = 0;
  if (!*at) {
    lx->token = QNI_TOK_END;
  } else if (letter(*at)) {
    while (letter(*lx->end) || digit(*lx->end)) lx->end++;
    lx->token = QNI_TOK_NAME;
  } else if (digit(*at)) {
    lex_number(lx);
  } else if (*at == '"') {
    lex_string(lx);
  } else {
    lex_mark(lx);
  }
}

/* The line around `at`, cut to SHOWN columns, with a caret below. */
static void show_line(const qni_lexer *lx, const char *at) {
  const char *begin = at, *end = at;
  while (begin > lx->text && begin[-1] != '\n') begin--;
  while (*end && *end != '\n') end++;
  if (at - begin > SHOWN - 20) begin = at - (SHOWN - 20);
  if (end - begin > SHOWN) end = begin + SHOWN;
  char line[SHOWN + 1];
  for (int i = 0; i <= SHOWN; i++) line[i] = 0;
  for (int i = 0; i < end - begin; i++) line[i] = isprint((unsigned char)begin[i]) ? begin[i] : ' ';
  qni_error_detail("%s\n%*s^", line, (int)(at - begin), "");
}

bool qni_lex_error(qni_lexer *lx, const char *at, const char *format, ...) {
  if (lx->status) return false;
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  lx->status = qni_fail(QN_E_FORMAT, "schema: %s", text);
  show_line(lx, at ? at : lx->start);
  qni_error_hint("docs/schema.md describes the language");
  return false;
}

bool qni_lex_expected(qni_lexer *lx, const char *what) {
  if (lx->token == QNI_TOK_END) return qni_lex_error(lx, NULL, "expected %s, found the end", what);
  if (lx->token == QNI_TOK_BAD && digit(*lx->start))
    return qni_lex_error(lx, NULL, "the number is too large");
  if (lx->token == QNI_TOK_BAD && *lx->start == '"')
    return qni_lex_error(lx, NULL, "the string has no end");
  int n = (int)(lx->end - lx->start);
  if (lx->token == QNI_TOK_BAD && !isprint((unsigned char)*lx->start))
    return qni_lex_error(lx, NULL, "expected %s, found byte 0x%02x", what,
                         (unsigned)(unsigned char)*lx->start);
  return qni_lex_error(lx, NULL, "expected %s, found '%.*s'", what, n < 60 ? n : 60, lx->start);
}

bool qni_lex_is(const qni_lexer *lx, int32_t mark) {
  return lx->token == QNI_TOK_MARK && lx->mark == mark;
}

bool qni_lex_take(qni_lexer *lx, int32_t mark) {
  if (!qni_lex_is(lx, mark)) return false;
  qni_lex_next(lx);
  return true;
}

bool qni_lex_expect(qni_lexer *lx, int32_t mark, const char *what) {
  return qni_lex_take(lx, mark) || qni_lex_expected(lx, what);
}

bool qni_lex_word(const qni_lexer *lx, const char *word) {
  size_t n = strlen(word);
  return lx->token == QNI_TOK_NAME && (size_t)(lx->end - lx->start) == n &&
         !memcmp(lx->start, word, n);
}

bool qni_lex_name(qni_lexer *lx, const char *what, char *name) {
  if (lx->token != QNI_TOK_NAME) return qni_lex_expected(lx, what);
  size_t n = (size_t)(lx->end - lx->start);
  if (n >= QNI_NAME)
    return qni_lex_error(lx, NULL, "the name is longer than %d letters", QNI_NAME - 1);
  memcpy(name, lx->start, n);
  name[n] = 0;
  qni_lex_next(lx);
  return true;
}
