/*
** Losses against candidates of the catalogue, with unit vectors inside.
**
**   ô_i = o_i / max(|o_i|, 1e-6)    ê_v = E_v / max(|E_v|, 1e-6)    s_iv = <ô_i, ê_v> / tau
** sampled_softmax_l2, with negatives n_1..n_R of position i:
**   l_i = -log( exp(s_i,pos) / (exp(s_i,pos) + sum_j exp(s_i,n_j)) )
** where a negative equal to the positive scores -5e4, put in after the division by tau.
** sampled_bce, optionally without the unit vectors:
**   l_i = beta softplus(-s_i,pos) + sum_j softplus(s_i,n_j)      negatives equal to it left out
** Both return sum_i w_i l_i / sum_i w_i. With p the softmax:
**   dô_i = w_i / (W tau) (sum_j p_ij ê_j - ê_pos)    dê_j = sum_i w_i / (W tau) p_ij ô_i ...
**   do = (dô - ô <ô, dô>) / |o|, dE alike; where |x| < 1e-6 that is dô / 1e-6
**   dw_i = (l_i - loss) / W
**
** The factor of the loss is known before backward but for one number, so forward
** makes the gradients at once, while scores are in cache, and backward multiplies
** them. Samplers "uniform" and "in_batch" gather rows for each position, and leave
** their pairs sorted by row: backward adds those up straight into the table's gradient.
** "shared" and "full" compare all positions with one pool in tiles of 48 x 64; no matrix of
** positions x candidates exists. Sums over positions go block by block, those of a pool
** over contiguous lanes, in order: the same bits for any number of workers. `unit` leaves
** scaling the rows to the caller: of a small table once, not for each slice of a batch.
** SPDX-License-Identifier: MIT
*/
#include "loss.h"

enum { SAVED_O, SAVED_E, SAVED_ROWS, SAVED_W, SAVED_TABLE, SAVED_UNIT, SAVED_START, SAVED_ENTRIES };

static qn_status open_arguments(struct hstu_loss *s) {
  const qn_host *h = s->h;
  qn_call *c = s->c;
  const qn_view *w = h->in(c, 3), *items = h->in(c, 4);
  s->temperature = h->arg_num(c, "temperature");
  s->R = h->arg_int(c, "negatives");
  s->sampler = s->bce ? SAMPLER_UNIFORM : (int32_t)h->arg_int(c, "sampler");
  s->l2 = s->bce ? h->arg_bool(c, "l2") : true;
  s->given = !s->bce && h->arg_bool(c, "unit");
  s->beta = s->bce ? h->arg_num(c, "beta") : 1;
  s->sparse = h->arg_bool(c, "sparse");
  s->w = w ? w->data : NULL;
  s->ids = items ? items->data : NULL;
  s->n_ids = items ? items->shape[0] : s->V - 1;
  if (!(s->temperature > 0))
    return h->fail(c, QN_E_ARG, "temperature must be above 0, not %g", s->temperature);
  if (s->V > INT32_MAX || s->D > MAX_WIDTH)
    return h->fail(c, QN_E_UNSUPPORTED, "the table may have 2^31 rows of up to %d numbers",
                   MAX_WIDTH);
  return hstu_real_dtype(h, c, s->dtype);
}

static qn_status add_weights(struct hstu_loss *s) {
  s->total = s->w ? 0 : (double)s->T;
  for (int64_t i = 0; s->w && i < s->T; i++) {
    double w = s->dtype == QN_F32 ? (double)((const float *)s->w)[i] : ((const double *)s->w)[i];
    if (w < 0)
      return s->h->fail(s->c, QN_E_ARG, "w[%lld] is %g; weights are 0 or more", (long long)(i + 1),
                        w);
    s->total += w;
  }
  return QN_OK;
}

