/*
** The weight gradient of direct convolution (f32, channels last, one group):
**   dw[o,c,tap] = sum over images and pixels  x[pixel seen by tap, c] g[pixel, o]
** with sums kept as [tap, c, o]. A task is a panel of result channels over a part of the batch;
** there are fewer parts where there are more panels, and the parts are joined in order. Pixels
** that a tap does not see inside the image are left out. Where pixels are wide, those of a tap
** are copied together, in blocks of channels, so that products run out of the first cache.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "kernels/conv.h"
#include "ops/conv_parts.h"
#include "ops/network.h"

enum {
  TASKS = 8,                /* panels times parts of the batch */
  PANEL_BYTES = 256 * 1024, /* sums of a panel beyond this are made row by row of the kernel */
  GROUP_BYTES = 512 * 1024, /* of images worked on together */
  WIDE_PIXEL = 64,          /* channels from which pixels are copied */
  PIXELS = 128,             /* of a copy, at least, where there are so many */
  BLOCK = QNI_CONV_BLOCK,   /* channels side by side in a copy */
  SHARE = 4                 /* panels of a task that share one */
};

struct weighing {
  const qn_host *h;
  qn_call *c;
  const qni_conv *v;
  const qni_conv_table *kernels;
  const float *x, *g;
  float *sums; /* [parts][tap, c, o] */
  float *dw;
  int64_t n_parts, per_part, group, panels;
  int64_t share, shares; /* panels of a task; tasks of a part */
};

/* Pixels of one tap: x [C / BLOCK][room][BLOCK], g [panel][room][width]. */
struct copy {
  float *x, *g;
  int64_t room, count;
};

/* First and one past the last position whose tap lies inside 0..size-1. */
static int64_t first_inside(int64_t offset, int64_t stride) {
  return offset >= 0 ? 0 : qni_divide_up(-offset, stride);
}
static int64_t last_inside(int64_t offset, int64_t stride, int64_t size, int64_t positions) {
  if (size - 1 < offset) return 0;
  const int64_t n = (size - 1 - offset) / stride + 1;
  return n < positions ? n : positions;
}

/* Vectors of panel p, and the panel's part of a job: where its lanes begin, how many are used. */
static int64_t panel_vectors(const struct weighing *t, int64_t p) {
  return t->v->O - p * 2 * t->kernels->lanes > t->kernels->lanes ? 2 : 1;
}

static qni_conv_weigh panel_job(const struct weighing *t, qni_conv_weigh job, int64_t p) {
  const int64_t lanes = t->kernels->lanes, lane = p * 2 * lanes, vectors = panel_vectors(t, p);
  job.g += lane;
  job.sum += lane;
  job.vectors = (int32_t)vectors;
  job.last = (int32_t)qni_at_most(t->v->O - lane - (vectors - 1) * lanes, lanes);
  return job;
}

/* ---- Wide pixels ---- */

/* The products of what was copied. */
static void use_copy(const struct weighing *t, const qni_conv_weigh *job, int64_t p0, int64_t p1,
                     struct copy *k) {
  const int64_t wide = 2 * t->kernels->lanes;
  for (int64_t p = p0; p < p1 && k->count; p++)
    for (int64_t c = 0; c < job->channels; c += BLOCK) {
      qni_conv_weigh part = panel_job(t, *job, p);
      part.x = k->x + c * k->room;
      part.x_step = qni_at_most(job->channels - c, BLOCK);
      part.g = k->g + (p - p0) * k->room * wide;
      part.g_step = panel_vectors(t, p) * t->kernels->lanes;
      part.images = part.rows = 1;
      part.columns = k->count;
      part.channels = part.x_step;
      part.sum += c * part.sum_row;
      t->kernels->weigh(&part);
    }
  k->count = 0;
}

static void copy_row(const struct weighing *t, const qni_conv_weigh *job, int64_t p0, int64_t p1,
                     const float *x, const float *g, struct copy *k) {
  const int64_t wide = 2 * t->kernels->lanes, O = t->v->O;
  t->kernels->split(x, job->x_step, job->columns, job->channels, k->x, k->count, k->room);
  for (int64_t p = p0; p < p1; p++) {
    const int64_t width = panel_vectors(t, p) * t->kernels->lanes,
                  n = qni_at_most(O - p * wide, width);
    float *to = k->g + (p - p0) * k->room * wide + k->count * width;
    for (int64_t i = 0; i < job->columns; i++, to += width)
      memcpy(to, g + i * O + p * wide, (size_t)n * sizeof *to); /* the rest is not looked at */
  }
  k->count += job->columns;
}

static void weigh_copied(const struct weighing *t, const qni_conv_weigh *job, int64_t p0,
                         int64_t p1, struct copy *k) {
  for (int64_t n = 0; n < job->images; n++)
    for (int64_t r = 0; r < job->rows; r++) {
      copy_row(t, job, p0, p1, job->x + n * job->x_image + r * job->x_row,
               job->g + n * job->g_image + r * job->g_row, k);
      if (k->count >= PIXELS) use_copy(t, job, p0, p1, k);
    }
  use_copy(t, job, p0, p1, k);
}

