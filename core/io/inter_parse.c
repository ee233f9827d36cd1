/*
** Rows of interaction files, checked field by field; errors name file and line.
**
** Ids are read as numbers. Where a format allows text, the first id that is no number
** makes its column text, and reading starts again.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/tick.h"
#include "io/inter.h"

static const char *const role_names[] = {"user", "item", "rating", "time", "behaviour"};

enum { TICK = 1 << 17 }; /* lines */

struct parser {
  const char *origin;
  qni_inter_rows *rows;
  qni_lines lines;
  bool again; /* a column has become text */
};

/* ---- Errors ---- */

static qn_status bad_line(const struct parser *p, const char *why, const char *hint) {
  qni_fail(QN_E_FORMAT, "%s, line %" PRId64 ": %s", p->origin, p->lines.number, why);
  if (hint) qni_error_hint("%s", hint);
  return QN_E_FORMAT;
}

static qn_status bad_field(const struct parser *p, int role, qni_span text, const char *why) {
  char shown[48];
  qni_fail(QN_E_FORMAT, "%s, line %" PRId64 ": %s \"%s\" %s", p->origin, p->lines.number,
           role_names[role], qni_span_show(text, shown), why);
  qni_error_detail("format: %s", p->rows->format.name);
  qni_error_hint("correct the line, or give another format if this is not the one");
  return QN_E_FORMAT;
}

static qn_status bad_count(const struct parser *p, int64_t found) {
  qni_fail(QN_E_FORMAT, "%s, line %" PRId64 ": %" PRId64 " columns instead of %d", p->origin,
           p->lines.number, found, (int)p->rows->format.n_columns);
  qni_error_detail("format: %s", p->rows->format.name);
  qni_error_hint("correct the line, or give another format if this is not the one");
  return QN_E_FORMAT;
}

/* ---- Fields ---- */

static qn_status take_text(struct parser *p, int role, qni_span text, int64_t *id) {
  int32_t code = 0;
  qn_status st = qni_intern_add(&p->rows->names[role], text, &code);
  *id = code;
  return st;
}

/* Stops this reading; the next takes the column as text. */
static qn_status become_text(struct parser *p, int role) {
  p->rows->text[role] = true;
  p->again = true;
  return QN_E_FORMAT;
}

static qn_status take_id(struct parser *p, int role, qni_span text, int64_t *id) {
  const qni_inter_format *f = &p->rows->format;
  if (text.n == 0) return bad_field(p, role, text, "is empty");
  if (p->rows->text[role]) return take_text(p, role, text, id);
  qni_number kind = qni_span_int(text, id);
  if (kind == QNI_NUMBER_OK && *id < 0) return bad_field(p, role, text, "is negative");
  if (kind == QNI_NUMBER_OK && *id <= INT32_MAX) {
    if (*id > 0 || !f->from_one) return QN_OK;
    return bad_field(p, role, text, "is zero, but ids of this format count from 1");
  }
  if (!f->from_one) return become_text(p, role);
  return bad_field(p, role, text,
                   kind == QNI_NUMBER_BAD ? "is not a whole number" : "is beyond 2147483647");
}

static qn_status take_time(struct parser *p, qni_span text, int64_t *time) {
  double x;
  if (qni_span_int(text, time) == QNI_NUMBER_OK) return QN_OK;
  qni_number kind = qni_span_real(text, &x);
  if (kind == QNI_NUMBER_BAD) return bad_field(p, QNI_INTER_TIME, text, "is not a number");
  if (kind == QNI_NUMBER_RANGE || fabs(x) >= 0x1p63)
    return bad_field(p, QNI_INTER_TIME, text, "is not a finite time");
  *time = (int64_t)floor(x);
  return QN_OK;
}

static qn_status take_rating(struct parser *p, qni_span text, float *rating) {
  double x;
  qni_number kind = qni_span_real(text, &x);
  if (kind == QNI_NUMBER_BAD) return bad_field(p, QNI_INTER_RATING, text, "is not a number");
  if (kind == QNI_NUMBER_RANGE || fabs(x) > 3e38)
    return bad_field(p, QNI_INTER_RATING, text, "is not a finite number");
  *rating = (float)x;
  return QN_OK;
}

static qn_status take_behaviour(struct parser *p, qni_span text, int32_t *behaviour) {
  int64_t x = 0;
  qn_status st = QN_OK;
  if (text.n == 0) return bad_field(p, QNI_INTER_BEHAVIOUR, text, "is empty");
  if (p->rows->text[QNI_INTER_BEHAVIOUR])
    st = take_text(p, QNI_INTER_BEHAVIOUR, text, &x);
  else if (qni_span_int(text, &x) != QNI_NUMBER_OK || x < 0 || x > INT32_MAX)
    return become_text(p, QNI_INTER_BEHAVIOUR);
  *behaviour = (int32_t)x;
  return st;
}

/* ---- Rows ---- */

static qn_status grow(void **array, int64_t room, size_t size) {
  void *grown = qni_mem_realloc(*array, (size_t)room * size);
  if (grown) *array = grown;
  return grown ? QN_OK : QN_E_NOMEM;
}

