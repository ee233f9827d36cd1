/*
** Random tensors: uniform normal truncated_normal randint bernoulli categorical randperm.
**
** Element e of a created tensor is a function of (seed, step, op instance, e) alone:
**   u32          the e-th 32-bit number of row 0
**   u01          f32: (u32 >> 8) 2^-24; f64: (a >> 5) 2^-27 + (b >> 6) 2^-53 of numbers 2e, 2e+1
**   open u       f32: (u32 + 1/2) 2^-32; f64: as u01, plus 2^-54; never 0 or 1
**   uniform      low + (high - low) u01
**   normal       mean + std Phi^-1(open u)
**   randint      low + floor(u64 (high - low) / 2^64), u64 from numbers 2e, 2e+1
** bernoulli and categorical draw by the row of their input (its first dimension), so that
** a slice of a batch gets the numbers it would get in the whole.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "elementwise_table.h"
#include "random_normal.h"
#include "reduce_fold.h"
#include "shape_make.h"

enum { BLOCK = 512 };

typedef struct draw {
  const qn_host *h;
  qn_call *c;
  qn_view *y;
  double a, b;        /* low and width; mean and std */
  double from, width; /* truncated: Phi at the lower bound, and the mass between */
  bool normal, wide;  /* wide: two numbers for each element */
  double low, high;   /* truncated: bounds that rounding must not cross */
} draw;

static double unit_wide(const uint32_t *u) {
  return (double)(u[0] >> 5) * 0x1p-27 + (double)(u[1] >> 6) * 0x1p-53;
}

/* One value from the bits of element i of a block. */
static double value_of(const draw *d, const uint32_t *u, int64_t i) {
  if (!d->normal)
    return d->a + d->b * (d->wide ? unit_wide(u + 2 * i) : (double)(u[i] >> 8) * 0x1p-24);
  double p = d->wide ? unit_wide(u + 2 * i) + 0x1p-54 : ((double)u[i] + 0.5) * 0x1p-32;
  p = d->from + d->width * p;
  if (p <= 0 || p >= 1) return p <= 0 ? d->low : d->high;
  double x = d->a + d->b * qni_normal_quantile(p);
  return x < d->low ? d->low : x > d->high ? d->high : x;
}

static qn_status draw_range(void *ctx, int64_t begin, int64_t end) {
  const draw *d = ctx;
  uint32_t u[2 * BLOCK];
  double value[BLOCK];
  float narrow[BLOCK];
  const int64_t per = d->wide ? 2 : 1, size = qni_map_size(d->y->dtype);
  for (int64_t at = begin; at < end; at += BLOCK) {
    int64_t n = end - at < BLOCK ? end - at : BLOCK;
    d->h->random(d->c, 0, 0, at * per, n * per, u);
    for (int64_t i = 0; i < n; i++) value[i] = value_of(d, u, i);
    char *to = (char *)d->y->data + at * size;
    if (d->y->dtype == QN_F64) {
      memcpy(to, value, (size_t)n * sizeof *value);
      continue;
    }
    for (int64_t i = 0; i < n; i++) narrow[i] = (float)value[i];
    /* Rounding up must not reach the open end of uniform's interval. */
    for (int64_t i = 0; i < n && !d->normal && d->b > 0; i++)
      if ((double)narrow[i] >= d->a + d->b) narrow[i] = nextafterf((float)(d->a + d->b), -INFINITY);
    qni_map_store(QN_F32, narrow, n, d->y->dtype, to, 1);
  }
  return QN_OK;
}

static qn_status run_draw(draw *d) {
  d->y = d->h->out(d->c, 0);
  d->wide = d->y->dtype == QN_F64;
  return d->h->parallel(d->c, qni_map_count(d->y), 4096, draw_range, d);
}

static qn_status uniform_forward(const qn_host *h, qn_call *c) {
  double low = h->arg_num(c, "low"), high = h->arg_num(c, "high");
  draw d = {.h = h, .c = c, .a = low, .b = high - low};
  if (!(low <= high) || !isfinite(high - low))
    return h->fail(c, QN_E_ARG, "low is %g and high is %g; low must not be above high, both finite",
                   low, high);
  return run_draw(&d);
}

