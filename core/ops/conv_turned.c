/*
** Convolution of f32 with channels first and one group, by way of channels last: both sides are
** turned, which costs a pass over each, and the faster products do the work.
** SPDX-License-Identifier: MIT
*/
#include "kernels/conv.h"
#include "ops/conv_parts.h"
#include "ops/network.h"

struct turn {
  const float *from;
  float *to;
  int64_t rows, columns; /* of each image's matrix, which is transposed */
};

static qn_status turn_images(void *ctx, int64_t begin, int64_t end) {
  const struct turn *t = ctx;
  const int64_t image = t->rows * t->columns;
  for (int64_t n = begin; n < end; n++)
    qni_conv_kernels()->turn(t->from + n * image, t->rows, t->columns, t->to + n * image);
  return QN_OK;
}

static qn_status turn(const qn_host *h, qn_call *c, int64_t N, int64_t rows, int64_t columns,
                      const void *from, void *to) {
  struct turn t = {.from = from, .to = to, .rows = rows, .columns = columns};
  return h->parallel(c, N, qni_net_grain(rows * columns, 65536), turn_images, &t);
}

/* A side [N, channels, pixels] turned, or memory for one that will be turned back. */
static qn_status side(const qn_host *h, qn_call *c, int64_t N, int64_t channels, int64_t pixels,
                      const void *from, void **last) {
  qn_status st = h->scratch(c, N * channels * pixels * 4, last);
  return st || !from ? st : turn(h, c, N, channels, pixels, from, *last);
}

bool qni_turned_takes(const qni_conv *v) {
  qni_conv last = *v;
  last.w.last = 1;
  return !v->w.last && qni_direct_takes(&last);
}

qn_status qni_turned_image(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                           const void *w, const void *bias, void *y) {
  const int64_t N = v->w.N, in = v->w.H * v->w.W;
  qni_conv last = *v;
  last.w.last = 1;
  void *xl = NULL, *yl = NULL;
  qn_status st = side(h, c, N, v->w.C, in, x, &xl);
  if (!st) st = side(h, c, N, v->O, v->P, NULL, &yl);
  if (!st) st = qni_conv_way(&last)->image(h, c, &last, xl, w, bias, yl);
  return st ? st : turn(h, c, N, v->P, v->O, yl, y);
}

qn_status qni_turned_back(const qn_host *h, qn_call *c, const qni_conv *v, const void *g,
                          const void *w, void *dx) {
  const int64_t N = v->w.N, in = v->w.H * v->w.W;
  qni_conv last = *v;
  last.w.last = 1;
  void *gl = NULL, *xl = NULL;
  qn_status st = side(h, c, N, v->O, v->P, g, &gl);
  if (!st) st = side(h, c, N, v->w.C, in, NULL, &xl);
  if (!st) st = qni_conv_way(&last)->back(h, c, &last, gl, w, xl);
  return st ? st : turn(h, c, N, in, v->w.C, xl, dx);
}

qn_status qni_turned_weight(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                            const void *g, void *dw) {
  qni_conv last = *v;
  last.w.last = 1;
  void *xl = NULL, *gl = NULL;
  qn_status st = side(h, c, v->w.N, v->w.C, v->w.H * v->w.W, x, &xl);
  if (!st) st = side(h, c, v->w.N, v->O, v->P, g, &gl);
  return st ? st : qni_conv_way(&last)->weight(h, c, &last, xl, gl, dw);
}
