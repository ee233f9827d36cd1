/*
** Reductions over all, one or several dimensions: sum mean prod max min var std
** logsumexp all any. dim nil means all; keepdim leaves reduced dimensions at size 1.
** f32 is summed in f32 lanes of 1024 elements, from there on in double.
** SPDX-License-Identifier: MIT
*/
#include "reduce_fold.h"

#include <math.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "unary_math.h"

/* ---- Shapes ---- */

static qn_status fold_infer(const qn_host *h, qn_call *c) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (st) return st;
  qni_fold_shape(x, reduced, h->arg_bool(c, "keepdim"), y);
  return QN_OK;
}

/* Sums of integers and truth values are i64. */
static qn_status total_infer(const qn_host *h, qn_call *c) {
  int32_t dtype = h->in(c, 0)->dtype;
  h->out(c, 0)->dtype = qni_map_floating(dtype) ? dtype : QN_I64;
  return fold_infer(h, c);
}

/* How many elements are folded into one. */
static int64_t fold_count(const qn_view *x, const bool *reduced) {
  int64_t n = 1;
  for (int32_t d = 0; d < x->ndim; d++) n *= reduced[d] ? x->shape[d] : 1;
  return n;
}

/* ---- sum, mean, prod, max, min ---- */

static qn_status fold_into(const qn_host *h, qn_call *c, int32_t fold, bool mean) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  qni_fold f = {0};
  void *acc = NULL;
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (!st) st = qni_fold_start(h, c, x, reduced, &f);
  if (st) return st;
  if ((fold == QNI_FOLD_MAX || fold == QNI_FOLD_MIN) && f.R == 0 && f.A * f.B > 0)
    return h->fail(c, QN_E_SHAPE,
                   "no elements to take the extreme of; the reduced dimensions are empty");
  st = h->scratch(c, f.A * f.B * 8, &acc);
  if (!st) st = qni_fold_run(h, c, &f, fold, acc, NULL);
  return st ? st : qni_fold_finish(h, c, f.type, acc, mean ? 1 / (double)f.R : 1, y);
}

static qn_status sum_forward(const qn_host *h, qn_call *c) {
  return fold_into(h, c, QNI_FOLD_SUM, false);
}
static qn_status mean_forward(const qn_host *h, qn_call *c) {
  return fold_into(h, c, QNI_FOLD_SUM, true);
}

static qn_status save_both(const qn_host *h, qn_call *c, qn_status st) {
  if (!st) st = h->save(c, 0, h->in(c, 0));
  return st ? st : h->save(c, 1, h->out(c, 0));
}
static qn_status prod_forward(const qn_host *h, qn_call *c) {
  return save_both(h, c, fold_into(h, c, QNI_FOLD_PROD, false));
}
static qn_status max_forward(const qn_host *h, qn_call *c) {
  return save_both(h, c, fold_into(h, c, QNI_FOLD_MAX, false));
}
static qn_status min_forward(const qn_host *h, qn_call *c) {
  return save_both(h, c, fold_into(h, c, QNI_FOLD_MIN, false));
}

/* dx = scale dy, repeated over the reduced dimensions. */
static qn_status spread_backward(const qn_host *h, qn_call *c, bool mean) {
  bool reduced[QN_MAX_DIMS];
  qn_view *dx = h->out(c, 0);
  if (!dx) return QN_OK;
  qn_status st = qni_fold_dims(h, c, dx, reduced);
  if (st) return st;
  qn_view g = qni_fold_spread(h->in(c, 0), dx, reduced);
  double scale = mean ? 1 / (double)fold_count(dx, reduced) : 1;
  return mean ? qni_map_pw(h, c, QNI_PW_SCALE, &scale, dx, &g, NULL, NULL)
              : qni_fold_copy(h, c, dx, &g);
}
static qn_status sum_backward(const qn_host *h, qn_call *c) { return spread_backward(h, c, false); }
static qn_status mean_backward(const qn_host *h, qn_call *c) { return spread_backward(h, c, true); }

/* ---- Second order ---- */