static qn_status normal_forward(const qn_host *h, qn_call *c) {
  draw d = {.h = h,
            .c = c,
            .normal = true,
            .a = h->arg_num(c, "mean"),
            .b = h->arg_num(c, "std"),
            .from = 0,
            .width = 1,
            .low = -INFINITY,
            .high = INFINITY};
  if (!(d.b >= 0)) return h->fail(c, QN_E_ARG, "std is %g; it must not be negative", d.b);
  return run_draw(&d);
}

static qn_status truncated_normal_forward(const qn_host *h, qn_call *c) {
  draw d = {.h = h,
            .c = c,
            .normal = true,
            .a = h->arg_num(c, "mean"),
            .b = h->arg_num(c, "std"),
            .low = h->arg_num(c, "low"),
            .high = h->arg_num(c, "high")};
  if (!(d.b > 0)) return h->fail(c, QN_E_ARG, "std is %g; it must be above 0", d.b);
  if (!(d.low < d.high))
    return h->fail(c, QN_E_ARG, "low is %g and high is %g; low must be below high", d.low, d.high);
  d.from = qni_normal_cdf((d.low - d.a) / d.b);
  d.width = qni_normal_cdf((d.high - d.a) / d.b) - d.from;
  if (!(d.width > 0))
    return h->fail(c, QN_E_ARG,
                   "the interval from %g to %g has no probability that could be told from 0", d.low,
                   d.high);
  return run_draw(&d);
}

/* ---- Integers ---- */

struct ints {
  const qn_host *h;
  qn_call *c;
  int64_t *y;
  int64_t low;
  uint64_t width;
};

/* floor(u width / 2^64) for a 64-bit u: the high half of the product */
static uint64_t scale_down(const uint32_t *u, uint64_t width) {
  return (uint64_t)((unsigned __int128)((uint64_t)u[0] << 32 | u[1]) * width >> 64);
}

static qn_status ints_range(void *ctx, int64_t begin, int64_t end) {
  const struct ints *s = ctx;
  uint32_t u[2 * BLOCK];
  for (int64_t at = begin; at < end; at += BLOCK) {
    int64_t n = end - at < BLOCK ? end - at : BLOCK;
    s->h->random(s->c, 0, 0, 2 * at, 2 * n, u);
    for (int64_t i = 0; i < n; i++)
      s->y[at + i] = (int64_t)((uint64_t)s->low + scale_down(u + 2 * i, s->width));
  }
  return QN_OK;
}

static qn_status randint_forward(const qn_host *h, qn_call *c) {
  int64_t low = h->arg_int(c, "low"), high = h->arg_int(c, "high");
  struct ints s = {h, c, h->out(c, 0)->data, low, (uint64_t)high - (uint64_t)low};
  if (low >= high)
    return h->fail(c, QN_E_ARG, "low is %lld and high is %lld; low must be below high",
                   (long long)low, (long long)high);
  return h->parallel(c, qni_map_count(h->out(c, 0)), 4096, ints_range, &s);
}

/* Fisher and Yates, from the end: place i changes with one of 0 .. i. */
static qn_status randperm_forward(const qn_host *h, qn_call *c) {
  int64_t *y = h->out(c, 0)->data, n = h->arg_int(c, "n");
  uint32_t u[2 * BLOCK];
  for (int64_t i = 0; i < n; i++) y[i] = i;
  for (int64_t at = 0; at < n - 1; at += BLOCK) {
    int64_t m = n - 1 - at < BLOCK ? n - 1 - at : BLOCK;
    h->random(c, 0, 0, 2 * at, 2 * m, u);
    for (int64_t k = 0; k < m; k++) {
      int64_t i = n - 1 - at - k, j = (int64_t)scale_down(u + 2 * k, (uint64_t)i + 1), t = y[i];
      y[i] = y[j];
      y[j] = t;
    }
  }
  return QN_OK;
}

