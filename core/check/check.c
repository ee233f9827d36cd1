/*
** The list of checks, and running one of them in this process.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/load.h"
#include "check/list.h"

const qni_check *const qni_checks[] = {&qni_check_symbols,     &qni_check_load,
                                       &qni_check_versions,    &qni_check_schema,
                                       &qni_check_shape,       &qni_check_dtype,
                                       &qni_check_gradient,    &qni_check_needs,
                                       &qni_check_aliasing,    &qni_check_strides,
                                       &qni_check_bounds,      &qni_check_numbers,
                                       &qni_check_determinism, &qni_check_random,
                                       &qni_check_threads,     &qni_check_memory,
                                       &qni_check_cancel,      &qni_check_state,
                                       &qni_check_fuzz,        &qni_check_docs,
                                       &qni_check_speed,       NULL};

static void add_line(char *text, const char *format, va_list args) {
  size_t used = strlen(text);
  if (used + 2 >= QNI_CHECK_TEXT) return;
  if (used) text[used++] = '\n';
  vsnprintf(text + used, QNI_CHECK_TEXT - used, format, args);
}

void qni_check_find(qni_check_context *x, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add_line(x->text, format, args);
  va_end(args);
}

void qni_check_note(qni_check_context *x, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add_line(x->notes, format, args);
  va_end(args);
}

double qni_check_recorded(const qni_check_context *x, const char *op) {
  size_t n = strlen(op);
  for (const char *at = x->recorded; at && *at;) {
    if (!strncmp(at, op, n) && at[n] == '=') return strtod(at + n + 1, NULL);
    at = strchr(at, ' ');
    if (at) at++;
  }
  return 0;
}

static const qni_check *find_check(const char *name) {
  for (int i = 0; qni_checks[i]; i++)
    if (!strcmp(qni_checks[i]->name, name)) return qni_checks[i];
  qni_fail(QN_E_NOT_FOUND, "there is no check '%s'", name);
  for (int i = 0; qni_checks[i]; i++)
    qni_error_detail("%s: %s", qni_checks[i]->name, qni_checks[i]->promise);
  return NULL;
}

/* The ops of one plugin, out of the registry. */
static int32_t ops_of(const qn_plugin *entry, const qn_opref **ops, int32_t max) {
  int32_t n = 0;
  for (int32_t i = 0; i < qni_registry_op_count() && n < max; i++)
    if (qni_registry_op(i)->plugin->entry == entry) ops[n++] = qni_registry_op(i);
  return n;
}

qn_status qni_check_run(const char *path, const char *name, const qni_check_options *o, char *text,
                        char *notes, bool *passed) {
  enum { MAX_OPS = 1024 };
  const qni_check *check = find_check(name);
  bool core = !strcmp(path, "core");
  char file[4096];
  *passed = false;
  text[0] = notes[0] = 0;
  if (!check) return QN_E_NOT_FOUND;
  qni_check_context x = {.seed = o->seed,
                         .samples = o->quick ? QNI_CHECK_QUICK : QNI_CHECK_SAMPLES,
                         .quick = o->quick,
                         .seconds = o->seconds,
                         .recorded = o->recorded,
                         .text = text,
                         .notes = notes};
  qn_status st = core ? QN_OK : qni_load_find(path, file, sizeof file);
  if (st) return st;
  x.path = core ? NULL : file;
  if (check->loads && !core) st = qni_load_plugin(file, &x.entry);
  if (st) return st;
  const qn_opref **ops = qni_mem_zalloc(MAX_OPS, sizeof(qn_opref *));
  if (!ops) return QN_E_NOMEM;
  if (check->loads) x.n_ops = ops_of(x.entry, ops, MAX_OPS);
  x.ops = ops;
  st = check->run(&x);
  if (st && st != QN_E_NOMEM) {
    const qn_error *e = qn_error_last();
    qni_check_find(&x, "%s%s%s%s%s", e->what, *e->detail ? "\n" : "", e->detail,
                   *e->hint ? "\nhint: " : "", e->hint);
    st = QN_OK;
  }
  qni_mem_free(ops);
  *passed = !st && !text[0];
  return st;
}
