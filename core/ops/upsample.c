/*
** upsample: images enlarged by whole factors, nearest or bilinear.
**
** Result pixel i lies at (i + 1/2) / scale - 1/2 of the source (corners not aligned),
** clamped to the image; bilinear mixes the two neighbours along each axis, nearest takes floor(i / scale).
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "ops/conv_shape.h"
#include "ops/network.h"

struct tap {
  int64_t low, high;
  double weight; /* of high */
};

struct grid {
  qni_window w;
  int64_t lanes; /* channels side by side: 1 in planes, C with channels last */
  bool is64;
  struct tap *row, *col;
  const char *from;
  char *to;
};

#define QNI_TYPED "ops/upsample_typed.h"
#include "ops/both_typed.h"

static qn_status read_grid(const qn_host *h, qn_call *c, const qn_view *x, struct grid *g) {
  int64_t sh, sw;
  *g = (struct grid){.is64 = qni_net_is64(x)};
  qn_status st = qni_image_read(h, c, x, &g->w);
  if (!st) st = qni_window_pair(h, c, "scale", x->ndim - 2, 1, 1, &sh, &sw);
  if (st) return st;
  g->w.OH = x->ndim == 4 ? g->w.H * sh : 1;
  g->w.OW = g->w.W * sw;
  g->lanes = g->w.last ? g->w.C : 1;
  return QN_OK;
}

static void fill_taps(int64_t size, int64_t n, bool nearest, struct tap *taps) {
  for (int64_t i = 0; i < n; i++) {
    double at = ((double)i + 0.5) * (double)size / (double)n - 0.5;
    if (at < 0) at = 0;
    int64_t low = (int64_t)at;
    taps[i] = (struct tap){low, low + 1 < size ? low + 1 : low, at - (double)low};
    if (nearest) taps[i] = (struct tap){i * size / n, i * size / n, 0};
  }
}

static qn_status items_forward(void *ctx, int64_t begin, int64_t end) {
  const struct grid *g = ctx;
  for (int64_t i = begin; i < end; i++) {
    const void *x = g->from + i * g->w.H * g->w.W * g->lanes * (g->is64 ? 8 : 4);
    void *y = g->to + i * g->w.OH * g->w.OW * g->lanes * (g->is64 ? 8 : 4);
    if (g->is64)
      enlarge_item_f64(g, x, y);
    else
      enlarge_item_f32(g, x, y);
  }
  return QN_OK;
}

static qn_status items_backward(void *ctx, int64_t begin, int64_t end) {
  const struct grid *g = ctx;
  for (int64_t i = begin; i < end; i++) {
    const void *dy = g->from + i * g->w.OH * g->w.OW * g->lanes * (g->is64 ? 8 : 4);
    void *dx = g->to + i * g->w.H * g->w.W * g->lanes * (g->is64 ? 8 : 4);
    if (g->is64)
      enlarge_item_back_f64(g, dy, dx);
    else
      enlarge_item_back_f32(g, dy, dx);
  }
  return QN_OK;
}

static qn_status run(const qn_host *h, qn_call *c, const qn_view *image, const qn_view *from,
                     qn_view *to, qn_range_fn fn) {
  struct grid g;
  void *taps;
  qn_status st = read_grid(h, c, image, &g);
  if (!st) st = h->scratch(c, (g.w.OH + g.w.OW) * (int64_t)sizeof(struct tap), &taps);
  if (st) return st;
  bool nearest = h->arg_int(c, "mode") == 0;
  g.row = taps;
  g.col = g.row + g.w.OH;
  fill_taps(g.w.H, g.w.OH, nearest, g.row);
  fill_taps(g.w.W, g.w.OW, nearest, g.col);
  g.from = from->data;
  g.to = to->data;
  return h->parallel(c, g.w.last ? g.w.N : g.w.N * g.w.C,
                     qni_net_grain(g.w.OH * g.w.OW * g.lanes, 16384), fn, &g);
}

static qn_status infer(const qn_host *h, qn_call *c) {
  struct grid g;
  const qn_view *x = h->in(c, 0);
  qn_status st = read_grid(h, c, x, &g);
  if (st) return st;
  qni_image_result(&g.w, x->ndim, g.w.C, h->out(c, 0));
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  return run(h, c, h->in(c, 0), h->in(c, 0), h->out(c, 0), items_forward);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0);
  return dx ? run(h, c, h->like(c, 0), h->in(c, 0), dx, items_backward) : QN_OK;
}

static const qn_op upsample = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema =
        "upsample(x: f[?], *, scale: [int], mode: enum{nearest|bilinear} = nearest, " QNI_LAYOUT
        ") -> y: f[?]",
    .summary = "Enlarges images by whole factors.",
    .doc = "x: [N,C,H,W] or [N,C,L]. scale: one factor or one per axis. bilinear: pixel centres "
           "are aligned, not corners." QNI_LAYOUT_DOC,
    .example = "print(quern.upsample(quern.ones{1, 1, 2, 2}, {scale = 2}))",
    .infer = infer,
    .forward = forward,
    .backward = backward};

const qn_op *const qni_ops_upsample[] = {&upsample, NULL};
