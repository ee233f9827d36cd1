/*
** Optimizer steps on some rows of a table (lazy, row-sparse), in place.
** Formulas: kernels/optim.h.
**
** rows[r] is the gradient of row ids[r]. Gradients by rows come out of backward with
** ascending, distinct ids; then rows are shared out among workers, else they are taken
** one after another, a repeated id as so many steps. Rows that are not named keep
** weight and state: an approximation of the dense step, which moves every row at
** every step by its momentum. Without ids, rows has all rows in order.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <stddef.h>

#include "ops/optim.h"

enum { ELEMENTS = 8192 }; /* in a chunk, about */

/* Which input is which; m 0: none. */
struct inputs {
  int32_t m, v, rows, ids, norm_sq;
};

static qn_status check_ids(const qn_host *h, qn_call *c, const int64_t *ids, int64_t n,
                           int64_t n_table) {
  for (int64_t r = 0; r < n; r++)
    if (ids[r] < 0 || ids[r] >= n_table)
      return h->fail(c, QN_E_ARG,
                     "ids[%" PRId64 "] is %" PRId64 ", the table has rows 0 to %" PRId64, r + 1,
                     ids[r], n_table - 1);
  return QN_OK;
}

static int ascending(const int64_t *ids, int64_t n) {
  for (int64_t r = 1; r < n; r++)
    if (ids[r] <= ids[r - 1]) return 0;
  return 1;
}

static qn_status fill(const qn_host *h, qn_call *c, const struct inputs *at, qni_optim_job *job) {
  const qn_view *w = h->in(c, 0), *rows = h->in(c, at->rows), *ids = h->in(c, at->ids);
  job->w = w->data;
  job->m = at->m ? h->in(c, at->m)->data : NULL;
  job->v = h->in(c, at->v)->data;
  job->g = rows->data;
  job->width = 1;
  for (int32_t i = 1; i < w->ndim; i++) job->width *= w->shape[i];
  qn_status st = qni_optim_common(h, c, at->norm_sq, job);
  if (st) return st;
  if (!ids && rows->shape[0] != w->shape[0])
    return h->fail(c, QN_E_SHAPE,
                   "without ids, rows must have all %" PRId64 " rows, it has %" PRId64, w->shape[0],
                   rows->shape[0]);
  job->ids = ids ? ids->data : NULL;
  return ids ? check_ids(h, c, job->ids, rows->shape[0], w->shape[0]) : QN_OK;
}

static qn_status run(const qn_host *h, qn_call *c, const struct inputs *at,
                     const qn_range_fn kernel[2], qni_optim_job *job) {
  const qn_view *rows = h->in(c, at->rows);
  int64_t n = rows->shape[0], grain = job->width ? ELEMENTS / job->width : ELEMENTS;
  if (job->ids && !ascending(job->ids, n)) grain = n;
  return h->parallel(c, n, grain > 1 ? grain : 1, kernel[rows->dtype == QN_F64], job);
}

static qn_status adam_rows(const qn_host *h, qn_call *c) {
  const struct inputs at = {.m = 1, .v = 2, .rows = 3, .ids = 4, .norm_sq = 5};
  qni_optim_job job = {0};
  qn_status st = fill(h, c, &at, &job);
  if (st) return st;
  qni_optim_adam_arguments(h, c, &job);
  return run(h, c, &at, qni_optim()->adam_rows, &job);
}

static qn_status adam_rowwise(const qn_host *h, qn_call *c) {
  const struct inputs at = {.m = 1, .v = 2, .rows = 3, .ids = 4, .norm_sq = 5};
  qni_optim_job job = {0};
  qn_status st = fill(h, c, &at, &job);
  if (st) return st;
  qni_optim_adam_arguments(h, c, &job);
  return run(h, c, &at, qni_optim()->rowwise_rows, &job);
}

static qn_status adagrad_rows(const qn_host *h, qn_call *c) {
  const struct inputs at = {.v = 1, .rows = 2, .ids = 3, .norm_sq = 4};
  qni_optim_job job = {0};
  qn_status st = fill(h, c, &at, &job);
  if (st) return st;
  job.eps = h->arg_num(c, "eps");
  return run(h, c, &at, qni_optim()->adagrad_rows, &job);
}

#define ADAM_ARGUMENTS                                                                             \
  "norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, "                  \
  "beta2: num{0..1} = 0.999, eps: num{0..} = 1e-8, weight_decay: num{0..} = 0, "                   \
  "decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w"

static const qn_op adam_rows_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema = "adam_rows_(w!: f[N,...], m!: f[N,...], v!: f[N,...]{0..}, rows: f[M,...], ids: "
              "i64[M]{0..N-1}? = nil, *, " ADAM_ARGUMENTS,
    .summary = "Lazy Adam or AdamW: only the rows named by ids move.",
    .doc = "adam_step_ on rows ids of w, m and v, with row r of `rows` as the gradient of row "
           "ids[r].\n"
           "Without ids, rows has all rows in order. Bias corrections use the global step.",
    .cite = "Kingma & Ba 2015, algorithm 1, on the rows that have a gradient",
    .example = "quern.adam_rows_(quern.ones(4, 2), quern.zeros(4, 2), quern.zeros(4, 2), "
               "quern.ones(2, 2), quern.i64{1, 3}, "
               "{step = 1, lr = 0.1})",
    .forward = adam_rows,
};

static const qn_op adam_rowwise_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema = "adam_rowwise_(w!: f[N,...], m!: f[N,...], v!: f[N]{0..}, rows: f[M,...], ids: "
              "i64[M]{0..N-1}? = nil, *, " ADAM_ARGUMENTS,
    .summary = "Row-wise Adam or AdamW: one second moment for each row of a table.",
    .doc = "v[r] = beta2 v[r] + (1 - beta2) mean of g^2 over row r; the rest as adam_rows_. Half "
           "the state of Adam.",
    .cite = "Zhai et al. 2024, Actions speak louder than words (row-wise AdamW)",
    .example = "quern.adam_rowwise_(quern.ones(4, 2), quern.zeros(4, 2), quern.zeros(4), "
               "quern.ones(2, 2), quern.i64{1, 3}, "
               "{step = 1, lr = 0.1})",
    .forward = adam_rowwise,
};

static const qn_op adagrad_rows_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema =
        "adagrad_rows_(w!: f[N,...], h!: f[N]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, "
        "norm_sq: f64[]{0..}? = nil, lr: num, eps: num{0..} = 1e-8, weight_decay: num{0..} = 0, "
        "decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w",
    .summary = "Row-wise Adagrad: one sum of squares for each row of a table.",
    .doc = "h[r] = h[r] + mean of g^2 over row r;  w[r] = w[r] - lr g / (sqrt(h[r]) + eps), on the "
           "rows named by ids.",
    .cite = "Duchi et al. 2011, with the mean over a row as in Naumov et al. 2019 (DLRM)",
    .example = "quern.adagrad_rows_(quern.ones(4, 2), quern.zeros(4), quern.ones(2, 2), "
               "quern.i64{1, 3}, {lr = 0.1})",
    .forward = adagrad_rows,
};

const qn_op *const qni_ops_optim_rows[] = {&adam_rows_op, &adam_rowwise_op, &adagrad_rows_op, NULL};
