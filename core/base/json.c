/*
** JSON: typed helpers on jansson.
**
** Depth is counted before parsing, so that the parser's recursion is bounded by us.
** SPDX-License-Identifier: MIT
*/
#include "base/json.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

/* jansson does not pass on every failed allocation (a key's, while dumping), so we remember. */
static _Thread_local bool starved;

static void *remember_alloc(size_t bytes) {
  void *block = qni_mem_alloc(bytes);
  if (!block) starved = true;
  return block;
}

static void use_our_memory(void) { json_set_alloc_funcs(remember_alloc, qni_mem_free); }

void qni_json_start(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, use_our_memory);
}

/* ---- Parsing ---- */

static qn_status bad_text(const char *origin, int line, int column, const char *why) {
  qni_fail(QN_E_FORMAT, "%s is not valid JSON: line %d, column %d: %s", origin, line, column, why);
  qni_error_hint("correct the text there; if a program wrote it, the file may be damaged");
  return QN_E_FORMAT;
}

static qn_status check_depth(const char *text, size_t n, const char *origin) {
  int depth = 0, line = 1;
  size_t line_begin = 0;
  bool inside = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    if (c == '\n')
      line++, line_begin = i + 1;
    else if (inside && c == '\\')
      i++;
    else if (c == '"')
      inside = !inside;
    else if (!inside && (c == '}' || c == ']'))
      depth--;
    else if (!inside && (c == '{' || c == '[') && ++depth > QNI_JSON_DEPTH)
      return bad_text(origin, line, (int)(i - line_begin) + 1, "nested too deeply");
  }
  return QN_OK;
}

qn_status qni_json_parse(const char *text, size_t n_bytes, const char *origin, json_t **out) {
  *out = NULL;
  qni_json_start();
  if (n_bytes > QNI_JSON_BYTES) {
    qni_fail(QN_E_FORMAT, "%s is too large for JSON", origin);
    qni_error_detail("bytes: %zu, at most %d", n_bytes, QNI_JSON_BYTES);
    return QN_E_FORMAT;
  }
  qn_status st = check_depth(text, n_bytes, origin);
  if (st) return st;
  json_error_t error;
  starved = false;
  *out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
  if (*out && !starved) return QN_OK;
  json_decref(*out);
  *out = NULL;
  if (starved) return QN_E_NOMEM;
  return bad_text(origin, error.line, error.column, error.text);
}

qn_status qni_json_load(const char *path, json_t **out) {
  char *text;
  size_t n;
  *out = NULL;
  qn_status st = qni_file_read(path, QNI_JSON_BYTES, &text, &n);
  if (st) return st;
  st = qni_json_parse(text, n, path, out);
  qni_mem_free(text);
  return st;
}

/* ---- Writing ---- */

static char *dump(const json_t *value, size_t flags) {
  qni_json_start();
  starved = false;
  char *text = json_dumps(value, flags | JSON_SORT_KEYS | JSON_ENCODE_ANY);
  if (text && starved) return qni_mem_free(text), NULL;
  return text;
}

char *qni_json_dump(const json_t *value) { return dump(value, JSON_COMPACT); }

char *qni_json_dump_pretty(const json_t *value) {
  char *text = dump(value, JSON_INDENT(2));
  if (!text) return NULL;
  size_t n = strlen(text);
  char *line = qni_mem_realloc(text, n + 2);
  if (!line) return qni_mem_free(text), NULL;
  memcpy(line + n, "\n", 2);
  return line;
}

qn_status qni_json_save(const char *path, const json_t *value) {
  char *text = qni_json_dump_pretty(value);
  if (!text) return QN_E_NOMEM;
  qn_status st = qni_file_write(path, text, strlen(text));
  qni_mem_free(text);
  return st;
}

qn_status qni_json_hash(const json_t *value, uint8_t digest[32]) {
  char *text = qni_json_dump(value);
  if (!text) return QN_E_NOMEM;
  qni_sha256_of(text, strlen(text), digest);
  qni_mem_free(text);
  return QN_OK;
}

/* ---- Fields ---- */

const char *qni_json_type(const json_t *value) {
  if (!value) return "nothing";
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "an object";
  case JSON_ARRAY: return "an array";
  case JSON_STRING: return "a string";
  case JSON_INTEGER: return "an integer";
  case JSON_REAL: return "a number";
  case JSON_NULL: return "null";
  default: return "a boolean";
  }
}

static qn_status need(bool is, const json_t *value, const char *origin, const char *key,
                      const char *wanted) {
  if (is) return QN_OK;
  return qni_fail(QN_E_FORMAT, "%s: \"%s\" is %s, but must be %s", origin, key,
                  qni_json_type(value), wanted);
}

qn_status qni_json_string(const json_t *object, const char *origin, const char *key,
                          const char **value) {
  json_t *v = json_object_get(object, key);
  *value = json_string_value(v);
  return need(json_is_string(v), v, origin, key, "a string");
}

qn_status qni_json_int(const json_t *object, const char *origin, const char *key, int64_t *value) {
  json_t *v = json_object_get(object, key);
  *value = json_integer_value(v);
  return need(json_is_integer(v), v, origin, key, "an integer");
}

qn_status qni_json_number(const json_t *object, const char *origin, const char *key,
                          double *value) {
  json_t *v = json_object_get(object, key);
  *value = json_number_value(v);
  return need(json_is_number(v), v, origin, key, "a number");
}

qn_status qni_json_bool(const json_t *object, const char *origin, const char *key, bool *value) {
  json_t *v = json_object_get(object, key);
  *value = json_is_true(v);
  return need(json_is_boolean(v), v, origin, key, "true or false");
}

qn_status qni_json_object(const json_t *object, const char *origin, const char *key,
                          json_t **value) {
  *value = json_object_get(object, key);
  return need(json_is_object(*value), *value, origin, key, "an object");
}

qn_status qni_json_array(const json_t *object, const char *origin, const char *key,
                         json_t **value) {
  *value = json_object_get(object, key);
  return need(json_is_array(*value), *value, origin, key, "an array");
}
