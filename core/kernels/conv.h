/*
** Direct convolution of f32 images with channels last: register tiles of pixels by channels.
**
** A panel is V vectors of result channels, packed k by k: k counts (tap, channel). A tile takes
** H pixels, equally far apart in memory, and a panel; its inner loop runs over stretches of
** memory that the pixels see (`runs`), so border taps are left out, not multiplied by zero:
**   y[pixel, o] = (b[o] or y[pixel, o]) + sum over runs, k:  a[pixel + from + k] w[k, o]
** The weight gradient's tile keeps H channels by V vectors of sums over pixels:
**   sum[c, o] += sum over images, rows, columns:  x[pixel, c] g[pixel, o]
** Sums run over k, or pixels, in order, whatever the tile: bits depend on no cut.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CONV_KERNEL_H
#define QNI_CONV_KERNEL_H

#include "kernels/kernel.h"

enum { QNI_CONV_BLOCK = 8 };

typedef struct qni_conv_run {
  int64_t from, length; /* elements, from a pixel's base */
  int64_t k;            /* the panel's row of the first */
} qni_conv_run;

typedef struct qni_conv_tile {
  const float *a; /* base of the first pixel */
  float *y;
  int64_t a_step, y_step; /* from pixel to pixel */
  const float *w;         /* panel */
  const float *bias;      /* of the panel's channels, or NULL */
  const qni_conv_run *runs;
  int32_t n_runs;
  int32_t vectors; /* of the panel, 1 or 2 */
  int32_t last;    /* channels in its last vector */
  int32_t add;     /* begin with y */
} qni_conv_tile;

typedef struct qni_conv_weigh {
  const float *x, *g; /* first pixel of both sides */
  int64_t x_image, x_row, x_step, g_image, g_row, g_step;
  int64_t images, rows, columns, channels;
  float *sum; /* [channels, sum_row] */
  int64_t sum_row;
  int32_t vectors, last; /* of g's panel */
} qni_conv_weigh;

/* out[k (tap, inner), lane] = w[lane lane_step + inner inner_step + tap]; zeros beyond `lanes`. */
typedef struct qni_conv_pack {
  const float *w;
  int64_t lane_step, inner_step, inner;
  const int64_t *taps;
  int64_t n_taps, lanes, width;
} qni_conv_pack;

typedef struct qni_conv_table {
  int32_t lanes; /* floats of a vector */
  void (*pixels)(const qni_conv_tile *t, int64_t count);
  void (*weigh)(const qni_conv_weigh *t);
  void (*pack)(const qni_conv_pack *p, float *out);
  /*
  ** `count` pixels, step apart, in blocks of QNI_CONV_BLOCK channels: to[block][at + i, .], blocks
  ** `room` pixels long. A last block of fewer channels is dense.
  */
  void (*split)(const float *from, int64_t step, int64_t count, int64_t channels, float *to,
                int64_t at, int64_t room);
  /* to[column, row] = from[row, column] */
  void (*turn)(const float *from, int64_t rows, int64_t columns, float *to);
  /* dw[o, c, tap] = sum over n_parts, in order, of sums[part][tap, c, o], for o in begin..end-1. */
  void (*join)(const float *sums, int64_t n_parts, int64_t O, int64_t C, int64_t taps,
               int64_t begin, int64_t end, float *dw);
} qni_conv_table;

const qni_conv_table *qni_conv_kernels(void);

#endif
