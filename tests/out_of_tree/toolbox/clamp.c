/*
** clamp: keeps every weight of a role within -limit .. limit after each step.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "toolbox.h"

static qn_status run(const qn_host *h, qn_call *c, const qn_moment *m) {
  const qn_store *s = store_of(h);
  const char *role = h->arg_str(c, "role");
  double limit = h->arg_num(c, "limit");
  qn_view *clamped;
  qn_status st = s->make(c, "clamped", QN_I64, 0, NULL, &clamped);
  for (int32_t i = 0; !st && i < m->n_parameters; i++) {
    const qn_parameter *p = m->parameter[i];
    if ((*role && strcmp(role, p->role)) ||
        (p->value->dtype != QN_F32 && p->value->dtype != QN_F64))
      continue;
    for (int64_t k = 0; k < count_of(p->value); k++) {
      double v = value_of(p->value, k), to = v > limit ? limit : v < -limit ? -limit : v;
      if (to == v || v != v) continue;
      ++*(int64_t *)clamped->data;
      if (p->value->dtype == QN_F32)
        ((float *)p->value->data)[k] = (float)to;
      else
        ((double *)p->value->data)[k] = to;
    }
  }
  return st;
}

static qn_status describe(const qn_host *h, qn_call *c) {
  const qn_view *clamped = store_of(h)->find(c, "clamped");
  return store_of(h)->emit(c, "clamped", clamped ? (double)*(int64_t *)clamped->data : 0);
}

static qn_status load(const qn_host *h, qn_call *c) {
  const qn_store *s = store_of(h);
  const qn_view *v = s->find(c, "clamped");
  if (s->count(c) == 0 || (s->count(c) == 1 && v && v->dtype == QN_I64 && v->ndim == 0))
    return QN_OK;
  return h->fail(c, QN_E_FORMAT, "the state is not clamp's: one number clamped was expected");
}

const qn_hook toolbox_clamp = {
    .head = {.struct_size = sizeof(qn_hook),
             .settings = "clamp(*, limit: num{0..} = 1, role: str = \"\")",
             .summary = "Keeps weights within a limit.",
             .doc = "After each step, weights of the role (all, if none is given) beyond the limit "
                    "are set to it. describe tells how many were.",
             .example =
                 "local h = quern.hook('clamp', {limit = 2}); print(h:describe().clamped) --> 0.0",
             .load = load,
             .describe = describe},
    .events = 1u << QN_AFTER_STEP,
    .run = run,
};
