/*
** 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3): f32, channels last, one group.
**
** Tiles of all images are numbered through and go in blocks whose transformed pixels and products
** stay in the second cache. Image and back: a block is spread, multiplied by the 16 transformed
** kernels panel by panel, and gathered. Weight: a task is a part of the blocks and a share of the
** result channels; transformed pixels of both sides are multiplied into its 16 sums, which are
** joined over the parts in order and transformed back once.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "kernels/conv.h"
#include "kernels/winograd.h"
#include "ops/conv_parts.h"
#include "ops/network.h"

enum {
  CHANNELS_LEAST = 8,
  SIZE_LEAST = 6,           /* result rows and columns; below, leaving border taps out wins */
  BLOCK_BYTES = 512 * 1024, /* transformed tiles of both sides */
  SUM_BYTES = 512 * 1024,   /* sums of a task */
  WEIGH_BYTES = 768 * 1024, /* transformed tiles of both sides, for the weights */
  TASKS = 32,               /* ranges of blocks */
  PARTS = 8,                /* parts of the batch times shares of the channels */
  GAP = 16                  /* floats between matrices, so that they fall into different sets */
};

struct winograd {
  const qn_host *h;
  qn_call *c;
  const qni_conv_table *products;
  const qni_winograd_table *transforms;
  qni_winograd_tiles source, result; /* the side that is spread, the other */
  int64_t tiles, block;              /* in all; of a block */
  int64_t panels;
  /* image and back */
  const float *w, *bias;
  int64_t lane_step, inner_step;
  int64_t taps[9];
  float *u; /* [panel][16][C, width] */
  /* weight */
  int64_t parts, per_part, share, shares; /* share: result channels of a task */
  float *sums;                            /* [part][16][C, O] */
  float *dw, *ordered;                    /* ordered: [9][C, O] */
};

bool qni_winograd_takes(const qni_conv *v) {
  const qni_window *w = &v->w;
  return qni_direct_takes(v) && w->kh == 3 && w->kw == 3 && w->sh == 1 && w->sw == 1 &&
         w->dh == 1 && w->dw == 1 && w->ph == w->pw && w->ph <= 2 && w->C >= CHANNELS_LEAST &&
         v->O >= CHANNELS_LEAST && w->C <= QNI_WINOGRAD_CHANNELS && v->O <= QNI_WINOGRAD_CHANNELS &&
         qni_at_most(w->H, w->W) >= SIZE_LEAST && qni_at_most(w->OH, w->OW) >= SIZE_LEAST;
}

static qni_winograd_tiles image_tiles(const void *pixels, int64_t H, int64_t W, int64_t C,
                                      int64_t padding) {
  return (qni_winograd_tiles){
      .pixels = (float *)(uintptr_t)pixels, .H = H, .W = W, .C = C, .used = C, .padding = padding};
}

/* The grid of tiles follows from the result side. */
static void set_up(struct winograd *s, int64_t N) {
  s->source.down = s->result.down = qni_divide_up(s->result.H, 2);
  s->source.across = s->result.across = qni_divide_up(s->result.W, 2);
  s->tiles = N * s->result.down * s->result.across;
  s->products = qni_conv_kernels();
  s->transforms = qni_winograd();
  s->panels = qni_divide_up(qni_divide_up(s->result.C, s->products->lanes), 2);
}

/* Tiles of a block whose matrices have `channels` in all, a multiple of unit. */
static int64_t block_of(int64_t bytes, int64_t channels, int64_t unit) {
  const int64_t fit = bytes / (16 * 4 * channels);
  return fit < unit ? unit : fit / unit * unit;
}

static int64_t apart(const struct winograd *s, int64_t channels) {
  return s->block * channels + GAP;
}

/* Memory for a block of both sides. */
static qn_status block_memory(const struct winograd *s, int64_t channels, float **v, float **m) {
  void *memory;
  const int64_t first = 16 * apart(s, s->source.C);
  qn_status st = s->h->local(s->c, (first + 16 * apart(s, channels)) * 4, &memory);
  *v = memory;
  *m = *v + first;
  return st;
}

