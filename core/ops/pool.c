/*
** Pooling over [N,C,H,W] or [N,C,L], or with channels last: maximum, mean, and mean to a given
** size.
**
**   max_pool   y[p] = max over the window; the gradient goes to the first maximum
**   avg_pool   y[p] = mean over the window's pixels inside the image
**   adaptive_avg_pool   window i of O over I pixels: floor(i I / O) .. ceil((i+1) I / O) - 1
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "ops/conv_shape.h"
#include "ops/network.h"

struct spans { /* bounds of each window along both axes */
  int64_t *top, *bottom, *left, *right;
};

#define QNI_TYPED "ops/pool_typed.h"
#include "ops/both_typed.h"

struct pool {
  qni_window w;
  struct spans spans;
  bool max, is64;
  const char *x; /* forward: image; backward: gradient of the result */
  char *y;       /* forward: result; backward: gradient of the image */
  int32_t *at;   /* of each result pixel: the winner within its window */
};

static qn_status read_window(const qn_host *h, qn_call *c, const qn_view *x, qni_window *w) {
  int32_t axes;
  int64_t kh, kw;
  qn_status st = qni_window_axes(h, c, x, &axes);
  if (!st) st = qni_window_pair(h, c, "kernel", axes, 1, 1, &kh, &kw);
  if (st) return st;
  if (axes == 1) kh = 1;
  if ((st = qni_window_read(h, c, x, kh, kw, w))) return st;
  int32_t n = 0;
  h->arg_ints(c, "stride", &n);
  if (!n) { /* windows side by side */
    w->sh = kh, w->sw = kw;
    w->OH = (w->H + 2 * w->ph - w->dh * (kh - 1) - 1) / w->sh + 1;
    w->OW = (w->W + 2 * w->pw - w->dw * (kw - 1) - 1) / w->sw + 1;
  }
  if (w->ph * 2 > kh || w->pw * 2 > kw)
    return h->fail(c, QN_E_ARG,
                   "padding %" PRId64 "x%" PRId64 " is more than half of the window %" PRId64
                   "x%" PRId64,
                   w->ph, w->pw, kh, kw);
  return QN_OK;
}

static qn_status read_adaptive(const qn_host *h, qn_call *c, const qn_view *x, qni_window *w) {
  *w = (qni_window){0};
  qn_status st = qni_image_read(h, c, x, w);
  if (!st) st = qni_window_pair(h, c, "size", x->ndim - 2, 1, 1, &w->OH, &w->OW);
  if (st) return st;
  if (x->ndim == 3) w->OH = 1;
  if (w->H > 0 && w->W > 0) return QN_OK;
  return h->fail(c, QN_E_SHAPE, "the image has no pixels");
}

/* ---- Running over planes, or over images with channels last ---- */

static qn_status forward_items(void *ctx, int64_t begin, int64_t end) {
  const struct pool *p = ctx;
  const int64_t lanes = p->w.last ? p->w.C : 1, in = p->w.H * p->w.W * lanes,
                out = p->w.OH * p->w.OW * lanes;
  for (int64_t i = begin; i < end; i++) {
    const void *x = p->x + i * in * (p->is64 ? 8 : 4);
    void *y = p->y + i * out * (p->is64 ? 8 : 4);
    if (p->max && p->is64)
      max_item_f64(&p->w, lanes, x, y, p->at + i * out);
    else if (p->max)
      max_item_f32(&p->w, lanes, x, y, p->at + i * out);
    else if (p->is64)
      mean_item_f64(&p->w, &p->spans, lanes, x, y);
    else
      mean_item_f32(&p->w, &p->spans, lanes, x, y);
  }
  return QN_OK;
}

