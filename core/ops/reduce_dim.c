/*
** Along one dimension: argmax argmin max_dim min_dim cumsum.
** Places are ids, so they count from 0, like those that gather and index_select take.
** NaN counts as the extreme; of several equal extremes the first is taken.
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"
#include "reduce_line.h"

/* ---- Extremes and where they are ---- */

struct extreme {
  qni_lines l;
  const qn_view *x;
  bool largest;
  int64_t *place; /* [A*B] */
};

double qni_line_value(int32_t dtype, const void *data, int64_t i) {
  double value;
  qni_map_load(dtype, (const char *)data + i * qni_map_size(dtype), 1, 1, QN_F64, &value);
  return value;
}

#define FIND(T, name)                                                                              \
  static int64_t name(const T *x, int64_t R, int64_t B, bool largest) {                            \
    int64_t best = 0;                                                                              \
    for (int64_t r = 1; r < R && x[best * B] == x[best * B]; r++) {                                \
      const T v = x[r * B], b = x[best * B];                                                       \
      if (v != v || (largest ? v > b : v < b)) best = r;                                           \
    }                                                                                              \
    return best;                                                                                   \
  }
FIND(float, find_f32)
FIND(double, find_f64)
FIND(int64_t, find_i64)
FIND(int32_t, find_i32)
FIND(uint8_t, find_u8)

static qn_status extreme_range(void *ctx, int64_t begin, int64_t end) {
  const struct extreme *e = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t at = qni_lines_start(&e->l, i);
    switch (e->x->dtype) {
    case QN_F32:
      e->place[i] = find_f32((const float *)e->x->data + at, e->l.R, e->l.B, e->largest);
      break;
    case QN_F64:
      e->place[i] = find_f64((const double *)e->x->data + at, e->l.R, e->l.B, e->largest);
      break;
    case QN_I64:
      e->place[i] = find_i64((const int64_t *)e->x->data + at, e->l.R, e->l.B, e->largest);
      break;
    case QN_I32:
      e->place[i] = find_i32((const int32_t *)e->x->data + at, e->l.R, e->l.B, e->largest);
      break;
    default: e->place[i] = find_u8((const uint8_t *)e->x->data + at, e->l.R, e->l.B, e->largest);
    }
  }
  return QN_OK;
}

/* Places of the extremes along `dim`; bf16 goes through a copy in f32. */
static qn_status find_extremes(const qn_host *h, qn_call *c, int32_t dim, bool all, bool largest,
                               int64_t *place) {
  const qn_view *x = h->in(c, 0);
  qn_view wide = *x;
  qn_status st = QN_OK;
  struct extreme e = {.l = qni_lines_of(x, dim), .x = x, .largest = largest, .place = place};
  if (all) e.l = (qni_lines){1, qni_map_count(x), 1};
  if (e.l.R == 0 && e.l.A * e.l.B > 0)
    return h->fail(c, QN_E_SHAPE, "no elements to take the extreme of; the dimension is empty");
  if (x->dtype == QN_BF16) {
    void *memory = NULL;
    st = h->scratch(c, qni_map_count(x) * 4, &memory);
    if (st) return st;
    wide = qni_map_dense(x, QN_F32, memory);
    st = qni_fold_copy(h, c, &wide, x);
    e.x = &wide;
  }
  return st ? st : h->parallel(c, e.l.A * e.l.B, qni_lines_grain(&e.l), extreme_range, &e);
}

static qn_status place_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  bool all = !h->has_arg(c, "dim"), reduced[QN_MAX_DIMS];
  int32_t dim = 0;
  qn_status st = all ? QN_OK : qni_fold_dim(h, c, x->ndim, "dim", &dim);
  for (int32_t d = 0; d < QN_MAX_DIMS; d++) reduced[d] = all || d == dim;
  for (int32_t o = 0; !st && o < h->n_out(c); o++)
    qni_fold_shape(x, reduced, h->arg_bool(c, "keepdim"), h->out(c, o));
  return st;
}

static qn_status place_forward(const qn_host *h, qn_call *c, bool largest) {
  bool all = !h->has_arg(c, "dim");
  int32_t dim = 0;
  qn_status st = all ? QN_OK : qni_fold_dim(h, c, h->in(c, 0)->ndim, "dim", &dim);
  return st ? st : find_extremes(h, c, dim, all, largest, h->out(c, 0)->data);
}
static qn_status argmax_forward(const qn_host *h, qn_call *c) { return place_forward(h, c, true); }
static qn_status argmin_forward(const qn_host *h, qn_call *c) { return place_forward(h, c, false); }

