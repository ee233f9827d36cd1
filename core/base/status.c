/*
** Errors: one record per thread, filled from the innermost failure outwards.
** SPDX-License-Identifier: MIT
*/
#include "base/status.h"

#include <stdio.h>
#include <string.h>

struct record {
  qn_status status;
  char what[768], detail[2048], hint[512], op[640], plugin[128];
};

static _Thread_local struct record current;
static _Thread_local qn_error shown;

static const struct {
  qn_status status;
  const char *name;
} names[] = {
    {QN_OK, "ok"},
    {QN_E_ARG, "argument"},
    {QN_E_SHAPE, "shape"},
    {QN_E_DTYPE, "dtype"},
    {QN_E_NOMEM, "nomem"},
    {QN_E_IO, "io"},
    {QN_E_FORMAT, "format"},
    {QN_E_NOT_FOUND, "not_found"},
    {QN_E_VERSION, "version"},
    {QN_E_STATE, "state"},
    {QN_E_NUMERIC, "numeric"},
    {QN_E_CANCELLED, "cancelled"},
    {QN_E_UNSUPPORTED, "unsupported"},
    {QN_E_PLUGIN, "plugin"},
    {QN_E_INTERNAL, "internal"},
};

const char *qn_status_name(qn_status status) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (names[i].status == status) return names[i].name;
  return "unknown";
}

const qn_error *qn_error_last(void) {
  shown = (qn_error){.status = current.status,
                     .what = current.what,
                     .detail = current.detail,
                     .hint = current.hint,
                     .op = current.op,
                     .plugin = current.plugin};
  return &shown;
}

void qni_error_reset(void) {
  current.status = QN_OK;
  current.what[0] = current.detail[0] = current.hint[0] = current.op[0] = current.plugin[0] = 0;
}

qn_status qni_failv(qn_status status, const char *what, va_list args) {
  if (current.status != QN_OK) return status;
  current.status = status;
  vsnprintf(current.what, sizeof current.what, what, args);
  return status;
}

qn_status qni_fail(qn_status status, const char *what, ...) {
  va_list args;
  va_start(args, what);
  qni_failv(status, what, args);
  va_end(args);
  return status;
}

void qni_error_detail(const char *format, ...) {
  size_t used = strlen(current.detail);
  if (used + 2 >= sizeof current.detail) return;
  if (used) current.detail[used++] = '\n';
  va_list args;
  va_start(args, format);
  vsnprintf(current.detail + used, sizeof current.detail - used, format, args);
  va_end(args);
}

void qni_error_hint(const char *format, ...) {
  if (current.hint[0]) return;
  va_list args;
  va_start(args, format);
  vsnprintf(current.hint, sizeof current.hint, format, args);
  va_end(args);
}

void qni_error_place(const char *op, const char *plugin) {
  if (op && !current.op[0]) snprintf(current.op, sizeof current.op, "%s", op);
  if (plugin && !current.plugin[0]) snprintf(current.plugin, sizeof current.plugin, "%s", plugin);
}

void qni_error_take(qni_error_copy *copy) {
  _Static_assert(sizeof current - sizeof current.status <= sizeof copy->text, "copy too small");
  copy->status = current.status;
  memcpy(copy->text, current.what, sizeof current - offsetof(struct record, what));
  qni_error_reset();
}

void qni_error_give(const qni_error_copy *copy) {
  current.status = copy->status;
  memcpy(current.what, copy->text, sizeof current - offsetof(struct record, what));
}
