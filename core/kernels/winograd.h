/*
** Winograd's F(2x2, 3x3) (Lavin and Gray 2015): 3x3 convolution of 2x2 result pixels at a time by
** 16 products of transformed 4x4 pixels and transformed kernels, where the definition has 36.
**
**   y = A' [(G w G') * (B' x B)] A,   with, along one axis,
**   B'x = (x0 - x2, x1 + x2, x2 - x1, x1 - x3)
**   G w = (w0, (w0 + w1 + w2) / 2, (w0 - w1 + w2) / 2, w2)
**   A'm = (m0 + m1 + m2, m1 - m2 - m3)
** The weight gradient is the same form: dw = G' [(A dy A') * (B' x B)] G, summed over tiles.
** Transformed tiles lie as 16 matrices `apart` floats apart: [16][tile, used channel].
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_WINOGRAD_KERNEL_H
#define QNI_WINOGRAD_KERNEL_H

#include "kernels/kernel.h"

enum { QNI_WINOGRAD_CHANNELS = 1024 }; /* the most */

/* Images [N,H,W,C] seen as tiles, `down` x `across` an image, from tile to tile 2 pixels. */
typedef struct qni_winograd_tiles {
  float *pixels;
  int64_t H, W, C, used; /* used: channels, of C, that are read or written */
  int64_t padding;       /* of the first tile's first pixel */
  int64_t down, across;
  int64_t first, count; /* tiles, over all images */
} qni_winograd_tiles;

typedef struct qni_winograd_table {
  /* v = B' x B of 4x4 pixels, zeros outside the image. */
  void (*spread)(const qni_winograd_tiles *t, float *v, int64_t apart);
  /* Pixels 2x2 inside the image = A' m A + bias (NULL: none). */
  void (*gather)(const qni_winograd_tiles *t, const float *m, int64_t apart, const float *bias);
  /* w = A x A' of 2x2 pixels, zeros outside the image. */
  void (*widen)(const qni_winograd_tiles *t, float *w, int64_t apart);
  /* u[16][n] = G w G' of w[9][n], and w[9][n] = G' u G; matrices u_apart and w_apart apart. */
  void (*kernel)(const float *w, int64_t w_apart, int64_t n, float *u, int64_t u_apart);
  void (*kernel_back)(const float *u, int64_t u_apart, int64_t n, float *w, int64_t w_apart);
} qni_winograd_table;

const qni_winograd_table *qni_winograd(void);

#endif
