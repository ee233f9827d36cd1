/*
** The weight gradient of direct convolution (f32, channels last, one group):
**   dw[o,c,tap] = sum over images and pixels  x[pixel seen by tap, c] g[pixel, o]
** with sums kept as [tap, c, o]. A task is a panel of result channels over a part of the batch;
** there are fewer parts where there are more panels, and the parts are joined in order. Pixels
** that a tap does not see inside the image are left out.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "kernels/conv.h"
#include "ops/conv_parts.h"
#include "ops/network.h"

enum {
  TASKS = 16,               /* panels times parts of the batch */
  PANEL_BYTES = 256 * 1024, /* sums of a panel beyond this are made row by row of the kernel */
  GROUP_BYTES = 512 * 1024  /* of images worked on together */
};

struct weighing {
  const qni_conv *v;
  const qni_conv_table *kernels;
  const float *x, *g;
  float *sums; /* [parts][tap, c, o] */
  float *dw;
  int64_t n_parts, per_part, group, panels;
};

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* First and one past the last position whose tap lies inside 0..size-1. */
static int64_t first_inside(int64_t offset, int64_t stride) {
  return offset >= 0 ? 0 : divide_up(-offset, stride);
}
static int64_t last_inside(int64_t offset, int64_t stride, int64_t size, int64_t positions) {
  if (size - 1 < offset) return 0;
  const int64_t n = (size - 1 - offset) / stride + 1;
  return n < positions ? n : positions;
}

/* One tap, one panel, images begin..end-1. */
static void weigh(const struct weighing *t, int64_t i, int64_t j, int64_t panel, int64_t begin,
                  int64_t end, float *sums) {
  const qni_window *w = &t->v->w;
  const int64_t dy = i * w->dh - w->ph, dx = j * w->dw - w->pw;
  const int64_t y0 = first_inside(dy, w->sh), y1 = last_inside(dy, w->sh, w->H, w->OH);
  const int64_t x0 = first_inside(dx, w->sw), x1 = last_inside(dx, w->sw, w->W, w->OW);
  if (y0 >= y1 || x0 >= x1) return;
  const int64_t O = t->v->O, lanes = t->kernels->lanes, lane = panel * 2 * lanes, left = O - lane,
                vectors = left > lanes ? 2 : 1, last = left - (vectors - 1) * lanes;
  const int64_t pixel = (begin * w->H + y0 * w->sh + dy) * w->W + x0 * w->sw + dx;
  qni_conv_weigh job = {.x = t->x + pixel * w->C,
                        .g = t->g + ((begin * w->OH + y0) * w->OW + x0) * O + lane,
                        .x_image = w->H * w->W * w->C,
                        .x_row = w->sh * w->W * w->C,
                        .x_step = w->sw * w->C,
                        .g_image = w->OH * w->OW * O,
                        .g_row = w->OW * O,
                        .g_step = O,
                        .images = end - begin,
                        .rows = y1 - y0,
                        .columns = x1 - x0,
                        .channels = w->C,
                        .sum = sums + (i * w->kw + j) * w->C * O + lane,
                        .sum_row = O,
                        .vectors = (int32_t)vectors,
                        .last = (int32_t)(last < lanes ? last : lanes)};
  if (x0 == 0 && x1 == w->OW && w->sw * w->OW == w->W && w->sh == 1) { /* rows follow each other */
    job.columns *= job.rows;
    job.rows = 1;
  }
  t->kernels->weigh(&job);
}

static int64_t at_most(int64_t a, int64_t most) { return a < most ? a : most; }

/* Kernel rows i0..i1-1 of one panel, images begin..end-1. */
static void weigh_rows(const struct weighing *t, int64_t i0, int64_t i1, int64_t panel,
                       int64_t begin, int64_t end, float *sums) {
  for (int64_t n = begin; n < end; n += t->group)
    for (int64_t i = i0; i < i1; i++)
      for (int64_t j = 0; j < t->v->w.kw; j++)
        weigh(t, i, j, panel, n, at_most(n + t->group, end), sums);
}

/* Task: one panel of one part of the batch. */
static qn_status weigh_tasks(void *ctx, int64_t begin, int64_t end) {
  const struct weighing *t = ctx;
  const qni_window *w = &t->v->w;
  const int64_t O = t->v->O, wide = 2 * t->kernels->lanes;
  for (int64_t task = begin; task < end; task++) {
    const int64_t panel = task % t->panels, part = task / t->panels, lane = panel * wide;
    const int64_t first = part * t->per_part, last = at_most(first + t->per_part, w->N);
    const int64_t lanes = at_most(wide, O - lane);
    float *sums = t->sums + part * O * t->v->K;
    for (int64_t k = 0; k < t->v->K; k++)
      memset(sums + k * O + lane, 0, (size_t)lanes * sizeof *sums);
    const int64_t step = t->v->K * wide * 4 > PANEL_BYTES ? 1 : w->kh;
    for (int64_t i = 0; i < w->kh; i += step)
      weigh_rows(t, i, at_most(i + step, w->kh), panel, first, last, sums);
  }
  return QN_OK;
}

/* dw[o, c, tap] = the parts' sums, in order. */
static qn_status join(void *ctx, int64_t begin, int64_t end) {
  const struct weighing *t = ctx;
  t->kernels->join(t->sums, t->n_parts, t->v->O, t->v->w.C, t->v->w.kh * t->v->w.kw, begin, end,
                   t->dw);
  return QN_OK;
}

qn_status qni_direct_weight(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                            const void *g, void *dw) {
  struct weighing t = {.v = v, .kernels = qni_conv_kernels(), .x = x, .g = g, .dw = dw};
  const qni_window *w = &v->w;
  const int64_t cells = v->O * v->K;
  const int64_t image = (w->H * w->W * w->C + v->P * 2 * t.kernels->lanes) * 4;
  void *memory;
  t.panels = divide_up(divide_up(v->O, t.kernels->lanes), 2);
  t.per_part = divide_up(w->N, divide_up(TASKS, t.panels));
  t.n_parts = w->N ? divide_up(w->N, t.per_part) : 1;
  t.group = GROUP_BYTES / (image > 0 ? image : 1);
  if (t.group < 1) t.group = 1;
  qn_status st = h->scratch(c, t.n_parts * cells * 4, &memory);
  if (st) return st;
  t.sums = memory;
  st = h->parallel(c, t.n_parts * t.panels, 1, weigh_tasks, &t);
  return st ? st : h->parallel(c, v->O, 16, join, &t);
}