static qn_status make_room(qni_inter_rows *r) {
  if (r->n < r->room) return QN_OK;
  int64_t room = r->room ? 2 * r->room : 1024;
  qn_status st = grow((void **)&r->user, room, sizeof *r->user);
  if (!st) st = grow((void **)&r->item, room, sizeof *r->item);
  if (!st && r->format.at[QNI_INTER_TIME] >= 0) st = grow((void **)&r->time, room, sizeof *r->time);
  if (!st && r->format.at[QNI_INTER_RATING] >= 0)
    st = grow((void **)&r->rating, room, sizeof *r->rating);
  if (!st && r->format.at[QNI_INTER_BEHAVIOUR] >= 0)
    st = grow((void **)&r->behaviour, room, sizeof *r->behaviour);
  if (!st) r->room = room;
  return st;
}

static qn_status table_row(struct parser *p, qni_span line) {
  qni_inter_rows *r = p->rows;
  const int32_t *at = r->format.at;
  qni_span f[QNI_INTER_ROLES] = {{0}}, field;
  int64_t n = 0, row = r->n;
  for (; qni_span_field(&line, r->format.delimiter, &field); n++)
    for (int role = 0; role < QNI_INTER_ROLES; role++)
      if (at[role] == n) f[role] = field;
  if (n != r->format.n_columns) return bad_count(p, n);
  qn_status st = make_room(r);
  if (!st) st = take_id(p, QNI_INTER_USER, f[QNI_INTER_USER], &r->user[row]);
  if (!st) st = take_id(p, QNI_INTER_ITEM, f[QNI_INTER_ITEM], &r->item[row]);
  if (!st && r->rating) st = take_rating(p, f[QNI_INTER_RATING], &r->rating[row]);
  if (!st && r->time) st = take_time(p, f[QNI_INTER_TIME], &r->time[row]);
  if (!st && r->behaviour) st = take_behaviour(p, f[QNI_INTER_BEHAVIOUR], &r->behaviour[row]);
  if (!st) r->n++;
  return st;
}

static qn_status sequence_row(struct parser *p, qni_span line) {
  qni_inter_rows *r = p->rows;
  int64_t user = p->lines.number;
  qni_span field;
  qn_status st = QN_OK;
  if (r->format.leading_user) {
    if (!qni_span_field(&line, "", &field)) return QN_OK;
    st = take_id(p, QNI_INTER_USER, field, &user);
    if (!st && line.n == 0) return bad_line(p, "a user without items", NULL);
  }
  while (!st && qni_span_field(&line, "", &field)) {
    if ((st = make_room(r))) break;
    r->user[r->n] = user;
    if (!(st = take_id(p, QNI_INTER_ITEM, field, &r->item[r->n]))) r->n++;
  }
  return st;
}

static bool empty_line(qni_span line) {
  qni_span field;
  return !qni_span_field(&line, "", &field);
}

static qn_status read_once(struct parser *p, const void *data, size_t n_bytes,
                           const qni_interactions_options *options) {
  qni_inter_format *f = &p->rows->format;
  qni_span line;
  qn_status st = QN_OK;
  bool header = !f->sequence && f->at[QNI_INTER_ITEM] < 0;
  qni_lines_start(&p->lines, data, n_bytes);
  if (header) {
    if (!qni_lines_next(&p->lines, &line)) return qni_fail(QN_E_FORMAT, "%s is empty", p->origin);
    st = qni_inter_read_header(line, p->origin, options, f);
  }
  while (!st && qni_lines_next(&p->lines, &line)) {
    if (p->lines.number % TICK == 0)
      qni_tick("reading", p->lines.next - (const char *)data, (int64_t)n_bytes);
    if (empty_line(line)) continue;
    st = f->sequence ? sequence_row(p, line) : table_row(p, line);
  }
  if (!st && p->rows->n == 0) st = bad_line(p, "the file has no interactions", NULL);
  return st;
}

void qni_inter_rows_free(qni_inter_rows *r) {
  qni_mem_free(r->user);
  qni_mem_free(r->item);
  qni_mem_free(r->time);
  qni_mem_free(r->rating);
  qni_mem_free(r->behaviour);
  for (int i = 0; i < QNI_INTER_ROLES; i++) qni_intern_free(&r->names[i]);
  *r = (qni_inter_rows){0};
}

qn_status qni_inter_read_rows(const void *data, size_t n_bytes, const char *origin,
                              const qni_interactions_options *options, qni_inter_rows *rows) {
  qni_inter_format format;
  qni_inter_rows start = {0};
  *rows = start;
  qn_status st = qni_inter_find_format(data, n_bytes, origin, options, &format);
  if (st) return st;
  start.text[QNI_INTER_USER] = start.text[QNI_INTER_ITEM] = format.text_only;
  for (;;) { /* at most once more for each column that may be text */
    struct parser p = {.origin = origin, .rows = rows};
    *rows = start;
    rows->format = format;
    st = read_once(&p, data, n_bytes, options);
    memcpy(start.text, rows->text, sizeof start.text);
    if (!p.again) break;
    qni_inter_rows_free(rows);
  }
  if (st) qni_inter_rows_free(rows);
  return st;
}
