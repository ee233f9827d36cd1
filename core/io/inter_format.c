/*
** Formats of interaction files: which one this is, and what its header says.
**
** Detection looks at the first lines: the kind of delimiter, the number of fields, and
** whether the first line holds names. A file of numbers in lines of different length is
** one of sequences; with the line number in front of each line, of users' sequences.
** SPDX-License-Identifier: MIT
*/
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "io/inter.h"

enum { MAX_COLUMNS = 64, SAMPLE = 64 };

static const qni_inter_format formats[] = {
    {"ml-100k", "\t", 4, {0, 1, 2, 3, -1}, .from_one = true},
    {"ml-1m", "::", 4, {0, 1, 2, 3, -1}, .from_one = true},
    {"ml-20m", ",", 0, {-1, -1, -1, -1, -1}, .from_one = true},
    {"recbole", "\t", 0, {-1, -1, -1, -1, -1}, .from_one = false},
    {"csv", ",", 0, {-1, -1, -1, -1, -1}, .from_one = false},
    {"tsv", "\t", 0, {-1, -1, -1, -1, -1}, .from_one = false},
    {"amazon", ",", 4, {0, 1, 2, 3, -1}, .text_only = true},
    {"pairs", "", 2, {0, 1, -1, -1, -1}, .from_one = true},
    {"sequences", "", 0, {-1, 0, -1, -1, -1}, .from_one = true, .sequence = true},
    {"user-sequences",
     "",
     0,
     {0, 1, -1, -1, -1},
     .from_one = true,
     .sequence = true,
     .leading_user = true},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* Usual column names by role, in lower case without _ - and blanks. */
static const char *const usual[QNI_INTER_ROLES][12] = {
    {"userid", "user", "uid", "reviewerid", "visitorid", "sessionid", NULL},
    {"itemid", "item", "iid", "movieid", "movie", "productid", "asin", "parentasin", NULL},
    {"rating", "score", "stars", "overall", NULL},
    {"timestamp", "time", "ts", "unixreviewtime", NULL},
    {"behaviour", "behavior", "behaviourtype", "behaviortype", "event", "action", "type", NULL},
};

/* ---- Headers ---- */

static void plain_name(qni_span name, char out[32]) {
  size_t n = 0;
  for (size_t i = 0; i < name.n && n < 31; i++)
    if (!strchr("_- ", name.at[i])) out[n++] = (char)tolower((unsigned char)name.at[i]);
  out[n] = 0;
}

static int usual_role(qni_span name) {
  char plain[32];
  plain_name(name, plain);
  for (int r = 0; r < QNI_INTER_ROLES; r++)
    for (int i = 0; usual[r][i]; i++)
      if (!strcmp(plain, usual[r][i])) return r;
  return -1;
}

static qni_span trim(qni_span s) {
  while (s.n && (*s.at == ' ' || *s.at == '"')) s.at++, s.n--;
  while (s.n && (s.at[s.n - 1] == ' ' || s.at[s.n - 1] == '"')) s.n--;
  return s;
}

/* The name without RecBole's ":type". */
static qni_span without_type(qni_span field) {
  const char *colon = memchr(field.at, ':', field.n);
  return trim(colon ? (qni_span){field.at, (size_t)(colon - field.at)} : field);
}

static int32_t split(qni_span line, const char *delimiter, qni_span fields[MAX_COLUMNS]) {
  int32_t n = 0;
  while (n < MAX_COLUMNS && qni_span_field(&line, delimiter, &fields[n])) n++;
  return n;
}

static const char *wanted(const qni_interactions_options *o, int role) {
  const char *const names[] = {o->user, o->item, o->rating, o->time, o->behaviour};
  return names[role];
}

static qn_status lacks_column(const char *origin, const char *what, const qni_span *fields,
                              int32_t n) {
  char shown[48];
  qni_fail(QN_E_FORMAT, "%s, line 1: the header has no column for the %s", origin, what);
  for (int32_t i = 0; i < n && i < 16; i++)
    qni_error_detail("column %d: %s", (int)i + 1, qni_span_show(fields[i], shown));
  qni_error_hint("name the columns in the options user, item, rating, time, behaviour");
  return QN_E_FORMAT;
}

qn_status qni_inter_read_header(qni_span line, const char *origin,
                                const qni_interactions_options *o, qni_inter_format *f) {
  static const char *const roles[] = {"user", "item", "rating", "time", "behaviour"};
  qni_span fields[MAX_COLUMNS];
  int32_t n = f->n_columns = split(line, f->delimiter, fields);
  for (int r = 0; r < QNI_INTER_ROLES; r++) f->at[r] = -1;
  for (int32_t i = 0; i < n; i++) {
    qni_span name = without_type(fields[i]);
    int role = usual_role(name);
    if (role >= 0 && !wanted(o, role) && f->at[role] < 0) f->at[role] = i;
    for (int r = 0; r < QNI_INTER_ROLES; r++)
      if (wanted(o, r) && qni_span_is(name, wanted(o, r))) f->at[r] = i;
  }
  for (int r = 0; r < QNI_INTER_ROLES; r++)
    if ((r <= QNI_INTER_ITEM || wanted(o, r)) && f->at[r] < 0)
      return lacks_column(origin, wanted(o, r) ? wanted(o, r) : roles[r], fields, n);
  return QN_OK;
}

/* ---- Detection ---- */

static const qni_inter_format *by_name(const char *name) {
  for (int i = 0; i < N_FORMATS; i++)
    if (!strcmp(formats[i].name, name)) return &formats[i];
  return NULL;
}

static bool number(qni_span s) {
  double x;
  return qni_span_real(trim(s), &x) == QNI_NUMBER_OK;
}

static bool names_columns(qni_span line, const char *delimiter, const qni_interactions_options *o) {
  qni_span fields[MAX_COLUMNS];
  int32_t n = split(line, delimiter, fields);
  for (int32_t i = 0; i < n; i++) {
    qni_span name = without_type(fields[i]);
    if (usual_role(name) >= 0) return true;
    for (int r = 0; r < QNI_INTER_ROLES; r++)
      if (wanted(o, r) && qni_span_is(name, wanted(o, r))) return true;
  }
  return false;
}

/* Lines of blanks between: pairs, or sequences with or without the user in front. */
static const char *detect_blanks(const void *data, size_t n_bytes) {
  qni_lines lines;
  qni_span line, field;
  bool pairs = true, numbered = true;
  int n_lines = 0;
  qni_lines_start(&lines, data, n_bytes);
  while (n_lines < SAMPLE && qni_lines_next(&lines, &line)) {
    int64_t first = 0;
    int n = 0;
    for (; n < 3 && qni_span_field(&line, "", &field); n++)
      if (n == 0 && qni_span_int(field, &first) != QNI_NUMBER_OK) first = 0;
    if (n == 0) continue;
    pairs = pairs && n == 2;
    numbered = numbered && n >= 2 && first == lines.number;
    n_lines++;
  }
  return n_lines == 0 ? NULL : pairs ? "pairs" : numbered ? "user-sequences" : "sequences";
}

static bool ends_in(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

static const char *detect(const void *data, size_t n_bytes, const char *origin,
                          const qni_interactions_options *o) {
  qni_lines lines;
  qni_span line = {"", 0}, fields[MAX_COLUMNS];
  qni_lines_start(&lines, data, n_bytes);
  while (!line.n && qni_lines_next(&lines, &line)) continue;
  if (!line.n) return NULL;
  if (ends_in(origin, ".inter") || memmem(line.at, line.n, ":token", 6)) return "recbole";
  if (split(line, "::", fields) == 4) return "ml-1m";
  if (memchr(line.at, '\t', line.n)) {
    if (names_columns(line, "\t", o)) return "tsv";
    int32_t n = split(line, "\t", fields);
    if (n == 4 && number(fields[2]) && number(fields[3])) return "ml-100k";
    return n == 2 ? "pairs" : NULL;
  }
  if (memchr(line.at, ',', line.n)) {
    if (qni_span_is(line, "userId,movieId,rating,timestamp")) return "ml-20m";
    if (names_columns(line, ",", o)) return "csv";
    return split(line, ",", fields) == 4 && number(fields[2]) && number(fields[3]) ? "amazon"
                                                                                   : NULL;
  }
  return detect_blanks(data, n_bytes);
}

/* ---- What is certainly something else ---- */

static qn_status check_kind(const uint8_t *p, size_t n, const char *origin) {
  static const char lfs[] = "version https://git-lfs";
  const char *what = NULL, *hint = "unpack it first";
  if (n >= sizeof lfs - 1 && !memcmp(p, lfs, sizeof lfs - 1))
    what = "a Git LFS pointer, not the data", hint = "fetch the data itself with `git lfs pull`";
  else if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b)
    what = "compressed with gzip";
  else if (n >= 4 && !memcmp(p, "PK\3\4", 4))
    what = "a zip archive";
  else if (n > 0 && memchr(p, 0, n < 4096 ? n : 4096))
    what = "not a text file", hint = "check the path";
  if (!what) return QN_OK;
  qni_fail(QN_E_FORMAT, "%s is %s", origin, what);
  qni_error_hint("%s", hint);
  return QN_E_FORMAT;
}

static qn_status list_formats(void) {
  for (int i = 0; i < N_FORMATS; i++) qni_error_detail("format: %s", formats[i].name);
  return QN_E_FORMAT;
}

qn_status qni_inter_find_format(const void *data, size_t n_bytes, const char *origin,
                                const qni_interactions_options *o, qni_inter_format *format) {
  qn_status st = check_kind(data, n_bytes, origin);
  if (st) return st;
  const char *name = o->format && strcmp(o->format, "auto") ? o->format : NULL;
  bool given = name != NULL;
  if (!given) name = detect(data, n_bytes, origin, o);
  const qni_inter_format *f = name ? by_name(name) : NULL;
  if (f) {
    *format = *f;
    if (o->text_ids && !f->text_only) format->from_one = o->text_ids < 0;
    return QN_OK;
  }
  if (given) {
    qni_fail(QN_E_ARG, "there is no format \"%s\" of interactions", name);
    list_formats();
    return QN_E_ARG;
  }
  if (n_bytes == 0) return qni_fail(QN_E_FORMAT, "%s is empty", origin);
  qni_fail(QN_E_FORMAT, "%s does not look like any known format of interactions", origin);
  qni_error_hint("say which one it is with `format`");
  return list_formats();
}
