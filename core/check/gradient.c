/*
** Checks of backward: against central differences, and for every subset of inputs.
**
** f(x) = sum(outputs * weights) with fixed random weights. Along a direction d,
** D(h) = (f(x + h d) - f(x - h d)) / 2h must equal <grad f, d>. What D(h) and D(h/2)
** differ by is the differences' own error (near a pole it is large) and is allowed for.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "check/list.h"
#include "exec/rng.h"
#include "graph/call.h"
#include "graph/tape.h"

enum { MAX_FLOATS = 16, MAX_COORDINATES = 12 };
static const double STEP = 1e-5, TOLERANCE = 2e-5;

static double noise(uint32_t stream, int64_t i) {
  uint32_t bits;
  qni_rng_key key = {.seed = 11, .stream = stream};
  qni_rng_fill(&key, 0, i, 1, &bits);
  return (double)bits / 4294967296.0 - 0.5;
}

/* A fixed random tensor of t's shape. */
static qn_tensor *noise_like(const qn_tensor *t, uint32_t stream) {
  qn_tensor *n = NULL;
  if (qni_tensor_empty(t->view.dtype, t->view.ndim, t->view.shape, &n)) return NULL;
  for (int64_t i = 0; i < qni_tensor_count(n); i++)
    qni_dtype_store(n->view.dtype,
                    (char *)n->view.data + i * (int64_t)qni_dtype_size(n->view.dtype),
                    noise(stream, i));
  return n;
}

static double dot(const qn_tensor *a, const qn_tensor *b) {
  double sum = 0;
  qn_tensor *x = NULL, *y = NULL;
  if (!qni_tensor_cast(a, QN_F64, &x) && !qni_tensor_cast(b, QN_F64, &y))
    for (int64_t i = 0; i < qni_tensor_count(x); i++)
      sum += ((double *)x->view.data)[i] * ((double *)y->view.data)[i];
  qn_tensor_free(x);
  qn_tensor_free(y);
  return sum;
}

/* f at the inputs as they are; NAN if the call fails or an output is narrower than f64. */
static double value(const qn_opref *op, const qni_sample *sample) {
  qni_outputs out = {0};
  bool before = qni_tape_enable(false);
  double sum = 0;
  if (qni_check_call(op, sample, &out)) sum = NAN;
  for (int32_t o = 0; o < out.n; o++) {
    if (qni_dtype_floating(out.t[o]->view.dtype) && out.t[o]->view.dtype != QN_F64) sum = NAN;
    qn_tensor *w =
        qni_dtype_floating(out.t[o]->view.dtype) ? noise_like(out.t[o], 100 + (uint32_t)o) : NULL;
    if (w) sum += dot(out.t[o], w);
    qn_tensor_free(w);
  }
  qni_outputs_free(&out);
  qni_tape_enable(before);
  return sum;
}

/* Runs backward of f; gradients gather in the inputs marked in `mask`. */
static qn_status gradients(const qn_opref *op, const qni_sample *sample, qn_tensor *const *floats,
                           int32_t n, uint32_t mask) {
  qni_outputs out = {0};
  for (int32_t i = 0; i < n; i++) {
    qn_tensor_clear_grad(floats[i]);
    qn_status st = qn_tensor_require_grad(floats[i], mask >> i & 1);
    if (st) return st;
  }
  qn_status st = qni_check_call(op, sample, &out);
  for (int32_t o = 0; !st && o < out.n; o++) {
    if (!out.t[o]->requires_grad) continue;
    qn_tensor *w = noise_like(out.t[o], 100 + (uint32_t)o);
    st = w ? qn_backward(out.t[o], w, QN_BACKWARD_KEEP) : QN_E_NOMEM;
    qn_tensor_free(w);
  }
  qni_outputs_free(&out);
  for (int32_t i = 0; i < n; i++) floats[i]->requires_grad = false;
  return st;
}

static void move(qn_tensor *t, const qn_tensor *direction, double h) {
  double *x = t->view.data;
  const double *d = direction->view.data;
  for (int64_t i = 0; i < qni_tensor_count(t); i++) x[i] += h * d[i];
}

static bool at_kink(const qn_opref *op, const qni_sample *sample) {
  if (!op->op->kink) return false;
  return qni_call_kink(op, sample->arg, sample->n_args) == QN_E_NUMERIC;
}

/* Row-sparse gradients count as dense ones here. */
static double slope_of(const qn_tensor *t, const qn_tensor *direction) {
  qn_tensor *dense = NULL;
  double slope = t->grad ? dot(t->grad, direction) : 0;
  if (t->grad_ids && !qni_rows_dense(&t->view, t->grad_ids, t->grad_rows, &dense))
    slope = dot(dense, direction);
  qn_tensor_free(dense);
  return slope;
}

static double difference(const qn_opref *op, const qni_sample *sample, qn_tensor *t,
                         const qn_tensor *d, double h) {
  move(t, d, h);
  double up = value(op, sample);
  move(t, d, -2 * h);
  double down = value(op, sample);
  move(t, d, h);
  return (up - down) / (2 * h);
}

