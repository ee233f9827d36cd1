/*
** Geometry of convolutions and pooling over [N,C,H,W] or [N,C,L] (then H = 1).
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CONV_SHAPE_H
#define QNI_CONV_SHAPE_H

#include "quern/abi.h"

typedef struct qni_window {               /* sizes of the image side and of the result side */
  int64_t N, C, H, W;                     /* image */
  int64_t OH, OW;                         /* result */
  int64_t kh, kw, sh, sw, ph, pw, dh, dw; /* kernel, stride, padding, dilation */
} qni_window;

/*
** Reads stride, padding and dilation (each one number or one per axis) of a call on an
** image of 2 or 1 spatial axes; kernel sizes are given. OH and OW follow:
** O = floor((I + 2 p - d (k - 1) - 1) / s) + 1, an error when that is below 1.
*/
qn_status qni_window_read(const qn_host *h, qn_call *c, const qn_view *image, int64_t kh,
                          int64_t kw, qni_window *w);
/* One number or one per axis of a list argument; axis 0 is the height (1 for a 1-d image). */
qn_status qni_window_pair(const qn_host *h, qn_call *c, const char *name, int32_t axes,
                          int64_t absent, int64_t least, int64_t *height, int64_t *width);
/* Spatial axes of [N,C,...], 1 or 2; an error otherwise. */
qn_status qni_window_axes(const qn_host *h, qn_call *c, const qn_view *image, int32_t *axes);

#endif
