/*
** Convolution over images or series, and its two adjoints as ops of their own.
**
**   y[n,o,p]   = b[o] + sum_{c,k} w[o,c,k] x[n, c, p s + k d - pad]       conv1d, conv2d
**   <u, T(g,w)> = <g, conv(u, w)>                                         conv_transpose1d, 2d
**   <v, G(x,g)> = <g, conv(x, v)>                                         conv1d_weight_grad, 2d
**
** The three are one trilinear form seen from its three sides, so each one's backward
** is made of the other two, to any order. Kernels are [O,I,...] in both layouts.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "ops/conv_parts.h"
#include "ops/network.h"

static qn_status set_up(const qn_host *h, qn_call *c, const qn_view *image, const int64_t *kernel,
                        int32_t kernel_dims, qni_conv *v) {
  *v = (qni_conv){.groups = h->arg_int(c, "groups"),
                  .O = kernel[0],
                  .dtype = image->dtype,
                  .size = qni_net_size(image)};
  if (kernel_dims != image->ndim)
    return h->fail(c, QN_E_SHAPE, "the kernel has %d dimensions and the image %d; they must agree",
                   (int)kernel_dims, (int)image->ndim);
  qn_status st = qni_window_read(h, c, image, kernel_dims == 4 ? kernel[2] : 1,
                                 kernel[kernel_dims - 1], &v->w);
  if (st) return st;
  if (v->w.C != kernel[1] * v->groups || v->O % v->groups)
    return h->fail(c, QN_E_SHAPE,
                   "image has %" PRId64 " channels and %" PRId64
                   " are given out; the kernel takes %" PRId64 " a group in %" PRId64 " groups",
                   v->w.C, v->O, kernel[1], v->groups);
  v->cg = v->w.C / v->groups;
  v->og = v->O / v->groups;
  v->K = v->cg * v->w.kh * v->w.kw;
  v->P = v->w.OH * v->w.OW;
  return QN_OK;
}

#define WAY(way)                                                                                   \
  { qni_##way##_takes, qni_##way##_image, qni_##way##_back, qni_##way##_weight }

const qni_conv_ways *qni_conv_way(const qni_conv *v) {
  static const qni_conv_ways ways[] = {WAY(winograd), WAY(direct), WAY(turned), WAY(columns)};
  int32_t i = 0;
  while (!ways[i].takes(v)) i++;
  return &ways[i];
}

/* ---- conv ---- */

static qn_status conv_infer(const qn_host *h, qn_call *c) {
  qni_conv v;
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1), *b = h->in(c, 2);
  qn_status st = set_up(h, c, x, w->shape, w->ndim, &v);
  if (st) return st;
  if (b && b->shape[0] != v.O)
    return h->fail(c, QN_E_SHAPE, "b has %" PRId64 " elements for %" PRId64 " channels",
                   b->shape[0], v.O);
  qni_image_result(&v.w, x->ndim, v.O, h->out(c, 0));
  return QN_OK;
}

static qn_status conv_forward(const qn_host *h, qn_call *c) {
  qni_conv v;
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1), *b = h->in(c, 2);
  qn_status st = set_up(h, c, x, w->shape, w->ndim, &v);
  if (!st) st = h->save(c, 0, x);
  if (!st) st = h->save(c, 1, w);
  if (st) return st;
  return qni_conv_way(&v)->image(h, c, &v, x->data, w->data, b ? b->data : NULL,
                                 h->out(c, 0)->data);
}

/* The options of the running call, to be handed to the op that composes its backward. */
static int32_t options(const qn_host *h, qn_call *c, qn_arg *args) {
  static const char *const lists[] = {"stride", "padding", "dilation"};
  for (int32_t i = 0; i < 3; i++) {
    int32_t n = 0;
    const int64_t *v = h->arg_ints(c, lists[i], &n);
    args[i] = (qn_arg){.name = lists[i], .kind = QN_ARG_INTS, .count = n, .v.ints = v};
  }
  args[3] = (qn_arg){.name = "groups", .kind = QN_ARG_INT, .v.i = h->arg_int(c, "groups")};
  args[4] = (qn_arg){.name = "layout", .kind = QN_ARG_STR, .v.s = h->arg_str(c, "layout")};
  return 5;
}

