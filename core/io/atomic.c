/*
** Atomic files: RecBole's tables of typed columns.
**
** Rows are read once into growing columns; token columns share one interning table each.
** SPDX-License-Identifier: MIT
*/
#include "io/atomic.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/intern.h"

enum { MAX_COLUMNS = 256 };

/* A column while it is filled; `c` points into these arrays. */
struct building {
  qni_column c;
  char *name;
  int32_t *codes;
  double *values;
  int64_t *offsets;
  int64_t n, room; /* codes or values so far */
  qni_intern names;
};

struct table {
  qni_atomic t;
  qni_column *columns;
  struct building *b;
  int32_t n;
};

static qn_status bad_line(const char *origin, int64_t line, const char *why) {
  return qni_fail(QN_E_FORMAT, "%s, line %" PRId64 ": %s", origin, line, why);
}

/* ---- The header ---- */

static int32_t type_of(qni_span name) {
  static const char *const types[] = {"token", "token_seq", "float", "float_seq"};
  for (int32_t i = 0; i < 4; i++)
    if (qni_span_is(name, types[i])) return i + 1;
  return 0;
}

static qn_status read_header(qni_span line, const char *origin, struct table *t) {
  qni_span field;
  t->b = qni_mem_zalloc(MAX_COLUMNS, sizeof *t->b);
  t->columns = qni_mem_zalloc(MAX_COLUMNS, sizeof *t->columns);
  if (!t->b || !t->columns) return QN_E_NOMEM;
  while (qni_span_field(&line, "\t", &field)) {
    const char *colon = memrchr(field.at, ':', field.n);
    if (t->n == MAX_COLUMNS) return bad_line(origin, 1, "there are more than 256 columns");
    if (!colon || colon == field.at)
      return bad_line(origin, 1, "a column is not written as name:type");
    struct building *b = &t->b[t->n++];
    b->c.type = type_of((qni_span){colon + 1, (size_t)(field.at + field.n - colon) - 1});
    if (!b->c.type)
      return bad_line(origin, 1, "a column's type is none of token, token_seq, float, float_seq");
    size_t n = (size_t)(colon - field.at);
    if (!(b->name = qni_mem_alloc(n + 1))) return QN_E_NOMEM;
    memcpy(b->name, field.at, n);
    b->name[n] = 0;
    b->c.name = b->name;
  }
  return QN_OK;
}

/* ---- Fields ---- */

static bool is_token(const struct building *b) { return b->c.type <= QNI_COLUMN_TOKENS; }
static bool is_sequence(const struct building *b) {
  return b->c.type == QNI_COLUMN_TOKENS || b->c.type == QNI_COLUMN_FLOATS;
}

static qn_status make_room(struct building *b) {
  if (b->n < b->room) return QN_OK;
  int64_t room = b->room ? 2 * b->room : 256;
  void *old = is_token(b) ? (void *)b->codes : (void *)b->values;
  void *grown =
      qni_mem_realloc(old, (size_t)room * (is_token(b) ? sizeof *b->codes : sizeof *b->values));
  if (!grown) return QN_E_NOMEM;
  if (is_token(b))
    b->codes = grown;
  else
    b->values = grown;
  b->room = room;
  return QN_OK;
}

static qn_status add_value(struct building *b, qni_span text, const char *origin, int64_t line) {
  qn_status st = make_room(b);
  if (st) return st;
  if (is_token(b)) {
    b->codes[b->n] = 0;
    if (text.n) st = qni_intern_add(&b->names, text, &b->codes[b->n]);
  } else if (text.n == 0) {
    b->values[b->n] = NAN;
  } else if (qni_span_real(text, &b->values[b->n]) != QNI_NUMBER_OK) {
    char shown[48];
    st = qni_fail(QN_E_FORMAT, "%s, line %" PRId64 ": %s \"%s\" is not a finite number", origin,
                  line, b->name, qni_span_show(text, shown));
  }
  if (!st) b->n++;
  return st;
}

static qn_status add_field(struct building *b, qni_span text, const char *origin, int64_t line) {
  if (!is_sequence(b)) return add_value(b, text, origin, line);
  qni_span one;
  qn_status st = QN_OK;
  while (!st && qni_span_field(&text, "", &one)) st = add_value(b, one, origin, line);
  return st;
}