static qn_status randperm_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  y->ndim = 1;
  y->shape[0] = h->arg_int(c, "n");
  return QN_OK;
}

/* ---- Draws by the row of an input ---- */

struct rows {
  const qn_host *h;
  qn_call *c;
  const qn_view *x;
  void *y;
  int64_t inner, cols; /* draws in a row of the batch; classes of each */
  bool logits;
};

static double element(const qn_view *x, int64_t i) {
  double v;
  qni_map_load(x->dtype, (const char *)x->data + i * qni_map_size(x->dtype), 1, 1, QN_F64, &v);
  return v;
}

static qn_status bernoulli_range(void *ctx, int64_t begin, int64_t end) {
  const struct rows *s = ctx;
  const int64_t size = qni_map_size(s->x->dtype);
  uint32_t u[BLOCK];
  float value[BLOCK];
  double wide[BLOCK];
  for (int64_t row = begin; row < end; row++)
    for (int64_t col = 0; col < s->inner; col += BLOCK) {
      int64_t n = s->inner - col < BLOCK ? s->inner - col : BLOCK, at = row * s->inner + col;
      s->h->random(s->c, 0, row, col, n, u);
      for (int64_t i = 0; i < n; i++) {
        double p = element(s->x, at + i);
        if (!(p >= 0 && p <= 1))
          return s->h->fail(s->c, QN_E_ARG,
                            "element %lld of p is %g; probabilities lie between 0 and 1",
                            (long long)(at + i) + 1, p);
        wide[i] = value[i] = (double)(u[i] >> 8) * 0x1p-24 < p ? 1 : 0;
      }
      char *to = (char *)s->y + at * size;
      if (s->x->dtype == QN_F64)
        qni_map_store(QN_F64, wide, n, QN_F64, to, 1);
      else
        qni_map_store(QN_F32, value, n, s->x->dtype, to, 1);
    }
  return QN_OK;
}

static qn_status bernoulli_forward(const qn_host *h, qn_call *c) {
  const qn_view *p = h->in(c, 0);
  struct rows s = {.h = h, .c = c, .x = p, .y = h->out(c, 0)->data};
  int64_t n = qni_map_count(p), rows = p->ndim ? p->shape[0] : 1;
  if (n == 0) return QN_OK;
  s.inner = n / rows;
  return h->parallel(c, rows, 1 + 4096 / s.inner, bernoulli_range, &s);
}

/* First class whose running weight passes u times the total. */
static qn_status choose(const struct rows *s, int64_t i, double u, int64_t *class) {
  double top = -INFINITY, total = 0, run = 0;
  const int64_t at = i * s->cols;
  for (int64_t k = 0; k < s->cols && s->logits; k++) top = fmax(top, element(s->x, at + k));
  for (int64_t pass = 0; pass < 2; pass++)
    for (int64_t k = 0; k < s->cols; k++) {
      double x = element(s->x, at + k), w = s->logits ? (x == -INFINITY ? 0 : exp(x - top)) : x;
      if (!(w >= 0) || w == INFINITY)
        return s->h->fail(s->c, QN_E_ARG, "element %lld of x is %g, which is no weight",
                          (long long)(at + k) + 1, x);
      if (pass == 0)
        total += w;
      else if (w > 0) {
        *class = k;
        if ((run += w) > u * total) return QN_OK;
      }
    }
  return total > 0
             ? QN_OK
             : s->h->fail(s->c, QN_E_ARG, "row %lld of x has no class with a probability above 0",
                          (long long)i + 1);
}

static qn_status categorical_range(void *ctx, int64_t begin, int64_t end) {
  const struct rows *s = ctx;
  qn_status st = QN_OK;
  for (int64_t i = begin; i < end && !st; i++) {
    uint32_t u[2];
    s->h->random(s->c, 0, i / s->inner, 2 * (i % s->inner), 2, u);
    st = choose(s, i, unit_wide(u), (int64_t *)s->y + i);
  }
  return st;
}

