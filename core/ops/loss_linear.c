/*
** linear_cross_entropy: cross-entropy over all rows of a table, without a logits tensor.
**
**   Z = H W' / temperature;  l_n = lse(z_n) - (1 - s) z_n,t - s mean(z_n)
**   dZ = r (softmax(Z) - Q);  dH = dZ W / temperature,  dW = dZ' H / temperature
**
** One pass over chunks of rows: the chunk's scores, their softmax in place, and at once
** both gradients for a flow of 1, which backward only scales: the reduction is linear, so
** r is known in advance. A chunk's scores fill about one L2; dW grows chunk by chunk in order.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_table.h"
#include "kernels/loss.h"
#include "loss_reduce.h"
#include "network.h"

enum {
  SAVED_DH,
  SAVED_DW,
  SAVED_SKIP,
  SAVED_LOSS,
  SAVED_WEIGHTS,
  CHUNK_BYTES = 2 << 20,
  LEAST_ROWS = 64,
  WORK = 4096
};

struct work {
  const qn_host *h;
  qn_call *c;
  const qn_view *x, *w;
  qni_class_job rows; /* dx and x: the chunk's scores */
  void *dh, *dw;      /* NULL: not wanted */
  double scale;
  int64_t size;
};

static qn_status scores(const struct work *k, int64_t first, int64_t m) {
  const int64_t D = k->x->shape[1], V = k->w->shape[0];
  qn_gemm g = {.m = m,
               .n = V,
               .k = D,
               .batch = 1,
               .a = qni_net_at(k->x->data, first * D, k->size),
               .b = k->w->data,
               .c = k->rows.dx,
               .a_row = D,
               .a_col = 1,
               .b_row = 1,
               .b_col = D,
               .c_row = V,
               .alpha = k->scale,
               .dtype = k->x->dtype};
  return k->h->gemm(k->c, &g);
}

static qn_status gradients(const struct work *k, int64_t first, int64_t m) {
  const int64_t D = k->x->shape[1], V = k->w->shape[0];
  qn_gemm g = {.m = m,
               .n = D,
               .k = V,
               .batch = 1,
               .a = k->rows.dx,
               .b = k->w->data,
               .a_row = V,
               .a_col = 1,
               .b_row = D,
               .b_col = 1,
               .c_row = D,
               .alpha = k->scale,
               .dtype = k->x->dtype};
  qn_status st = QN_OK;
  if (k->dh) {
    g.c = qni_net_at(k->dh, first * D, k->size);
    st = k->h->gemm(k->c, &g);
  }
  if (st || !k->dw) return st;
  g = (qn_gemm){.m = V,
                .n = D,
                .k = m,
                .batch = 1,
                .a = k->rows.dx,
                .b = qni_net_at(k->x->data, first * D, k->size),
                .c = k->dw,
                .a_row = 1,
                .a_col = V,
                .b_row = D,
                .b_col = 1,
                .c_row = D,
                .alpha = k->scale,
                .beta = first > 0,
                .dtype = k->x->dtype};
  return k->h->gemm(k->c, &g);
}

/* Rows first .. first + m - 1, all the way. */
static qn_status chunk(const struct work *k, int64_t first, int64_t m) {
  const int is64 = qni_net_is64(k->x);
  qni_class_job j = k->rows;
  const int64_t grain = qni_net_grain(j.cols, WORK);
  j.target += first;
  if (j.skip) j.skip += first;
  j.loss = qni_net_at(j.loss, first, k->size);
  j.lse = qni_net_at(j.lse, first, k->size);
  j.coef = qni_net_at(j.coef, first, k->size);
  qn_status st = scores(k, first, m);
  if (!st) st = k->h->parallel(k->c, m, grain, qni_loss()->class_forward[is64], &j);
  if (st || !(k->dh || k->dw)) return st;
  if ((st = k->h->parallel(k->c, m, grain, qni_loss()->class_backward[is64], &j))) return st;
  return gradients(k, first, m);
}

static qn_status run_chunks(struct work *k) {
  const int64_t N = k->x->shape[0], V = k->w->shape[0];
  int64_t rows = CHUNK_BYTES / (k->size * (V > 0 ? V : 1));
  rows = rows < LEAST_ROWS ? LEAST_ROWS : rows;
  if (rows > N) rows = N;
  void *memory;
  qn_status st = k->h->scratch(k->c, rows * V * k->size, &memory);
  k->rows.x = k->rows.dx = memory;
  for (int64_t first = 0; !st && first < N; first += rows)
    st = chunk(k, first, N - first < rows ? N - first : rows);
  return st;
}

/* New memory for the gradient of input i if it may be asked for. */
static qn_status gradient_memory(const qn_host *h, qn_call *c, int32_t input, int32_t slot,
                                 void **grad) {
  const qn_view *v = h->in(c, input);
  qn_view *g;
  *grad = NULL;
  if (!h->needs_grad(c, input)) return QN_OK;
  qn_status st = h->save_new(c, slot, v->dtype, v->ndim, v->shape, &g);
  if (st) return st;
  if (h->in(c, 0)->shape[0] == 0) qni_net_fill_zero(g);
  *grad = g->data;
  return QN_OK;
}

