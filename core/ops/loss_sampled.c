/*
** sampled_softmax: cross-entropy of each row's target among a few sampled items.
**
**   s_j = h . w[id_j] / temperature, id_0 = target;  l = lse(s) - s_0
**   dh = sum_j a_j w[id_j],  dw[v] = sum over (row, j) with id_j = v of a_j h_row
**   a_j = r (softmax(s)_j - [j = 0]) / temperature
**
** Negatives that all rows share go through products: scores, dh and their dw are three of them.
** Forward keeps the a_j without r and, while the rows are in cache, makes dh without r. Gradients
** of w are summed over pairs sorted by id, one owner for each row of w, as a dense tensor or as
** rows. For a dense one the pairs of a block of rows are sorted together, whose rows of h stay in
** cache; blocks are a function of the sizes alone.
** SPDX-License-Identifier: MIT
*/
#include <inttypes.h>
#include <string.h>

#include "elementwise_table.h"
#include "embedding_group.h"
#include "kernels/loss.h"
#include "loss_reduce.h"
#include "network.h"

enum {
  SAVED_H,
  SAVED_W,
  SAVED_TARGET,
  SAVED_NEGATIVES,
  SAVED_SLOPE,
  SAVED_WEIGHTS,
  SAVED_LOSS,
  SAVED_PULL,
  WORK = 16384
};

/* Rows of h in a block: as many as stay in cache, and enough for a pass over all items to be little. */
enum { BLOCK_BYTES = 256 << 10, LEAST_BLOCK = 256, ITEMS_TOGETHER = 256 };

static qn_status check(const qn_host *h, qn_call *c) {
  const qn_view *target = h->in(c, 2), *negatives = h->in(c, 3);
  const int64_t N = target->shape[0], V = h->in(c, 1)->shape[0];
  const int64_t *id = negatives->data, n = qni_net_count(negatives);
  char text[160];
  if (!(negatives->ndim == 1 || (negatives->ndim == 2 && negatives->shape[0] == N)))
    return h->fail(c, QN_E_SHAPE,
                   "negatives have the shape %s, but must be [R], shared by all rows, or [%" PRId64
                   ",R]",
                   qni_net_shape_text(negatives, text, sizeof text), N);
  for (int64_t i = 0; i < n; i++)
    if (id[i] < 0 || id[i] >= V)
      return h->fail(c, QN_E_ARG,
                     "negatives has %" PRId64 " at element %" PRId64 ", but w has %" PRId64
                     " rows; ids run from 0 to %" PRId64,
                     id[i], i + 1, V, V - 1);
  if (h->arg_num(c, "temperature") <= 0)
    return h->fail(c, QN_E_ARG, "temperature is %g, but must be above 0",
                   h->arg_num(c, "temperature"));
  return qni_loss_check_labels(h, c, "target", target, V, NULL);
}

static qni_sampled_job job_of(const qn_host *h, qn_call *c, const qn_view *x, const qn_view *w,
                              const qn_view *target, const qn_view *negatives) {
  return (qni_sampled_job){.math = qni_net_math(h),
                           .h = x->data,
                           .w = w->data,
                           .target = target->data,
                           .ids = negatives->data,
                           .negatives = qni_net_cols(negatives),
                           .width = x->shape[1],
                           .n_rows = x->shape[0],
                           .shared = negatives->ndim == 1,
                           .by_products = negatives->ndim == 1,
                           .drop = h->arg_bool(c, "drop_hits"),
                           .scale = 1 / h->arg_num(c, "temperature")};
}

static qni_loss_rows rows_of(const qn_host *h, qn_call *c, int64_t n, const qn_view *weights) {
  return (qni_loss_rows){.n = n, .reduction = (int32_t)h->arg_int(c, "reduction"), .w = weights};
}

/* ---- Negatives that all rows share: products instead of rows one by one ---- */

