/*
** average: keeps an exponential moving average of all parameters while they are trained.
**
**   a = d a + (1 - d) w after each step,  d = min(decay, (1 + t) / (10 + t)) when warm
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "things/things.h"

enum { GRAIN = 16384 };

struct work {
  const qn_view *w, *a;
  double decay;
};

#define BLEND(real)                                                                                \
  static qn_status blend_##real(void *ctx, int64_t begin, int64_t end) {                           \
    const struct work *k = ctx;                                                                    \
    const real *w = k->w->data;                                                                    \
    real *a = k->a->data, d = (real)k->decay;                                                      \
    for (int64_t i = begin; i < end; i++) a[i] = d * a[i] + (1 - d) * w[i];                        \
    return QN_OK;                                                                                  \
  }
BLEND(float)
BLEND(double)

static qn_status blend_one(const qn_host *h, qn_call *c, const qn_parameter *p, double decay) {
  const qn_store *s = qni_store_of(h);
  const qn_view *w = p->value;
  qn_view *a = s->find(c, p->name);
  bool fresh = !a || qni_count_of(a) != qni_count_of(w) || a->dtype != w->dtype;
  if (w->dtype != QN_F32 && w->dtype != QN_F64) return QN_OK;
  qn_status st = s->make(c, p->name, w->dtype, w->ndim, w->shape, &a);
  if (st) return st;
  struct work k = {.w = w, .a = a, .decay = fresh ? 0 : decay};
  return h->parallel(c, qni_count_of(w), GRAIN, w->dtype == QN_F32 ? blend_float : blend_double,
                     &k);
}

static qn_status run(const qn_host *h, qn_call *c, const qn_moment *m) {
  double t = (double)m->step, decay = h->arg_num(c, "decay");
  if (h->arg_bool(c, "warm")) decay = fmin(decay, (1 + t) / (10 + t));
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && i < m->n_parameters; i++) st = blend_one(h, c, m->parameter[i], decay);
  return st;
}

static qn_status load(const qn_host *h, qn_call *c) {
  const qn_store *s = qni_store_of(h);
  for (int32_t i = 0; i < s->count(c); i++) {
    qn_view *a;
    const char *name = s->at(c, i, &a);
    if (a->dtype != QN_F32 && a->dtype != QN_F64)
      return h->fail(c, QN_E_FORMAT, "%s is not of f32 or f64, as averages are", name);
  }
  return QN_OK;
}

const qn_hook qni_hook_average = {
    .head = {.struct_size = sizeof(qn_hook),
             .settings = "average(*, decay: num{0..1} = 0.999, warm: bool = true)",
             .summary = "Exponential moving average of all parameters.",
             .doc = "a = d a + (1 - d) w after each step, d = decay, with warm at most "
                    "(1 + t) / (10 + t). Its state has one tensor by each parameter's name.",
             .cite =
                 "Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging",
             .example = "local a = quern.hook('average', {decay = 0.99})",
             .load = load},
    .events = 1u << QN_AFTER_STEP,
    .run = run,
};
