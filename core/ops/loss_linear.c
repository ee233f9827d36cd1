/*
** linear_cross_entropy: cross-entropy over all rows of a table, without a logits tensor.
**
**   Z = H W' / temperature;  l_n = lse(z_n) - (1 - s) z_n,t - s mean(z_n)
**   dZ = r (softmax(Z) - Q);  dH = dZ W / temperature,  dW = dZ' H / temperature
**
** Forward makes both gradients for a flow of 1, while scores are in cache, and backward only scales them: the
** reduction is linear, so r is known in advance. kernels/entropy.h has the two plans, for tables whose scores fit
** the cache and for larger ones; which one, and how work is cut into lanes, follows from the sizes alone.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_table.h"
#include "kernels/entropy.h"
#include "loss_reduce.h"
#include "network.h"

enum {
  SAVED_DH,
  SAVED_DW,
  SAVED_SKIP,
  SAVED_LOSS,
  SAVED_WEIGHTS,
  ONE_BLOCK = 8192, /* items up to which all scores of a chunk of rows are kept */
  BLOCK = 2048,
  LANES = 8,
  LANE_ROWS = 8 * QNI_ENTROPY_ROWS, /* at least, so that joining lanes costs little */
  LANE_BYTES = 64 << 20             /* of all lanes together */
};

struct work {
  const qn_host *h;
  qn_call *c;
  const qn_view *x, *w;
  qni_entropy_job job;
  int64_t size;
};

/* ---- Running it ---- */

static qn_status each_piece(const struct work *k, int64_t begin, int64_t end,
                            void (*run)(const qni_entropy_job *, int64_t, void *)) {
  void *memory;
  qn_status st = k->h->local(k->c, qni_entropy()->work[qni_net_is64(k->x)](&k->job), &memory);
  for (int64_t i = begin; !st && i < end; i++) run(&k->job, i, memory);
  return st;
}

static qn_status rows_range(void *ctx, int64_t begin, int64_t end) {
  const struct work *k = ctx;
  return each_piece(k, begin, end, qni_entropy()->rows[qni_net_is64(k->x)]);
}

static qn_status sums_range(void *ctx, int64_t begin, int64_t end) {
  const struct work *k = ctx;
  return each_piece(k, begin, end, qni_entropy()->sums[qni_net_is64(k->x)]);
}

static qn_status slopes_range(void *ctx, int64_t begin, int64_t end) {
  const struct work *k = ctx;
  return each_piece(k, begin, end, qni_entropy()->slopes[qni_net_is64(k->x)]);
}

static int64_t divide_up(int64_t a, int64_t b) { return b > 0 ? (a + b - 1) / b : 0; }

/* `units` of work into lanes of at least `few`; `cells` of a lane's own gradient. */
static qn_status cut(struct work *k, int64_t units, int64_t few, int64_t cells, int wanted) {
  qni_entropy_job *j = &k->job;
  int64_t lanes = LANES;
  while (lanes > 1 && wanted && lanes * cells * k->size > LANE_BYTES) lanes /= 2;
  j->each = divide_up(units, lanes) < few ? few : divide_up(units, lanes);
  j->lanes = divide_up(units, j->each);
  if (!wanted || j->lanes < 2) return QN_OK;
  return k->h->scratch(k->c, (j->lanes - 1) * cells * k->size, &j->more);
}

static qn_status run_one_block(struct work *k) {
  qni_entropy_job *j = &k->job;
  const int is64 = qni_net_is64(k->x);
  qn_status st = cut(k, j->n, LANE_ROWS, j->items * j->width, j->dw != NULL);
  if (!st) st = k->h->parallel(k->c, j->lanes, 1, rows_range, k);
  if (st || !j->dw || j->lanes < 2) return st;
  return k->h->parallel(k->c, j->items, 64, qni_entropy()->join_lanes[is64], j);
}

