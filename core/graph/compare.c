/*
** Checked before trusted.
**
** A tensor of f32 agrees when |a - b| <= 1e-6 |b| in the Euclidean norm, twice over for sums of
** many slices, whose order differs; f64 to 1e-12; anything else bit by bit. NaN agrees with
** NaN. Results that a later entry overwrites are not compared.
** SPDX-License-Identifier: MIT
*/
#include "graph/compare.h"

#include <math.h>
#include <string.h>

/* ---- Numbers ---- */

struct distance {
  double off, norm; /* sums of squares */
  int64_t differ;   /* integers, and NaN against numbers */
};

static void measure(const qn_view *a, const qn_view *b, int32_t d, int64_t at_a, int64_t at_b,
                    struct distance *sum) {
  if (d < a->ndim) {
    for (int64_t i = 0; i < a->shape[d]; i++)
      measure(a, b, d + 1, at_a + i * a->stride[d], at_b + i * b->stride[d], sum);
    return;
  }
  int64_t size = (int64_t)qni_dtype_size(a->dtype);
  double x = qni_dtype_load(a->dtype, (const char *)a->data + at_a * size);
  double y = qni_dtype_load(b->dtype, (const char *)b->data + at_b * size);
  if (x == y || (isnan(x) && isnan(y))) {
    sum->norm += isfinite(y) ? y * y : 0;
    return;
  }
  if (!isfinite(x) || !isfinite(y)) sum->differ++;
  sum->off += (x - y) * (x - y);
  sum->norm += y * y;
}

static double tolerance(int32_t dtype) {
  return dtype == QN_F64 ? 1e-12 : dtype == QN_F32 ? 1e-6 : dtype == QN_BF16 ? 1e-2 : 0;
}

/* Relative distance; NaN when there is one that no tolerance covers. */
static double distance(const qn_view *a, const qn_view *b) {
  struct distance sum = {0};
  for (int32_t d = 0; d < a->ndim; d++)
    if (a->shape[d] != b->shape[d]) return (double)NAN;
  measure(a, b, 0, 0, 0, &sum);
  if (sum.differ) return (double)NAN;
  return sum.off == 0 ? 0 : sqrt(sum.off) / (sqrt(sum.norm) + 1e-30);
}

/* ---- Entry by entry ---- */

struct check {
  const qni_runner *r;
  const qni_trace *trace;
};

static bool written_later(const qni_program *p, int32_t buffer, int32_t entry) {
  for (int32_t i = entry + 1; i < p->n_entries; i++)
    if (qni_entry_puts(p, &p->entry[i], buffer)) return true;
  return false;
}

static qn_status compare_view(const struct check *c, const qni_worker *w, int32_t entry,
                              int32_t view) {
  const qni_program *p = c->r->p;
  if (view >= 0 && p->view[view].buffer >= 0 && p->buffer[p->view[view].buffer].piece)
    return QN_OK; /* seen through what comes of it */
  if (view < 0 || written_later(p, p->view[view].buffer, entry)) return QN_OK;
  const qni_trace_view *was = &c->trace->view[p->view[view].origin];
  qn_view want = was->view, got = w->tensor[view].view;
  want.data = (char *)c->trace->buffer[was->buffer].holder->storage->data + was->offset;
  double off = distance(&got, &want);
  if (off <= tolerance(want.dtype)) return QN_OK;
  qni_program_refuse(&p->entry[entry], "train this model eagerly; please report the op",
                     "a replay of the recorded step gives another result");
  qni_error_detail("relative difference %g, allowed %g", off, tolerance(want.dtype));
  return QN_E_UNSUPPORTED;
}

static qn_status compare_entry(void *ctx, const qni_worker *w, int32_t entry) {
  const struct check *c = ctx;
  const qni_entry *e = &c->r->p->entry[entry];
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  qn_status st = QN_OK;
  if (e->again && e->kind == QNI_ENTRY_COPY) return QN_OK; /* seen through what comes of it, too */
  for (int32_t o = 0; !st && o < (back ? e->n_in : e->n_out); o++)
    st = compare_view(c, w, entry, e->out[o]);
  for (int32_t s = 0; !st && !back && s < QN_MAX_SAVED; s++)
    st = compare_view(c, w, entry, e->saved[s]);
  return st;
}

static qn_status ignore_dense(void *ctx, int32_t leaf, const qn_view *part) {
  (void)ctx, (void)leaf, (void)part;
  return QN_OK;
}

static qn_status ignore_rows(void *ctx, int32_t leaf, const int64_t *ids, const qn_view *rows) {
  (void)ctx, (void)leaf, (void)ids, (void)rows;
  return QN_OK;
}

