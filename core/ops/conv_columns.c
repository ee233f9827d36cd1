/*
** The products of a convolution by columns: each image becomes a matrix of the pixels that
** each result pixel sees, and is multiplied.
**
**   channels first   col [K,P], K = (c,i,j):  y = w col,    col = w' g,   dw += g col'
**   channels last    col [P,K], K = (i,j,c):  y = col v,    col = g v',   dv += col' g
**                    with v [K,og] the kernel of a group in that order
**
** Weight gradients gather in a fixed number of partial sums of images, added in order.
** SPDX-License-Identifier: MIT
*/
#include <stdbool.h>
#include <string.h>

#include "ops/conv_parts.h"
#include "ops/network.h"

#define QNI_TYPED "ops/conv_typed.h"
#include "ops/both_typed.h"

enum { PARTIALS = 8 };

struct columns {
  const qn_host *h;
  qn_call *c;
  const qni_conv *v;
  const char *x, *g; /* image side, result side */
  const char *w;     /* kernel: [O,cg,kh,kw], or with channels last [groups,K,og] */
  const char *bias;
  char *out;
  int64_t per_partial; /* images of one partial sum */
};

static void to_columns(const qni_conv *v, const char *image, void *col) {
  if (v->dtype == QN_F64)
    image_to_columns_f64(&v->w, v->cg, (const double *)(const void *)image, col);
  else
    image_to_columns_f32(&v->w, v->cg, (const float *)(const void *)image, col);
}

static void from_columns(const qni_conv *v, const void *col, char *image) {
  if (v->dtype == QN_F64)
    columns_to_image_f64(&v->w, v->cg, col, (double *)(void *)image);
  else
    columns_to_image_f32(&v->w, v->cg, col, (float *)(void *)image);
}

/* Where image n's group g begins, on either side. */
static int64_t image_at(const qni_conv *v, int64_t n, int64_t g) {
  const int64_t pixels = v->w.H * v->w.W, first = n * v->w.C * pixels;
  return (first + g * v->cg * (v->w.last ? 1 : pixels)) * v->size;
}
static int64_t result_at(const qni_conv *v, int64_t n, int64_t g) {
  return (n * v->O * v->P + g * v->og * (v->w.last ? 1 : v->P)) * v->size;
}
static int64_t kernel_at(const qni_conv *v, int64_t g) { return g * v->og * v->K * v->size; }

static void add_bias(const struct columns *s, int64_t n) {
  const qni_conv *v = s->v;
  const int64_t many = v->O * v->P;
  if (v->dtype == QN_F64)
    bias_f64(&v->w, v->O, v->P, (const double *)(const void *)s->bias,
             (double *)(void *)s->out + n * many);
  else
    bias_f32(&v->w, v->O, v->P, (const float *)(const void *)s->bias,
             (float *)(void *)s->out + n * many);
}

/* A product of this convolution's type. Operands are [row, 1] or, transposed, [1, col] apart. */
static qn_gemm product(const qni_conv *v, int64_t m, int64_t n, int64_t k) {
  return (qn_gemm){.m = m, .n = n, .k = k, .batch = 1, .alpha = 1, .dtype = v->dtype};
}

static qn_status convolve_images(void *ctx, int64_t begin, int64_t end) {
  const struct columns *s = ctx;
  const qni_conv *v = s->v;
  void *col;
  qn_status st = s->h->local(s->c, v->K * v->P * v->size, &col);
  for (int64_t n = begin; !st && n < end; n++) {
    for (int64_t g = 0; !st && g < v->groups; g++) {
      to_columns(v, s->x + image_at(v, n, g), col);
      qn_gemm p = v->w.last ? product(v, v->P, v->og, v->K) : product(v, v->og, v->P, v->K);
      p.a = v->w.last ? col : s->w + kernel_at(v, g);
      p.b = v->w.last ? s->w + kernel_at(v, g) : col;
      p.c = s->out + result_at(v, n, g);
      p.a_row = v->K, p.a_col = p.b_col = 1;
      p.b_row = v->w.last ? v->og : v->P;
      p.c_row = v->w.last ? v->O : v->P;
      st = s->h->gemm(s->c, &p);
    }
    if (!st && s->bias) add_bias(s, n);
  }
  return st;
}

static qn_status transpose_images(void *ctx, int64_t begin, int64_t end) {
  const struct columns *s = ctx;
  const qni_conv *v = s->v;
  void *col;
  qn_status st = s->h->local(s->c, v->K * v->P * v->size, &col);
  for (int64_t n = begin; !st && n < end; n++)
    for (int64_t g = 0; !st && g < v->groups; g++) {
      qn_gemm p = v->w.last ? product(v, v->P, v->K, v->og) : product(v, v->K, v->P, v->og);
      p.a = v->w.last ? s->g + result_at(v, n, g) : s->w + kernel_at(v, g);
      p.b = v->w.last ? s->w + kernel_at(v, g) : s->g + result_at(v, n, g);
      p.c = col;
      p.a_row = v->w.last ? v->O : 1, p.a_col = v->w.last ? 1 : v->K;
      p.b_row = v->w.last ? 1 : v->P, p.b_col = v->w.last ? v->og : 1;
      p.c_row = v->w.last ? v->K : v->P;
      st = s->h->gemm(s->c, &p);
      if (!st) from_columns(v, col, s->out + image_at(v, n, g));
    }
  return st;
}