/* t of the reduced shape, with reduced dimensions back at size 1. */
static qn_tensor *keep_shape(qni_build *b, qn_tensor *t, const bool *reduced, int64_t *count) {
  const qn_view *x = b->h->like(b->c, 0);
  qn_view kept = {0};
  qni_fold_shape(x, reduced, true, &kept);
  *count = fold_count(x, reduced);
  return qni_build_op(b, "reshape", 2,
                      (qn_arg[]){qni_arg_tensor(t), qni_arg_ints("shape", kept.ndim, kept.shape)});
}

static qn_tensor *expand_like(qni_build *b, qn_tensor *t) {
  const qn_view *x = b->h->like(b->c, 0);
  return qni_build_op(b, "expand", 2,
                      (qn_arg[]){qni_arg_tensor(t), qni_arg_ints("shape", x->ndim, x->shape)});
}

/* What every compose here begins with; slots 0 and 1 hold x and y where saved. */
struct start {
  qni_build b;
  bool reduced[QN_MAX_DIMS];
  int64_t n;
  qn_tensor *g; /* dy, reduced dimensions at size 1 */
};

static struct start compose_start(const qn_host *h, qn_call *c) {
  struct start s = {.b = qni_build_start(h, c)};
  s.b.status = qni_fold_dims(h, c, h->like(c, 0), s.reduced);
  if (!s.b.status) s.g = keep_shape(&s.b, qni_build_flow(&s.b), s.reduced, &s.n);
  return s;
}

static qn_status sum_compose(const qn_host *h, qn_call *c) {
  struct start s = compose_start(h, c);
  qni_build_set(&s.b, 0, expand_like(&s.b, s.g));
  return s.b.status;
}

static qn_status mean_compose(const qn_host *h, qn_call *c) {
  struct start s = compose_start(h, c);
  qni_build_set(&s.b, 0, expand_like(&s.b, qni_build_num(&s.b, "mul", s.g, 1 / (double)s.n)));
  return s.b.status;
}

/* The gradient is shared by all elements equal to the extreme. */
static qn_status extreme_compose(const qn_host *h, qn_call *c) {
  struct start s = compose_start(h, c);
  qni_build *b = &s.b;
  qn_tensor *x = qni_build_saved(b, 0), *y = keep_shape(b, qni_build_saved(b, 1), s.reduced, &s.n);
  const qn_view *like = h->like(c, 0);
  qn_tensor *hit =
      qni_build_op(b, "cast", 2,
                   (qn_arg[]){qni_arg_tensor(qni_build_op2(b, "eq", x, y)),
                              qni_arg_str("dtype", like->dtype == QN_F64 ? "f64" : "f32")});
  qn_view kept = {0};
  qni_fold_shape(like, s.reduced, true, &kept);
  qn_tensor *ties =
      qni_build_op(b, "sum_to", 2,
                   (qn_arg[]){qni_arg_tensor(hit), qni_arg_ints("shape", kept.ndim, kept.shape)});
  qn_tensor *dx = qni_build_op2(b, "mul", hit, qni_build_op2(b, "div", s.g, ties));
  if (like->dtype == QN_BF16)
    dx = qni_build_op(b, "cast", 2, (qn_arg[]){qni_arg_tensor(dx), qni_arg_str("dtype", "bf16")});
  qni_build_set(b, 0, dx);
  return b->status;
}

/* ---- prod: dx = dy times the product of the others, by prefix and suffix products ---- */

struct others {
  const char *x;
  const char *g;
  char *out;
  int64_t R;
  bool wide;
};

static qn_status others_range(void *ctx, int64_t begin, int64_t end) {
  const struct others *o = ctx;
  for (int64_t a = begin; a < end; a++) {
    double product = 1;
    for (int64_t r = 0, i = a * o->R; r < o->R; r++, i++) {
      double x = o->wide ? ((const double *)o->x)[i] : (double)((const float *)o->x)[i];
      ((double *)o->out)[i] = product;
      product *= x;
    }
    product = o->wide ? ((const double *)o->g)[a] : (double)((const float *)o->g)[a];
    for (int64_t r = o->R - 1, i = (a + 1) * o->R - 1; r >= 0; r--, i--) {
      ((double *)o->out)[i] *= product;
      product *= o->wide ? ((const double *)o->x)[i] : (double)((const float *)o->x)[i];
    }
  }
  return QN_OK;
}

