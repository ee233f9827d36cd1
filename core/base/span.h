/*
** Spans: pieces of text in memory; lines, fields and numbers without copies.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SPAN_H
#define QNI_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qni_span { /* a piece of text, not NUL-ended */
  const char *at;
  size_t n;
} qni_span;

/* Walks over lines. A leading byte-order mark, CR before LF and a missing last LF are accepted. */
typedef struct qni_lines {
  const char *next, *end;
  int64_t number; /* of the line last returned, from 1 */
} qni_lines;

void qni_lines_start(qni_lines *lines, const void *data, size_t n_bytes);
bool qni_lines_next(qni_lines *lines, qni_span *line);

/*
** Takes the first field off `rest`; false when nothing is left. delimiter "" means
** runs of blanks and tabs; one beginning with ',' honours double quotes.
*/
bool qni_span_field(qni_span *rest, const char *delimiter, qni_span *field);

typedef enum qni_number { QNI_NUMBER_OK, QNI_NUMBER_BAD, QNI_NUMBER_RANGE } qni_number;

qni_number qni_span_int(qni_span text, int64_t *value); /* [+-]digits, all of it */
qni_number qni_span_real(qni_span text, double *value); /* finite decimal; NaN, inf: RANGE */
bool qni_span_is(qni_span text, const char *word);
/* For messages: at most 40 bytes, other than printable ones as ?. Returns buf. */
const char *qni_span_show(qni_span text, char buf[48]);

#endif