/* What D(h) and D(h/2) differ by is the differences' own error. */
static bool slopes_fit(const qn_opref *op, double slope, double wide, double measured) {
  bool outside = (op->op->flags & QN_OP_DOMAIN) && !(isfinite(slope) && isfinite(measured));
  double allowed = TOLERANCE * fmax(1, fabs(measured)) + fabs(wide - measured);
  return outside || (isfinite(measured) && fabs(slope - measured) <= allowed);
}

static void slope_agrees(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                         qn_tensor *t, int32_t i) {
  char text[1024];
  qn_tensor *d = noise_like(t, 200 + (uint32_t)i);
  if (!d) return;
  double slope = slope_of(t, d), wide = difference(op, sample, t, d, STEP),
         measured = difference(op, sample, t, d, STEP / 2);
  qn_tensor_free(d);
  if (slopes_fit(op, slope, wide, measured)) return;
  qni_check_find(
      x, "%s: gradient of tensor %d is %.9g along a random direction, differences give %.9g",
      qni_check_describe(op, sample, text, sizeof text), (int)i + 1, slope, measured);
}

/* Along every coordinate of a small tensor, one after the other. */
static void coordinates_agree(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                              qn_tensor *t, int32_t i) {
  char text[1024];
  qn_tensor *e = NULL;
  size_t before = strlen(x->text);
  if (qni_tensor_count(t) > MAX_COORDINATES ||
      qni_tensor_zeros(QN_F64, t->view.ndim, t->view.shape, &e))
    return;
  for (int64_t k = 0; k < qni_tensor_count(t) && strlen(x->text) == before; k++) {
    ((double *)e->view.data)[k] = 1;
    double slope = slope_of(t, e), wide = difference(op, sample, t, e, STEP),
           measured = difference(op, sample, t, e, STEP / 2);
    ((double *)e->view.data)[k] = 0;
    if (!slopes_fit(op, slope, wide, measured))
      qni_check_find(x, "%s: gradient of tensor %d at element %lld is %.9g, differences give %.9g",
                     qni_check_describe(op, sample, text, sizeof text), (int)i + 1,
                     (long long)k + 1, slope, measured);
  }
  qn_tensor_free(e);
}

/*
** g(x) = <grad f(x), v>: along d, differences of g equal <grad g, d>; for ops whose backward is
** made of ops (compose).
*/
static qn_status slope_at(const qn_opref *op, const qni_sample *sample, qn_tensor *const *floats,
                          int32_t n, qn_tensor **second, double *value_of_g) {
  qni_outputs out = {0};
  qn_tensor *first[MAX_FLOATS] = {NULL};
  for (int32_t i = 0; i < n; i++) floats[i]->requires_grad = true;
  qn_status st = qni_check_call(op, sample, &out);
  qn_tensor *w = !st && out.n ? noise_like(out.t[0], 100) : NULL;
  if (!st && (!w || !out.t[0]->requires_grad)) st = QN_E_UNSUPPORTED;
  if (!st) st = qn_grad(out.t[0], w, floats, n, QN_BACKWARD_CREATE, first);
  *value_of_g = 0;
  for (int32_t i = 0; !st && i < n; i++) {
    if (!first[i]) continue;
    qn_tensor *v = noise_like(first[i], 300 + (uint32_t)i), *part[MAX_FLOATS] = {NULL};
    *value_of_g += v ? dot(first[i], v) : NAN;
    if (v && second && first[i]->requires_grad)
      st = qn_grad(first[i], v, floats, n, QN_BACKWARD_KEEP, part);
    for (int32_t k = 0; k < n; k++) {
      if (!st && part[k] && second)
        for (int64_t e = 0; e < qni_tensor_count(part[k]); e++)
          ((double *)second[k]->view.data)[e] += ((double *)part[k]->view.data)[e];
      qn_tensor_free(part[k]);
    }
    qn_tensor_free(v);
  }
  for (int32_t i = 0; i < n; i++) qn_tensor_free(first[i]), floats[i]->requires_grad = false;
  qn_tensor_free(w);
  qni_outputs_free(&out);
  return st;
}

