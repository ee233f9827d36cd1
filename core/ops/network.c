/* What the network ops share. SPDX-License-Identifier: MIT */
#include "network.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/norm.h"

enum { COLUMN_CHUNK = 512, COLUMNS_PER_ITEM = 256 };

int64_t qni_net_count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

int64_t qni_net_cols(const qn_view *v) { return v->ndim ? v->shape[v->ndim - 1] : 1; }

int64_t qni_net_rows(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d + 1 < v->ndim; d++) n *= v->shape[d];
  return n;
}

double qni_net_scalar(const qn_view *v) {
  return v->dtype == QN_F64 ? *(const double *)v->data : (double)*(const float *)v->data;
}

void qni_net_set_scalar(qn_view *v, double value) {
  if (v->dtype == QN_F64)
    *(double *)v->data = value;
  else
    *(float *)v->data = (float)value;
}

void qni_net_fill_zero(qn_view *v) {
  const int64_t n = qni_net_count(v);
  if (n > 0) memset(v->data, 0, (size_t)(n * qni_net_size(v)));
}

const char *qni_net_shape_text(const qn_view *v, char *buf, size_t size) {
  size_t at = (size_t)snprintf(buf, size, "[");
  for (int32_t d = 0; d < v->ndim && at < size; d++)
    at += (size_t)snprintf(buf + at, size - at, d ? ",%" PRId64 : "%" PRId64, v->shape[d]);
  if (at < size) snprintf(buf + at, size - at, "]");
  return buf;
}

int64_t qni_net_grain(int64_t item, int64_t work) {
  const int64_t grain = work / (item > 0 ? item : 1);
  return grain > 0 ? grain : 1;
}

const qn_math *qni_net_math(const qn_host *h) { return h->query("qn.math/1"); }

qn_status qni_net_axis_of(const qn_host *h, qn_call *c, const qn_view *v, int64_t dim,
                          qni_net_axis *a) {
  char text[160];
  if (dim == 0 || dim > v->ndim || dim < -v->ndim)
    return h->fail(c, QN_E_ARG,
                   "dim is %" PRId64
                   ", but x has the shape %s; dims count from 1, or from -1 at the end",
                   dim, qni_net_shape_text(v, text, sizeof text));
  a->dim = (int32_t)(dim > 0 ? dim - 1 : v->ndim + dim);
  a->size = v->shape[a->dim];
  a->outer = a->inner = 1;
  for (int32_t d = 0; d < a->dim; d++) a->outer *= v->shape[d];
  for (int32_t d = a->dim + 1; d < v->ndim; d++) a->inner *= v->shape[d];
  return QN_OK;
}

static qn_status fold(const qn_host *h, qn_call *c, int is64, qni_column_job *j) {
  return h->parallel(c, j->cols, COLUMNS_PER_ITEM, qni_norm()->column_fold[is64], j);
}

qn_status qni_net_column_sums(const qn_host *h, qn_call *c, int is64, int64_t rows, int64_t cols,
                              int64_t stride, const void *x, void *out) {
  qni_column_job j = {
      .x = x, .out = out, .rows = rows, .cols = cols, .stride = stride, .chunk = COLUMN_CHUNK};
  const int64_t chunks = (rows + COLUMN_CHUNK - 1) / COLUMN_CHUNK;
  if (chunks <= 1) return fold(h, c, is64, &j);
  void *parts;
  qn_status st = h->scratch(c, chunks * cols * (is64 ? 8 : 4), &parts);
  if (st) return st;
  j.out = parts;
  if ((st = h->parallel(c, chunks, 1, qni_norm()->column_chunks[is64], &j))) return st;
  j = (qni_column_job){.x = parts, .out = out, .rows = chunks, .cols = cols, .stride = cols};
  return fold(h, c, is64, &j);
}
