/*
** alias: a sampler of items by their counts, with Walker's tables (1977; built as Vose 1991).
**
** fit(counts) makes for each item i a chance p_i and another item a_i; a draw takes i at
** random and then i or a_i. Both are one op: step with counts fits, and then draws n.
** SPDX-License-Identifier: MIT
*/
#include <stdbool.h>

#include "toolbox.h"

/* Items below the mean are filled up by items above it, in order. */
static void build(int64_t n, const double *counts, double total, double *p, int64_t *other,
                  int64_t *small, int64_t *large) {
  int64_t n_small = 0, n_large = 0;
  for (int64_t i = 0; i < n; i++) {
    p[i] = counts[i] * (double)n / total;
    other[i] = i;
    if (p[i] < 1)
      small[n_small++] = i;
    else
      large[n_large++] = i;
  }
  while (n_small && n_large) {
    int64_t s = small[--n_small], l = large[n_large - 1];
    other[s] = l;
    p[l] -= 1 - p[s];
    if (p[l] < 1) small[n_small++] = large[--n_large];
  }
  while (n_small) p[small[--n_small]] = 1;
  while (n_large) p[large[--n_large]] = 1;
}

static qn_status fit(const qn_host *h, qn_call *c, const qn_view *counts) {
  const qn_store *s = store_of(h);
  int64_t n = counts->shape[0];
  double total = 0;
  qn_view *p, *other;
  void *work;
  for (int64_t i = 0; i < n; i++) {
    double v = ((const double *)counts->data)[i];
    if (!(v >= 0)) return h->fail(c, QN_E_ARG, "count %lld is %g", (long long)i + 1, v);
    total += v;
  }
  if (!(total > 0)) return h->fail(c, QN_E_ARG, "no item has a count");
  qn_status st = s->make(c, "p", QN_F64, 1, &n, &p);
  if (!st) st = s->make(c, "other", QN_I64, 1, &n, &other);
  if (!st) st = h->scratch(c, 2 * n * (int64_t)sizeof(int64_t), &work);
  if (!st) build(n, counts->data, total, p->data, other->data, work, (int64_t *)work + n);
  return st;
}

static qn_status infer(const qn_host *h, qn_call *c) {
  h->out(c, 0)->ndim = 1;
  h->out(c, 0)->shape[0] = h->arg_int(c, "n");
  return QN_OK;
}

static qn_status step(const qn_host *h, qn_call *c) {
  const qn_store *s = store_of(h);
  qn_status st = h->in(c, 0) ? fit(h, c, h->in(c, 0)) : QN_OK;
  const qn_view *p = s->find(c, "p"), *other = s->find(c, "other");
  if (st) return st;
  if (!p || !other)
    return h->fail(c, QN_E_STATE, "there is nothing to draw from: give counts once");
  int64_t *out = h->out(c, 0)->data, first = h->arg_int(c, "first");
  for (int64_t i = 0; i < h->out(c, 0)->shape[0]; i++) {
    uint32_t r[2];
    h->random(c, 0, i, 0, 2, r);
    int64_t k = (int64_t)(((uint64_t)r[0] * (uint64_t)p->shape[0]) >> 32);
    double u = r[1] * 0x1p-32;
    out[i] = first + (u < ((const double *)p->data)[k] ? k : ((const int64_t *)other->data)[k]);
  }
  return QN_OK;
}

static qn_status load(const qn_host *h, qn_call *c) {
  const qn_store *s = store_of(h);
  const qn_view *p = s->find(c, "p"), *other = s->find(c, "other");
  if (!p && !other && s->count(c) == 0) return QN_OK;
  bool good = p && other && s->count(c) == 2 && p->dtype == QN_F64 && other->dtype == QN_I64 &&
              p->ndim == 1 && other->ndim == 1 && p->shape[0] == other->shape[0] && p->shape[0] > 0;
  for (int64_t i = 0; good && i < p->shape[0]; i++) {
    double v = ((const double *)p->data)[i];
    int64_t o = ((const int64_t *)other->data)[i];
    good = v >= 0 && v <= 1 && o >= 0 && o < p->shape[0];
  }
  return good ? QN_OK : h->fail(c, QN_E_FORMAT, "the state is not that of a sampler");
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_RANDOM | QN_OP_NO_GRAD,
    .schema = "step(counts: f64[N]? = nil, *, n: int{0..1000000} = 1) -> items: i64[?]",
    .summary = "Takes counts, if given, and draws n items.",
    .infer = infer,
    .forward = step,
};

const qn_object toolbox_alias = {
    .head = {.struct_size = sizeof(qn_object),
             .settings = "alias(*, first: int = 0)",
             .summary = "Draws items in proportion to their counts.",
             .doc = "first: the id of the first item.",
             .cite = "Walker 1977; Vose 1991, A linear algorithm for generating random numbers",
             .example = "print(quern.object('alias'):step(quern.f64{1, 0, 3}, {n = 4}))",
             .load = load},
    .step = &op,
};
