/*
** Convolution over [N,C,H,W] or [N,C,L], and its two adjoints as ops of their own.
**
**   y[n,o,p]   = b[o] + sum_{c,k} w[o,c,k] x[n, c, p s + k d - pad]       conv
**   <u, T(g,w)> = <g, conv(u, w)>                                         conv_transpose
**   <v, G(x,g)> = <g, conv(x, v)>                                         conv_weight_grad
**
** The three are one trilinear form seen from its three sides, so each one's backward
** is made of the other two, to any order. Each image is turned into columns and
** multiplied; weight gradients gather in a fixed number of partial sums of images.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "ops/conv_shape.h"
#include "ops/network.h"

#define QNI_TYPED "ops/conv_typed.h"
#include "ops/both_types.h"

enum { PARTIALS = 8 };

struct conv {
  const qn_host *h;
  qn_call *c;
  qni_window w;
  int64_t groups, O;             /* O: result channels */
  int64_t cg, og, K, P;          /* channels of a group on both sides; K = cg kh kw; P = OH OW */
  int64_t size;                  /* bytes of an element */
  int32_t dtype;
  const char *x, *weight, *g;    /* image, kernel, result side */
  const char *bias;
  char *out;
  int64_t per_partial;           /* images of one partial sum */
};

static qn_status set_up(const qn_host *h, qn_call *c, const qn_view *image, const int64_t *kernel, int32_t kernel_dims, struct conv *v) {
  *v = (struct conv){.h = h, .c = c, .groups = h->arg_int(c, "groups"), .O = kernel[0],
                     .dtype = image->dtype, .size = qni_net_size(image)};
  if (kernel_dims != image->ndim)
    return h->fail(c, QN_E_SHAPE, "the kernel has %d dimensions and the image %d; they must agree", (int)kernel_dims, (int)image->ndim);
  qn_status st = qni_window_read(h, c, image, kernel_dims == 4 ? kernel[2] : 1, kernel[kernel_dims - 1], &v->w);
  if (st) return st;
  if (v->w.C != kernel[1] * v->groups || v->O % v->groups)
    return h->fail(c, QN_E_SHAPE, "image has %" PRId64 " channels and %" PRId64 " are given out; the kernel takes %" PRId64 " a group in %" PRId64 " groups",
                   v->w.C, v->O, kernel[1], v->groups);
  v->cg = v->w.C / v->groups;
  v->og = v->O / v->groups;
  v->K = v->cg * v->w.kh * v->w.kw;
  v->P = v->w.OH * v->w.OW;
  return QN_OK;
}

static void to_columns(const struct conv *v, const char *image, void *col) {
  if (v->dtype == QN_F64) image_to_columns_f64(&v->w, v->cg, (const double *)(const void *)image, col);
  else image_to_columns_f32(&v->w, v->cg, (const float *)(const void *)image, col);
}

static void from_columns(const struct conv *v, const void *col, char *image) {
  if (v->dtype == QN_F64) columns_to_image_f64(&v->w, v->cg, col, (double *)(void *)image);
  else columns_to_image_f32(&v->w, v->cg, col, (float *)(void *)image);
}

/* Where image n's group g begins, on either side. */
static int64_t image_at(const struct conv *v, int64_t n, int64_t g) { return (n * v->w.C + g * v->cg) * v->w.H * v->w.W * v->size; }
static int64_t result_at(const struct conv *v, int64_t n, int64_t g) { return (n * v->O + g * v->og) * v->P * v->size; }
static int64_t kernel_at(const struct conv *v, int64_t g) { return g * v->og * v->K * v->size; }

static void add_bias(const struct conv *v, int64_t n) {
  for (int64_t o = 0; v->bias && o < v->O; o++)
    for (int64_t p = 0; p < v->P; p++) {
      int64_t at = (n * v->O + o) * v->P + p;
      if (v->dtype == QN_F64) ((double *)(void *)v->out)[at] += ((const double *)(const void *)v->bias)[o];
      else ((float *)(void *)v->out)[at] += ((const float *)(const void *)v->bias)[o];
    }
}