static qn_status run_blocks(struct work *k) {
  qni_entropy_job *j = &k->job;
  const int is64 = qni_net_is64(k->x);
  const int64_t sums = j->n_blocks * j->n * k->size;
  qn_status st = k->h->scratch(k->c, sums, &j->top);
  if (!st) st = k->h->scratch(k->c, sums, &j->sum);
  if (!st) st = k->h->scratch(k->c, sums, &j->linear);
  if (!st) st = k->h->scratch(k->c, j->n * k->size, &j->lse);
  if (!st) st = k->h->parallel(k->c, j->n_blocks, 1, sums_range, k);
  if (!st) st = k->h->parallel(k->c, j->n, 256, qni_entropy()->join_sums[is64], j);
  if (st || !(j->dh || j->dw)) return st;
  st = cut(k, j->n_blocks, 1, j->n * j->width, j->dh != NULL);
  if (!st) st = k->h->parallel(k->c, j->lanes, 1, slopes_range, k);
  if (st || !j->dh || j->lanes < 2) return st;
  return k->h->parallel(k->c, j->n, 64, qni_entropy()->join_lanes[is64], j);
}

/* About BLOCK items, whole panels, and as many blocks in each lane. */
static int64_t block_of(int64_t items) {
  const int64_t blocks = divide_up(items, BLOCK * LANES) * LANES;
  return divide_up(divide_up(items, blocks), QNI_ENTROPY_PANEL) * QNI_ENTROPY_PANEL;
}

static qn_status run_all(struct work *k) {
  qni_entropy_job *j = &k->job;
  const int64_t panels = divide_up(j->items, QNI_ENTROPY_PANEL);
  if (j->n == 0 || j->items == 0) return QN_OK;
  j->block = j->items <= ONE_BLOCK ? j->items : block_of(j->items);
  j->n_blocks = divide_up(j->items, j->block);
  qn_status st = k->h->scratch(k->c, panels * QNI_ENTROPY_PANEL * j->width * k->size, &j->columns);
  if (!st) st = k->h->parallel(k->c, panels, 8, qni_entropy()->pack[qni_net_is64(k->x)], j);
  if (st) return st;
  return j->n_blocks == 1 ? run_one_block(k) : run_blocks(k);
}

/* ---- The op ---- */

/* New memory for the gradient of input i if it may be asked for. */
static qn_status gradient_memory(const qn_host *h, qn_call *c, int32_t input, int32_t slot,
                                 void **grad) {
  const qn_view *v = h->in(c, input);
  qn_view *g;
  *grad = NULL;
  if (!h->needs_grad(c, input)) return QN_OK;
  qn_status st = h->save_new(c, slot, v->dtype, v->ndim, v->shape, &g);
  if (st) return st;
  if (h->in(c, 0)->shape[0] == 0) qni_net_fill_zero(g);
  *grad = g->data;
  return QN_OK;
}

static qn_status prepare(const qn_host *h, qn_call *c, struct work *k, qni_loss_rows *r) {
  const qn_view *target = h->in(c, 2);
  const int64_t N = k->x->shape[0];
  qn_view *loss;
  void *coef;
  if (h->arg_num(c, "temperature") <= 0)
    return h->fail(c, QN_E_ARG, "temperature is %g, but must be above 0",
                   h->arg_num(c, "temperature"));
  qn_status st = qni_loss_skip(h, c, target, SAVED_SKIP, &r->skip);
  if (!st) st = qni_loss_check_labels(h, c, "target", target, k->w->shape[0], r->skip);
  if (!st) st = h->save_new(c, SAVED_LOSS, k->x->dtype, 1, &N, &loss);
  if (!st) st = h->scratch(c, N * k->size, &coef);
  if (!st) st = gradient_memory(h, c, 0, SAVED_DH, &k->job.dh);
  if (!st) st = gradient_memory(h, c, 1, SAVED_DW, &k->job.dw);
  if (st) return st;
  qni_loss_factors(r, k->x->dtype, coef);
  k->job.coef = coef;
  k->job.loss = loss->data;
  k->job.skip = r->skip;
  k->job.target = target->data;
  return QN_OK;
}

