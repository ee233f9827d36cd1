/*
** The embedding API's files: qn_save and the archive of mapped arrays.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "io/safetensors.h"
#include "quern/quern.h"

struct qn_archive {
  qni_safetensors *file;
  char *meta;
};

static qn_status check_save(const char *path, const char *const *names, qn_tensor *const *tensors,
                            int32_t n) {
  if (!path || n < 0 || (n > 0 && (!names || !tensors)))
    return qni_fail(QN_E_ARG, "saving needs a path, names and tensors");
  for (int32_t i = 0; i < n; i++)
    if (!names[i] || !tensors[i])
      return qni_fail(QN_E_ARG, "tensor %d for %s is missing or has no name", (int)i + 1, path);
  return QN_OK;
}

qn_status qn_save(const char *path, const char *const *names, qn_tensor *const *tensors, int32_t n,
                  const char *meta) {
  qni_error_reset();
  json_t *object = NULL;
  qn_status st = check_save(path, names, tensors, n);
  if (!st && meta) st = qni_json_parse(meta, strlen(meta), "metadata", &object);
  if (!st) st = qni_safetensors_write(path, names, tensors, n, object);
  json_decref(object);
  return st;
}

qn_status qn_archive_open(const char *path, qn_archive **archive) {
  qni_error_reset();
  *archive = NULL;
  qn_archive *a = qni_mem_zalloc(1, sizeof *a);
  qn_status st = a ? qni_safetensors_open(path, &a->file) : QN_E_NOMEM;
  if (!st && !(a->meta = qni_json_dump(qni_safetensors_meta(a->file)))) st = QN_E_NOMEM;
  if (st)
    qn_archive_close(a);
  else
    *archive = a;
  return st;
}

void qn_archive_close(qn_archive *archive) {
  if (!archive) return;
  qni_safetensors_close(archive->file);
  qni_mem_free(archive->meta);
  qni_mem_free(archive);
}

int32_t qn_archive_count(const qn_archive *archive) { return qni_safetensors_count(archive->file); }

const char *qn_archive_name(const qn_archive *archive, int32_t i) {
  const qni_safetensors_entry *e = qni_safetensors_at(archive->file, i);
  return e ? e->name : NULL;
}

const char *qn_archive_meta(const qn_archive *archive) { return archive->meta; }

qn_status qn_archive_read(qn_archive *archive, const char *name, qn_tensor **t) {
  qni_error_reset();
  return qni_safetensors_read(archive->file, name, t);
}