static qn_status open_loss(struct hstu_loss *s, const qn_host *h, qn_call *c, bool bce) {
  const qn_view *o = h->in(c, 0), *e = h->in(c, 2);
  s->h = h;
  s->c = c;
  s->bce = bce;
  s->math = h->query("qn.math/1");
  s->dtype = o->dtype;
  s->T = o->shape[0];
  s->D = o->shape[1];
  s->V = e->shape[0];
  s->Dp = padded(s->D, s->dtype == QN_F32 ? 4 : 8);
  s->o = o->data;
  s->pos = h->in(c, 1)->data;
  s->e = e->data;
  s->want_o = h->needs_grad(c, 0);
  s->want_e = h->needs_grad(c, 2);
  s->want_w = h->in(c, 3) && h->needs_grad(c, 3);
  qn_status st = open_arguments(s);
  return st ? st : add_weights(s);
}

static qn_status save_matrix(const struct hstu_loss *s, int32_t slot, int32_t dtype, int32_t ndim,
                             int64_t rows, int64_t width, void **data) {
  int64_t shape[2] = {rows, width};
  qn_view *view;
  qn_status st = s->h->save_new(s->c, slot, dtype, ndim, shape, &view);
  if (!st) *data = view->data;
  return st;
}

static qn_status scratch(const struct hstu_loss *s, int64_t bytes, void **data) {
  return bytes ? s->h->scratch(s->c, bytes, data) : QN_OK;
}

/* Unit rows of o and the sorted pairs: backward sums them, but where a pool has forward do it. */
static qn_status pair_memory(struct hstu_loss *s) {
  const int64_t real = (int64_t)hstu_loss_real(s), pairs = s->T * s->n_pair;
  void *start = NULL;
  hstu_loss_blocks(s);
  qn_status st;
  if (s->want_e && !s->P) {
    st = save_matrix(s, SAVED_UNIT, s->dtype, 2, s->T, s->Dp, &s->unit_o);
    if (!st) st = save_matrix(s, SAVED_START, QN_I32, 2, s->n_blocks, s->A + 1, &start);
    if (!st) st = save_matrix(s, SAVED_ENTRIES, s->dtype, 2, pairs, 2, &s->entries);
    if (!st) st = s->h->save(s->c, SAVED_TABLE, s->h->in(s->c, 2));
  } else {
    const int64_t words = s->want_e ? s->n_blocks * (s->A + 1) : 0;
    st = scratch(s, s->T * s->Dp * real, &s->unit_o);
    if (!st) st = scratch(s, words * (int64_t)sizeof(int32_t), &start);
    if (!st) st = scratch(s, s->want_e ? pairs * 2 * real : 0, &s->entries);
  }
  s->start = start;
  return st;
}

static qn_status gradients_memory(struct hstu_loss *s) {
  qn_status st = QN_OK;
  if (s->want_o) st = save_matrix(s, SAVED_O, s->dtype, 2, s->T, s->D, &s->grad_o);
  if (!st && s->want_w) st = save_matrix(s, SAVED_W, s->dtype, 1, s->T, 0, &s->grad_w);
  if (!st && s->want_e && s->P) st = save_matrix(s, SAVED_E, s->dtype, 2, s->A, s->D, &s->grad_e);
  if (!st && s->want_e && s->row_of) {
    void *rows;
    st = save_matrix(s, SAVED_ROWS, QN_I64, 1, s->A, 0, &rows);
    if (!st) memcpy(rows, s->row_of, (size_t)s->A * sizeof(int64_t));
  }
  return st;
}

static qn_status run(const qn_host *h, qn_call *c, bool bce) {
  struct hstu_loss s = {0};
  qn_status st = open_loss(&s, h, c, bce);
  double loss = 0;
  if (st) return st;
  bool idle = s.total == 0; /* nothing counts: no loss, no gradient */
  if (idle) s.want_e = s.want_o = s.want_w = false;
  if (!idle) st = hstu_loss_draw(&s);
  if (!st && !idle) st = pair_memory(&s);
  if (!st) st = gradients_memory(&s);
  if (!st && !idle) st = hstu_loss_run(&s, &loss);
  if (st) return st;
  if (s.dtype == QN_F32)
    *(float *)h->out(c, 0)->data = (float)loss;
  else
    *(double *)h->out(c, 0)->data = loss;
  return QN_OK;
}

static qn_status softmax_forward(const qn_host *h, qn_call *c) { return run(h, c, false); }
static qn_status bce_forward(const qn_host *h, qn_call *c) { return run(h, c, true); }

