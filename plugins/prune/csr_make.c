/* csr_make: a matrix by rows without its zeros. SPDX-License-Identifier: MIT */
#include "prune.h"

static bool is_kept(const qn_view *w, int64_t i) {
  return w->dtype == QN_F64 ? ((const double *)w->data)[i] != 0 : ((const float *)w->data)[i] != 0;
}

static qn_status infer(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0);
  int64_t kept = 0;
  for (int64_t i = 0; i < count_of(w); i++) kept += is_kept(w, i);
  for (int32_t o = 0; o <= 2; o += 2) {
    qn_view *y = h->out(c, o);
    y->ndim = 1;
    y->shape[0] = kept;
  }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0);
  const int64_t O = w->shape[0], I = w->shape[1], size = w->dtype == QN_F64 ? 8 : 4;
  char *values = h->out(c, 0)->data;
  int64_t *rows = h->out(c, 1)->data, at = 0;
  int32_t *cols = h->out(c, 2)->data;
  rows[0] = 0;
  for (int64_t o = 0; o < O; o++) {
    for (int64_t i = 0; i < I; i++) {
      if (!is_kept(w, o * I + i)) continue;
      memcpy(values + at * size, (const char *)w->data + (o * I + i) * size, (size_t)size);
      cols[at++] = (int32_t)i;
    }
    rows[o + 1] = at;
  }
  return QN_OK;
}

const qn_op prune_csr_make_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD | QN_OP_READS_DATA,
    .schema = "csr_make(w: f[O,I]) -> values: f[?], rows: i64[O+1], cols: i32[?]",
    .summary = "A matrix by rows without its zeros.",
    .doc = "values and columns (from 0) in row-major order; row o has those from rows[o] to "
           "rows[o+1]-1. No gradient.",
    .example = "print(quern.csr_make(quern.tensor{{0,1},{2,0}}))",
    .infer = infer,
    .forward = forward,
};
