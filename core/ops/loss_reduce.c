/* From losses of rows to what a loss op returns, and back. SPDX-License-Identifier: MIT */
#include "loss_reduce.h"

#include <inttypes.h>

#include "network.h"

static double get(const void *p, int32_t dtype, int64_t i) {
  return dtype == QN_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void set(void *p, int32_t dtype, int64_t i, double x) {
  if (dtype == QN_F64)
    ((double *)p)[i] = x;
  else
    ((float *)p)[i] = (float)x;
}

/* Weight of row i; 0 where it does not count. */
static double weight(const qni_loss_rows *r, int64_t i) {
  if (r->skip && r->skip[i]) return 0;
  return r->w ? get(r->w->data, r->w->dtype, i) : 1;
}

static double total(const qni_loss_rows *r) {
  double sum = 0;
  for (int64_t i = 0; i < r->n; i++) sum += weight(r, i);
  return sum;
}

static double divisor(const qni_loss_rows *r) {
  if (r->reduction != QNI_REDUCE_MEAN) return 1;
  const double W = total(r);
  return W != 0 ? W : 1; /* all weights 0: the sum is 0 too */
}

qn_status qni_loss_infer_rows(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  y->ndim = h->arg_int(c, "reduction") == QNI_REDUCE_NONE ? 1 : 0;
  y->shape[0] = h->in(c, 0)->shape[0];
  return QN_OK;
}

qn_status qni_loss_infer_like(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  y->ndim = h->arg_int(c, "reduction") == QNI_REDUCE_NONE ? x->ndim : 0;
  for (int32_t d = 0; d < y->ndim; d++) y->shape[d] = x->shape[d];
  return QN_OK;
}

qn_status qni_loss_skip(const qn_host *h, qn_call *c, const qn_view *target, int32_t slot,
                        const uint8_t **skip) {
  *skip = NULL;
  if (!h->has_arg(c, "ignore_index")) return QN_OK;
  const int64_t ignore = h->arg_int(c, "ignore_index"), n = qni_net_count(target);
  qn_view *v;
  qn_status st = h->save_new(c, slot, QN_U8, 1, &n, &v);
  if (st) return st;
  uint8_t *mark = v->data;
  for (int64_t i = 0; i < n; i++) mark[i] = ((const int64_t *)target->data)[i] == ignore;
  *skip = mark;
  return QN_OK;
}

qn_status qni_loss_check_labels(const qn_host *h, qn_call *c, const char *name,
                                const qn_view *target, int64_t limit, const uint8_t *skip) {
  const int64_t *id = target->data, n = qni_net_count(target);
  for (int64_t i = 0; i < n; i++)
    if ((id[i] < 0 || id[i] >= limit) && !(skip && skip[i]))
      return h->fail(c, QN_E_ARG,
                     "%s has %" PRId64 " at element %" PRId64 ", but there are %" PRId64
                     " classes; labels run from 0 to %" PRId64,
                     name, id[i], i + 1, limit, limit - 1);
  return QN_OK;
}

void qni_loss_reduce(const qni_loss_rows *r, int32_t dtype, const void *loss, qn_view *y) {
  double sum = 0;
  for (int64_t i = 0; i < r->n; i++) {
    const double w = weight(r, i), l = w != 0 ? w * get(loss, dtype, i) : 0;
    if (r->reduction == QNI_REDUCE_NONE) set(y->data, dtype, i, l);
    sum += l;
  }
  if (r->reduction != QNI_REDUCE_NONE) qni_net_set_scalar(y, sum / divisor(r));
}

void qni_loss_factors(const qni_loss_rows *r, int32_t dtype, void *coef) {
  const double W = divisor(r);
  for (int64_t i = 0; i < r->n; i++) set(coef, dtype, i, weight(r, i) / W);
}

void qni_loss_flow(const qni_loss_rows *r, const qn_view *dy, int32_t dtype, void *coef) {
  const int each = r->reduction == QNI_REDUCE_NONE;
  for (int64_t i = 0; i < r->n; i++)
    set(coef, dtype, i, get(coef, dtype, i) * get(dy->data, dtype, each ? i : 0));
}

void qni_loss_weight_grad(const qni_loss_rows *r, const void *loss, const qn_view *dy,
                          qn_view *dw) {
  const double W = divisor(r);
  double mean = 0;
  for (int64_t i = 0; i < r->n && r->reduction == QNI_REDUCE_MEAN; i++)
    mean += weight(r, i) * get(loss, dw->dtype, i) / W;
  for (int64_t i = 0; i < r->n; i++) {
    const double g = get(dy->data, dy->dtype, r->reduction == QNI_REDUCE_NONE ? i : 0);
    const int out = r->skip && r->skip[i];
    set(dw->data, dw->dtype, i, out ? 0 : g * (get(loss, dw->dtype, i) - mean) / W);
  }
}