static qn_arg tensor(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }
static qn_arg sizes(const char *name, const qn_view *v, int32_t first) {
  return (qn_arg){
      .name = name, .kind = QN_ARG_INTS, .count = v->ndim - 2, .v.ints = v->shape + first};
}
static bool last(const qn_host *h, qn_call *c) { return h->arg_int(c, "layout") == 1; }

/* T(g, w) for the image's spatial sizes, G(x, g) for the kernel's, conv(x, w): as ops. */
static qn_status apply_transpose(const qn_host *h, qn_call *c, qn_tensor *g, qn_tensor *w,
                                 const qn_view *image, qn_tensor **out) {
  qn_arg args[8] = {tensor(g), tensor(w), sizes("size", image, last(h, c) ? 1 : 2)};
  return h->apply(c, image->ndim == 4 ? "conv_transpose2d" : "conv_transpose1d", args,
                  3 + options(h, c, args + 3), out, 1);
}

static qn_status apply_weight(const qn_host *h, qn_call *c, qn_tensor *x, qn_tensor *g,
                              const qn_view *kernel, qn_tensor **out) {
  qn_arg args[8] = {tensor(x), tensor(g), sizes("size", kernel, 2)};
  return h->apply(c, kernel->ndim == 4 ? "conv2d_weight_grad" : "conv1d_weight_grad", args,
                  3 + options(h, c, args + 3), out, 1);
}

static qn_status apply_conv(const qn_host *h, qn_call *c, qn_tensor *x, qn_tensor *w,
                            qn_tensor **out) {
  qn_arg args[7] = {tensor(x), tensor(w)};
  return h->apply(c, h->like(c, 0)->ndim == 4 ? "conv2d" : "conv1d", args,
                  2 + options(h, c, args + 2), out, 1);
}

/* db = sum of g over the batch and space. */
static qn_status bias_gradient(const qn_host *h, qn_call *c, const qni_conv *v, const qn_view *g,
                               qn_view *db) {
  if (v->w.last)
    return qni_net_column_sums(h, c, qni_net_is64(g), v->w.N * v->P, v->O, v->O, g->data, db->data);
  qni_columns_bias(v, g->data, db->data);
  return QN_OK;
}

static qn_status conv_backward(const qn_host *h, qn_call *c) {
  qni_conv v;
  const qn_view *x = h->saved(c, 0), *w = h->saved(c, 1), *g = h->in(c, 0);
  qn_view *dx = h->out(c, 0), *dw = h->out(c, 1), *db = h->out(c, 2);
  qn_status st = set_up(h, c, x, w->shape, w->ndim, &v);
  if (!st && dx) st = qni_conv_way(&v)->back(h, c, &v, g->data, w->data, dx->data);
  if (!st && dw) st = qni_conv_way(&v)->weight(h, c, &v, x->data, g->data, dw->data);
  return !st && db ? bias_gradient(h, c, &v, g, db) : st;
}

static qn_status conv_bias_grad(const qn_host *h, qn_call *c) {
  static const int64_t first[] = {1, 3, 4}, last_dims[] = {1, 2, 3};
  const int32_t axes = h->like(c, 0)->ndim - 2;
  qn_tensor *db;
  qn_arg args[] = {tensor(h->ref_grad(c, 0)),
                   {.name = "dim",
                    .kind = QN_ARG_INTS,
                    .count = axes + 1,
                    .v.ints = last(h, c) ? last_dims : first}};
  qn_status st = h->apply(c, "sum", args, 2, &db, 1);
  return st ? st : h->set_grad(c, 2, db);
}

static qn_status conv_compose(const qn_host *h, qn_call *c) {
  qn_tensor *x = h->ref_saved(c, 0), *w = h->ref_saved(c, 1), *g = h->ref_grad(c, 0), *out;
  qn_status st = QN_OK;
  if (h->needs_grad(c, 0)) {
    st = apply_transpose(h, c, g, w, h->like(c, 0), &out);
    if (!st) st = h->set_grad(c, 0, out);
  }
  if (!st && h->needs_grad(c, 1)) {
    st = apply_weight(h, c, x, g, h->like(c, 1), &out);
    if (!st) st = h->set_grad(c, 1, out);
  }
  return !st && h->needs_grad(c, 2) ? conv_bias_grad(h, c) : st;
}

