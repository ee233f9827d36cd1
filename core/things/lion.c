/*
** lion: the optimizer that moves by signs (Chen et al. 2023, "Symbolic Discovery of
** Optimization Algorithms", algorithm 2), as an object; one for each parameter.
**
**   u = sign(b1 m + (1 - b1) g)
**   w = w - lr (u + decay w)
**   m = b2 m + (1 - b2) g
** SPDX-License-Identifier: MIT
*/
#include "things/things.h"

enum { GRAIN = 16384 };

struct work {
  const qn_view *w, *g, *m;
  double lr, b1, b2, decay;
};

#define STEP(real)                                                                                 \
  static qn_status step_##real(void *ctx, int64_t begin, int64_t end) {                            \
    const struct work *k = ctx;                                                                    \
    real *w = k->w->data, *m = k->m->data, b1 = (real)k->b1, b2 = (real)k->b2;                     \
    const real *g = k->g->data;                                                                    \
    real lr = (real)k->lr, keep = (real)(1 - k->lr * k->decay);                                    \
    for (int64_t i = begin; i < end; i++) {                                                        \
      real u = b1 * m[i] + (1 - b1) * g[i];                                                        \
      w[i] = keep * w[i] - lr * (real)((u > 0) - (u < 0));                                         \
      m[i] = b2 * m[i] + (1 - b2) * g[i];                                                          \
    }                                                                                              \
    return QN_OK;                                                                                  \
  }
STEP(float)
STEP(double)

static qn_status step(const qn_host *h, qn_call *c) {
  const qn_store *s = qni_store_of(h);
  struct work k = {.w = h->in(c, 0), .g = h->in(c, 1), .lr = h->arg_num(c, "lr")};
  qn_view *m;
  k.b1 = h->arg_num(c, "b1"), k.b2 = h->arg_num(c, "b2"), k.decay = h->arg_num(c, "decay");
  qn_status st = s->make(c, "m", k.w->dtype, k.w->ndim, k.w->shape, &m);
  if (st) return st;
  k.m = m;
  return h->parallel(c, qni_count_of(k.w), GRAIN, k.w->dtype == QN_F32 ? step_float : step_double,
                     &k);
}

/* A momentum of a type no step makes could only be overwritten in silence. */
static qn_status load(const qn_host *h, qn_call *c) {
  const qn_store *s = qni_store_of(h);
  qn_view *m = s->find(c, "m");
  int32_t n = s->count(c);
  if (n == 0 || (n == 1 && m && (m->dtype == QN_F32 || m->dtype == QN_F64))) return QN_OK;
  return h->fail(c, QN_E_FORMAT,
                 "the state is not lion's: one tensor m of f32 or f64 was expected");
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .schema = "step(w!: f[?], g: like w) -> w",
    .summary = "One update of a parameter by its gradient.",
    .forward = step,
    .flags = QN_OP_NO_GRAD,
};

const qn_object qni_object_lion = {
    .head = {.struct_size = sizeof(qn_object),
             .settings = "lion(*, lr: num{0..} = 1e-4, b1: num{0..1} = 0.9, b2: num{0..1} = 0.99, "
                         "decay: num{0..} = 0)",
             .summary = "Lion: moves every weight by the sign of a momentum.",
             .doc = "u = sign(b1 m + (1 - b1) g); w = w - lr (u + decay w); m = b2 m + (1 - b2) g. "
                    "One object for one parameter; its state is m.",
             .cite = "Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2",
             .example = "quern.object('lion', {lr = 0.1}):step(quern.ones{2}, quern.ones{2})",
             .load = load},
    .step = &op,
};