/* ---- Backward: the saved gradients times that of the loss ---- */

struct scale {
  const qn_view *from;
  void *to;
  double by;
  bool add;            /* to what is there */
  const int64_t *rows; /* where row r goes, or NULL: row r */
  int64_t width;
};

static qn_status scale_rows(void *ctx, int64_t begin, int64_t end) {
  const struct scale *s = ctx;
  for (int64_t r = begin; r < end; r++) {
    int64_t to = s->rows ? s->rows[r] : r;
    if (s->from->dtype == QN_F32) {
      const float *x = (const float *)s->from->data + r * s->width;
      float *y = (float *)s->to + to * s->width, by = (float)s->by;
      for (int64_t d = 0; d < s->width; d++) y[d] = (s->add ? y[d] : 0) + x[d] * by;
    } else {
      const double *x = (const double *)s->from->data + r * s->width;
      double *y = (double *)s->to + to * s->width;
      for (int64_t d = 0; d < s->width; d++) y[d] = (s->add ? y[d] : 0) + x[d] * s->by;
    }
  }
  return QN_OK;
}

/* Gradient of `input`, from what forward saved; nothing saved: zeros. */
static qn_status give(const qn_host *h, qn_call *c, int32_t input, int32_t slot,
                      const int64_t *rows, double by) {
  if (!h->needs_grad(c, input)) return QN_OK;
  const qn_view *from = h->saved(c, slot);
  qn_view *out = h->out(c, input);
  struct scale s = {.from = from,
                    .to = out->data,
                    .by = by,
                    .add = h->adds(c, input) != 0,
                    .rows = rows,
                    .width = out->ndim == 2 ? out->shape[1] : 1};
  if (!s.add && (!from || rows))
    memset(out->data, 0, (size_t)(out->shape[0] * s.width) * (out->dtype == QN_F32 ? 4 : 8));
  return from ? h->parallel(c, from->shape[0], 64, scale_rows, &s) : QN_OK;
}

static qn_status give_rows(const qn_host *h, qn_call *c, const qn_view *ids, double by) {
  int64_t *to, n = ids ? ids->shape[0] : 0;
  qn_view *rows;
  qn_status st = h->grad_rows(c, 2, n, &to, &rows);
  if (st || n == 0) return st;
  memcpy(to, ids->data, (size_t)n * sizeof *to);
  struct scale s = {
      .from = h->saved(c, SAVED_E), .to = rows->data, .by = by, .width = h->like(c, 2)->shape[1]};
  return h->parallel(c, n, 64, scale_rows, &s);
}

/* From the sorted pairs, without a pool. */
static qn_status give_pairs(const qn_host *h, qn_call *c, bool bce, const qn_view *ids, double by) {
  const qn_view *unit = h->saved(c, SAVED_UNIT), *start = h->saved(c, SAVED_START),
                *entries = h->saved(c, SAVED_ENTRIES), *e = h->saved(c, SAVED_TABLE);
  struct hstu_loss s = {.h = h, .c = c, .dtype = unit->dtype, .T = unit->shape[0]};
  s.bce = bce;
  s.l2 = s.bce ? h->arg_bool(c, "l2") : true;
  s.given = !s.bce && h->arg_bool(c, "unit");
  s.sparse = h->arg_bool(c, "sparse");
  s.V = e->shape[0];
  s.D = e->shape[1];
  s.Dp = unit->shape[1];
  s.A = start->shape[1] - 1;
  s.n_pair = entries->shape[0] / s.T;
  hstu_loss_blocks(&s);
  s.e = e->data;
  s.unit_o = unit->data;
  s.start = start->data;
  s.entries = entries->data;
  s.row_of = ids ? ids->data : NULL;
  s.by = by;
  if (s.sparse) {
    int64_t *to;
    qn_view *rows;
    qn_status st = h->grad_rows(c, 2, s.A, &to, &rows);
    if (st || s.A == 0) return st;
    memcpy(to, s.row_of, (size_t)s.A * sizeof *to);
    s.grad_e = rows->data;
  } else {
    s.grad_e = h->out(c, 2)->data;
    s.adds = h->adds(c, 2) != 0;
    if (!s.adds && s.row_of) memset(s.grad_e, 0, (size_t)(s.V * s.D) * hstu_loss_real(&s));
  }
  return hstu_loss_pairs_back(&s);
}