static qn_status backward_items(void *ctx, int64_t begin, int64_t end) {
  const struct pool *p = ctx;
  const int64_t lanes = p->w.last ? p->w.C : 1, in = p->w.H * p->w.W * lanes,
                out = p->w.OH * p->w.OW * lanes;
  for (int64_t i = begin; i < end; i++) {
    const void *dy = p->x + i * out * (p->is64 ? 8 : 4);
    void *dx = p->y + i * in * (p->is64 ? 8 : 4);
    if (p->max && p->is64)
      max_item_back_f64(&p->w, lanes, dy, p->at + i * out, dx);
    else if (p->max)
      max_item_back_f32(&p->w, lanes, dy, p->at + i * out, dx);
    else if (p->is64)
      mean_item_back_f64(&p->w, &p->spans, lanes, dy, dx);
    else
      mean_item_back_f32(&p->w, &p->spans, lanes, dy, dx);
  }
  return QN_OK;
}

static qn_status run(const qn_host *h, qn_call *c, struct pool *p, qn_range_fn fn) {
  const int64_t items = p->w.last ? p->w.N : p->w.N * p->w.C, lanes = p->w.last ? p->w.C : 1;
  return h->parallel(c, items, qni_net_grain(p->w.H * p->w.W * lanes, 16384), fn, p);
}

/* ---- max_pool ---- */

static qn_status max_infer(const qn_host *h, qn_call *c) {
  qni_window w;
  qn_status st = read_window(h, c, h->in(c, 0), &w);
  if (!st) qni_image_result(&w, h->in(c, 0)->ndim, w.C, h->out(c, 0));
  return st;
}

static qn_status max_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  struct pool p = {.max = true, .is64 = qni_net_is64(x), .x = x->data, .y = h->out(c, 0)->data};
  qn_view *at;
  qn_status st = read_window(h, c, x, &p.w);
  if (!st) st = h->save_new(c, 0, QN_I32, h->out(c, 0)->ndim, h->out(c, 0)->shape, &at);
  if (st) return st;
  p.at = at->data;
  return run(h, c, &p, forward_items);
}

static qn_status max_backward(const qn_host *h, qn_call *c) {
  const qn_view *dy = h->in(c, 0);
  qn_view *dx = h->out(c, 0);
  if (!dx) return QN_OK;
  struct pool p = {.max = true,
                   .is64 = qni_net_is64(dy),
                   .x = dy->data,
                   .y = dx->data,
                   .at = h->saved(c, 0)->data};
  qn_status st = read_window(h, c, h->like(c, 0), &p.w);
  return st ? st : run(h, c, &p, backward_items);
}

/* The winner of a window changes where its two largest pixels are close. */
static qn_status max_kink(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  int64_t n = qni_net_count(x);
  for (int64_t i = 0; i < n && i < 512; i++)
    for (int64_t j = 0; j < i; j++) {
      double a = qni_net_is64(x) ? ((double *)x->data)[i] : (double)((float *)x->data)[i];
      double b = qni_net_is64(x) ? ((double *)x->data)[j] : (double)((float *)x->data)[j];
      if (fabs(a - b) < 1e-3) return QN_E_NUMERIC;
    }
  return QN_OK;
}

/* ---- avg_pool and adaptive_avg_pool ---- */

static qn_status span_memory(const qn_host *h, qn_call *c, const qni_window *w, struct spans *s) {
  void *memory;
  qn_status st = h->scratch(c, 2 * (w->OH + w->OW) * (int64_t)sizeof(int64_t), &memory);
  s->top = memory;
  s->bottom = s->top + w->OH;
  s->left = s->bottom + w->OH;
  s->right = s->left + w->OW;
  return st;
}

static void fixed_spans(int64_t n, int64_t size, int64_t k, int64_t stride, int64_t pad,
                        int64_t *from, int64_t *to) {
  for (int64_t i = 0; i < n; i++) {
    int64_t first = i * stride - pad, last = first + k;
    from[i] = first < 0 ? 0 : first;
    to[i] = last > size ? size : last;
  }
}

static void adaptive_spans(int64_t n, int64_t size, int64_t *from, int64_t *to) {
  for (int64_t i = 0; i < n; i++) {
    from[i] = i * size / n;
    to[i] = ((i + 1) * size + n - 1) / n;
  }
}

static bool is_adaptive(const qn_host *h, qn_call *c) { return h->has_arg(c, "size"); }