/* Share i of `shares` of the memory of the tiles' pixels. */
struct pixels {
  const float *first;
  int64_t n;
};

static struct pixels share_of(const qni_winograd_tiles *t, int64_t i, int64_t shares) {
  const int64_t each = t->down * t->across, row = t->W * t->C, last = t->first + t->count;
  const int64_t first = t->first / each * t->H + t->first % each / t->across * 2,
                end = last / each * t->H + last % each / t->across * 2;
  const int64_t size = (end - first) * row, n = qni_divide_up(qni_divide_up(size, shares), 16) * 16;
  const int64_t left = size - i * n;
  return (struct pixels){t->pixels + first * row + i * n, left < 0 ? 0 : qni_at_most(n, left)};
}

/* ---- Image and back ---- */

static int64_t panel_vectors(const struct winograd *s, int64_t panel) {
  return s->result.C - 2 * panel * s->products->lanes > s->products->lanes ? 2 : 1;
}

static float *panel_at(const struct winograd *s, int64_t panel) {
  return s->u + 16 * s->source.C * panel * 2 * s->products->lanes;
}

static qn_status transform_kernels(void *ctx, int64_t begin, int64_t end) {
  const struct winograd *s = ctx;
  const int64_t lanes = s->products->lanes;
  for (int64_t i = begin; i < end; i++) {
    const int64_t lane = i * 2 * lanes, width = panel_vectors(s, i) * lanes,
                  n = s->source.C * width;
    void *ordered;
    qn_status st = s->h->local(s->c, 9 * n * 4, &ordered);
    if (st) return st;
    const qni_conv_pack job = {.w = s->w + lane * s->lane_step,
                               .lane_step = s->lane_step,
                               .inner_step = s->inner_step,
                               .inner = s->source.C,
                               .taps = s->taps,
                               .n_taps = 9,
                               .lanes = qni_at_most(width, s->result.C - lane),
                               .width = width};
    s->products->pack(&job, ordered);
    s->transforms->kernel(ordered, n, n, panel_at(s, i), n);
  }
  return QN_OK;
}

/* m = v u for each of the 16; meanwhile the next block's pixels are asked for. */
static void multiply(const struct winograd *s, const float *v, float *m, int64_t count,
                     const qni_winograd_tiles *next, const qni_winograd_tiles *next_result) {
  const int64_t lanes = s->products->lanes, C = s->source.C, O = s->result.C;
  const qni_conv_run run = {.length = C};
  for (int64_t panel = 0; panel < s->panels; panel++)
    for (int64_t p = 0; p < 16; p++) {
      const int64_t lane = panel * 2 * lanes, vectors = panel_vectors(s, panel),
                    last = O - lane - (vectors - 1) * lanes;
      const qni_conv_tile tile = {.a = v + p * apart(s, C),
                                  .a_step = C,
                                  .y = m + p * apart(s, O) + lane,
                                  .y_step = O,
                                  .w = panel_at(s, panel) + p * C * vectors * lanes,
                                  .runs = &run,
                                  .n_runs = 1,
                                  .vectors = (int32_t)vectors,
                                  .last = (int32_t)qni_at_most(last, lanes)};
      s->products->pixels(&tile, count);
      const struct pixels in = share_of(next, panel * 16 + p, s->panels * 16),
                          out = share_of(next_result, panel * 16 + p, s->panels * 16);
      qni_fetch_read(in.first, in.n);
      qni_fetch_write(out.first, out.n);
    }
}

/* Tiles first..limit-1, a block at most; none from limit on. */
static qni_winograd_tiles tiles_from(const struct winograd *s, const qni_winograd_tiles *t,
                                     int64_t first, int64_t limit) {
  qni_winograd_tiles part = *t;
  part.first = qni_at_most(first, limit);
  part.count = qni_at_most(s->block, limit - part.first);
  return part;
}