/* ---- The three products, image by image ---- */

static qn_status convolve_images(void *ctx, int64_t begin, int64_t end) {
  const struct conv *v = ctx;
  void *col;
  qn_status st = v->h->local(v->c, v->K * v->P * v->size, &col);
  for (int64_t n = begin; !st && n < end; n++) {
    for (int64_t g = 0; !st && g < v->groups; g++) {
      to_columns(v, v->x + image_at(v, n, g), col); /* [og,K] x [K,P] */
      qn_gemm p = {.m = v->og, .n = v->P, .k = v->K, .batch = 1, .a = v->weight + kernel_at(v, g), .b = col,
                   .c = v->out + result_at(v, n, g), .a_row = v->K, .a_col = 1, .b_row = v->P, .b_col = 1,
                   .c_row = v->P, .alpha = 1, .dtype = v->dtype};
      st = v->h->gemm(v->c, &p);
    }
    if (!st) add_bias(v, n);
  }
  return st;
}

static qn_status transpose_images(void *ctx, int64_t begin, int64_t end) {
  const struct conv *v = ctx;
  void *col;
  qn_status st = v->h->local(v->c, v->K * v->P * v->size, &col);
  for (int64_t n = begin; !st && n < end; n++)
    for (int64_t g = 0; !st && g < v->groups; g++) { /* [og,K]^T x [og,P] */
      qn_gemm p = {.m = v->K, .n = v->P, .k = v->og, .batch = 1, .a = v->weight + kernel_at(v, g), .b = v->g + result_at(v, n, g),
                   .c = col, .a_row = 1, .a_col = v->K, .b_row = v->P, .b_col = 1, .c_row = v->P, .alpha = 1, .dtype = v->dtype};
      st = v->h->gemm(v->c, &p);
      if (!st) from_columns(v, col, v->out + image_at(v, n, g));
    }
  return st;
}

/* Partial sum `begin` of the weight gradient: images begin*per_partial and on. */
static qn_status weigh_images(void *ctx, int64_t begin, int64_t end) {
  const struct conv *v = ctx;
  void *col;
  qn_status st = v->h->local(v->c, v->K * v->P * v->size, &col);
  for (int64_t part = begin; !st && part < end; part++) {
    int64_t last = (part + 1) * v->per_partial < v->w.N ? (part + 1) * v->per_partial : v->w.N;
    char *sum = v->out + part * v->O * v->K * v->size;
    memset(sum, 0, (size_t)(v->O * v->K * v->size));
    for (int64_t n = part * v->per_partial; !st && n < last; n++)
      for (int64_t g = 0; !st && g < v->groups; g++) { /* [og,P] x [K,P]^T */
        to_columns(v, v->x + image_at(v, n, g), col);
        qn_gemm p = {.m = v->og, .n = v->K, .k = v->P, .batch = 1, .a = v->g + result_at(v, n, g), .b = col,
                     .c = sum + kernel_at(v, g), .a_row = v->P, .a_col = 1, .b_row = 1, .b_col = v->P,
                     .c_row = v->K, .alpha = 1, .beta = 1, .dtype = v->dtype};
        st = v->h->gemm(v->c, &p);
      }
  }
  return st;
}

/* ---- conv ---- */

static void result_shape(const struct conv *v, int32_t ndim, qn_view *y) {
  y->ndim = ndim;
  y->shape[0] = v->w.N;
  y->shape[1] = v->O;
  if (ndim == 4) y->shape[2] = v->w.OH;
  y->shape[ndim - 1] = v->w.OW;
}

static qn_status conv_infer(const qn_host *h, qn_call *c) {
  struct conv v;
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1), *b = h->in(c, 2);
  qn_status st = set_up(h, c, x, w->shape, w->ndim, &v);
  if (st) return st;
  if (b && b->shape[0] != v.O) return h->fail(c, QN_E_SHAPE, "b has %" PRId64 " elements for %" PRId64 " channels", b->shape[0], v.O);
  result_shape(&v, x->ndim, h->out(c, 0));
  return QN_OK;
}

