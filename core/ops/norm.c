/*
** layer_norm, rms_norm, l2_normalize over the last dimension (formulas in kernels/norm.h).
**
** Mean and scale of each row are kept for backward. Sums for w and b are taken by
** chunk of rows, then over the chunks in order.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/norm.h"
#include "network.h"

enum { SAVED_X, SAVED_W, SAVED_MEAN, SAVED_SCALE, WORK = 8192 };

static qn_status statistics(const qn_host *h, qn_call *c, qni_norm_job *j, int32_t dtype) {
  qn_view *v;
  qn_status st = QN_OK;
  if (j->kind == QNI_NORM_LAYER) {
    st = h->save_new(c, SAVED_MEAN, dtype, 1, &j->rows, &v);
    if (!st) j->mean = v->data;
  }
  if (!st) st = h->save_new(c, SAVED_SCALE, dtype, 1, &j->rows, &v);
  if (!st) j->scale = v->data;
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c, int32_t kind) {
  const qn_view *x = h->in(c, 0), *w = kind == QNI_NORM_L2 ? NULL : h->in(c, 1);
  const qn_view *b = kind == QNI_NORM_LAYER ? h->in(c, 2) : NULL;
  qni_norm_job j = {.kind = kind,
                    .rows = qni_net_rows(x),
                    .cols = qni_net_cols(x),
                    .eps = h->arg_num(c, "eps"),
                    .x = x->data,
                    .w = w ? w->data : NULL,
                    .b = b ? b->data : NULL,
                    .y = h->out(c, 0)->data};
  qn_status st = statistics(h, c, &j, x->dtype);
  if (!st)
    st = h->parallel(c, j.rows, qni_net_grain(j.cols, WORK), qni_norm()->forward[qni_net_is64(x)],
                     &j);
  if (!st) st = h->save(c, SAVED_X, x);
  if (!st && w) st = h->save(c, SAVED_W, w);
  return st;
}

static qn_status partial_sums(const qn_host *h, qn_call *c, int64_t chunks, int64_t cols,
                              int64_t size, const qn_view *grad, void **sums) {
  *sums = NULL;
  return grad ? h->scratch(c, chunks * cols * size, sums) : QN_OK;
}

static qn_status fold(const qn_host *h, qn_call *c, int64_t chunks, const qni_norm_job *j,
                      const void *sums, qn_view *grad) {
  if (!grad) return QN_OK;
  return qni_net_column_sums(h, c, qni_net_is64(grad), chunks, j->cols, j->cols, sums, grad->data);
}

static qn_status backward(const qn_host *h, qn_call *c, int32_t kind) {
  const qn_view *x = h->saved(c, SAVED_X), *w = h->saved(c, SAVED_W),
                *mean = h->saved(c, SAVED_MEAN);
  qn_view *dx = h->out(c, 0), *dw = kind == QNI_NORM_L2 ? NULL : h->out(c, 1);
  qn_view *db = kind == QNI_NORM_LAYER ? h->out(c, 2) : NULL;
  qni_norm_job j = {.kind = kind,
                    .rows = qni_net_rows(x),
                    .cols = qni_net_cols(x),
                    .eps = h->arg_num(c, "eps"),
                    .x = x->data,
                    .w = w ? w->data : NULL,
                    .mean = mean ? mean->data : NULL,
                    .scale = h->saved(c, SAVED_SCALE)->data,
                    .dy = h->in(c, 0)->data,
                    .dx = dx ? dx->data : NULL};
  const int64_t chunks = (j.rows + QNI_NORM_CHUNK - 1) / QNI_NORM_CHUNK, size = qni_net_size(x);
  qn_status st = partial_sums(h, c, chunks, j.cols, size, dw, &j.dw);
  if (!st) st = partial_sums(h, c, chunks, j.cols, size, db, &j.db);
  if (!st) st = h->parallel(c, chunks, 1, qni_norm()->backward[qni_net_is64(x)], &j);
  if (!st) st = fold(h, c, chunks, &j, j.dw, dw);
  return st ? st : fold(h, c, chunks, &j, j.db, db);
}

static qn_status layer_forward(const qn_host *h, qn_call *c) {
  return forward(h, c, QNI_NORM_LAYER);
}
static qn_status layer_backward(const qn_host *h, qn_call *c) {
  return backward(h, c, QNI_NORM_LAYER);
}
static qn_status rms_forward(const qn_host *h, qn_call *c) { return forward(h, c, QNI_NORM_RMS); }
static qn_status rms_backward(const qn_host *h, qn_call *c) { return backward(h, c, QNI_NORM_RMS); }
static qn_status l2_forward(const qn_host *h, qn_call *c) { return forward(h, c, QNI_NORM_L2); }
static qn_status l2_backward(const qn_host *h, qn_call *c) { return backward(h, c, QNI_NORM_L2); }

static qn_tensor *mean_kept(qni_build *b, qn_tensor *x) {
  return qni_build_op(
      b, "mean", 3,
      (qn_arg[]){qni_arg_tensor(x), qni_arg_int("dim", -1), qni_arg_bool("keepdim", 1)});
}

/* dx = r (g - mean(g) - xh mean(g xh)) with xh and r as functions of x; rms has no mean(g). */
static qn_status compose(const qn_host *h, qn_call *c, int32_t kind) {
  qni_build b = qni_build_start(h, c);
  qn_tensor *dy = qni_build_flow(&b), *x = qni_build_saved(&b, SAVED_X);
  const int affine = h->like(c, 1) != NULL;
  const int layer = kind == QNI_NORM_LAYER;
  qn_tensor *w = affine ? qni_build_saved(&b, SAVED_W) : NULL;
  qn_tensor *off = layer ? qni_build_op2(&b, "sub", x, mean_kept(&b, x)) : x;
  qn_tensor *var = mean_kept(&b, qni_build_op2(&b, "mul", off, off));
  qn_tensor *r = qni_build_op1(&b, "rsqrt", qni_build_num(&b, "add", var, h->arg_num(c, "eps")));
  qn_tensor *xh = qni_build_op2(&b, "mul", off, r),
            *g = affine ? qni_build_op2(&b, "mul", dy, w) : dy;
  qn_tensor *slope = qni_build_op2(&b, "mul", xh, mean_kept(&b, qni_build_op2(&b, "mul", g, xh)));
  qn_tensor *flat = layer ? qni_build_op2(&b, "sub", g, mean_kept(&b, g)) : g;
  qni_build_set(&b, 0, qni_build_op2(&b, "mul", r, qni_build_op2(&b, "sub", flat, slope)));
  if (affine && h->needs_grad(c, 1)) qni_build_grad(&b, 1, qni_build_op2(&b, "mul", dy, xh));
  if (layer && h->needs_grad(c, 2)) qni_build_grad(&b, 2, dy);
  return b.status;
}

