/*
** Finding the first NaN or infinity that an op makes.
** SPDX-License-Identifier: MIT
*/
#include "graph/finite.h"

#include <inttypes.h>
#include <math.h>

static double element(const qn_view *v, int64_t i) {
  int64_t offset = 0, size = (int64_t)qni_dtype_size(v->dtype);
  for (int32_t d = v->ndim - 1; d >= 0; i /= v->shape[d--])
    offset += i % v->shape[d] * v->stride[d];
  return qni_dtype_load(v->dtype, (const char *)v->data + offset * size);
}

/* Position of the first element that is not finite, in row-major order; -1 if all are. */
static int64_t first_bad(const qn_view *v, double *value) {
  int64_t n = qni_view_count(v);
  if (!qni_dtype_floating(v->dtype)) return -1;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(*value = element(v, i))) return i;
  return -1;
}

/* "x lies in 0 .. 3.5", as a line of the error. */
static void tell_range(const char *before, const char *name, const qn_tensor *t) {
  if (!t || !qni_dtype_floating(t->view.dtype)) return;
  int64_t n = qni_view_count(&t->view), bad = 0;
  double low = INFINITY, high = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    double value = element(&t->view, i);
    bad += !isfinite(value);
    if (isfinite(value)) low = fmin(low, value), high = fmax(high, value);
  }
  if (bad < n) qni_error_detail("%s%s lies in %g .. %g", before, name, low, high);
  if (bad) qni_error_detail("%s%s has %" PRId64 " values that are not finite", before, name, bad);
}

/* The values that went in: forward has its inputs, backward the incoming gradients. */
static void tell_values(const qn_call *c) {
  const qni_schema *s = c->op->schema;
  if (c->phase == QNI_PHASE_FORWARD) {
    for (int32_t i = 0; i < c->n_in; i++) tell_range("", s->param[c->owner[i]].name, c->input[i]);
  } else {
    for (int32_t o = 0; o < c->n_out; o++)
      tell_range("the gradient of ", s->output[o].name, c->grad_out[o]);
  }
}

static qn_status report(const qn_call *c, const char *what, const char *name, const qn_view *v) {
  double value = 0;
  int64_t i = first_bad(v, &value);
  if (i < 0) return QN_OK;
  char shape[160];
  qni_fail(QN_E_NUMERIC, "%s made the first value that is not finite: %g in %s %s",
           c->op->schema->name, value, what, name);
  qni_error_detail("element %" PRId64 " of %s, step %" PRIu64, i + 1,
                   qni_shape_text(shape, sizeof shape, v->dtype, v->ndim, v->shape), c->step);
  tell_values(c);
  qni_error_hint("look at this op's inputs: a smaller learning rate, gradient clipping or an eps "
                 "usually helps");
  return QN_E_NUMERIC;
}

qn_status qni_finite_outputs(const qn_call *c) {
  qn_status st = QN_OK;
  for (int32_t o = 0; !st && o < c->n_out; o++)
    st = report(c, "output", c->op->schema->output[o].name, &c->output[o]->view);
  return st;
}

qn_status qni_finite_gradient(const qn_call *c, int32_t input, const qn_tensor *grad) {
  return report(c, "the gradient of", c->op->schema->param[c->owner[input]].name, &grad->view);
}
