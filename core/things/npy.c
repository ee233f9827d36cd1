/*
** npy: NumPy's array file (io/npy.h) as a codec; its one tensor is called "array".
** SPDX-License-Identifier: MIT
*/
#include "io/npy.h"

#include <string.h>

#include "things/things.h"

static int32_t sniff(const void *bytes, int64_t n) {
  return n >= 6 && !memcmp(bytes, "\x93NUMPY", 6);
}

static qn_status decode(const qn_host *h, qn_call *c, const void *bytes, int64_t n) {
  qn_tensor *t;
  qn_view *v;
  qn_status st = qni_npy_parse(bytes, (size_t)n, "the NPY file", &t);
  if (st) return st;
  const qn_view *from = &t->view;
  st = qni_store_of(h)->make(c, "array", from->dtype, from->ndim, from->shape, &v);
  if (!st) qni_view_copy(from, v);
  qn_tensor_free(t);
  return st;
}

static qn_status encode(const qn_host *h, qn_call *c) {
  const qn_store *s = qni_store_of(h);
  char header[QNI_NPY_HEADER];
  size_t n_header;
  qn_view *v;
  if (s->count(c) != 1)
    return h->fail(c, QN_E_UNSUPPORTED, "an NPY file holds one tensor, not %d", (int)s->count(c));
  s->at(c, 0, &v);
  qn_status st = qni_npy_header(v, header, &n_header);
  if (!st) st = s->put(c, header, (int64_t)n_header);
  return st ? st : s->put(c, v->data, qni_count_of(v) * (int64_t)qni_dtype_size(v->dtype));
}

const qn_codec qni_codec_npy = {
    .head = {.struct_size = sizeof(qn_codec),
             .settings = "npy()",
             .summary = "NumPy's file of one array.",
             .doc = "Header versions 1 to 3, types f4 f8 i4 i8 u1 b1, either order; written is "
                    "version 1. The tensor is called array.",
             .cite = "NumPy enhancement proposal 1, A simple file format for NumPy arrays",
             .example = "print(quern.codec('npy').name)"},
    .suffixes = (const char *const[]){".npy", NULL},
    .sniff = sniff,
    .decode = decode,
    .encode = encode,
};