/* ---- Taps ---- */

/* One tap, panels p0..p1-1, images begin..end-1. */
static void weigh(const struct weighing *t, int64_t i, int64_t j, int64_t p0, int64_t p1,
                  int64_t begin, int64_t end, float *sums, struct copy *k) {
  const qni_window *w = &t->v->w;
  const int64_t dy = i * w->dh - w->ph, dx = j * w->dw - w->pw;
  const int64_t y0 = first_inside(dy, w->sh), y1 = last_inside(dy, w->sh, w->H, w->OH);
  const int64_t x0 = first_inside(dx, w->sw), x1 = last_inside(dx, w->sw, w->W, w->OW);
  if (y0 >= y1 || x0 >= x1) return;
  const int64_t O = t->v->O;
  const int64_t pixel = (begin * w->H + y0 * w->sh + dy) * w->W + x0 * w->sw + dx;
  const qni_conv_weigh job = {.x = t->x + pixel * w->C,
                              .g = t->g + ((begin * w->OH + y0) * w->OW + x0) * O,
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
                              .sum = sums + (i * w->kw + j) * w->C * O,
                              .sum_row = O};
  if (k->x) {
    weigh_copied(t, &job, p0, p1, k);
    return;
  }
  for (int64_t p = p0; p < p1; p++) {
    const qni_conv_weigh part = panel_job(t, job, p);
    t->kernels->weigh(&part);
  }
}

static qn_status copy_memory(const struct weighing *t, struct copy *k) {
  const int64_t wide = 2 * t->kernels->lanes;
  void *memory;
  *k = (struct copy){.room = PIXELS + t->v->w.OW};
  const bool once = t->v->w.kh * t->v->w.kw == 1; /* one tap: a copy would be read but once */
  if (once || t->v->w.C < WIDE_PIXEL) return QN_OK;
  const int64_t x = qni_divide_up(t->v->w.C, BLOCK) * BLOCK * k->room;
  qn_status st = t->h->local(t->c, (x + t->share * wide * k->room) * 4, &memory);
  k->x = memory;
  k->g = k->x + x;
  return st;
}

/* Task: some panels of one part of the batch. */
static void run_task(const struct weighing *t, int64_t task, struct copy *k) {
  const qni_window *w = &t->v->w;
  const int64_t O = t->v->O, wide = 2 * t->kernels->lanes, part = task / t->shares;
  const int64_t p0 = task % t->shares * t->share, p1 = qni_at_most(p0 + t->share, t->panels);
  const int64_t first = part * t->per_part, last = qni_at_most(first + t->per_part, w->N);
  const int64_t lanes = qni_at_most((p1 - p0) * wide, O - p0 * wide);
  float *sums = t->sums + part * O * t->v->K;
  for (int64_t r = 0; r < t->v->K; r++)
    memset(sums + r * O + p0 * wide, 0, (size_t)lanes * sizeof *sums);
  const int64_t step = t->v->K * lanes * 4 > PANEL_BYTES ? 1 : w->kh;
  for (int64_t i0 = 0; i0 < w->kh; i0 += step)
    for (int64_t n = first; n < last; n += t->group)
      for (int64_t i = i0; i < qni_at_most(i0 + step, w->kh); i++)
        for (int64_t j = 0; j < w->kw; j++)
          weigh(t, i, j, p0, p1, n, qni_at_most(n + t->group, last), sums, k);
}

static qn_status weigh_tasks(void *ctx, int64_t begin, int64_t end) {
  struct copy k;
  qn_status st = copy_memory(ctx, &k);
  for (int64_t task = begin; task < end && !st; task++) run_task(ctx, task, &k);
  return st;
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
  struct weighing t = {
      .h = h, .c = c, .v = v, .kernels = qni_conv_kernels(), .x = x, .g = g, .dw = dw};
  const qni_window *w = &v->w;
  const int64_t cells = v->O * v->K;
  const int64_t image = (w->H * w->W * w->C + v->P * SHARE * 2 * t.kernels->lanes) * 4;
  void *memory;
  t.panels = qni_divide_up(qni_divide_up(v->O, t.kernels->lanes), 2);
  t.share = qni_at_most(SHARE, t.panels);
  t.shares = qni_divide_up(t.panels, t.share);
  t.per_part = qni_divide_up(w->N, qni_divide_up(TASKS, t.shares));
  t.n_parts = w->N ? qni_divide_up(w->N, t.per_part) : 1;
  t.group = GROUP_BYTES / (image > 0 ? image : 1);
  if (t.group < 1) t.group = 1;
  qn_status st = h->scratch(c, t.n_parts * cells * 4, &memory);
  if (st) return st;
  t.sums = memory;
  st = h->parallel(c, t.n_parts * t.shares, 1, weigh_tasks, &t);
  return st ? st : h->parallel(c, v->O, 16, join, &t);
}