static void move_reduced_last(const qn_view *v, const bool *reduced, qn_view *to) {
  int32_t n = 0;
  *to = *v;
  for (int32_t pass = 0; pass < 2; pass++)
    for (int32_t d = 0; d < v->ndim; d++)
      if (reduced[d] == (pass == 1)) {
        to->shape[n] = v->shape[d];
        to->stride[n++] = v->stride[d];
      }
}

static qn_status prod_backward(const qn_host *h, qn_call *c) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *g = h->in(c, 0), *x = h->saved(c, 0);
  qn_view *dx = h->out(c, 0), gv, moved, from;
  void *out = NULL, *gd = NULL;
  qni_fold f = {0};
  if (!dx) return QN_OK;
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (!st) st = qni_fold_start_rows(h, c, x, reduced, &f);
  if (!st) st = h->scratch(c, f.A * f.R * 8, &out);
  if (!st) st = h->scratch(c, f.A * 8, &gd);
  if (st) return st;
  gv = qni_map_dense(g, f.type, gd);
  st = qni_fold_copy(h, c, &gv, g);
  struct others o = {f.x, gd, out, f.R, f.type == QN_F64};
  if (!st) st = h->parallel(c, f.A, 1 + QNI_MAP_GRAIN / (1 + f.R), others_range, &o);
  move_reduced_last(dx, reduced, &moved);
  from = qni_map_dense(&moved, QN_F64, out);
  return st ? st : qni_fold_copy(h, c, &moved, &from);
}

/* ---- var and std ---- */

static double degrees(const qn_host *h, qn_call *c, int64_t n) {
  double d = (double)(n - h->arg_int(c, "correction"));
  return d > 0 ? d : 0;
}

static qn_status spread_forward(const qn_host *h, qn_call *c, bool root) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qni_fold f = {0};
  void *mean = NULL, *acc = NULL;
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (!st) st = qni_fold_start(h, c, x, reduced, &f);
  if (!st) st = h->scratch(c, f.A * f.B * 8, &mean);
  if (!st) st = h->scratch(c, f.A * f.B * 8, &acc);
  if (!st) st = qni_fold_run(h, c, &f, QNI_FOLD_SUM, mean, NULL);
  if (st) return st;
  double *m = mean, *a = acc, free_of = degrees(h, c, f.R);
  for (int64_t i = 0; i < f.A * f.B; i++) m[i] /= (double)f.R;
  st = qni_fold_run(h, c, &f, QNI_FOLD_SQUARES, acc, mean);
  for (int64_t i = 0; i < f.A * f.B; i++) a[i] = root ? sqrt(a[i] / free_of) : a[i] / free_of;
  if (!st) st = qni_fold_finish(h, c, f.type, acc, 1, h->out(c, 0));
  return save_both(h, c, st);
}
static qn_status var_forward(const qn_host *h, qn_call *c) { return spread_forward(h, c, false); }
static qn_status std_forward(const qn_host *h, qn_call *c) { return spread_forward(h, c, true); }

/* var: dx = 2 (x - mean) dy / (n - correction); std: half of that over y, 0 where y is 0. */
static qn_status deviation_compose(const qn_host *h, qn_call *c, bool root) {
  struct start s = compose_start(h, c);
  qni_build *b = &s.b;
  qn_tensor *x = qni_build_saved(b, 0), *g = s.g;
  if (root) {
    qn_tensor *y = keep_shape(b, qni_build_saved(b, 1), s.reduced, &s.n);
    g = qni_build_where(b, qni_build_num(b, "eq", y, 0), NULL, qni_build_op2(b, "div", g, y));
  }
  int64_t dims[QN_MAX_DIMS];
  int32_t n = 0;
  for (int32_t d = 0; d < h->like(c, 0)->ndim; d++)
    if (s.reduced[d]) dims[n++] = d + 1;
  qn_tensor *mean = qni_build_op(
      b, "mean", 3,
      (qn_arg[]){qni_arg_tensor(x), qni_arg_ints("dim", n, dims), qni_arg_bool("keepdim", 1)});
  g = qni_build_num(b, "mul", g, (root ? 1 : 2) / degrees(h, c, s.n));
  qni_build_set(b, 0, qni_build_op2(b, "mul", qni_build_op2(b, "sub", x, mean), g));
  return b->status;
}
static qn_status var_compose(const qn_host *h, qn_call *c) {
  return deviation_compose(h, c, false);
}
static qn_status std_compose(const qn_host *h, qn_call *c) { return deviation_compose(h, c, true); }