/* Copies x's elements at the places found into y. */
static qn_status pick(const qn_host *h, qn_call *c, bool largest) {
  const qn_view *x = h->in(c, 0);
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  int64_t *place = h->out(c, 1)->data;
  if (!st) st = find_extremes(h, c, dim, false, largest, place);
  qni_lines l = qni_lines_of(x, dim);
  const int64_t size = qni_map_size(x->dtype);
  for (int64_t i = 0; !st && i < l.A * l.B; i++) {
    const char *from = (const char *)x->data + (qni_lines_start(&l, i) + place[i] * l.B) * size;
    char *to = (char *)h->out(c, 0)->data + i * size;
    for (int64_t k = 0; k < size; k++) to[k] = from[k];
  }
  return st ? st : h->save(c, 0, h->out(c, 1));
}
static qn_status max_dim_forward(const qn_host *h, qn_call *c) { return pick(h, c, true); }
static qn_status min_dim_forward(const qn_host *h, qn_call *c) { return pick(h, c, false); }

/* dx = dy at the places, 0 elsewhere. */
static qn_status pick_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  int32_t dim = 0;
  qn_tensor *g = qni_build_flow(&b), *place = qni_build_saved(&b, 0);
  if (!g) return b.status;
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (st) return st;
  int64_t kept[QN_MAX_DIMS];
  for (int32_t d = 0; d < x->ndim; d++) kept[d] = d == dim ? 1 : x->shape[d];
  qn_arg shape = qni_arg_ints("shape", x->ndim, kept);
  g = qni_build_op(&b, "reshape", 2, (qn_arg[]){qni_arg_tensor(g), shape});
  place = qni_build_op(&b, "reshape", 2, (qn_arg[]){qni_arg_tensor(place), shape});
  qn_tensor *zero =
      qni_build_op(&b, "full", 3,
                   (qn_arg[]){qni_arg_ints("shape", x->ndim, x->shape), qni_arg_named("value", 0),
                              qni_arg_str("dtype", x->dtype == QN_F64   ? "f64"
                                                   : x->dtype == QN_F32 ? "f32"
                                                                        : "bf16")});
  qni_build_set(&b, 0,
                qni_build_op(&b, "scatter_add", 4,
                             (qn_arg[]){qni_arg_tensor(zero), qni_arg_tensor(place),
                                        qni_arg_tensor(g), qni_arg_int("dim", dim + 1)}));
  return b.status;
}

/* ---- cumsum ---- */

struct running {
  qni_lines l;
  const qn_view *x;
  qn_view *y;
  bool reverse;
};

#define RUNNING(T, ACC, name)                                                                      \
  static void name(const T *x, T *y, const qni_lines *l, bool reverse) {                           \
    ACC sum = 0;                                                                                   \
    for (int64_t r = 0; r < l->R; r++) {                                                           \
      int64_t i = (reverse ? l->R - 1 - r : r) * l->B;                                             \
      sum += (ACC)x[i];                                                                            \
      y[i] = (T)sum;                                                                               \
    }                                                                                              \
  }
RUNNING(float, double, running_f32)
RUNNING(double, double, running_f64)
RUNNING(uint64_t, uint64_t, running_i64)

static qn_status running_range(void *ctx, int64_t begin, int64_t end) {
  const struct running *s = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t at = qni_lines_start(&s->l, i);
    if (s->y->dtype == QN_F32)
      running_f32((const float *)s->x->data + at, (float *)s->y->data + at, &s->l, s->reverse);
    else if (s->y->dtype == QN_F64)
      running_f64((const double *)s->x->data + at, (double *)s->y->data + at, &s->l, s->reverse);
    else
      running_i64((const uint64_t *)s->x->data + at, (uint64_t *)s->y->data + at, &s->l,
                  s->reverse);
  }
  return QN_OK;
}

