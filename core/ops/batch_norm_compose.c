/*
** The backward of batch normalisation, made of registered ops.
**
**   g = dy relu'(y);  dresidual = g;  dw = sum g xhat;  db = sum g
**   training:    dx = w rstd (g - mean(g) - xhat mean(g xhat))
**   evaluation:  dx = w rstd g
** SPDX-License-Identifier: MIT
*/
#include "ops/batch_norm_compose.h"

#include "ops/elementwise_compose.h"

struct shape { /* reduced dimensions, from 1, and the channels' place [1,C,1,...] */
  int32_t n_dims, ndim;
  int64_t dims[QN_MAX_DIMS], wide[QN_MAX_DIMS];
};

static struct shape shape_of(const qn_view *x, int32_t channel) {
  struct shape s = {.ndim = x->ndim};
  for (int32_t d = 0; d < x->ndim; d++) {
    s.wide[d] = d == channel ? x->shape[d] : 1;
    if (d != channel) s.dims[s.n_dims++] = d + 1;
  }
  return s;
}

static qn_tensor *over_batch(qni_build *b, const struct shape *s, const char *op, qn_tensor *a,
                             int32_t keep) {
  return qni_build_op(b, op, 3,
                      (qn_arg[]){qni_arg_tensor(a), qni_arg_ints("dim", s->n_dims, s->dims),
                                 qni_arg_bool("keepdim", keep)});
}

static qn_tensor *widen(qni_build *b, const struct shape *s, qn_tensor *a) {
  return qni_build_op(b, "reshape", 2,
                      (qn_arg[]){qni_arg_tensor(a), qni_arg_ints("shape", s->ndim, s->wide)});
}

/* dx without its factor w rstd. */
static qn_tensor *centre_gradient(qni_build *b, const struct shape *s, qn_tensor *g, qn_tensor *hat,
                                  qn_tensor *ghat) {
  qn_tensor *dx = qni_build_op2(b, "sub", g, over_batch(b, s, "mean", g, 1));
  return qni_build_op2(b, "sub", dx,
                       qni_build_op2(b, "mul", hat, over_batch(b, s, "mean", ghat, 1)));
}

qn_status qni_batch_norm_compose(const qn_host *h, qn_call *c, const qni_batch_norm_slots *slots) {
  qni_build b = qni_build_start(h, c);
  const int32_t training = !h->has_arg(c, "mean");
  qn_tensor *x = h->ref_saved(c, QNI_BN_X), *w = h->ref_saved(c, QNI_BN_W), *g = h->ref_grad(c, 0);
  if (!g || h->needs_grad(c, QNI_BN_MEAN) || h->needs_grad(c, QNI_BN_VAR) || h->ref_grad(c, 1) ||
      h->ref_grad(c, 2))
    return h->fail(c, QN_E_UNSUPPORTED,
                   "second order of batch normalisation goes through y and x, w, b only; detach "
                   "mean and var");
  const struct shape s = shape_of(h->like(c, QNI_BN_X), slots->channel);
  if (slots->relu)
    g = qni_build_where(&b, qni_build_num(&b, "gt", qni_build_saved(&b, QNI_BN_RESIDUAL), 0), g,
                        NULL);
  qn_tensor *mean =
      training ? over_batch(&b, &s, "mean", x, 1) : widen(&b, &s, qni_build_saved(&b, QNI_BN_MEAN));
  qn_tensor *off = qni_build_op2(&b, "sub", x, mean);
  qn_tensor *var = training ? over_batch(&b, &s, "mean", qni_build_op1(&b, "square", off), 1)
                            : widen(&b, &s, qni_build_saved(&b, QNI_BN_VAR));
  qn_tensor *rstd = qni_build_op1(&b, "rsqrt", qni_build_num(&b, "add", var, h->arg_num(c, "eps")));
  qn_tensor *hat = qni_build_op2(&b, "mul", off, rstd), *ghat = qni_build_op2(&b, "mul", g, hat);
  qn_tensor *dx = training ? centre_gradient(&b, &s, g, hat, ghat) : g;
  dx = qni_build_op2(&b, "mul", dx, rstd);
  if (w) dx = qni_build_op2(&b, "mul", dx, widen(&b, &s, w));
  qni_build_set(&b, QNI_BN_X, dx);
  if (h->needs_grad(c, QNI_BN_W)) qni_build_set(&b, QNI_BN_W, over_batch(&b, &s, "sum", ghat, 0));
  if (h->needs_grad(c, QNI_BN_B)) qni_build_set(&b, QNI_BN_B, over_batch(&b, &s, "sum", g, 0));
  if (slots->residual >= 0) qni_build_set(&b, slots->residual, g);
  return b.status;
}