/* ---- logsumexp ---- */

struct lse {
  const qni_fold *f;
  const qn_math *math;
  double *out;
};

enum { LSE_BLOCK = 256 };

static double lse_row_f32(const struct lse *s, int64_t a) {
  const float *x = (const float *)s->f->x + a * s->f->R;
  double top = -INFINITY, sum = 0;
  float t[LSE_BLOCK];
  qni_reduce()->f32.rows[QNI_FOLD_MAX](s->f->R, x, &top, NULL);
  if (!isfinite(top)) return top;
  for (int64_t at = 0; at < s->f->R; at += LSE_BLOCK) {
    int64_t n = s->f->R - at < LSE_BLOCK ? s->f->R - at : LSE_BLOCK;
    for (int64_t i = 0; i < n; i++) t[i] = x[at + i] - (float)top;
    s->math->exp(n, t, t);
    qni_reduce()->f32.rows[QNI_FOLD_SUM](n, t, &sum, NULL);
  }
  return top + log(sum);
}

static double lse_row_f64(const struct lse *s, int64_t a) {
  const double *x = (const double *)s->f->x + a * s->f->R;
  double top = -INFINITY, sum = 0;
  qni_reduce()->f64.rows[QNI_FOLD_MAX](s->f->R, x, &top, NULL);
  if (!isfinite(top)) return top;
  for (int64_t i = 0; i < s->f->R; i++) sum += exp(x[i] - top);
  return top + log(sum);
}

static qn_status lse_range(void *ctx, int64_t begin, int64_t end) {
  const struct lse *s = ctx;
  for (int64_t a = begin; a < end; a++)
    s->out[a] = s->f->type == QN_F32 ? lse_row_f32(s, a) : lse_row_f64(s, a);
  return QN_OK;
}

static qn_status logsumexp_forward(const qn_host *h, qn_call *c) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  qni_fold f = {0};
  void *acc = NULL;
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (!st) st = qni_fold_start_rows(h, c, x, reduced, &f);
  if (!st) st = h->scratch(c, f.A * 8, &acc);
  if (st) return st;
  struct lse s = {&f, h->query("qn.math/1"), acc};
  if (!s.math) return h->fail(c, QN_E_UNSUPPORTED, "this host lacks the interface qn.math/1");
  st = h->parallel(c, f.A, 1 + QNI_MAP_GRAIN / 4 / (1 + f.R), lse_range, &s);
  if (!st) st = qni_fold_finish(h, c, f.type, acc, 1, h->out(c, 0));
  return save_both(h, c, st);
}

/* dx = dy exp(x - y) */
static qn_status logsumexp_compose(const qn_host *h, qn_call *c) {
  struct start s = compose_start(h, c);
  qn_tensor *y = keep_shape(&s.b, qni_build_saved(&s.b, 1), s.reduced, &s.n);
  qn_tensor *share =
      qni_build_op1(&s.b, "exp", qni_build_op2(&s.b, "sub", qni_build_saved(&s.b, 0), y));
  qni_build_set(&s.b, 0, qni_build_op2(&s.b, "mul", share, s.g));
  return s.b.status;
}

/* ---- all, any ---- */