static void second_order_agrees(qni_check_context *x, const qn_opref *op, const qni_sample *sample,
                                qn_tensor *const *floats, int32_t n) {
  qn_tensor *second[MAX_FLOATS] = {NULL};
  double g, up, down, up2, down2;
  char text[1024];
  qn_status st = op->op->compose ? QN_OK : QN_E_UNSUPPORTED;
  for (int32_t i = 0; !st && i < n; i++)
    st = qni_tensor_zeros(QN_F64, floats[i]->view.ndim, floats[i]->view.shape, &second[i]);
  if (!st) st = slope_at(op, sample, floats, n, second, &g);
  for (int32_t i = 0; !st && i < n; i++) {
    qn_tensor *d = noise_like(floats[i], 400 + (uint32_t)i);
    if (!d) break;
    double slope = dot(second[i], d);
    move(floats[i], d, STEP);
    st = slope_at(op, sample, floats, n, NULL, &up);
    move(floats[i], d, -2 * STEP);
    if (!st) st = slope_at(op, sample, floats, n, NULL, &down);
    move(floats[i], d, 1.5 * STEP);
    if (!st) st = slope_at(op, sample, floats, n, NULL, &up2);
    move(floats[i], d, -STEP);
    if (!st) st = slope_at(op, sample, floats, n, NULL, &down2);
    move(floats[i], d, 0.5 * STEP);
    double wide = (up - down) / (2 * STEP), measured = (up2 - down2) / STEP;
    if (!st && isfinite(slope) && isfinite(measured) && !slopes_fit(op, slope, wide, measured))
      qni_check_find(
          x, "%s: second order of tensor %d is %.9g along a direction, differences give %.9g",
          qni_check_describe(op, sample, text, sizeof text), (int)i + 1, slope, measured);
    qn_tensor_free(d);
  }
  for (int32_t i = 0; i < n; i++) qn_tensor_free(second[i]);
}

static void slopes_agree(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *floats[MAX_FLOATS];
  char text[1024];
  int32_t n = qni_check_floats(sample, floats, MAX_FLOATS);
  if (!qni_check_differentiable(op) || !n || at_kink(op, sample)) return;
  for (int32_t i = 0; i < n; i++)
    if (floats[i]->view.dtype != QN_F64 || !qni_view_contiguous(&floats[i]->view)) return;
  if (!isfinite(value(op, sample)))
    return; /* refused, narrower than f64, or not a number: nothing to measure */
  if (gradients(op, sample, floats, n, (1u << n) - 1)) {
    qni_check_find(x, "%s: backward fails: %s", qni_check_describe(op, sample, text, sizeof text),
                   qn_error_last()->what);
    return;
  }
  for (int32_t i = 0; i < n; i++) slope_agrees(x, op, sample, floats[i], i);
  for (int32_t i = 0; i < n && !x->quick; i++) coordinates_agree(x, op, sample, floats[i], i);
  for (int32_t i = 0; i < n; i++) qn_tensor_clear_grad(floats[i]);
  second_order_agrees(x, op, sample, floats, n);
}

static qn_status run_gradient(qni_check_context *x) {
  qni_sample_options o = {.dtype = QN_F64, .max_size = 7, .allow_empty = true};
  return qni_check_each(x, &o, slopes_agree);
}

const qni_check qni_check_gradient = {
    "gradient", "L2", "backward equals central differences in f64", true, run_gradient};

/* ---- needs: gradients asked for alone equal those of the full run ---- */

static bool same_gradient(const qn_tensor *t, const qn_tensor *full, const qn_tensor *ids) {
  if (ids)
    return t->grad_rows && qni_check_equal(t->grad_ids, ids) && qni_check_equal(t->grad_rows, full);
  return (!t->grad && !full) || (t->grad && full && qni_check_equal(t->grad, full));
}

static void subsets_agree(qni_check_context *x, const qn_opref *op, qni_sample *sample) {
  qn_tensor *floats[MAX_FLOATS], *full[MAX_FLOATS], *ids[MAX_FLOATS];
  char text[1024];
  int32_t n = qni_check_floats(sample, floats, MAX_FLOATS);
  if (!qni_check_differentiable(op) || n < 2 || n > 6 ||
      gradients(op, sample, floats, n, (1u << n) - 1))
    return;
  for (int32_t i = 0; i < n; i++) {
    qn_tensor *g = floats[i]->grad ? floats[i]->grad : floats[i]->grad_rows;
    full[i] = g ? qn_tensor_retain(g) : NULL;
    ids[i] = floats[i]->grad_ids ? qn_tensor_retain(floats[i]->grad_ids) : NULL;
  }
  for (uint32_t mask = 1; mask + 1 < 1u << n; mask++) {
    if (gradients(op, sample, floats, n, mask)) break;
    for (int32_t i = 0; i < n; i++) {
      bool asked = mask >> i & 1;
      if (!asked && (floats[i]->grad || floats[i]->grad_rows))
        qni_check_find(x, "%s writes a gradient that was not asked for", op->name);
      if (asked && !same_gradient(floats[i], full[i], ids[i]))
        qni_check_find(x, "%s: the gradient of tensor %d changes when fewer are asked for",
                       qni_check_describe(op, sample, text, sizeof text), (int)i + 1);
    }
  }
  for (int32_t i = 0; i < n; i++) {
    qn_tensor_clear_grad(floats[i]);
    qn_tensor_free(full[i]);
    qn_tensor_free(ids[i]);
  }
}

static qn_status run_needs(qni_check_context *x) {
  qni_sample_options o = {.max_size = 7};
  return qni_check_each(x, &o, subsets_agree);
}

const qni_check qni_check_needs = {
    "needs", "L2", "each subset of gradients equals the full run, bit for bit", true, run_needs};