static qn_status conv_forward(const qn_host *h, qn_call *c) {
  struct conv v;
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1), *b = h->in(c, 2);
  qn_status st = set_up(h, c, x, w->shape, w->ndim, &v);
  if (!st) st = h->save(c, 0, x);
  if (!st) st = h->save(c, 1, w);
  if (st) return st;
  v.x = x->data, v.weight = w->data, v.bias = b ? b->data : NULL, v.out = h->out(c, 0)->data;
  return h->parallel(c, v.w.N, 1, convolve_images, &v);
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
  return 4;
}

static qn_arg tensor(qn_tensor *t) { return (qn_arg){.kind = QN_ARG_TENSOR, .v.tensor = t}; }
static qn_arg sizes(const char *name, const qn_view *v, int32_t skip) {
  return (qn_arg){.name = name, .kind = QN_ARG_INTS, .count = v->ndim - skip, .v.ints = v->shape + skip};
}

/* T(g, w) for the image's spatial sizes, G(x, g) for the kernel's, conv(x, w): as ops. */
static qn_status apply_transpose(const qn_host *h, qn_call *c, qn_tensor *g, qn_tensor *w, const qn_view *image, qn_tensor **out) {
  qn_arg args[7] = {tensor(g), tensor(w), sizes("size", image, 2)};
  return h->apply(c, "conv_transpose", args, 3 + options(h, c, args + 3), out, 1);
}

static qn_status apply_weight(const qn_host *h, qn_call *c, qn_tensor *x, qn_tensor *g, const qn_view *kernel, qn_tensor **out) {
  qn_arg args[7] = {tensor(x), tensor(g), sizes("size", kernel, 2)};
  return h->apply(c, "conv_weight_grad", args, 3 + options(h, c, args + 3), out, 1);
}

static qn_status apply_conv(const qn_host *h, qn_call *c, qn_tensor *x, qn_tensor *w, qn_tensor **out) {
  qn_arg args[6] = {tensor(x), tensor(w)};
  return h->apply(c, "conv", args, 2 + options(h, c, args + 2), out, 1);
}

static qn_status conv_bias_grad(const qn_host *h, qn_call *c) {
  static const int64_t dims2[] = {1, 3, 4}, dims1[] = {1, 3};
  bool two = h->like(c, 0)->ndim == 4;
  qn_tensor *db;
  qn_arg args[] = {tensor(h->ref_grad(c, 0)), {.name = "dim", .kind = QN_ARG_INTS, .count = two ? 3 : 2, .v.ints = two ? dims2 : dims1}};
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
  if (!st && w->ndim != g->ndim) st = h->fail(c, QN_E_SHAPE, "the kernel has %d dimensions and x %d; they must agree", (int)w->ndim, (int)g->ndim);
  if (!st) st = qni_window_pair(h, c, "stride", axes, 1, 1, &s[0], &s[1]);
  if (!st) st = qni_window_pair(h, c, "padding", axes, 0, 0, &p[0], &p[1]);
  if (!st) st = qni_window_pair(h, c, "dilation", axes, 1, 1, &d[0], &d[1]);
  if (st) return st;
  if (n && n != axes) return h->fail(c, QN_E_ARG, "'size' has %d numbers for %d axes", (int)n, (int)axes);
  *image = (qn_view){.ndim = g->ndim, .dtype = g->dtype};
  image->shape[0] = g->shape[0];
  image->shape[1] = w->shape[1] * h->arg_int(c, "groups");
  for (int32_t i = 0; i < axes; i++) {
    int32_t a = axes == 1 ? 1 : i;
    image->shape[2 + i] = n ? size[i] : (g->shape[2 + i] - 1) * s[a] - 2 * p[a] + d[a] * (w->shape[2 + i] - 1) + 1;
    if (image->shape[2 + i] < 1) return h->fail(c, QN_E_SHAPE, "the result would have size %" PRId64 " along axis %d", image->shape[2 + i], (int)i + 1);
  }
  return QN_OK;
}