static qn_status back(const qn_host *h, qn_call *c, bool bce) {
  const qn_view *g = h->in(c, 0), *ids = h->saved(c, SAVED_ROWS);
  double by = g->dtype == QN_F32 ? (double)*(const float *)g->data : *(const double *)g->data;
  qn_status st = give(h, c, 0, SAVED_O, NULL, by);
  if (!st && h->like(c, 3)) st = give(h, c, 3, SAVED_W, NULL, by);
  if (st || !h->needs_grad(c, 2)) return st;
  if (h->saved(c, SAVED_ENTRIES)) return give_pairs(h, c, bce, ids, by);
  if (h->arg_bool(c, "sparse")) return give_rows(h, c, ids, by);
  return give(h, c, 2, SAVED_E, ids ? ids->data : NULL, by);
}

static qn_status softmax_backward(const qn_host *h, qn_call *c) { return back(h, c, false); }
static qn_status bce_backward(const qn_host *h, qn_call *c) { return back(h, c, true); }

const qn_op hstu_sampled_softmax_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SUM,
    .flags = QN_OP_RANDOM | QN_OP_ADDS_GRADS,
    .schema =
        "sampled_softmax_l2(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, "
        "items: i64[C]{1..V-1}? = nil, *, sampler: enum{uniform|shared|in_batch|full} = uniform, "
        "negatives: int{1..} = 128, temperature: num{0..} = 0.05, unit: bool = false, "
        "sparse: bool = false) "
        "-> loss: f[]",
    .summary = "Softmax loss on unit vectors against drawn items, or against all.",
    .doc =
        "Mean over positions, weighted by w, of -log softmax of <o, e[pos]> / temperature among "
        "the positive and the negatives, all vectors scaled to length 1 inside. Ids are rows of e, "
        "1..V-1; row 0 is padding. Negatives: \"uniform\" draws them for each position from items "
        "(default: all ids), with replacement; \"in_batch\" from the distinct positives of the "
        "call; \"shared\" draws one pool for the call; \"full\" takes every item. A negative equal "
        "to the positive scores -5e4. unit = true says that the rows of e have length 1 already. "
        "sparse = true gives the gradient of e by rows.",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), section 4.1.1, and its research code",
    .example = "local e = quern.eye(4); print(quern.sampled_softmax_l2(e:narrow(1, 2, "
               "1), quern.i64{1}, e, {sampler = 'full'}):item() < 1e-6) --> true",
    .forward = softmax_forward,
    .backward = softmax_backward,
};

const qn_op hstu_sampled_bce_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SUM,
    .flags = QN_OP_RANDOM | QN_OP_ADDS_GRADS,
    .schema = "sampled_bce(o: f[T,D], pos: i64[T]{1..V-1}, e: f[V,D], w: f[T]{0..}? = nil, "
              "items: i64[C]{1..V-1}? = nil, *, negatives: int{1..} = 1, "
              "temperature: num{0..} = 1, l2: bool = false, "
              "beta: num{0..} = 1, sparse: bool = false) -> loss: f[]",
    .summary = "Binary cross-entropy of the next item against drawn ones.",
    .doc =
        "Mean over positions, weighted by w, of beta softplus(-s_pos) + sum softplus(s_neg), with "
        "s = "
        "<o, e[id]> / temperature; l2 = true scales vectors to length 1 first. Negatives are drawn "
        "uniformly for each position; one equal to the positive is left out. beta below 1 makes "
        "up for the negatives that are not drawn (gBCE).",
    .cite = "Kang and McAuley 2018 (SASRec), eq. 6; Petrov and Macdonald 2023 (gSASRec), eq. 10",
    .example = "local e = quern.eye(4); print(quern.sampled_bce(e:narrow(1, 2, 1), "
               "quern.i64{1}, e, {negatives = 2}):item() > 0) --> true",
    .forward = bce_forward,
    .backward = bce_backward,
};