static qn_status read_row(struct table *t, qni_span line, const char *origin, int64_t number) {
  qni_span field;
  int32_t n = 0;
  for (; qni_span_field(&line, "\t", &field); n++) {
    if (n >= t->n) continue;
    qn_status st = add_field(&t->b[n], field, origin, number);
    if (st) return st;
    if (is_sequence(&t->b[n])) t->b[n].offsets[t->t.n_rows + 1] = t->b[n].n;
  }
  if (n != t->n) {
    qni_fail(QN_E_FORMAT, "%s, line %" PRId64 " does not have %d columns as the header says",
             origin, number, (int)t->n);
    return QN_E_FORMAT;
  }
  t->t.n_rows++;
  return QN_OK;
}

/* ---- The table ---- */

static int64_t count_lines(const char *data, size_t n) {
  int64_t lines = 1;
  for (const char *p = data, *end = data + n; p < end && (p = memchr(p, '\n', (size_t)(end - p)));
       p++)
    lines++;
  return lines;
}

static qn_status fill(struct table *t, const void *data, size_t n_bytes, const char *origin) {
  qni_lines lines;
  qni_span line;
  qni_lines_start(&lines, data, n_bytes);
  if (!qni_lines_next(&lines, &line)) return qni_fail(QN_E_FORMAT, "%s is empty", origin);
  qn_status st = read_header(line, origin, t);
  size_t most = (size_t)count_lines(data, n_bytes) + 1;
  for (int32_t i = 0; i < t->n && !st; i++)
    if (is_sequence(&t->b[i]) && !(t->b[i].offsets = qni_mem_zalloc(most, sizeof *t->b[i].offsets)))
      st = QN_E_NOMEM;
  while (!st && qni_lines_next(&lines, &line))
    if (line.n) st = read_row(t, line, origin, lines.number);
  return st;
}

/* The arrays become visible; a column without values still gets arrays that are not NULL. */
static qn_status publish(struct table *t) {
  for (int32_t i = 0; i < t->n; i++) {
    struct building *b = &t->b[i];
    qn_status st = make_room(b);
    if (!st && is_token(b)) st = qni_intern_finish(&b->names, &b->c.ids);
    if (st) return st;
    b->c.codes = b->codes, b->c.values = b->values, b->c.offsets = b->offsets;
    t->columns[i] = b->c;
  }
  t->t.n_columns = t->n;
  t->t.columns = t->columns;
  t->t.memory = t;
  return QN_OK;
}

static void table_free(struct table *t) {
  for (int32_t i = 0; i < t->n; i++) {
    struct building *b = &t->b[i];
    qni_mem_free(b->name);
    qni_mem_free(b->codes);
    qni_mem_free(b->values);
    qni_mem_free(b->offsets);
    qni_intern_free(&b->names);
    qni_ids_free(&b->c.ids);
  }
  qni_mem_free(t->b);
  qni_mem_free(t->columns);
  qni_mem_free(t);
}

qn_status qni_atomic_parse(const void *data, size_t n_bytes, const char *origin,
                           qni_atomic **table) {
  *table = NULL;
  struct table *t = qni_mem_zalloc(1, sizeof *t);
  if (!t) return QN_E_NOMEM;
  qn_status st = fill(t, data, n_bytes, origin);
  if (!st) st = publish(t);
  if (st)
    table_free(t);
  else
    *table = &t->t;
  return st;
}

qn_status qni_atomic_read(const char *path, qni_atomic **table) {
  qni_file_map map;
  *table = NULL;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  st = qni_atomic_parse(map.data, map.n_bytes, path, table);
  qni_file_map_close(&map);
  return st;
}

const qni_column *qni_atomic_column(const qni_atomic *table, const char *name) {
  for (int32_t i = 0; i < table->n_columns; i++)
    if (!strcmp(table->columns[i].name, name)) return &table->columns[i];
  return NULL;
}

void qni_atomic_free(qni_atomic *table) {
  if (table) table_free(table->memory);
}
