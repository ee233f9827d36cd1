/*
** leaky_scale: y = a x for x > 0, else b x; a plugin built outside the tree, with
** the installed headers only.
**
**   dx = dy (x > 0 ? a : b)
** SPDX-License-Identifier: MIT
*/
#include <quern/abi.h>

enum { GRAIN = 16384 };

/* What the plugin says of its versions; tests of refusals give other values. */
#ifndef SCALE_MAJOR
#define SCALE_MAJOR QN_ABI_MAJOR
#endif
#ifndef SCALE_LEAST
#define SCALE_LEAST 0
#endif
#ifndef SCALE_MAGIC
#define SCALE_MAGIC QN_MAGIC
#endif
#ifndef SCALE_NEEDS
#define SCALE_NEEDS NULL
#endif
#ifndef SCALE_SIZE
#define SCALE_SIZE sizeof(qn_plugin)
#endif
#ifndef SCALE_OP_SIZE
#define SCALE_OP_SIZE sizeof(qn_op)
#endif

struct work {
  const qn_view *x;
  const void *dy; /* NULL in forward */
  void *out;
  double a, b;
};

static qn_status run(void *ctx, int64_t begin, int64_t end) {
  const struct work *w = ctx;
  for (int64_t i = begin; i < end; i++) {
    if (w->x->dtype == QN_F32) {
      float x = ((const float *)w->x->data)[i];
      ((float *)w->out)[i] = (float)(x > 0 ? w->a : w->b) * (w->dy ? ((const float *)w->dy)[i] : x);
    } else {
      double x = ((const double *)w->x->data)[i];
      ((double *)w->out)[i] = (x > 0 ? w->a : w->b) * (w->dy ? ((const double *)w->dy)[i] : x);
    }
  }
  return QN_OK;
}

static int64_t count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

static qn_status start(const qn_host *h, qn_call *c, const qn_view *x, const void *dy, void *out) {
  struct work w = {.x = x, .dy = dy, .out = out, .a = h->arg_num(c, "a"), .b = h->arg_num(c, "b")};
  if (x->dtype == QN_BF16)
    return h->fail(c, QN_E_DTYPE, "bf16 is not offered; convert to f32 first");
  return h->parallel(c, count(x), GRAIN, run, &w);
}

static qn_status forward(const qn_host *h, qn_call *c) {
  qn_status st = h->save(c, 0, h->in(c, 0));
  return st ? st : start(h, c, h->in(c, 0), NULL, h->out(c, 0)->data);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0);
  return dx ? start(h, c, h->saved(c, 0), h->in(c, 0)->data, dx->data) : QN_OK;
}

/* Not smooth at 0. */
static inline qn_status kink(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  for (int64_t i = 0; i < count(x); i++) {
    double v =
        x->dtype == QN_F32 ? (double)((const float *)x->data)[i] : ((const double *)x->data)[i];
    if (v > -1e-3 && v < 1e-3) return QN_E_NUMERIC;
  }
  return QN_OK;
}

static const qn_op leaky_scale = {
    .struct_size = SCALE_OP_SIZE,
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema = "leaky_scale(x: f[...], *, a: num = 1, b: num = 0.1) -> y: f[...]",
    .summary = "One factor for positive elements, another for the rest.",
    .doc = "y = a x where x > 0, else b x; dx = dy a or dy b. x: any shape.",
    .example = "print(quern.leaky_scale(quern.tensor{-1, 2}, {a = 3, b = 2}):sum():item()) --> 4.0",
    .forward = forward,
    .backward = backward,
#ifndef SCALE_NO_KINK
    .kink = kink,
#endif
};

static const qn_op *const ops[] = {&leaky_scale, NULL};

QN_EXPORT const qn_plugin qn_plugin_entry = {
    .magic = SCALE_MAGIC,
    .struct_size = SCALE_SIZE,
    .abi_major = SCALE_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = SCALE_LEAST,
    .build = QN_BUILD,
    .id = "example.scale",
    .name = "scale",
    .version = "1.2.3",
    .requires_ids = (const char *const[]){"qn.math/1", SCALE_NEEDS, NULL},
    .ops = ops,
};