qn_status qni_compare_recording(qni_runner *r, const qni_batch *batch, const qni_slice *slice) {
  struct check c = {r, r->p->trace[QNI_TRIALS - 1]};
  qni_collector to = {&c, ignore_dense, ignore_rows, compare_entry};
  return qni_runner_one(r, batch, slice, &to);
}

/* ---- Losses, outputs, what is written ---- */

/* Sums over a batch in another order: more than one rounding apart. */
static double sum_tolerance(int32_t dtype) { return 4 * tolerance(dtype); }

qn_status qni_compare_loss(double eager, double replayed, int32_t dtype) {
  if (fabs(eager - replayed) <= sum_tolerance(dtype) * fabs(eager) ||
      (isnan(eager) && isnan(replayed)))
    return QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "the captured step does not give the loss of the eager one");
  qni_error_detail("eager: %.9g, captured: %.9g", eager, replayed);
  qni_error_hint("the samples are not independent, or the loss is not a plain sum or mean over "
                 "them; train eagerly");
  return QN_E_UNSUPPORTED;
}

qn_status qni_compare_output(const qn_tensor *eager, const qn_tensor *replayed, int32_t index) {
  bool same = eager->view.dtype == replayed->view.dtype && eager->view.ndim == replayed->view.ndim;
  double off = same ? distance(&replayed->view, &eager->view) : (double)NAN;
  if (off <= sum_tolerance(eager->view.dtype)) return QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "the captured step does not return what the eager one does");
  qni_error_detail("result %d: relative difference %g, allowed %g", (int)index + 1, off,
                   sum_tolerance(eager->view.dtype));
  qni_error_hint("the samples are not independent; call the function eagerly");
  return QN_E_UNSUPPORTED;
}

qn_status qni_compare_state(int32_t dtype, int64_t bytes, const void *eager, const void *replayed) {
  int64_t n = bytes / (int64_t)qni_dtype_size(dtype);
  qn_view a, b;
  qni_view_dense(&a, (void *)(uintptr_t)replayed, dtype, 1, &n);
  qni_view_dense(&b, (void *)(uintptr_t)eager, dtype, 1, &n);
  double off = distance(&a, &b);
  if (off <= sum_tolerance(dtype)) return QN_OK;
  qni_fail(QN_E_UNSUPPORTED, "the captured step does not write what the eager one does into a "
                             "tensor that outlives it");
  qni_error_detail("%lld elements: relative difference %g, allowed %g", (long long)n, off,
                   sum_tolerance(dtype));
  qni_error_hint("train eagerly");
  return QN_E_UNSUPPORTED;
}

/* ---- Gradients ---- */

static const double NOISE = 8; /* times what rounding has been seen to do */

static bool same_bytes(const qn_tensor *a, const qn_tensor *b) {
  return a->view.shape[0] == b->view.shape[0] &&
         !memcmp(a->view.data, b->view.data, (size_t)qni_tensor_count(a) * 8);
}

static qni_gap gap_between(const qn_view *a, const qn_view *b) {
  struct distance sum = {0};
  for (int32_t d = 0; d < a->ndim; d++)
    if (a->shape[d] != b->shape[d]) return (qni_gap){(double)NAN, 0};
  measure(a, b, 0, 0, 0, &sum);
  return (qni_gap){sum.differ ? (double)NAN : sqrt(sum.off), sqrt(sum.norm)};
}

qni_gap qni_gradient_gap(const qni_grad *a, const qni_grad *b) {
  bool dense = b->dense != NULL, rows = b->ids != NULL;
  if ((a->dense != NULL) != dense || (a->ids != NULL) != rows ||
      (rows && !same_bytes(a->ids, b->ids)))
    return (qni_gap){(double)NAN, 0};
  if (dense) return gap_between(&a->dense->view, &b->dense->view);
  return rows ? gap_between(&a->rows->view, &b->rows->view) : (qni_gap){0, 0};
}

bool qni_gradient_close(const qni_gap *gap, int32_t dtype, double noise) {
  return gap->off <= fmax(sum_tolerance(dtype) * gap->norm, NOISE * noise);
}

qn_status qni_gradient_refuse(const qn_tensor *leaf, int32_t index, const qni_gap *gap,
                              double noise) {
  char shape[160];
  qni_fail(QN_E_UNSUPPORTED, "the captured step does not give the gradients of the eager one");
  qni_error_detail(
      "parameter %d, %s: relative difference %g, allowed %g; moved by rounding: %g", (int)index + 1,
      qni_shape_text(shape, sizeof shape, leaf->view.dtype, leaf->view.ndim, leaf->view.shape),
      gap->off / (gap->norm + 1e-300), sum_tolerance(leaf->view.dtype),
      noise / (gap->norm + 1e-300));
  qni_error_hint("the samples are not independent, or the loss is not a plain sum or mean over "
                 "them; train eagerly");
  return QN_E_UNSUPPORTED;
}