/* Their rows of the table, one after the other. */
static qn_status gather_shared(const qn_host *h, qn_call *c, const qni_sampled_job *j, int64_t size,
                               void **rows) {
  const int64_t bytes = j->width * size;
  qn_status st = h->scratch(c, j->negatives * bytes, rows);
  for (int64_t i = 0; !st && i < j->negatives; i++)
    memcpy((char *)*rows + i * bytes, (const char *)j->w + j->ids[i] * bytes, (size_t)bytes);
  return st;
}

/* slope[:, 1..] = scale h rows' */
static qn_status shared_scores(const qn_host *h, qn_call *c, const qn_view *x, qni_sampled_job *j) {
  void *rows;
  qn_status st = gather_shared(h, c, j, qni_net_size(x), &rows);
  if (st) return st;
  const qn_gemm g = {.m = x->shape[0],
                     .n = j->negatives,
                     .k = j->width,
                     .batch = 1,
                     .a = x->data,
                     .b = rows,
                     .c = qni_net_at(j->slope, 1, qni_net_size(x)),
                     .a_row = j->width,
                     .a_col = 1,
                     .b_row = 1,
                     .b_col = j->width,
                     .c_row = j->negatives + 1,
                     .alpha = j->scale,
                     .dtype = x->dtype};
  return h->gemm(c, &g);
}

/* dh += scaled[:, 1..] rows */
static qn_status shared_dh(const qn_host *h, qn_call *c, const qn_view *x,
                           const qni_sampled_job *j) {
  void *rows;
  qn_status st = gather_shared(h, c, j, qni_net_size(x), &rows);
  if (st) return st;
  const qn_gemm g = {.m = x->shape[0],
                     .n = j->width,
                     .k = j->negatives,
                     .batch = 1,
                     .a = qni_net_at(j->scaled, 1, qni_net_size(x)),
                     .b = rows,
                     .c = j->dh,
                     .a_row = j->negatives + 1,
                     .a_col = 1,
                     .b_row = j->width,
                     .b_col = 1,
                     .c_row = j->width,
                     .alpha = 1,
                     .beta = 1,
                     .dtype = x->dtype};
  return h->gemm(c, &g);
}

/* The targets' pairs, then one pair for each shared negative, whose row is a sum already. */
static int64_t shared_item_of(const void *ctx, int64_t p) {
  const qni_sampled_job *j = ctx;
  return p < j->n_rows ? j->target[p] : j->ids[p - j->n_rows];
}

static qn_status shared_table_grad(const qn_host *h, qn_call *c, const qn_view *x,
                                   const qni_sampled_job *j) {
  const int64_t N = x->shape[0], R = j->negatives, D = j->width, size = qni_net_size(x);
  void *rows, *coef;
  qn_status st = h->scratch(c, (N + R) * D * size, &rows);
  if (!st) st = h->scratch(c, (N + R) * size, &coef);
  if (st) return st;
  memcpy(rows, j->h, (size_t)(N * D * size));
  for (int64_t i = 0; i < N + R; i++)
    if (size == 8)
      ((double *)coef)[i] = i < N ? ((const double *)j->scaled)[i * (R + 1)] : 1;
    else
      ((float *)coef)[i] = i < N ? ((const float *)j->scaled)[i * (R + 1)] : 1;
  const qn_gemm g = {.m = R,
                     .n = D,
                     .k = N,
                     .batch = 1,
                     .a = qni_net_at(j->scaled, 1, size),
                     .b = j->h,
                     .c = qni_net_at(rows, N * D, size),
                     .a_row = 1,
                     .a_col = R + 1,
                     .b_row = D,
                     .b_col = 1,
                     .c_row = D,
                     .alpha = 1,
                     .dtype = x->dtype};
  qni_groups groups;
  if (R > 0 && D > 0) st = h->gemm(c, &g);
  if (!st) st = qni_groups_make(h, c, N + R, h->like(c, 1)->shape[0], shared_item_of, j, &groups);
  return st ? st : qni_groups_gradient(h, c, &groups, 1, h->arg_bool(c, "sparse"), rows, coef, 1);
}

/* ---- Forward ---- */

