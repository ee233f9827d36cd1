/*
** Finding the first NaN or infinity that an op makes.
** SPDX-License-Identifier: MIT
*/
#include "graph/finite.h"

#include <inttypes.h>
#include <math.h>

/* Position of the first element that is not finite, in row-major order; -1 if all are. */
static int64_t first_bad(const qn_view *v, double *value) {
  int64_t n = qni_view_count(v), at[QN_MAX_DIMS] = {0};
  size_t size = qni_dtype_size(v->dtype);
  if (!qni_dtype_floating(v->dtype)) return -1;
  for (int64_t i = 0; i < n; i++) {
    int64_t offset = 0;
    for (int32_t d = 0; d < v->ndim; d++) offset += at[d] * v->stride[d];
    *value = qni_dtype_load(v->dtype, (const char *)v->data + offset * (int64_t)size);
    if (!isfinite(*value)) return i;
    for (int32_t d = v->ndim - 1; d >= 0 && ++at[d] == v->shape[d]; d--) at[d] = 0;
  }
  return -1;
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