/* y = running sums of x; both of one kernel type, contiguous. */
static qn_status run_sums(const qn_host *h, qn_call *c, const qn_view *x, qn_view *y,
                          bool reverse) {
  int32_t dim = 0, type = qni_map_type(y->dtype);
  struct running s = {.x = x, .y = y, .reverse = reverse};
  qn_view wide[2];
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (st) return st;
  s.l = qni_lines_of(x, dim);
  if (x->dtype != type || y->dtype != type || !qni_map_contiguous(x)) {
    for (int32_t i = 0; i < 2 && !st; i++) {
      void *memory = NULL;
      st = h->scratch(c, qni_map_count(x) * qni_map_size(type), &memory);
      wide[i] = qni_map_dense(x, type, memory);
    }
    if (!st) st = qni_fold_copy(h, c, &wide[0], x);
    s.x = &wide[0];
    s.y = &wide[1];
  }
  if (!st) st = h->parallel(c, s.l.A * s.l.B, qni_lines_grain(&s.l), running_range, &s);
  return st || s.y == y ? st : qni_fold_copy(h, c, y, s.y);
}

static qn_status cumsum_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  int32_t dim;
  *h->out(c, 0) = *x;
  if (!qni_map_floating(x->dtype)) h->out(c, 0)->dtype = QN_I64;
  return qni_fold_dim(h, c, x->ndim, "dim", &dim);
}
static qn_status cumsum_forward(const qn_host *h, qn_call *c) {
  return run_sums(h, c, h->in(c, 0), h->out(c, 0), h->arg_bool(c, "reverse"));
}
static qn_status cumsum_backward(const qn_host *h, qn_call *c) {
  return run_sums(h, c, h->in(c, 0), h->out(c, 0), !h->arg_bool(c, "reverse"));
}
static qn_status cumsum_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0,
                qni_build_op(&b, "cumsum", 3,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_int("dim", h->arg_int(c, "dim")),
                                        qni_arg_bool("reverse", !h->arg_bool(c, "reverse"))}));
  return b.status;
}

/* ---- Tables ---- */

QNI_OP(
    argmax_op, QN_BATCH_COUPLED,
    "argmax(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]",
    "Where the largest element is, counted from 0.",
    "i = the first place of the largest x along dim, or in row-major order over all if dim is nil. "
    "NaN counts "
    "as largest. Places are ids: they count from 0 and fit gather, index_select and class labels.",
    "print(quern.argmax(quern.tensor{{1,5},{7,2}}, 2))", .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .infer = place_infer, .forward = argmax_forward);
QNI_OP(argmin_op, QN_BATCH_COUPLED,
       "argmin(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]",
       "Where the smallest element is, counted from 0.",
       "i = the first place of the smallest x along dim, or in row-major order over all if dim is "
       "nil. NaN counts "
       "as smallest. Places count from 0.",
       "print(quern.argmin(quern.tensor{{1,5},{7,2}}, 2))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .infer = place_infer, .forward = argmin_forward);
QNI_OP(max_dim_op, QN_BATCH_COUPLED,
       "max_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]",
       "Largest element along one dimension, and where it is (from 0).",
       "y = max of x along dim, i = its first place. Gradient: dy goes to that place.",
       "print(quern.max_dim(quern.tensor{{1,5},{7,2}}, 2))", .infer = place_infer,
       .forward = max_dim_forward, .compose = pick_compose);
QNI_OP(min_dim_op, QN_BATCH_COUPLED,
       "min_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]",
       "Smallest element along one dimension, and where it is (from 0).",
       "y = min of x along dim, i = its first place. Gradient: dy goes to that place.",
       "print(quern.min_dim(quern.tensor{{1,5},{7,2}}, 2))", .infer = place_infer,
       .forward = min_dim_forward, .compose = pick_compose);
QNI_OP(cumsum_op, QN_BATCH_COUPLED,
       "cumsum(x: any[?], dim: int, reverse: bool = false) -> y: any[?]",
       "Running sums along one dimension.",
       "y[r] = x[1] + ... + x[r], or from the end if reverse; integers as i64. Gradient: dx = "
       "running sums of dy "
       "from the other side.",
       "print(quern.cumsum(quern.tensor{1,2,3}, 1))", .infer = cumsum_infer,
       .forward = cumsum_forward, .backward = cumsum_backward, .compose = cumsum_compose);

const qn_op *const qni_ops_reduce_dim[] = {&argmax_op,  &argmin_op, &max_dim_op,
                                           &min_dim_op, &cumsum_op, NULL};
