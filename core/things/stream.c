/*
** dirichlet: the Dirichlet-process stream (io/dirichlet.h) as a data set of records.
** SPDX-License-Identifier: MIT
*/
#include "io/dirichlet.h"

#include <inttypes.h>

#include "things/things.h"

static void release(void *stream) { qni_dirichlet_free(stream); }

static qn_status create(const qn_host *h, qn_call *c) {
  qni_dirichlet_options o = {.n_items = h->arg_int(c, "n_items"),
                             .n_categories = h->arg_int(c, "n_categories"),
                             .n_records = h->arg_int(c, "n_records"),
                             .length = h->arg_int(c, "length"),
                             .categories_per_record = h->arg_int(c, "categories_per_record"),
                             .initial = h->arg_num(c, "initial"),
                             .alpha_min = h->arg_num(c, "alpha_min"),
                             .alpha_max = h->arg_num(c, "alpha_max"),
                             .seed = (uint64_t)h->arg_int(c, "seed")};
  qni_dirichlet *stream;
  qn_status st = qni_dirichlet_new(&o, &stream);
  return st ? st : qni_store_of(h)->hold(c, stream, release);
}

static const qni_dirichlet *stream_of(const qn_host *h, qn_call *c) {
  return qni_store_of(h)->held(c);
}

static qn_status count(const qn_host *h, qn_call *c, int64_t *n) {
  *n = qni_dirichlet_settings(stream_of(h, c))->n_records;
  return QN_OK;
}

static qn_status infer(const qn_host *h, qn_call *c) {
  int64_t B = h->in(c, 0)->shape[0], L = qni_dirichlet_settings(stream_of(h, c))->length;
  h->out(c, 0)->ndim = h->out(c, 1)->ndim = 1;
  h->out(c, 0)->shape[0] = B * L;
  h->out(c, 1)->shape[0] = B + 1;
  return QN_OK;
}

static qn_status read(const qn_host *h, qn_call *c) {
  const qni_dirichlet *stream = stream_of(h, c);
  const qni_dirichlet_options *o = qni_dirichlet_settings(stream);
  const int64_t *records = h->in(c, 0)->data;
  int64_t *items = h->out(c, 0)->data, *offsets = h->out(c, 1)->data, L = o->length;
  void *memory;
  qn_status st = h->scratch(c, L * (int64_t)sizeof(int32_t), &memory);
  if (st) return st;
  offsets[0] = 0;
  for (int64_t b = 0; b < h->in(c, 0)->shape[0]; b++) {
    if (records[b] < 0 || records[b] >= o->n_records)
      return h->fail(c, QN_E_ARG, "record %" PRId64 " is not among 0 to %" PRId64, records[b],
                     o->n_records - 1);
    qni_dirichlet_record(stream, records[b], memory);
    for (int64_t i = 0; i < L; i++) items[b * L + i] = ((const int32_t *)memory)[i];
    offsets[b + 1] = (b + 1) * L;
  }
  return QN_OK;
}

static const qn_op op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD,
    .schema = "read(records: i64[B]{0..}) -> items: i64[?], items_offsets: i64[?]",
    .summary = "Records as one jagged tensor of item ids.",
    .infer = infer,
    .forward = read,
};

const qn_dataset qni_dataset_stream = {
    .head = {.struct_size = sizeof(qn_dataset),
             .settings = "dirichlet(*, n_items: int{1..100000000} = 20000, n_categories: "
                         "int{1..1000000} = 100, n_records: int{1..} = 1000000, length: "
                         "int{1..65536} = 128, categories_per_record: int{1..64} = 5, initial: "
                         "num{0..1} = 0.4, alpha_min: num{0..} = 1, alpha_max: num{0..} = 500, "
                         "seed: int = 0)",
             .summary = "Sequences whose tastes recur, on a growing catalogue.",
             .doc = "Record r sees the items 1..open(r). At position n its category is a new draw "
                    "with probability alpha / (alpha + n - 1), else that of an item before. A "
                    "record is a function of (seed, r).",
             .cite = "Ferguson 1973, A Bayesian analysis of some nonparametric problems",
             .example = "print(quern.dataset('dirichlet', {n_records = 10}):count())",
             .create = create},
    .count = count,
    .read = &op,
};