static qn_status mean_window(const qn_host *h, qn_call *c, const qn_view *x, qni_window *w) {
  return is_adaptive(h, c) ? read_adaptive(h, c, x, w) : read_window(h, c, x, w);
}

static qn_status mean_infer(const qn_host *h, qn_call *c) {
  qni_window w;
  qn_status st = mean_window(h, c, h->in(c, 0), &w);
  if (!st) qni_image_result(&w, h->in(c, 0)->ndim, w.C, h->out(c, 0));
  return st;
}

static qn_status mean_run(const qn_host *h, qn_call *c, const qn_view *image, const qn_view *from,
                          qn_view *to, qn_range_fn fn) {
  struct pool p = {.is64 = qni_net_is64(from), .x = from->data, .y = to->data};
  qn_status st = mean_window(h, c, image, &p.w);
  if (!st) st = span_memory(h, c, &p.w, &p.spans);
  if (st) return st;
  if (is_adaptive(h, c)) {
    adaptive_spans(p.w.OH, p.w.H, p.spans.top, p.spans.bottom);
    adaptive_spans(p.w.OW, p.w.W, p.spans.left, p.spans.right);
  } else {
    fixed_spans(p.w.OH, p.w.H, p.w.kh, p.w.sh, p.w.ph, p.spans.top, p.spans.bottom);
    fixed_spans(p.w.OW, p.w.W, p.w.kw, p.w.sw, p.w.pw, p.spans.left, p.spans.right);
  }
  return run(h, c, &p, fn);
}

static qn_status mean_forward(const qn_host *h, qn_call *c) {
  return mean_run(h, c, h->in(c, 0), h->in(c, 0), h->out(c, 0), forward_items);
}

static qn_status mean_backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0);
  return dx ? mean_run(h, c, h->like(c, 0), h->in(c, 0), dx, backward_items) : QN_OK;
}

#define WINDOW                                                                                     \
  "kernel: [int], stride: [int]? = nil, padding: [int] = [0], dilation: [int] = [1], " QNI_LAYOUT

static const qn_op max_pool = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema = "max_pool(x: f[?], *, " WINDOW ") -> y: f[?]",
    .summary = "Largest pixel of each window.",
    .doc = "x: [N,C,H,W] or [N,C,L]. kernel, stride (default: the kernel), padding (at most half "
           "of the kernel), dilation: one number or one "
           "per axis. The gradient goes to the first maximum." QNI_LAYOUT_DOC,
    .example =
        "print(quern.max_pool(quern.arange(16):to('f32'):reshape(1, 1, 4, 4), {kernel = 2}))",
    .infer = max_infer,
    .forward = max_forward,
    .backward = max_backward,
    .kink = max_kink};

static const qn_op avg_pool = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema = "avg_pool(x: f[?], *, kernel: [int], stride: [int]? = "
              "nil, padding: [int] = [0], " QNI_LAYOUT ") -> y: f[?]",
    .summary = "Mean of each window.",
    .doc = "x: [N,C,H,W] or [N,C,L]. The mean is over the window's "
           "pixels inside the image: padding does not count." QNI_LAYOUT_DOC,
    .example = "print(quern.avg_pool(quern.ones{1, 1, 4, 4}, {kernel = 2}))",
    .infer = mean_infer,
    .forward = mean_forward,
    .backward = mean_backward};

static const qn_op adaptive_avg_pool = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema = "adaptive_avg_pool(x: f[?], *, size: [int], " QNI_LAYOUT ") -> y: f[?]",
    .summary = "Means of windows chosen so that the result has the given size.",
    .doc = "x: [N,C,H,W] or [N,C,L]. Window i of O over I pixels: floor(i I / O) .. ceil((i+1) I / "
           "O) - 1." QNI_LAYOUT_DOC,
    .example = "print(quern.adaptive_avg_pool(quern.ones{1, 1, 5, 5}, {size = 1}))",
    .infer = mean_infer,
    .forward = mean_forward,
    .backward = mean_backward};

const qn_op *const qni_ops_pool[] = {&max_pool, &avg_pool, &adaptive_avg_pool, NULL};
