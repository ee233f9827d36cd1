/*
** Spans: pieces of text in memory; lines, fields and numbers without copies.
** SPDX-License-Identifier: MIT
*/
#include "base/span.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void qni_lines_start(qni_lines *lines, const void *data, size_t n_bytes) {
  const char *text = data ? data : "";
  if (n_bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) text += 3, n_bytes -= 3;
  *lines = (qni_lines){.next = text, .end = text + n_bytes};
}

bool qni_lines_next(qni_lines *lines, qni_span *line) {
  if (lines->next == lines->end) return false;
  const char *begin = lines->next;
  const char *stop = memchr(begin, '\n', (size_t)(lines->end - begin));
  lines->next = stop ? stop + 1 : lines->end;
  if (!stop) stop = lines->end;
  if (stop > begin && stop[-1] == '\r') stop--;
  *line = (qni_span){begin, (size_t)(stop - begin)};
  lines->number++;
  return true;
}

/* ---- Fields ---- */

static bool blank(char c) { return c == ' ' || c == '\t'; }

static bool blank_field(qni_span *rest, qni_span *field) {
  if (!rest->at) return false;
  const char *p = rest->at, *end = rest->at + rest->n;
  while (p < end && blank(*p)) p++;
  const char *begin = p;
  while (p < end && !blank(*p)) p++;
  *field = (qni_span){begin, (size_t)(p - begin)};
  *rest = (qni_span){p, (size_t)(end - p)};
  return field->n > 0;
}

/* The closing quote of a field in double quotes, two of which stand for one; NULL: none. */
static const char *quoted_end(const char *p, const char *end) {
  for (p++; p < end; p++)
    if (*p == '"') {
      if (p + 1 == end || p[1] != '"') return p;
      p++;
    }
  return NULL;
}

bool qni_span_field(qni_span *rest, const char *delimiter, qni_span *field) {
  if (!*delimiter) return blank_field(rest, field);
  if (!rest->at) return false;
  size_t width = strlen(delimiter);
  const char *begin = rest->at, *end = begin + rest->n, *from = begin, *close = NULL;
  if (*delimiter == ',' && rest->n && *begin == '"' && (close = quoted_end(begin, end)))
    from = close;
  const char *stop = width == 1 ? memchr(from, *delimiter, (size_t)(end - from))
                                : memmem(from, (size_t)(end - from), delimiter, width);
  *rest = stop ? (qni_span){stop + width, (size_t)(end - stop) - width} : (qni_span){NULL, 0};
  if (close)
    *field = (qni_span){begin + 1, (size_t)(close - begin) - 1};
  else
    *field = (qni_span){begin, (size_t)((stop ? stop : end) - begin)};
  return true;
}

bool qni_span_is(qni_span text, const char *word) {
  return strlen(word) == text.n && !memcmp(text.at, word, text.n);
}

const char *qni_span_show(qni_span text, char buf[48]) {
  size_t n = text.n < 40 ? text.n : 37;
  for (size_t i = 0; i < n; i++) buf[i] = text.at[i] >= ' ' && text.at[i] != 127 ? text.at[i] : '?';
  memcpy(buf + n, "...", 4);
  if (n == text.n) buf[n] = 0;
  return buf;
}

/* ---- Numbers ---- */

qni_number qni_span_int(qni_span text, int64_t *value) {
  const char *p = text.at, *end = text.at + text.n;
  bool minus = text.n && *p == '-';
  if (text.n && (*p == '-' || *p == '+')) p++;
  if (p == end) return QNI_NUMBER_BAD;
  int64_t x = 0; /* negative while counting, so that the least one fits */
  qni_number kind = QNI_NUMBER_OK;
  for (; p < end; p++) {
    if (*p < '0' || *p > '9') return QNI_NUMBER_BAD;
    if (kind == QNI_NUMBER_OK &&
        (__builtin_mul_overflow(x, 10, &x) || __builtin_sub_overflow(x, *p - '0', &x)))
      kind = QNI_NUMBER_RANGE;
  }
  if (kind != QNI_NUMBER_OK || (!minus && x == INT64_MIN)) return QNI_NUMBER_RANGE;
  *value = minus ? x : -x;
  return QNI_NUMBER_OK;
}

qni_number qni_span_real(qni_span text, double *value) {
  char copy[64], *end;
  int64_t whole;
  if (text.n < 16 && qni_span_int(text, &whole) == QNI_NUMBER_OK) {
    *value = (double)whole;
    return QNI_NUMBER_OK;
  }
  if (text.n == 0 || text.n >= sizeof copy) return QNI_NUMBER_BAD;
  memcpy(copy, text.at, text.n);
  copy[text.n] = 0;
  if (strspn(copy, "+-.0123456789eEinfatyINFATY") != text.n) return QNI_NUMBER_BAD; /* no hex */
  *value = strtod(copy, &end);
  if (end != copy + text.n) return QNI_NUMBER_BAD;
  return isfinite(*value) ? QNI_NUMBER_OK : QNI_NUMBER_RANGE;
}