static int64_t grain(const qni_sampled_job *j) {
  return qni_net_grain((j->negatives + 1) * j->width, WORK);
}

static qn_status keep(const qn_host *h, qn_call *c) {
  qn_status st = h->save(c, SAVED_H, h->in(c, 0));
  if (!st) st = h->save(c, SAVED_W, h->in(c, 1));
  if (!st) st = h->save(c, SAVED_TARGET, h->in(c, 2));
  if (!st) st = h->save(c, SAVED_NEGATIVES, h->in(c, 3));
  return !st && h->in(c, 4) ? h->save(c, SAVED_WEIGHTS, h->in(c, 4)) : st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *slope, *loss, *pull = NULL;
  qn_status st = check(h, c);
  if (st) return st;
  qni_sampled_job j = job_of(h, c, x, h->in(c, 1), h->in(c, 2), h->in(c, 3));
  const int64_t N = x->shape[0];
  if (!st) st = h->save_new(c, SAVED_SLOPE, x->dtype, 2, (int64_t[]){N, j.negatives + 1}, &slope);
  if (!st) st = h->save_new(c, SAVED_LOSS, x->dtype, 1, &N, &loss);
  if (st) return st;
  if (h->needs_grad(c, 0) && !j.by_products)
    st = h->save_new(c, SAVED_PULL, x->dtype, 2, x->shape, &pull);
  if (st) return st;
  j.slope = slope->data;
  j.loss = loss->data;
  j.pull = pull ? pull->data : NULL;
  if (j.by_products && N > 0 && (st = shared_scores(h, c, x, &j))) return st;
  if ((st = h->parallel(c, N, grain(&j), qni_loss()->sampled_forward[qni_net_is64(x)], &j)))
    return st;
  const qni_loss_rows r = rows_of(h, c, N, h->in(c, 4));
  qni_loss_reduce(&r, x->dtype, loss->data, h->out(c, 0));
  return keep(h, c);
}

/* ---- Backward ---- */

/* The item of pair p = row (1 + R) + j; dropped hits have a_j = 0 and are left out. */
static int64_t item_of(const void *ctx, int64_t p) {
  const qni_sampled_job *j = ctx;
  const int64_t n = j->negatives + 1, r = p / n, k = p % n;
  if (k == 0) return j->target[r];
  const int64_t id = j->ids[j->shared ? k - 1 : r * j->negatives + k - 1];
  return j->drop && id == j->target[r] ? -1 : id;
}

static qn_status rows_grad(const qn_host *h, qn_call *c, const qni_sampled_job *j, int64_t N) {
  qni_groups g;
  const int64_t n = j->negatives + 1;
  qn_status st = qni_groups_make(h, c, N * n, h->like(c, 1)->shape[0], item_of, j, &g);
  return st ? st : qni_groups_gradient(h, c, &g, 1, 1, j->h, j->scaled, n);
}

static int64_t rows_together(const qni_sampled_job *j, int64_t size) {
  const int64_t n = j->negatives + 1, row = j->width * size;
  int64_t rows = row > 0 ? BLOCK_BYTES / row : j->n_rows;
  if (rows < LEAST_BLOCK) rows = LEAST_BLOCK;
  if (rows < 4 * j->items / n) rows = 4 * j->items / n;
  return rows > INT32_MAX / n ? INT32_MAX / n : rows;
}