/* Partial sum `begin` of the weight gradient: images begin*per_partial and on. */
static qn_status weigh_images(void *ctx, int64_t begin, int64_t end) {
  const struct columns *s = ctx;
  const qni_conv *v = s->v;
  void *col;
  qn_status st = s->h->local(s->c, v->K * v->P * v->size, &col);
  for (int64_t part = begin; !st && part < end; part++) {
    int64_t last = (part + 1) * s->per_partial < v->w.N ? (part + 1) * s->per_partial : v->w.N;
    char *sum = s->out + part * v->O * v->K * v->size;
    memset(sum, 0, (size_t)(v->O * v->K * v->size));
    for (int64_t n = part * s->per_partial; !st && n < last; n++)
      for (int64_t g = 0; !st && g < v->groups; g++) {
        to_columns(v, s->x + image_at(v, n, g), col);
        qn_gemm p = v->w.last ? product(v, v->K, v->og, v->P) : product(v, v->og, v->K, v->P);
        p.a = v->w.last ? col : s->g + result_at(v, n, g);
        p.b = v->w.last ? s->g + result_at(v, n, g) : col;
        p.c = sum + kernel_at(v, g);
        p.a_row = v->w.last ? 1 : v->P, p.a_col = v->w.last ? v->K : 1;
        p.b_row = v->w.last ? v->O : 1, p.b_col = v->w.last ? 1 : v->P;
        p.c_row = v->w.last ? v->og : v->K;
        p.beta = 1;
        st = s->h->gemm(s->c, &p);
      }
  }
  return st;
}

/* [og,cg,taps] -> [taps cg, og] for each group, and back. */
static void reorder(const qni_conv *v, const void *from, void *to, bool back) {
  if (v->dtype == QN_F64)
    reorder_f64(v->groups, v->og, v->cg, v->w.kh * v->w.kw, from, to, back);
  else
    reorder_f32(v->groups, v->og, v->cg, v->w.kh * v->w.kw, from, to, back);
}

static qn_status kernel_in_order(struct columns *s, const void *w) {
  void *memory;
  s->w = w;
  if (!s->v->w.last) return QN_OK;
  qn_status st = s->h->scratch(s->c, s->v->O * s->v->K * s->v->size, &memory);
  if (st) return st;
  reorder(s->v, w, memory, false);
  s->w = memory;
  return QN_OK;
}

bool qni_columns_takes(const qni_conv *v) { return v->K >= 0; }

qn_status qni_columns_image(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                            const void *w, const void *bias, void *y) {
  struct columns s = {.h = h, .c = c, .v = v, .x = x, .bias = bias, .out = y};
  qn_status st = kernel_in_order(&s, w);
  return st ? st : h->parallel(c, v->w.N, 1, convolve_images, &s);
}

qn_status qni_columns_back(const qn_host *h, qn_call *c, const qni_conv *v, const void *g,
                           const void *w, void *dx) {
  struct columns s = {.h = h, .c = c, .v = v, .g = g, .out = dx};
  qn_status st = kernel_in_order(&s, w);
  return st ? st : h->parallel(c, v->w.N, 1, transpose_images, &s);
}

qn_status qni_columns_weight(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                             const void *g, void *dw) {
  struct columns s = {.h = h, .c = c, .v = v, .x = x, .g = g};
  void *parts, *sum = dw;
  s.per_partial = (v->w.N + PARTIALS - 1) / PARTIALS;
  const int64_t cells = v->O * v->K,
                n = s.per_partial ? (v->w.N + s.per_partial - 1) / s.per_partial : 0;
  qn_status st = h->scratch(c, n * cells * v->size, &parts);
  if (!st && v->w.last) st = h->scratch(c, cells * v->size, &sum);
  if (st) return st;
  s.out = parts;
  if ((st = h->parallel(c, n, 1, weigh_images, &s))) return st;
  if (v->dtype == QN_F64)
    add_partials_f64(n, cells, parts, sum);
  else
    add_partials_f32(n, cells, parts, sum);
  if (v->w.last) reorder(v, sum, dw, true);
  return QN_OK;
}

void qni_columns_bias(const qni_conv *v, const void *g, void *db) {
  if (v->dtype == QN_F64)
    bias_gradient_f64(v->w.N, v->O, v->P, g, db);
  else
    bias_gradient_f32(v->w.N, v->O, v->P, g, db);
}
