/*
** The autosparse plugin's op: grid_lookup, a function of two numbers from its table.
**
**   a = (asinh(x / ux) - a0) (A - 1) / sa, i = floor(a), f = a - i;   b, j, h from y likewise
**   s = (1-f)(1-h) T[i,j] + f (1-h) T[i+1,j] + (1-f) h T[i,j+1] + f h T[i+1,j+1]
** a and b are first brought into 0 .. A-1 and 0 .. B-1. asinh is near to linear around 0 and
** logarithmic far out, like the weights and gradients that are looked up.
** Backward: ds/dx = ds/da (A - 1) / sa / sqrt(x^2 + ux^2), 0 beyond the ends; dT gathers the four
** weights of each pair, in the order of the pairs.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "quern/abi.h"

enum { CHUNK = 8192, BLOCK = 256 };
enum { SAVED_X, SAVED_Y, SAVED_GRID };

struct axis {
  double unit, low, scale; /* scale: cells per unit of asinh */
  int64_t n;
};

struct lookup { /* one call */
  const qn_host *h;
  const qn_math *math;
  struct axis x, y;
  bool wide; /* double */
  const void *xs, *ys, *grid, *ds;
  void *s, *dx, *dy;
};

/* A pair's cell and its place within. */
struct spot {
  int64_t i, j;
  double f, h;
  bool x_inside, y_inside;
};

static struct axis axis_of(const qn_host *h, qn_call *c, const char *unit, const char *low,
                           const char *span, int64_t n) {
  return (struct axis){.unit = h->arg_num(c, unit),
                       .low = h->arg_num(c, low),
                       .scale = (double)(n - 1) / h->arg_num(c, span),
                       .n = n};
}

static qn_status open_lookup(struct lookup *l, const qn_host *h, qn_call *c) {
  const qn_view *grid = h->like(c, 2);
  if (grid->shape[0] < 2 || grid->shape[1] < 2)
    return h->fail(c, QN_E_SHAPE, "a grid of %lld x %lld values has no cells",
                   (long long)grid->shape[0], (long long)grid->shape[1]);
  l->h = h;
  l->math = h->query("qn.math/1");
  l->wide = grid->dtype == QN_F64;
  l->x = axis_of(h, c, "x_unit", "x_low", "x_span", grid->shape[0]);
  l->y = axis_of(h, c, "y_unit", "y_low", "y_span", grid->shape[1]);
  return QN_OK;
}

/* Places on an axis, not yet brought inside, of n values; floats by the host's log. */
static void places(const struct lookup *l, const struct axis *a, const void *values, int64_t at,
                   int64_t n, double *place) {
  if (l->wide) {
    const double *v = (const double *)values + at;
    for (int64_t k = 0; k < n; k++) place[k] = (asinh(v[k] / a->unit) - a->low) * a->scale;
    return;
  }
  const float *v = (const float *)values + at, unit = (float)(1 / a->unit);
  float t[BLOCK];
  for (int64_t k = 0; k < n; k++) {
    float m = fabsf(v[k] * unit);
    t[k] = m + sqrtf(m * m + 1);
  }
  l->math->log(n, t, t);
  for (int64_t k = 0; k < n; k++) {
    double b = v[k] < 0 ? -t[k] : t[k];
    place[k] = (b - a->low) * a->scale;
  }
}

/* NaN goes to cell 0 and stays NaN by its fraction. */
static inline int64_t cell(double place, int64_t n, double *fraction, bool *inside) {
  double last = (double)(n - 1);
  *inside = place > 0 && place < last;
  double p = place < 0 ? 0 : place > last ? last : place;
  int64_t i = p == p ? (int64_t)p : 0;
  if (i > n - 2) i = n - 2;
  *fraction = p - (double)i;
  return i;
}

static inline struct spot spot_of(const struct lookup *l, double px, double py) {
  struct spot s;
  s.i = cell(px, l->x.n, &s.f, &s.x_inside);
  s.j = cell(py, l->y.n, &s.h, &s.y_inside);
  return s;
}