static int64_t conv_flops(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 1);
  int64_t per_output = 2;
  for (int32_t i = 1; i < w->ndim; i++) per_output *= w->shape[i];
  return per_output * qni_net_count(h->out(c, 0));
}

/* ---- conv_transpose ---- */

/* Image sizes: given, or (I - 1) s - 2 p + d (k - 1) + 1. */
static qn_status transposed_image(const qn_host *h, qn_call *c, qn_view *image) {
  const qn_view *g = h->in(c, 0), *w = h->in(c, 1);
  int32_t axes, n = 0;
  int64_t s[2], p[2], d[2];
  const int64_t *size = h->arg_ints(c, "size", &n);
  qn_status st = qni_window_axes(h, c, g, &axes);
  if (!st && w->ndim != g->ndim)
    st = h->fail(c, QN_E_SHAPE, "the kernel has %d dimensions and x %d; they must agree",
                 (int)w->ndim, (int)g->ndim);
  if (!st) st = qni_window_pair(h, c, "stride", axes, 1, 1, &s[0], &s[1]);
  if (!st) st = qni_window_pair(h, c, "padding", axes, 0, 0, &p[0], &p[1]);
  if (!st) st = qni_window_pair(h, c, "dilation", axes, 1, 1, &d[0], &d[1]);
  if (st) return st;
  if (n && n != axes)
    return h->fail(c, QN_E_ARG, "'size' has %d numbers for %d axes", (int)n, (int)axes);
  const int32_t first = last(h, c) ? 1 : 2;
  *image = (qn_view){.ndim = g->ndim, .dtype = g->dtype};
  image->shape[0] = g->shape[0];
  image->shape[first == 1 ? g->ndim - 1 : 1] = w->shape[1] * h->arg_int(c, "groups");
  for (int32_t i = 0; i < axes; i++) {
    int32_t a = axes == 1 ? 1 : i;
    const int64_t given = g->shape[first + i], span = d[a] * (w->shape[2 + i] - 1) + 1;
    image->shape[first + i] = n ? size[i] : (given - 1) * s[a] - 2 * p[a] + span;
    if (image->shape[first + i] < 1)
      return h->fail(c, QN_E_SHAPE, "the result would have size %" PRId64 " along axis %d",
                     image->shape[first + i], (int)i + 1);
  }
  return QN_OK;
}

static qn_status transpose_set_up(const qn_host *h, qn_call *c, qn_view *image, qni_conv *v) {
  const qn_view *g = h->in(c, 0), *w = h->in(c, 1);
  qn_status st = transposed_image(h, c, image);
  if (!st) st = set_up(h, c, image, w->shape, w->ndim, v);
  if (st) return st;
  qni_window r;
  if ((st = qni_image_read(h, c, g, &r))) return st;
  if (r.C == v->O && r.H == v->w.OH && r.W == v->w.OW) return QN_OK;
  return h->fail(c, QN_E_SHAPE,
                 "a convolution of the asked size gives %" PRId64 " channels of %" PRId64
                 "x%" PRId64 ", x has %" PRId64 " of %" PRId64 "x%" PRId64,
                 v->O, v->w.OH, v->w.OW, r.C, r.H, r.W);
}

static qn_status transpose_infer(const qn_host *h, qn_call *c) {
  qn_view image;
  qni_conv v;
  qn_status st = transpose_set_up(h, c, &image, &v);
  if (st) return st;
  qn_view *y = h->out(c, 0);
  y->ndim = image.ndim;
  memcpy(y->shape, image.shape, sizeof y->shape);
  return QN_OK;
}

static qn_status transpose_forward(const qn_host *h, qn_call *c) {
  qn_view image;
  qni_conv v;
  qn_status st = transpose_set_up(h, c, &image, &v);
  if (!st) st = h->save(c, 0, h->in(c, 0));
  if (!st) st = h->save(c, 1, h->in(c, 1));
  if (st) return st;
  return qni_conv_way(&v)->back(h, c, &v, h->in(c, 0)->data, h->in(c, 1)->data, h->out(c, 0)->data);
}