static qn_status layer_compose(const qn_host *h, qn_call *c) {
  return compose(h, c, QNI_NORM_LAYER);
}
static qn_status rms_compose(const qn_host *h, qn_call *c) { return compose(h, c, QNI_NORM_RMS); }

static int64_t norm_flops(const qn_host *h, qn_call *c) { return 8 * qni_net_count(h->like(c, 0)); }

QNI_OP(layer_norm_op, QN_BATCH_ROWS,
       "layer_norm(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, *, eps: num{0..} = 1e-5) -> y: "
       "f[...,C]",
       "Each row to mean 0 and variance 1 over the last dimension, then scaled and shifted.",
       "xh = (x - mean) / sqrt(var + eps), y = xh w + b; var divides by C.\n"
       "dx = r (g - mean(g) - xh mean(g xh)), g = dy w, r = 1 / sqrt(var + eps); dw = sum dy xh; "
       "db = sum dy.\n"
       "To normalise several dimensions, reshape them into one.",
       "print(quern.layer_norm(quern.tensor{{1,2,3}}))", .cite = "Ba, Kiros, Hinton 2016, eq. 4",
       .flags = QN_OP_CHEAP, .forward = layer_forward, .backward = layer_backward,
       .compose = layer_compose, .flops = norm_flops);

QNI_OP(rms_norm_op, QN_BATCH_ROWS,
       "rms_norm(x: f[...,C], w: f[C]? = nil, *, eps: num{0..} = 1e-6) -> y: f[...,C]",
       "Each row divided by its root mean square over the last dimension, then scaled.",
       "xh = x / sqrt(mean(x^2) + eps), y = xh w; dx = r (g - xh mean(g xh)), g = dy w.",
       "print(quern.rms_norm(quern.tensor{{1,2,3}}))", .cite = "Zhang and Sennrich 2019, eq. 4",
       .flags = QN_OP_CHEAP, .forward = rms_forward, .backward = rms_backward,
       .compose = rms_compose, .flops = norm_flops);

QNI_OP(l2_normalize_op, QN_BATCH_ROWS,
       "l2_normalize(x: f[...,C], *, eps: num{0..} = 1e-12) -> y: f[...,C]",
       "Each row divided by its Euclidean norm over the last dimension.",
       "y = x / max(|x|, eps); dx = (dy - y sum(dy y)) / |x|, or dy / eps where |x| <= eps.",
       "print(quern.l2_normalize(quern.tensor{3,4}))", .flags = QN_OP_CHEAP, .forward = l2_forward,
       .backward = l2_backward, .flops = norm_flops);

extern const qn_op *const qni_ops_norm[];
const qn_op *const qni_ops_norm[] = {&layer_norm_op, &rms_norm_op, &l2_normalize_op, NULL};
