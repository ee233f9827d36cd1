/*
** embedding: rows of a table by id; embedding_grad: its gradient, an op of its own.
**
**   y[p] = w[ids[p]]          dw[v] = sum over p with ids[p] = v of dy[p]
**
** Sums run over positions sorted by id, equal ids in order of position, one owner for
** each row: no atomics, and bits that depend on the ids alone.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "embedding_group.h"
#include "kernels/embedding.h"
#include "network.h"

enum { WORK = 8192, NO_PADDING = -1 };

struct ids {
  const int64_t *wide;
  const int32_t *narrow;
  int64_t padding;
};

static struct ids ids_of(const qn_view *v, int64_t padding) {
  return (struct ids){.wide = v->dtype == QN_I64 ? v->data : NULL,
                      .narrow = v->dtype == QN_I32 ? v->data : NULL,
                      .padding = padding};
}

static int64_t raw_id(const struct ids *s, int64_t p) {
  return s->wide ? s->wide[p] : s->narrow[p];
}

static int64_t id_at(const void *ctx, int64_t p) {
  const struct ids *s = ctx;
  const int64_t id = raw_id(s, p);
  return id == s->padding ? -1 : id;
}

static int64_t padding_of(const qn_host *h, qn_call *c) {
  return h->has_arg(c, "padding") ? h->arg_int(c, "padding") : NO_PADDING;
}

static qn_status check_ids(const qn_host *h, qn_call *c, const qn_view *ids, int64_t V) {
  const struct ids s = ids_of(ids, NO_PADDING);
  const int64_t n = qni_net_count(ids);
  for (int64_t p = 0; p < n; p++)
    if (raw_id(&s, p) < 0 || raw_id(&s, p) >= V)
      return h->fail(c, QN_E_ARG,
                     "ids has %" PRId64 " at element %" PRId64 ", but the table has %" PRId64
                     " rows; ids run from 0 to %" PRId64,
                     raw_id(&s, p), p + 1, V, V - 1);
  return QN_OK;
}

static qn_status gather(const qn_host *h, qn_call *c, const qn_view *w, const qn_view *ids,
                        qn_view *y) {
  const int64_t n = qni_net_count(ids);
  qni_gather_job j = {.table = w->data,
                      .ids64 = ids->dtype == QN_I64 ? ids->data : NULL,
                      .ids32 = ids->dtype == QN_I32 ? ids->data : NULL,
                      .out = y->data,
                      .width = w->shape[1]};
  return h->parallel(c, n, qni_net_grain(j.width, WORK), qni_embedding()->gather[qni_net_is64(w)],
                     &j);
}

/* The padding id stands for a row of zeros, so that it has no gradient either. */
static void zero_padding(const qn_view *ids, int64_t padding, qn_view *y) {
  const struct ids s = ids_of(ids, padding);
  const int64_t n = qni_net_count(ids), width = qni_net_cols(y);
  for (int64_t p = 0; p < n && padding != NO_PADDING; p++)
    if (raw_id(&s, p) == padding) {
      qn_view row = {.data = qni_net_at(y->data, p * width, qni_net_size(y)),
                     .shape = {width},
                     .ndim = 1,
                     .dtype = y->dtype};
      qni_net_fill_zero(&row);
    }
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *w = h->in(c, 0), *ids = h->in(c, 1);
  qn_status st = check_ids(h, c, ids, w->shape[0]);
  if (!st) st = gather(h, c, w, ids, h->out(c, 0));
  if (!st) zero_padding(ids, padding_of(h, c), h->out(c, 0));
  return st ? st : h->save(c, 0, ids);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  if (!h->needs_grad(c, 0)) return QN_OK;
  const qn_view *ids = h->saved(c, 0);
  const struct ids s = ids_of(ids, padding_of(h, c));
  qni_groups g;
  qn_status st = qni_groups_make(h, c, qni_net_count(ids), h->like(c, 0)->shape[0], id_at, &s, &g);
  return st ? st
            : qni_groups_gradient(h, c, &g, 0, h->arg_bool(c, "sparse"), h->in(c, 0)->data, NULL,
                                  1);
}

static qn_status compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qn_arg args[4] = {qni_arg_tensor(qni_build_flow(&b)), qni_arg_tensor(qni_build_saved(&b, 0)),
                    qni_arg_int("rows", h->like(c, 0)->shape[0])};
  if (h->has_arg(c, "padding")) args[3] = qni_arg_int("padding", padding_of(h, c));
  qni_build_set(&b, 0, qni_build_op(&b, "embedding_grad", h->has_arg(c, "padding") ? 4 : 3, args));
  return b.status;
}

/* ---- The gradient as an op: linear in dy, its own gradient fetches rows again ---- */

static qn_status grad_forward(const qn_host *h, qn_call *c) {
  const qn_view *dy = h->in(c, 0), *ids = h->in(c, 1);
  qn_view *dw = h->out(c, 0);
  const struct ids s = ids_of(ids, padding_of(h, c));
  qni_groups g;
  qn_status st = check_ids(h, c, ids, dw->shape[0]);
  if (!st) st = qni_groups_make(h, c, qni_net_count(ids), dw->shape[0], id_at, &s, &g);
  if (!st) st = qni_groups_dense(h, c, &g, dw, dy->data, NULL, 1);
  return st ? st : h->save(c, 0, ids);
}

static qn_status grad_backward(const qn_host *h, qn_call *c) {
  const qn_view *ids = h->saved(c, 0);
  qn_view *dy = h->out(c, 0);
  if (!dy) return QN_OK;
  qn_status st = gather(h, c, h->in(c, 0), ids, dy);
  if (!st) zero_padding(ids, padding_of(h, c), dy);
  return st;
}

QNI_OP(embedding_op, QN_BATCH_ROWS,
       "embedding(w: f[V,D], ids: i[...]{0..V-1}, *, sparse: bool = false, padding: int? = nil) -> "
       "y: f[...,D]",
       "Rows of a table by id.",
       "y[p] = w[ids[p]]; dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p.\n"
       "sparse gives the gradient as rows of the table (for large tables); padding is an id that "
       "stands for zeros and whose row gets no\n"
       "gradient. An id outside 0 .. V-1 is an error that names its position.",
       "print(quern.embedding(quern.tensor{{1,2},{3,4}}, quern.tensor({1,0,1}, 'i64')))",
       .flags = QN_OP_NAN_STOPS | QN_OP_ROW_GRADS | QN_OP_ADDS_GRADS, .forward = forward,
       .backward = backward, .compose = compose);

QNI_OP(embedding_grad_op, QN_BATCH_COUPLED,
       "embedding_grad(dy: f[...,D], ids: i[...]{0..rows-1}, *, rows: int{0..}, padding: int? = "
       "nil) -> dw: f[rows,D]",
       "Rows added up by id into a table: the gradient of embedding.",
       "dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p, 0 where there is none "
       "or v is padding.",
       "print(quern.embedding_grad(quern.tensor{{1,2},{3,4}}, quern.tensor({1,1}, 'i64'), {rows = "
       "3}))",
       .flags = QN_OP_NAN_STOPS, .forward = grad_forward, .backward = grad_backward);

extern const qn_op *const qni_ops_embedding[];
const qn_op *const qni_ops_embedding[] = {&embedding_op, &embedding_grad_op, NULL};