static inline double value_at(const struct lookup *l, int64_t k) {
  return l->wide ? ((const double *)l->grid)[k] : ((const float *)l->grid)[k];
}

static inline double number_at(const struct lookup *l, const void *values, int64_t k) {
  return l->wide ? ((const double *)values)[k] : ((const float *)values)[k];
}

static inline void put(const struct lookup *l, void *values, int64_t k, double v) {
  if (l->wide)
    ((double *)values)[k] = v;
  else
    ((float *)values)[k] = (float)v;
}

struct corners {
  double t00, t10, t01, t11;
};

static inline struct corners corners_of(const struct lookup *l, const struct spot *s) {
  int64_t at = s->i * l->y.n + s->j;
  return (struct corners){value_at(l, at), value_at(l, at + l->y.n), value_at(l, at + 1),
                          value_at(l, at + l->y.n + 1)};
}

static void forward_block(const struct lookup *l, int64_t at, int64_t n) {
  double px[BLOCK], py[BLOCK];
  places(l, &l->x, l->xs, at, n, px);
  places(l, &l->y, l->ys, at, n, py);
  for (int64_t k = 0; k < n; k++) {
    struct spot s = spot_of(l, px[k], py[k]);
    struct corners t = corners_of(l, &s);
    double low = t.t00 + (t.t01 - t.t00) * s.h, high = t.t10 + (t.t11 - t.t10) * s.h;
    put(l, l->s, at + k, low + (high - low) * s.f);
  }
}

static qn_status forward_range(void *ctx, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += BLOCK)
    forward_block(ctx, at, end - at < BLOCK ? end - at : BLOCK);
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct lookup l = {.xs = h->in(c, 0)->data,
                     .ys = h->in(c, 1)->data,
                     .grid = h->in(c, 2)->data,
                     .s = h->out(c, 0)->data};
  qn_status st = open_lookup(&l, h, c);
  if (!st) st = h->parallel(c, h->in(c, 0)->shape[0], CHUNK, forward_range, &l);
  for (int32_t i = 0; i < 3 && !st; i++) st = h->save(c, SAVED_X + i, h->in(c, i));
  return st;
}

/* d asinh(v / u) / dv in cells; 0 beyond the ends. */
static inline double slope(const struct axis *a, double v, bool inside) {
  return inside ? a->scale / sqrt(v * v + a->unit * a->unit) : 0;
}

static void backward_block(const struct lookup *l, int64_t at, int64_t n) {
  double px[BLOCK], py[BLOCK];
  places(l, &l->x, l->xs, at, n, px);
  places(l, &l->y, l->ys, at, n, py);
  for (int64_t k = 0; k < n; k++) {
    struct spot s = spot_of(l, px[k], py[k]);
    struct corners t = corners_of(l, &s);
    double ds = number_at(l, l->ds, at + k);
    double along = (t.t10 - t.t00) * (1 - s.h) + (t.t11 - t.t01) * s.h;
    double across = (t.t01 - t.t00) * (1 - s.f) + (t.t11 - t.t10) * s.f;
    if (l->dx)
      put(l, l->dx, at + k, ds * along * slope(&l->x, number_at(l, l->xs, at + k), s.x_inside));
    if (l->dy)
      put(l, l->dy, at + k, ds * across * slope(&l->y, number_at(l, l->ys, at + k), s.y_inside));
  }
}

static qn_status backward_range(void *ctx, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += BLOCK)
    backward_block(ctx, at, end - at < BLOCK ? end - at : BLOCK);
  return QN_OK;
}

/* Pairs share cells, so they are added one after the other; sum [A,B] in double. */
static void add_to_grid(const struct lookup *l, int64_t n_pairs, double *sum) {
  double px[BLOCK], py[BLOCK];
  for (int64_t at = 0; at < n_pairs; at += BLOCK) {
    int64_t n = n_pairs - at < BLOCK ? n_pairs - at : BLOCK;
    places(l, &l->x, l->xs, at, n, px);
    places(l, &l->y, l->ys, at, n, py);
    for (int64_t k = 0; k < n; k++) {
      struct spot s = spot_of(l, px[k], py[k]);
      double ds = number_at(l, l->ds, at + k), *t = sum + s.i * l->y.n + s.j;
      t[0] += ds * (1 - s.f) * (1 - s.h);
      t[1] += ds * (1 - s.f) * s.h;
      t[l->y.n] += ds * s.f * (1 - s.h);
      t[l->y.n + 1] += ds * s.f * s.h;
    }
  }
}