static qn_status convolve_blocks(void *ctx, int64_t begin, int64_t end) {
  const struct winograd *s = ctx;
  float *v, *m;
  qn_status st = block_memory(s, s->result.C, &v, &m);
  const int64_t limit = qni_at_most(end * s->block, s->tiles);
  for (int64_t t = begin * s->block; t < limit && !st; t += s->block) {
    const qni_winograd_tiles from = tiles_from(s, &s->source, t, limit),
                             to = tiles_from(s, &s->result, t, limit),
                             next = tiles_from(s, &s->source, t + s->block, limit),
                             next_to = tiles_from(s, &s->result, t + s->block, limit);
    s->transforms->spread(&from, v, apart(s, from.C));
    multiply(s, v, m, from.count, &next, &next_to);
    s->transforms->gather(&to, m, apart(s, to.C), s->bias);
  }
  return st;
}

static qn_status convolve(struct winograd *s, int64_t N) {
  void *memory;
  set_up(s, N);
  const int64_t lanes = s->products->lanes;
  const int64_t unit = s->result.C > lanes ? 14 : 16; /* heights of product tiles */
  s->block = block_of(BLOCK_BYTES, s->source.C + s->result.C, unit);
  const int64_t padded = qni_divide_up(s->result.C, lanes) * lanes;
  qn_status st = s->h->scratch(s->c, 16 * s->source.C * padded * 4, &memory);
  s->u = memory;
  if (!st) st = s->h->parallel(s->c, s->panels, 1, transform_kernels, s);
  const int64_t blocks = qni_divide_up(s->tiles, s->block), grain = blocks / TASKS;
  return st ? st : s->h->parallel(s->c, blocks, grain, convolve_blocks, s);
}

qn_status qni_winograd_image(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                             const void *w, const void *bias, void *y) {
  const qni_window *g = &v->w;
  struct winograd s = {.h = h,
                       .c = c,
                       .w = w,
                       .bias = bias,
                       .lane_step = g->C * 9,
                       .inner_step = 9,
                       .source = image_tiles(x, g->H, g->W, g->C, g->ph),
                       .result = image_tiles(y, g->OH, g->OW, v->O, 0)};
  for (int64_t t = 0; t < 9; t++) s.taps[t] = t;
  return convolve(&s, g->N);
}

/* The convolution of dy with the kernel turned around, padded by 2 - p. */
qn_status qni_winograd_back(const qn_host *h, qn_call *c, const qni_conv *v, const void *dy,
                            const void *w, void *dx) {
  const qni_window *g = &v->w;
  struct winograd s = {.h = h,
                       .c = c,
                       .w = w,
                       .lane_step = 9,
                       .inner_step = g->C * 9,
                       .source = image_tiles(dy, g->OH, g->OW, v->O, 2 - g->ph),
                       .result = image_tiles(dx, g->H, g->W, g->C, 0)};
  for (int64_t t = 0; t < 9; t++) s.taps[t] = 8 - t;
  return convolve(&s, g->N);
}

/* ---- Weight ---- */

/* sums += v' m for each of the 16, for `channels` result channels from `lane` on. */
static void accumulate(const struct winograd *s, const float *v, const float *m, int64_t count,
                       int64_t lane, int64_t channels, float *sums, const qni_winograd_tiles *next,
                       const qni_winograd_tiles *next_result) {
  const int64_t lanes = s->products->lanes, C = s->source.C, O = s->result.C;
  for (int64_t p = 0; p < 16; p++) {
    const struct pixels in = share_of(next, p, 16), other = share_of(next_result, p, 16);
    qni_fetch_read(in.first, in.n);
    qni_fetch_read(other.first, other.n);
    for (int64_t l = 0; l < channels; l += 2 * lanes) {
      const int64_t left = channels - l, vectors = left > lanes ? 2 : 1;
      const qni_conv_weigh job = {.x = v + p * apart(s, C),
                                  .x_step = C,
                                  .g = m + p * apart(s, channels) + l,
                                  .g_step = channels,
                                  .images = 1,
                                  .rows = 1,
                                  .columns = count,
                                  .channels = C,
                                  .sum = sums + p * C * O + lane + l,
                                  .sum_row = O,
                                  .vectors = (int32_t)vectors,
                                  .last =
                                      (int32_t)qni_at_most(left - (vectors - 1) * lanes, lanes)};
      s->products->weigh(&job);
    }
  }
}