static qni_loss_rows rows_of(const qn_host *h, qn_call *c, int64_t n, const qn_view *weights) {
  return (qni_loss_rows){.n = n, .reduction = (int32_t)h->arg_int(c, "reduction"), .w = weights};
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct work k = {.h = h,
                   .c = c,
                   .x = h->in(c, 0),
                   .w = h->in(c, 1),
                   .job = {.scale = 1 / h->arg_num(c, "temperature"),
                           .smoothing = h->arg_num(c, "label_smoothing")}};
  k.size = qni_net_size(k.x);
  k.job.n = k.x->shape[0];
  k.job.items = k.w->shape[0];
  k.job.width = k.x->shape[1];
  k.job.h = k.x->data;
  k.job.w = k.w->data;
  qni_loss_rows r = rows_of(h, c, k.x->shape[0], h->in(c, 3));
  qn_status st = prepare(h, c, &k, &r);
  if (!st) st = run_all(&k);
  if (st) return st;
  qni_loss_reduce(&r, k.x->dtype, k.job.loss, h->out(c, 0));
  return r.w ? h->save(c, SAVED_WEIGHTS, r.w) : QN_OK;
}

/* to = by from, or to += by from */
struct scale {
  const qn_view *from;
  void *to;
  double by;
  int32_t add;
};

static qn_status scale_range(void *ctx, int64_t begin, int64_t end) {
  const struct scale *s = ctx;
  if (qni_net_is64(s->from)) {
    const double *x = s->from->data;
    double *y = s->to;
    for (int64_t i = begin; i < end; i++) y[i] = (s->add ? y[i] : 0) + x[i] * s->by;
  } else {
    const float *x = s->from->data, by = (float)s->by;
    float *y = s->to;
    for (int64_t i = begin; i < end; i++) y[i] = (s->add ? y[i] : 0) + x[i] * by;
  }
  return QN_OK;
}

static qn_status scaled(const qn_host *h, qn_call *c, qn_view *to, int32_t add, const qn_view *from,
                        double by) {
  struct scale s = {from, to->data, by, add};
  return h->parallel(c, qni_net_count(to), 16384, scale_range, &s);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *dy = h->in(c, 0), *skip = h->saved(c, SAVED_SKIP);
  qn_view *dh = h->out(c, 0), *dw = h->out(c, 1), *dweights = h->out(c, 3);
  const double flow = qni_net_scalar(dy);
  qn_status st = QN_OK;
  if (dh) st = scaled(h, c, dh, h->adds(c, 0), h->saved(c, SAVED_DH), flow);
  if (!st && dw) st = scaled(h, c, dw, h->adds(c, 1), h->saved(c, SAVED_DW), flow);
  if (st || !dweights) return st;
  qni_loss_rows r = rows_of(h, c, dweights->shape[0], h->saved(c, SAVED_WEIGHTS));
  qn_view part = *dweights;
  if (h->adds(c, 3)) st = h->scratch(c, qni_net_count(&part) * qni_net_size(&part), &part.data);
  if (st) return st;
  r.skip = skip ? skip->data : NULL;
  qni_loss_weight_grad(&r, h->saved(c, SAVED_LOSS)->data, dy, &part);
  return part.data == dweights->data ? QN_OK : scaled(h, c, dweights, 1, &part, 1);
}

static int64_t flops(const qn_host *h, qn_call *c) {
  const int64_t gradients = (h->needs_grad(c, 0) != 0) + (h->needs_grad(c, 1) != 0);
  return 2 * (1 + gradients) * qni_net_count(h->like(c, 0)) * h->like(c, 1)->shape[0];
}

QNI_OP(
    linear_cross_entropy_op, QN_BATCH_SUM,
    "linear_cross_entropy(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, weights: f[N]? = nil, *, "
    "temperature: num{0..} = 1, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, "
    "reduction: enum{mean|sum} = mean) -> l: f[]",
    "Cross-entropy of all items' scores h w' against the target, without keeping the scores.",
    "Z = H W' / temperature, then as cross_entropy; dH = dZ W / temperature, dW = dZ' H / "
    "temperature.\n"
    "Rows go through in chunks; forward makes the gradients at the same time, so memory does not "
    "grow with N V.",
    "print(quern.linear_cross_entropy(quern.tensor{{1,2}}, quern.tensor{{1,0},{0,1}}, "
    "quern.tensor({1}, 'i64')))",
    .flags = QN_OP_NAN_STOPS | QN_OP_ADDS_GRADS, .forward = forward, .backward = backward,
    .flops = flops);

extern const qn_op *const qni_ops_loss_linear[];
const qn_op *const qni_ops_loss_linear[] = {&linear_cross_entropy_op, NULL};