static qn_status transpose_set_up(const qn_host *h, qn_call *c, qn_view *image, struct conv *v) {
  const qn_view *g = h->in(c, 0), *w = h->in(c, 1);
  qn_status st = transposed_image(h, c, image);
  if (!st) st = set_up(h, c, image, w->shape, w->ndim, v);
  if (st) return st;
  int64_t oh = g->ndim == 4 ? g->shape[2] : 1, ow = g->shape[g->ndim - 1];
  if (g->shape[1] == v->O && oh == v->w.OH && ow == v->w.OW) return QN_OK;
  return h->fail(c, QN_E_SHAPE, "a convolution of the asked size gives %" PRId64 " channels of %" PRId64 "x%" PRId64 ", x has %" PRId64 " of %" PRId64 "x%" PRId64,
                 v->O, v->w.OH, v->w.OW, g->shape[1], oh, ow);
}

static qn_status transpose_infer(const qn_host *h, qn_call *c) {
  qn_view image;
  struct conv v;
  qn_status st = transpose_set_up(h, c, &image, &v);
  if (st) return st;
  qn_view *y = h->out(c, 0);
  y->ndim = image.ndim;
  memcpy(y->shape, image.shape, sizeof y->shape);
  return QN_OK;
}

static qn_status transpose_forward(const qn_host *h, qn_call *c) {
  qn_view image;
  struct conv v;
  qn_status st = transpose_set_up(h, c, &image, &v);
  if (!st) st = h->save(c, 0, h->in(c, 0));
  if (!st) st = h->save(c, 1, h->in(c, 1));
  if (st) return st;
  v.g = h->in(c, 0)->data, v.weight = h->in(c, 1)->data, v.out = h->out(c, 0)->data;
  return h->parallel(c, v.w.N, 1, transpose_images, &v);
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

static qn_status weight_set_up(const qn_host *h, qn_call *c, int64_t *kernel, struct conv *v) {
  const qn_view *x = h->in(c, 0), *g = h->in(c, 1);
  int32_t n = 0;
  const int64_t *size = h->arg_ints(c, "size", &n);
  if (n != x->ndim - 2 || g->ndim != x->ndim || g->shape[0] != x->shape[0])
    return h->fail(c, QN_E_SHAPE, "'size' needs the kernel's %d sizes, and x and g the same batch and dimensions", (int)x->ndim - 2);
  kernel[0] = g->shape[1];
  kernel[1] = x->shape[1] / h->arg_int(c, "groups");
  for (int32_t i = 0; i < n; i++) kernel[2 + i] = size[i];
  qn_status st = set_up(h, c, x, kernel, x->ndim, v);
  int64_t oh = g->ndim == 4 ? g->shape[2] : 1, ow = g->shape[g->ndim - 1];
  if (st || (oh == v->w.OH && ow == v->w.OW)) return st;
  return h->fail(c, QN_E_SHAPE, "a kernel of the asked size gives results of %" PRId64 "x%" PRId64 ", g has %" PRId64 "x%" PRId64,
                 v->w.OH, v->w.OW, oh, ow);
}

static qn_status weight_infer(const qn_host *h, qn_call *c) {
  struct conv v;
  int64_t kernel[QN_MAX_DIMS] = {0};
  qn_status st = weight_set_up(h, c, kernel, &v);
  if (st) return st;
  qn_view *y = h->out(c, 0);
  y->ndim = h->in(c, 0)->ndim;
  memcpy(y->shape, kernel, sizeof y->shape);
  return QN_OK;
}

static void add_partials(const struct conv *v, int64_t n_parts, const char *parts, void *out) {
  int64_t n = v->O * v->K;
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int64_t p = 0; p < n_parts; p++)
      sum += v->dtype == QN_F64 ? ((const double *)(const void *)parts)[p * n + i] : (double)((const float *)(const void *)parts)[p * n + i];
    if (v->dtype == QN_F64) ((double *)out)[i] = sum;
    else ((float *)out)[i] = (float)sum;
  }
}