static qn_status weigh_tasks(void *ctx, int64_t begin, int64_t end) {
  const struct winograd *s = ctx;
  const int64_t C = s->source.C, O = s->result.C;
  float *v, *m;
  qn_status st = block_memory(s, s->share, &v, &m);
  for (int64_t task = begin; task < end && !st; task++) {
    const int64_t part = task / s->shares, lane = task % s->shares * s->share,
                  channels = qni_at_most(s->share, O - lane);
    const int64_t last = qni_at_most((part + 1) * s->per_part, s->tiles);
    float *sums = s->sums + part * 16 * C * O;
    for (int64_t r = 0; r < 16 * C; r++)
      memset(sums + r * O + lane, 0, (size_t)channels * sizeof *sums);
    qni_winograd_tiles side = s->result;
    side.pixels += lane;
    side.used = channels;
    for (int64_t t = part * s->per_part; t < last; t += s->block) {
      const qni_winograd_tiles from = tiles_from(s, &s->source, t, last),
                               to = tiles_from(s, &side, t, last),
                               next = tiles_from(s, &s->source, t + s->block, last),
                               next_to = tiles_from(s, &side, t + s->block, last);
      s->transforms->spread(&from, v, apart(s, C));
      s->transforms->widen(&to, m, apart(s, channels));
      accumulate(s, v, m, from.count, lane, channels, sums, &next, &next_to);
    }
  }
  return st;
}

/* The parts of some source channels joined, and transformed back. */
static qn_status finish_channels(void *ctx, int64_t begin, int64_t end) {
  const struct winograd *s = ctx;
  const int64_t O = s->result.C, cells = s->source.C * O, first = begin * O, n = (end - begin) * O;
  for (int64_t p = 0; p < 16; p++) {
    float *restrict sum = s->sums + p * cells + first;
    for (int64_t part = 1; part < s->parts; part++) {
      const float *more = s->sums + (part * 16 + p) * cells + first;
      for (int64_t i = 0; i < n; i++) sum[i] += more[i];
    }
  }
  s->transforms->kernel_back(s->sums + first, cells, n, s->ordered + first, cells);
  return QN_OK;
}

static qn_status write_kernels(void *ctx, int64_t begin, int64_t end) {
  const struct winograd *s = ctx;
  s->products->join(s->ordered, 1, s->result.C, s->source.C, 9, begin, end, s->dw);
  return QN_OK;
}

qn_status qni_winograd_weight(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                              const void *g, void *dw) {
  const qni_window *w = &v->w;
  const int64_t cells = w->C * v->O;
  struct winograd s = {.h = h,
                       .c = c,
                       .dw = dw,
                       .source = image_tiles(x, w->H, w->W, w->C, w->ph),
                       .result = image_tiles(g, w->OH, w->OW, v->O, 0)};
  void *memory;
  set_up(&s, w->N);
  const int64_t unit = 2 * s.products->lanes, fit = SUM_BYTES / (16 * 4 * w->C) / unit * unit;
  s.share = qni_at_most(v->O, fit > unit ? fit : unit);
  s.shares = qni_divide_up(v->O, s.share);
  s.block = block_of(WEIGH_BYTES, w->C + s.share, 8);
  const int64_t wanted = qni_divide_up(PARTS, s.shares);
  s.per_part = qni_divide_up(qni_divide_up(s.tiles, wanted), s.block) * s.block;
  s.parts = s.tiles ? qni_divide_up(s.tiles, s.per_part) : 1;
  qn_status st = h->scratch(c, (s.parts * 16 + 9) * cells * 4, &memory);
  if (st) return st;
  s.sums = memory;
  s.ordered = s.sums + s.parts * 16 * cells;
  st = h->parallel(c, s.parts * s.shares, 1, weigh_tasks, &s);
  if (!st) st = h->parallel(c, w->C, qni_net_grain(v->O, 4096), finish_channels, &s);
  return st ? st : h->parallel(c, v->O, 16, write_kernels, &s);
}