/* <u, T(g,w)>: dg = conv(u, w), dw = G(u, g). */
static qn_status transpose_compose(const qn_host *h, qn_call *c) {
  qn_tensor *g = h->ref_saved(c, 0), *w = h->ref_saved(c, 1), *u = h->ref_grad(c, 0), *out;
  qn_status st = QN_OK;
  if (h->needs_grad(c, 0)) {
    st = apply_conv(h, c, u, w, &out);
    if (!st) st = h->set_grad(c, 0, out);
  }
  if (!st && h->needs_grad(c, 1)) {
    st = apply_weight(h, c, u, g, h->like(c, 1), &out);
    if (!st) st = h->set_grad(c, 1, out);
  }
  return st;
}

/* ---- conv_weight_grad ---- */

static qn_status weight_set_up(const qn_host *h, qn_call *c, int64_t *kernel, qni_conv *v) {
  const qn_view *x = h->in(c, 0), *g = h->in(c, 1);
  int32_t n = 0;
  const int64_t *size = h->arg_ints(c, "size", &n);
  if (n != x->ndim - 2 || g->ndim != x->ndim || g->shape[0] != x->shape[0])
    return h->fail(c, QN_E_SHAPE,
                   "'size' needs the kernel's %d sizes, and x and g the same batch and dimensions",
                   (int)x->ndim - 2);
  qni_window r;
  qn_status st = qni_image_read(h, c, g, &r);
  if (st) return st;
  kernel[0] = r.C;
  kernel[1] = qni_image_channels(x, r.last) / h->arg_int(c, "groups");
  for (int32_t i = 0; i < n; i++) kernel[2 + i] = size[i];
  st = set_up(h, c, x, kernel, x->ndim, v);
  if (st || (r.H == v->w.OH && r.W == v->w.OW)) return st;
  return h->fail(c, QN_E_SHAPE,
                 "a kernel of the asked size gives results of %" PRId64 "x%" PRId64
                 ", g has %" PRId64 "x%" PRId64,
                 v->w.OH, v->w.OW, r.H, r.W);
}

static qn_status weight_infer(const qn_host *h, qn_call *c) {
  qni_conv v;
  int64_t kernel[QN_MAX_DIMS] = {0};
  qn_status st = weight_set_up(h, c, kernel, &v);
  if (st) return st;
  qn_view *y = h->out(c, 0);
  y->ndim = h->in(c, 0)->ndim;
  memcpy(y->shape, kernel, sizeof y->shape);
  return QN_OK;
}

static qn_status weight_forward(const qn_host *h, qn_call *c) {
  qni_conv v;
  int64_t kernel[QN_MAX_DIMS] = {0};
  qn_status st = weight_set_up(h, c, kernel, &v);
  if (!st) st = h->save(c, 0, h->in(c, 0));
  if (!st) st = h->save(c, 1, h->in(c, 1));
  if (st) return st;
  return qni_conv_way(&v)->weight(h, c, &v, h->in(c, 0)->data, h->in(c, 1)->data,
                                  h->out(c, 0)->data);
}

/* <v, G(x,g)>: dx = T(g, v), dg = conv(x, v). */
static qn_status weight_compose(const qn_host *h, qn_call *c) {
  qn_tensor *x = h->ref_saved(c, 0), *g = h->ref_saved(c, 1), *v = h->ref_grad(c, 0), *out;
  qn_status st = QN_OK;
  if (h->needs_grad(c, 0)) {
    st = apply_transpose(h, c, g, v, h->like(c, 0), &out);
    if (!st) st = h->set_grad(c, 0, out);
  }
  if (!st && h->needs_grad(c, 1)) {
    st = apply_conv(h, c, x, v, &out);
    if (!st) st = h->set_grad(c, 1, out);
  }
  return st;
}

#define OPTIONS                                                                                    \
  "stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: "      \
  "int{1..} = 1, " QNI_LAYOUT
#define COMMON .struct_size = sizeof(qn_op), .det = QN_DET_BITWISE
#define CONV                                                                                       \
  .batch = QN_BATCH_ROWS, .infer = conv_infer, .forward = conv_forward, .backward = conv_backward, \
  .compose = conv_compose, .flops = conv_flops,                                                    \
  .doc = "y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]; w has C/groups input channels. "  \
         "stride, "                                                                                \
         "padding, dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) " \
         "- 1) / s) + 1." QNI_LAYOUT_DOC