static qn_status categorical_forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int64_t n = qni_map_count(y);
  struct rows s = {.h = h,
                   .c = c,
                   .x = x,
                   .y = y->data,
                   .cols = x->shape[x->ndim - 1],
                   .logits = !strcmp(h->arg_str(c, "form"), "logits")};
  if (n == 0) return QN_OK;
  if (s.cols == 0) return h->fail(c, QN_E_SHAPE, "x has no classes: its last dimension is empty");
  s.inner = y->ndim ? n / y->shape[0] : 1;
  return h->parallel(c, n, 1 + 2048 / s.cols, categorical_range, &s);
}

/* ---- Tables ---- */

#define RANDOM(name, batch_class, schema, summary, doc, call, ...)                                 \
  QNI_OP(name##_op, batch_class, schema, summary, doc, "print(quern." #name "(" call "))",         \
         .flags = QN_OP_RANDOM | QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = name##_forward,       \
         __VA_ARGS__)

RANDOM(uniform, QN_BATCH_COUPLED,
       "uniform(shape: [int], low: num = 0, high: num = 1, dtype: enum{f32|f64|bf16} = f32) -> y: "
       "any[?]",
       "Uniform random numbers.",
       "y = low + (high - low) u, u in [0,1) with 24 random bits in f32, 53 in f64.", "{2, 2}",
       .infer = qni_shape_infer);
RANDOM(normal, QN_BATCH_COUPLED,
       "normal(shape: [int], mean: num = 0, std: num = 1, dtype: enum{f32|f64|bf16} = f32) -> y: "
       "any[?]",
       "Normal random numbers.",
       "y = mean + std Phi^-1(u), one u in (0,1) for each, with 32 random bits in f32, 53 in f64.",
       "{2, 2}", .infer = qni_shape_infer, .cite = "Wichura 1988, algorithm AS 241");
RANDOM(truncated_normal, QN_BATCH_COUPLED,
       "truncated_normal(shape: [int], mean: num = 0, std: num = 1, low: num = -2, high: num = 2, "
       "dtype: enum{f32|f64|bf16} = f32) -> y: any[?]",
       "Normal random numbers between two bounds.",
       "y = mean + std Phi^-1(Phi(a) + (Phi(b) - Phi(a)) u), a and b being the bounds low and high "
       "in units of std from mean.",
       "{2, 2}", .infer = qni_shape_infer, .cite = "Wichura 1988, algorithm AS 241");
RANDOM(randint, QN_BATCH_COUPLED, "randint(shape: [int], low: int, high: int) -> y: i64[?]",
       "Random whole numbers from low to high - 1.",
       "y = low + floor(u (high - low)), u with 64 random bits.", "{4}, 0, 10",
       .infer = qni_shape_infer);
RANDOM(randperm, QN_BATCH_COUPLED, "randperm(n: int{0..}) -> y: i64[?]",
       "The ids 0 to n-1 in random order.", "Every order is equally likely (Fisher and Yates).",
       "5", .infer = randperm_infer);
RANDOM(bernoulli, QN_BATCH_ROWS, "bernoulli(p: f[...]) -> y: f[...]",
       "1 with probability p, else 0.",
       "y = 1 where u < p, else 0; u in [0,1) with 24 random bits. No gradient.",
       "quern.tensor{0, 0.5, 1}");
RANDOM(categorical, QN_BATCH_ROWS,
       "categorical(x: f[...,C], form: enum{logits|probs} = logits) -> y: i64[...]",
       "Random class ids, from 0, with given log-weights or weights.",
       "P(y = k) is e^x[k] / sum e^x, or x[k] / sum x if form is \"probs\". No gradient.",
       "quern.tensor{0, 0, 1}");

const qn_op *const qni_ops_random[] = {&uniform_op,     &normal_op,   &truncated_normal_op,
                                       &randint_op,     &randperm_op, &bernoulli_op,
                                       &categorical_op, NULL};