static qn_status weight_forward(const qn_host *h, qn_call *c) {
  struct conv v;
  int64_t kernel[QN_MAX_DIMS] = {0};
  void *parts;
  qn_status st = weight_set_up(h, c, kernel, &v);
  if (!st) st = h->save(c, 0, h->in(c, 0));
  if (!st) st = h->save(c, 1, h->in(c, 1));
  if (st) return st;
  v.per_partial = (v.w.N + PARTIALS - 1) / PARTIALS;
  int64_t n_parts = v.per_partial ? (v.w.N + v.per_partial - 1) / v.per_partial : 0;
  if ((st = h->scratch(c, n_parts * v.O * v.K * v.size, &parts))) return st;
  v.x = h->in(c, 0)->data, v.g = h->in(c, 1)->data, v.out = parts;
  st = h->parallel(c, n_parts, 1, weigh_images, &v);
  if (!st) add_partials(&v, n_parts, parts, h->out(c, 0)->data);
  return st;
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

#define OPTIONS "stride: [int] = [1], padding: [int] = [0], dilation: [int] = [1], groups: int{1..} = 1"

static const qn_op conv = {
    .struct_size = sizeof(qn_op), .det = QN_DET_BITWISE, .batch = QN_BATCH_ROWS,
    .schema = "conv(x: f[?], w: f[?], b: f[O]? = nil, *, " OPTIONS ") -> y: f[?]",
    .summary = "Convolution of images [N,C,H,W] or series [N,C,L].",
    .doc = "y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]. w: [O,C/groups,kh,kw] or [O,C/groups,k]. stride, padding, "
           "dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) - 1) / s) + 1.",
    .example = "print(quern.conv(quern.ones{1, 1, 4, 4}, quern.ones{2, 1, 3, 3}, {padding = 1}))",
    .infer = conv_infer, .forward = conv_forward, .compose = conv_compose, .flops = conv_flops};

static const qn_op conv_transpose = {
    .struct_size = sizeof(qn_op), .det = QN_DET_BITWISE, .batch = QN_BATCH_ROWS,
    .schema = "conv_transpose(x: f[?], w: f[?], *, size: [int]? = nil, " OPTIONS ") -> y: f[?]",
    .summary = "Transposed convolution: the adjoint of conv with respect to its image.",
    .doc = "<u, conv_transpose(x, w)> = <x, conv(u, w)>. x: [N,O,...], w: [O,C/groups,...]. Result size: `size`, or "
           "(I - 1) s - 2 pad + d (k-1) + 1.",
    .example = "print(quern.conv_transpose(quern.ones{1, 2, 2, 2}, quern.ones{2, 1, 3, 3}, {stride = 2}))",
    .infer = transpose_infer, .forward = transpose_forward, .compose = transpose_compose};

static const qn_op conv_weight_grad = {
    .struct_size = sizeof(qn_op), .det = QN_DET_BITWISE, .batch = QN_BATCH_SUM,
    .schema = "conv_weight_grad(x: f[?], g: f[?], *, size: [int], " OPTIONS ") -> dw: f[?]",
    .summary = "The adjoint of conv with respect to its kernel.",
    .doc = "<v, conv_weight_grad(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes.",
    .example = "print(quern.conv_weight_grad(quern.ones{1, 1, 4, 4}, quern.ones{1, 2, 2, 2}, {size = {3, 3}}))",
    .infer = weight_infer, .forward = weight_forward, .compose = weight_compose};

const qn_op *const qni_ops_conv[] = {&conv, &conv_transpose, &conv_weight_grad, NULL};