static qn_status truth(const qn_host *h, qn_call *c, int32_t fold) {
  bool reduced[QN_MAX_DIMS];
  const qn_view *x = h->in(c, 0);
  void *memory = NULL, *acc = NULL;
  qni_fold f = {0};
  qn_status st = qni_fold_dims(h, c, x, reduced);
  if (!st) st = h->scratch(c, qni_map_count(x), &memory);
  if (st) return st;
  qn_view bits = qni_map_dense(x, QN_BOOL, memory);
  st = qni_fold_copy(h, c, &bits, x);
  if (!st) st = qni_fold_start(h, c, &bits, reduced, &f);
  if (!st) st = h->scratch(c, f.A * f.B * 8, &acc);
  if (!st) st = qni_fold_run(h, c, &f, fold, acc, NULL);
  return st ? st : qni_fold_finish(h, c, QN_I64, acc, 1, h->out(c, 0));
}
static qn_status all_forward(const qn_host *h, qn_call *c) { return truth(h, c, QNI_FOLD_PROD); }
static qn_status any_forward(const qn_host *h, qn_call *c) { return truth(h, c, QNI_FOLD_SUM); }

/* ---- Tables ---- */

#define FOLD(name, in, out, more, says, formula, ...)                                              \
  QNI_OP(name##_op, QN_BATCH_COUPLED,                                                              \
         #name "(x: " in "[?] strided, dim: [int]? = nil, keepdim: bool = false" more              \
               ") -> y: " out "[?]",                                                               \
         says, formula " dim nil reduces all dimensions; keepdim leaves them at size 1.",          \
         "print(quern." #name "(quern.tensor{{1,2},{3,4}}, 1))", .forward = name##_forward,        \
         __VA_ARGS__)

FOLD(sum, "any", "any", "", "Sum over dimensions.",
     "y = sum x; of integers as i64. Gradient: dx = dy, repeated.", .infer = total_infer,
     .backward = sum_backward, .compose = sum_compose);
FOLD(mean, "f", "f", "", "Mean over dimensions.",
     "y = sum x / n; NaN for n = 0. Gradient: dx = dy / n.", .infer = fold_infer,
     .backward = mean_backward, .compose = mean_compose);
FOLD(prod, "any", "any", "", "Product over dimensions.",
     "y = product of x; of integers as i64. Gradient: dx = dy times the product of the others.",
     .infer = total_infer, .backward = prod_backward);
FOLD(max, "t", "t", "", "Largest element over dimensions; for its place too see max_dim.",
     "y = max x; NaN wins. Gradient: dy goes to the largest, in equal shares where several are.",
     .infer = fold_infer, .compose = extreme_compose);
FOLD(min, "t", "t", "", "Smallest element over dimensions; for its place too see min_dim.",
     "y = min x; NaN wins. Gradient: dy goes to the smallest, in equal shares where several are.",
     .infer = fold_infer, .compose = extreme_compose);
FOLD(var, "f", "f", ", correction: int{0..} = 1", "Variance over dimensions.",
     "y = sum (x - mean)^2 / (n - correction). Gradient: dx = 2 (x - mean) dy / (n - correction).",
     .flags = QN_OP_DOMAIN, .infer = fold_infer, .compose = var_compose);
FOLD(std, "f", "f", ", correction: int{0..} = 1", "Standard deviation over dimensions.",
     "y = sqrt(var x). Gradient: dx = (x - mean) dy / ((n - correction) y), 0 where y is 0.",
     .flags = QN_OP_DOMAIN, .infer = fold_infer, .compose = std_compose);
FOLD(logsumexp, "f", "f", "", "Logarithm of the sum of exponentials, without overflow.",
     "y = ln sum e^x. Gradient: dx = e^(x - y) dy.", .infer = fold_infer,
     .compose = logsumexp_compose);
FOLD(all, "any", "bool", "", "Whether every element is true.",
     "y = true if no x is 0; true of nothing. No gradient.", .infer = fold_infer,
     .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS);
FOLD(any, "any", "bool", "", "Whether some element is true.",
     "y = true if some x is not 0. No gradient.", .infer = fold_infer,
     .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS);

const qn_op *const qni_ops_reduce[] = {&sum_op, &mean_op,      &prod_op, &max_op, &min_op, &var_op,
                                       &std_op, &logsumexp_op, &all_op,  &any_op, NULL};