#define TRANSPOSE                                                                                  \
  .batch = QN_BATCH_ROWS, .infer = transpose_infer, .forward = transpose_forward,                  \
  .compose = transpose_compose,                                                                    \
  .summary = "Transposed convolution: the adjoint with respect to the image.",                     \
  .doc = "<u, T(x, w)> = <x, conv(u, w)>; x has the kernel's O channels, the result C = I "        \
         "groups. Result "                                                                         \
         "size: `size`, or (X - 1) s - 2 pad + d (k-1) + 1." QNI_LAYOUT_DOC
#define WEIGHT                                                                                     \
  .batch = QN_BATCH_SUM, .infer = weight_infer, .forward = weight_forward,                         \
  .compose = weight_compose,                                                                       \
  .summary = "The adjoint of the convolution with respect to the kernel.",                         \
  .doc = "<v, G(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes." QNI_LAYOUT_DOC

static const qn_op conv1d = {
    COMMON, CONV,
    .schema = "conv1d(x: f[N,C,L], w: f[O,I,K], b: f[O]? = nil, *, " OPTIONS
              ") -> y: f[N,P,Q] where K >= 1",
    .summary = "Convolution of series [N,C,L].",
    .example = "print(quern.conv1d(quern.ones{1, 1, 4}, quern.ones{2, 1, 3}, {padding = 1}))"};

static const qn_op conv2d = {
    COMMON, CONV,
    .schema = "conv2d(x: f[N,C,H,W], w: f[O,I,KH,KW], b: f[O]? = nil, *, " OPTIONS
              ") -> y: f[N,P,Q,R] where KH >= 1, KW >= 1",
    .summary = "Convolution of images [N,C,H,W].",
    .example =
        "print(quern.conv2d(quern.ones{1, 1, 4, 4}, quern.ones{2, 1, 3, 3}, {padding = 1}))"};

static const qn_op conv_transpose1d = {
    COMMON, TRANSPOSE,
    .schema = "conv_transpose1d(x: f[N,C,L], w: f[O,I,K], *, size: [int{1..}]? = nil, " OPTIONS
              ") -> y: f[N,P,Q] where K >= 1",
    .example =
        "print(quern.conv_transpose1d(quern.ones{1, 2, 2}, quern.ones{2, 1, 3}, {stride = 2}))"};

static const qn_op conv_transpose2d = {
    COMMON, TRANSPOSE,
    .schema =
        "conv_transpose2d(x: f[N,C,H,W], w: f[O,I,KH,KW], *, size: [int{1..}]? = nil, " OPTIONS
        ") -> y: f[N,P,Q,R] where KH >= 1, KW >= 1",
    .example = "print(quern.conv_transpose2d(quern.ones{1, 2, 2, 2}, quern.ones{2, 1, 3, 3}, "
               "{stride = 2}))"};

static const qn_op conv1d_weight_grad = {
    COMMON, WEIGHT,
    .schema = "conv1d_weight_grad(x: f[N,C,L], g: f[N,P,Q], *, size: [int{1..}], " OPTIONS
              ") -> dw: f[O,I,K]",
    .example =
        "print(quern.conv1d_weight_grad(quern.ones{1, 1, 4}, quern.ones{1, 2, 2}, {size = {3}}))"};

static const qn_op conv2d_weight_grad = {
    COMMON, WEIGHT,
    .schema = "conv2d_weight_grad(x: f[N,C,H,W], g: f[N,P,Q,R], *, size: [int{1..}], " OPTIONS
              ") -> dw: f[O,I,KH,KW]",
    .example = "print(quern.conv2d_weight_grad(quern.ones{1, 1, 4, 4}, quern.ones{1, 2, 2, 2}, "
               "{size = {3, 3}}))"};

const qn_op *const qni_ops_conv[] = {&conv1d,
                                     &conv2d,
                                     &conv_transpose1d,
                                     &conv_transpose2d,
                                     &conv1d_weight_grad,
                                     &conv2d_weight_grad,
                                     NULL};
