/*
** Geometry of convolutions and pooling over images [N,C,H,W] or series [N,C,L] (then H = 1);
** with layout nhwc, channels last: [N,H,W,C] or [N,L,C].
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_CONV_SHAPE_H
#define QNI_CONV_SHAPE_H

#include "quern/abi.h"

#define QNI_LAYOUT "layout: enum{nchw|nhwc} = nchw"
#define QNI_LAYOUT_DOC                                                                             \
  " layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last "             \
  "([N,H,W,C], [N,L,C]), for x and the result alike."

typedef struct qni_window {               /* sizes of the image side and of the result side */
  int64_t N, C, H, W;                     /* image */
  int64_t OH, OW;                         /* result */
  int64_t kh, kw, sh, sw, ph, pw, dh, dw; /* kernel, stride, padding, dilation */
  int32_t last;                           /* channels come last */
} qni_window;

/* Channels, then spatial size `axis` (0: the first), of an image of the call's layout. */
int64_t qni_image_channels(const qn_view *image, int32_t last);
int64_t qni_image_size(const qn_view *image, int32_t last, int32_t axis);
/* N, C, H, W and the layout of a call's image; an error unless it has 1 or 2 spatial axes. */
qn_status qni_image_read(const qn_host *h, qn_call *c, const qn_view *image, qni_window *w);
/* Gives `out` the shape of a result with `channels` channels and the window's OH x OW pixels. */
void qni_image_result(const qni_window *w, int32_t ndim, int64_t channels, qn_view *out);
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