static qn_status prepare(const qn_host *h, qn_call *c, struct work *k, qni_loss_rows *r) {
  const qn_view *target = h->in(c, 2);
  const int64_t N = k->x->shape[0];
  qn_view *loss;
  void *coef;
  if (h->arg_num(c, "temperature") <= 0)
    return h->fail(c, QN_E_ARG, "temperature is %g, but must be above 0",
                   h->arg_num(c, "temperature"));
  qn_status st = qni_loss_skip(h, c, target, SAVED_SKIP, &r->skip);
  if (!st) st = qni_loss_check_labels(h, c, "target", target, k->w->shape[0], r->skip);
  if (!st) st = h->save_new(c, SAVED_LOSS, k->x->dtype, 1, &N, &loss);
  if (!st) st = h->scratch(c, N * k->size, &k->rows.lse);
  if (!st) st = h->scratch(c, N * k->size, &coef);
  if (!st) st = gradient_memory(h, c, 0, SAVED_DH, &k->dh);
  if (!st) st = gradient_memory(h, c, 1, SAVED_DW, &k->dw);
  if (st) return st;
  qni_loss_factors(r, k->x->dtype, coef);
  k->rows.coef = coef;
  k->rows.loss = loss->data;
  k->rows.skip = r->skip;
  k->rows.target = target->data;
  return QN_OK;
}

static qni_loss_rows rows_of(const qn_host *h, qn_call *c, int64_t n, const qn_view *weights) {
  return (qni_loss_rows){.n = n, .reduction = (int32_t)h->arg_int(c, "reduction"), .w = weights};
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct work k = {
      .h = h,
      .c = c,
      .x = h->in(c, 0),
      .w = h->in(c, 1),
      .scale = 1 / h->arg_num(c, "temperature"),
      .rows = {.math = qni_net_math(h), .smoothing = h->arg_num(c, "label_smoothing")}};
  k.size = qni_net_size(k.x);
  k.rows.cols = k.w->shape[0];
  qni_loss_rows r = rows_of(h, c, k.x->shape[0], h->in(c, 3));
  qn_status st = prepare(h, c, &k, &r);
  if (!st) st = run_chunks(&k);
  if (st) return st;
  qni_loss_reduce(&r, k.x->dtype, k.rows.loss, h->out(c, 0));
  return r.w ? h->save(c, SAVED_WEIGHTS, r.w) : QN_OK;
}

/* to = a from, or to += a from */
static void scaled(qn_view *to, int32_t add, const qn_view *from, double a) {
  const int64_t n = qni_net_count(to);
  if (qni_net_is64(to)) {
    double *y = to->data;
    const double *x = from->data;
    for (int64_t i = 0; i < n; i++) y[i] = (add ? y[i] : 0) + x[i] * a;
  } else {
    float *y = to->data, by = (float)a;
    const float *x = from->data;
    for (int64_t i = 0; i < n; i++) y[i] = (add ? y[i] : 0) + x[i] * by;
  }
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *dy = h->in(c, 0), *skip = h->saved(c, SAVED_SKIP);
  qn_view *dh = h->out(c, 0), *dw = h->out(c, 1), *dweights = h->out(c, 3);
  if (dh) scaled(dh, h->adds(c, 0), h->saved(c, SAVED_DH), qni_net_scalar(dy));
  if (dw) scaled(dw, h->adds(c, 1), h->saved(c, SAVED_DW), qni_net_scalar(dy));
  if (!dweights) return QN_OK;
  qni_loss_rows r = rows_of(h, c, dweights->shape[0], h->saved(c, SAVED_WEIGHTS));
  qn_view part = *dweights;
  qn_status st =
      h->adds(c, 3) ? h->scratch(c, qni_net_count(&part) * qni_net_size(&part), &part.data) : QN_OK;
  if (st) return st;
  r.skip = skip ? skip->data : NULL;
  qni_loss_weight_grad(&r, h->saved(c, SAVED_LOSS)->data, dy, &part);
  if (part.data != dweights->data) scaled(dweights, 1, &part, 1);
  return QN_OK;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  const int64_t gradients = (h->needs_grad(c, 0) != 0) + (h->needs_grad(c, 1) != 0);
  return 2 * (1 + gradients) * qni_net_count(h->like(c, 0)) * h->like(c, 1)->shape[0];
}

QNI_OP(
    linear_cross_entropy_op, QN_BATCH_SUM,
    "linear_cross_entropy(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, weights: f[N]? = nil, *, "
    "temperature: num{0..} = 1, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, "
    "reduction: enum{mean|sum} = mean) -> l: f[]",
    "Cross-entropy of all items' scores h w' against the target, without keeping the scores.",
    "Z = H W' / temperature, then as cross_entropy; dH = dZ W / temperature, dW = dZ' H / "
    "temperature.\n"
    "Rows go through in chunks; forward makes the gradients at the same time, so memory does not "
    "grow with N V.",
    "print(quern.linear_cross_entropy(quern.tensor{{1,2}}, quern.tensor{{1,0},{0,1}}, "
    "quern.tensor({1}, 'i64')))",
    .flags = QN_OP_NAN_STOPS | QN_OP_ADDS_GRADS, .forward = forward, .backward = backward,
    .flops = flops);

extern const qn_op *const qni_ops_loss_linear[];
const qn_op *const qni_ops_loss_linear[] = {&linear_cross_entropy_op, NULL};