static qn_status grid_backward(struct lookup *l, qn_call *c, int64_t n_pairs, qn_view *dgrid) {
  int64_t n = l->x.n * l->y.n;
  double *sum;
  qn_status st = l->h->scratch(c, n * (int64_t)sizeof *sum, (void **)&sum);
  if (st) return st;
  memset(sum, 0, (size_t)n * sizeof *sum);
  add_to_grid(l, n_pairs, sum);
  for (int64_t k = 0; k < n; k++) put(l, dgrid->data, k, sum[k]);
  return QN_OK;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  qn_view *dx = h->out(c, 0), *dy = h->out(c, 1), *dgrid = h->out(c, 2);
  struct lookup l = {.xs = h->saved(c, SAVED_X)->data,
                     .ys = h->saved(c, SAVED_Y)->data,
                     .grid = h->saved(c, SAVED_GRID)->data,
                     .ds = h->in(c, 0)->data,
                     .dx = dx ? dx->data : NULL,
                     .dy = dy ? dy->data : NULL};
  int64_t n = h->in(c, 0)->shape[0];
  qn_status st = open_lookup(&l, h, c);
  if (!st && (dx || dy)) st = h->parallel(c, n, CHUNK, backward_range, &l);
  return st || !dgrid ? st : grid_backward(&l, c, n, dgrid);
}

/* Between cells, and at the ends, the slope jumps. */
static qn_status kink(const qn_host *h, qn_call *c) {
  struct lookup l = {.xs = h->in(c, 0)->data, .ys = h->in(c, 1)->data};
  qn_status st = open_lookup(&l, h, c);
  for (int64_t at = 0; at < h->in(c, 0)->shape[0] && !st; at++)
    for (int32_t which = 0; which < 2; which++) {
      double place;
      places(&l, which ? &l.y : &l.x, which ? l.ys : l.xs, at, 1, &place);
      if (fabs(place - round(place)) < 1e-3)
        return h->fail(c, QN_E_NUMERIC, "pair %lld lies between two cells", (long long)at + 1);
    }
  return st;
}

static const qn_op grid_lookup = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .schema = "grid_lookup(x: f[N], y: f[N], grid: f[A,B], *, x_unit: num{1e-30..1e30} = 1, x_low: "
              "num = -4, "
              "x_span: num{1e-9..1e9} = 8, y_unit: num{1e-30..1e30} = 1, y_low: num = -4, "
              "y_span: num{1e-9..1e9} = 8) -> s: f[N]",
    .summary = "A function of two numbers from its table, bilinear in asinh of each.",
    .doc =
        "Line i of the grid stands at asinh(x / x_unit) = x_low + x_span i / (A - 1), i from 0, "
        "its "
        "columns at those of y likewise. Beyond the ends the edge counts. A and B are at least 2.",
    .cite = "the score network of Liu et al. 2024 (arXiv 2408.14757) as a table; ours",
    .example = "print(quern.grid_lookup(quern.tensor{0.5}, quern.tensor{-1.0}, "
               "quern.tensor{{1.0,2.0},{3.0,4.0}}))",
    .forward = forward,
    .backward = backward,
    .kink = kink,
};

static const qn_op *const ops[] = {&grid_lookup, NULL};
static const char *const requires_ids[] = {"qn.math/1", NULL};

QN_EXPORT extern const qn_plugin qn_plugin_entry;
const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .abi_minor_least = 0,
    .build = QN_BUILD,
    .id = "org.quern.autosparse",
    .name = "autosparse",
    .version = "1.0.0",
    .requires_ids = requires_ids,
    .ops = ops,
};
