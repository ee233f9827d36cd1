/*
** safetensors: 8 bytes of header length, a JSON header, the arrays' bytes.
**
** Reading maps the file and checks all of the header before anything is believed:
** size caps, duplicate keys, names, types, overflowing shapes, spans that do not
** match shape times type, leave gaps, overlap, or pass the end. Writing obeys the
** same limits, is crash-safe, and orders arrays by falling type size, then name.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_SAFETENSORS_H
#define QNI_SAFETENSORS_H

#include "base/json.h"
#include "tensor/tensor.h"

enum {
  QNI_SAFETENSORS_HEADER = 100000000, /* most bytes of a header */
  QNI_SAFETENSORS_NAME = 1024         /* most bytes of a name */
};

typedef struct qni_safetensors qni_safetensors;

typedef struct qni_safetensors_entry {
  const char *name;
  const char *type; /* as in the file: "F32" */
  int32_t dtype;    /* what reading gives; 0: a type we cannot hold */
  int32_t ndim;
  int64_t shape[QN_MAX_DIMS];
  size_t begin, n_bytes; /* within the data part */
} qni_safetensors_entry;

qn_status qni_safetensors_open(const char *path, qni_safetensors **file) QNI_WARN_UNUSED;
/* The same on memory, which is borrowed. */
qn_status qni_safetensors_parse(const void *data, size_t n_bytes, const char *origin,
                                qni_safetensors **file) QNI_WARN_UNUSED;
void qni_safetensors_close(qni_safetensors *file);

int32_t qni_safetensors_count(const qni_safetensors *file);
const qni_safetensors_entry *qni_safetensors_at(const qni_safetensors *file,
                                                int32_t i); /* by name */
const qni_safetensors_entry *qni_safetensors_find(const qni_safetensors *file,
                                                  const char *name); /* or NULL */
const json_t *
qni_safetensors_meta(const qni_safetensors *file); /* object of strings, maybe empty */
const void *qni_safetensors_data(const qni_safetensors *file, const qni_safetensors_entry *entry);

/*
** A copy of one array. F16 comes as f32; I8, I16, U16 as i32; U32 as i64, without
** loss. BOOL bytes other than 0 and 1 are refused.
*/
qn_status qni_safetensors_read(const qni_safetensors *file, const char *name,
                               qn_tensor **t) QNI_WARN_UNUSED;

/*
** Strided tensors are written in row-major order; of jagged ones the values.
** meta: an object of strings, or NULL.
*/
qn_status qni_safetensors_write(const char *path, const char *const *names,
                                qn_tensor *const *tensors, int32_t n,
                                const json_t *meta) QNI_WARN_UNUSED;

/* QN_E_FORMAT for names that are empty, reserved, too long or have control characters. */
qn_status qni_safetensors_check_name(const char *name, const char *origin) QNI_WARN_UNUSED;

#endif