static qn_status dense_grad(const qn_host *h, qn_call *c, qni_sampled_job *j, int is64) {
  qn_view *dw = h->out(c, 1);
  if (!dw || j->items == 0) return QN_OK; /* no memory: the host knows */
  if (j->n_rows == 0) return h->adds(c, 1) ? QN_OK : (qni_net_fill_zero(dw), QN_OK);
  j->block_rows = rows_together(j, is64 ? 8 : 4);
  const int64_t blocks = (j->n_rows + j->block_rows - 1) / j->block_rows;
  void *start;
  qn_status st = h->scratch(c, blocks * (j->items + 1) * (int64_t)sizeof(int32_t), &start);
  if (!st) st = h->scratch(c, j->n_rows * (j->negatives + 1) * (is64 ? 16 : 8), &j->entries);
  if (st) return st;
  j->start = start;
  j->dw = dw->data;
  j->add = h->adds(c, 1);
  st = h->parallel(c, blocks, 1, qni_loss()->sampled_sort[is64], j);
  return st ? st : h->parallel(c, j->items, ITEMS_TOGETHER, qni_loss()->sampled_table[is64], j);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->saved(c, SAVED_H), *dy = h->in(c, 0), *weights = h->saved(c, SAVED_WEIGHTS);
  const int64_t N = x->shape[0], size = qni_net_size(x);
  qni_sampled_job j = job_of(h, c, x, h->saved(c, SAVED_W), h->saved(c, SAVED_TARGET),
                             h->saved(c, SAVED_NEGATIVES));
  const qni_loss_rows r = rows_of(h, c, N, weights);
  const qn_view *pull = h->saved(c, SAVED_PULL);
  qn_view *dh = h->out(c, 0), *dweights = h->out(c, 4);
  const int is64 = qni_net_is64(x);
  const int products = j.by_products && N > 0, sparse = h->arg_bool(c, "sparse");
  void *coef;
  qn_status st = h->scratch(c, N * size, &coef);
  if (!st && (products || sparse)) st = h->scratch(c, N * (j.negatives + 1) * size, &j.scaled);
  if (st) return st;
  qni_loss_factors(&r, x->dtype, coef);
  qni_loss_flow(&r, dy, x->dtype, coef);
  j.coef = coef;
  j.slope = h->saved(c, SAVED_SLOPE)->data;
  j.dh = dh ? dh->data : NULL;
  j.pull = pull ? pull->data : NULL;
  j.items = h->like(c, 1)->shape[0];
  st = h->parallel(c, N, grain(&j), qni_loss()->sampled_backward[is64], &j);
  if (!st && dweights) qni_loss_weight_grad(&r, h->saved(c, SAVED_LOSS)->data, dy, dweights);
  if (!st && j.dh && products && j.width > 0) st = shared_dh(h, c, x, &j);
  if (st || !h->needs_grad(c, 1)) return st;
  if (products) return shared_table_grad(h, c, x, &j);
  return sparse ? rows_grad(h, c, &j, N) : dense_grad(h, c, &j, is64);
}

static int64_t flops(const qn_host *h, qn_call *c) {
  return 2 * qni_net_count(h->like(c, 0)) * (qni_net_cols(h->like(c, 3)) + 1);
}

QNI_OP(sampled_softmax_op, QN_BATCH_SUM,
       "sampled_softmax(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, negatives: i64[?]{0..V-1}, "
       "weights: f[N]? = nil, *, temperature: num{0..} = 1, drop_hits: bool = true, sparse: bool = "
       "false, "
       "reduction: enum{mean|sum|none} = mean) -> l: f[?]",
       "Cross-entropy of each row's target among sampled negatives.",
       "s_j = h . w[id_j] / temperature with id_0 = target; l = lse(s) - s_0; dh = sum a_j "
       "w[id_j], dw[id_j] += a_j h,\n"
       "a_j = r (softmax(s)_j - [j = 0]) / temperature. negatives are [N,R], or [R] shared by all "
       "rows.\n"
       "drop_hits leaves out negatives equal to the target; sparse gives dw as rows of the table.",
       "print(quern.sampled_softmax(quern.tensor{{1,2}}, quern.tensor{{1,0},{0,1},{1,1}}, "
       "quern.tensor({2}, 'i64'), "
       "quern.tensor({0,1}, 'i64')))",
       .cite = "Jean et al. 2015, section 3.1", .flags = QN_OP_ROW_GRADS,
       .infer = qni_loss_infer_rows, .forward = forward, .backward = backward, .flops = flops);

extern const qn_op *const qni_ops_loss_sampled[];
const qn_op *const qni_ops_loss_sampled[] = {&sampled_softmax_op, NULL};
