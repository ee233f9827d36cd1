/*
** Geometry of convolutions and pooling.
** SPDX-License-Identifier: MIT
*/
#include "ops/conv_shape.h"

#include <inttypes.h>

qn_status qni_window_axes(const qn_host *h, qn_call *c, const qn_view *image, int32_t *axes) {
  *axes = image->ndim - 2;
  if (*axes == 1 || *axes == 2) return QN_OK;
  return h->fail(c, QN_E_SHAPE, "the image has %d dimensions; expected %s", (int)image->ndim,
                 h->arg_int(c, "layout") ? "[N,H,W,C] or [N,L,C]" : "[N,C,H,W] or [N,C,L]");
}

int64_t qni_image_channels(const qn_view *image, int32_t last) {
  return image->shape[last ? image->ndim - 1 : 1];
}

int64_t qni_image_size(const qn_view *image, int32_t last, int32_t axis) {
  return image->shape[(last ? 1 : 2) + axis];
}

qn_status qni_image_read(const qn_host *h, qn_call *c, const qn_view *image, qni_window *w) {
  int32_t axes;
  qn_status st = qni_window_axes(h, c, image, &axes);
  if (st) return st;
  w->last = h->arg_int(c, "layout") == 1;
  w->N = image->shape[0];
  w->C = qni_image_channels(image, w->last);
  w->H = axes == 2 ? qni_image_size(image, w->last, 0) : 1;
  w->W = qni_image_size(image, w->last, axes - 1);
  return QN_OK;
}

void qni_image_result(const qni_window *w, int32_t ndim, int64_t channels, qn_view *out) {
  const int32_t first = w->last ? 1 : 2;
  out->ndim = ndim;
  out->shape[0] = w->N;
  out->shape[w->last ? ndim - 1 : 1] = channels;
  if (ndim == 4) out->shape[first] = w->OH;
  out->shape[first + ndim - 3] = w->OW;
}

qn_status qni_window_pair(const qn_host *h, qn_call *c, const char *name, int32_t axes,
                          int64_t absent, int64_t least, int64_t *height, int64_t *width) {
  int32_t n = 0;
  const int64_t *v = h->arg_ints(c, name, &n);
  if (n != 0 && n != 1 && n != axes)
    return h->fail(c, QN_E_ARG, "'%s' has %d numbers; expected one, or one for each of %d axes",
                   name, (int)n, (int)axes);
  *width = n ? v[n - 1] : absent;
  *height = n ? v[0] : absent;
  if (*height < least || *width < least)
    return h->fail(c, QN_E_ARG, "'%s' must be at least %" PRId64 ", found %" PRId64, name, least,
                   *height < least ? *height : *width);
  return QN_OK;
}

static int64_t result_size(int64_t in, int64_t k, int64_t s, int64_t p, int64_t d) {
  int64_t room = in + 2 * p - d * (k - 1) - 1;
  return room < 0 ? 0 : room / s + 1;
}

qn_status qni_window_read(const qn_host *h, qn_call *c, const qn_view *image, int64_t kh,
                          int64_t kw, qni_window *w) {
  *w = (qni_window){.kh = kh, .kw = kw};
  qn_status st = qni_image_read(h, c, image, w);
  const int32_t axes = image->ndim - 2;
  if (!st) st = qni_window_pair(h, c, "stride", axes, 1, 1, &w->sh, &w->sw);
  if (!st) st = qni_window_pair(h, c, "padding", axes, 0, 0, &w->ph, &w->pw);
  if (!st) st = qni_window_pair(h, c, "dilation", axes, 1, 1, &w->dh, &w->dw);
  if (st) return st;
  if (axes == 1) w->sh = 1, w->ph = 0, w->dh = 1;
  w->OH = result_size(w->H, kh, w->sh, w->ph, w->dh);
  w->OW = result_size(w->W, kw, w->sw, w->pw, w->dw);
  if (w->OH > 0 && w->OW > 0) return QN_OK;
  return h->fail(c, QN_E_SHAPE,
                 "a window of %" PRId64 "x%" PRId64 " with dilation %" PRId64 "x%" PRId64
                 " does not fit an image of %" PRId64 "x%" PRId64 " with padding %" PRId64
                 "x%" PRId64,
                 kh, kw, w->dh, w->dw, w->H, w->W, w->ph, w->pw);
}
