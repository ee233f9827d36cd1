/* Softmax attention of one (sequence, head), tile by tile. SPDX-License-Identifier: MIT */
#include "attention_tiles.h"

#include "network.h"

static int is64(const qni_attention_call *a) { return a->dtype == QN_F64; }

/* C (+)= alpha A B on this thread. */
static qn_status product(const qni_attention_call *a, int64_t m, int64_t n, int64_t k, double alpha,
                         const void *x, int64_t x_row, int64_t x_col, const void *y, int64_t y_row,
                         int64_t y_col, void *z, int64_t z_row, int add) {
  if (m == 0 || n == 0) return QN_OK;
  if (!is64(a)) {
    a->math->gemm(m, n, k, (float)alpha, x, x_row, x_col, y, y_row, y_col, z, z_row, add);
    return QN_OK;
  }
  const qn_gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .batch = 1,
                     .a = x,
                     .b = y,
                     .c = z,
                     .a_row = x_row,
                     .a_col = x_col,
                     .b_row = y_row,
                     .b_col = y_col,
                     .c_row = z_row,
                     .alpha = alpha,
                     .beta = add,
                     .dtype = QN_F64};
  return a->h->gemm(a->c, &g);
}

/* The queries i .. i + rows - 1 and the keys that any of them sees. */
static qni_attention_tile tile_at(const qni_attention_call *a, const qni_attention_unit *u,
                                  int64_t i) {
  qni_attention_tile t = {.math = a->math,
                          .rows = u->T - i < QNI_ATTENTION_ROWS ? u->T - i : QNI_ATTENTION_ROWS,
                          .cols = u->S,
                          .first = i + u->S - u->T,
                          .causal = a->causal,
                          .lse_step = a->lse_row};
  if (a->causal && t.first + t.rows < t.cols) t.cols = t.first + t.rows > 0 ? t.first + t.rows : 0;
  t.lse = qni_net_at(u->lse, i * a->lse_row, a->size);
  if (u->bias) t.bias = qni_net_at(u->bias, i * u->bias_row, a->size);
  if (u->dbias) t.dbias = qni_net_at(u->dbias, i * u->dbias_row, a->size);
  if (u->mask) t.mask = u->mask + i * u->mask_row;
  t.bias_row = u->bias_row, t.bias_col = u->bias_col;
  t.mask_row = u->mask_row, t.mask_col = u->mask_col;
  t.dbias_row = u->dbias_row, t.dbias_col = u->dbias_col;
  return t;
}

static const void *row(const qni_attention_call *a, const void *base, int64_t i, int64_t step) {
  return qni_net_at(base, i * step, a->size);
}

static qn_status scores(const qni_attention_call *a, const qni_attention_unit *u, int64_t i,
                        const qni_attention_tile *t) {
  return product(a, t->rows, t->cols, a->D, a->scale, row(a, u->q, i, a->q_row), a->q_row, 1, u->k,
                 1, a->k_row, t->s, t->cols, 0);
}

static void zero_rows(const qni_attention_call *a, void *base, int64_t rows, int64_t step,
                      int64_t width) {
  for (int64_t r = 0; r < rows; r++) {
    qn_view v = {.data = qni_net_at(base, r * step, a->size),
                 .shape = {width},
                 .ndim = 1,
                 .dtype = a->dtype};
    qni_net_fill_zero(&v);
  }
}

qn_status qni_attention_forward(const qni_attention_call *a, const qni_attention_unit *u) {
  void *s;
  qn_status st = a->h->local(a->c, QNI_ATTENTION_ROWS * u->S * a->size, &s);
  for (int64_t i = 0; !st && i < u->T; i += QNI_ATTENTION_ROWS) {
    qni_attention_tile t = tile_at(a, u, i);
    void *o = qni_net_at(u->out, i * a->o_row, a->size);
    t.s = s;
    st = scores(a, u, i, &t);
    qni_attention()->forward[is64(a)](&t);
    if (t.cols == 0)
      zero_rows(a, o, t.rows, a->o_row, a->E);
    else if (!st)
      st = product(a, t.rows, a->E, t.cols, 1, s, t.cols, 1, u->v, a->v_row, 1, o, a->o_row, 0);
  }
  return st;
}

/* dS of a tile, in t->ds; P in t->s. */
static qn_status tile_slopes(const qni_attention_call *a, const qni_attention_unit *u, int64_t i,
                             qni_attention_tile *t, void *delta) {
  const void *o = row(a, u->o, i, a->o_row), *go = row(a, u->do_, i, a->o_row);
  qni_attention()->row_dots[is64(a)](t->rows, a->E, a->o_row, o, go, delta);
  t->delta = delta;
  qn_status st = scores(a, u, i, t);
  if (!st)
    st = product(a, t->rows, t->cols, a->E, 1, go, a->o_row, 1, u->v, 1, a->v_row, t->ds, t->cols,
                 0);
  if (!st) qni_attention()->backward[is64(a)](t);
  return st;
}

static qn_status tile_gradients(const qni_attention_call *a, const qni_attention_unit *u, int64_t i,
                                const qni_attention_tile *t) {
  const int64_t n = t->cols;
  qn_status st = QN_OK;
  if (u->dq && n == 0)
    zero_rows(a, qni_net_at(u->dq, i * a->q_row, a->size), t->rows, a->q_row, a->D);
  else if (u->dq)
    st = product(a, t->rows, a->D, n, a->scale, t->ds, n, 1, u->k, a->k_row, 1,
                 qni_net_at(u->dq, i * a->q_row, a->size), a->q_row, 0);
  if (!st && u->dk)
    st = product(a, n, a->D, t->rows, a->scale, t->ds, 1, n, row(a, u->q, i, a->q_row), a->q_row, 1,
                 u->dk, a->k_row, 1);
  if (!st && u->dv)
    st = product(a, n, a->E, t->rows, 1, t->s, 1, n, row(a, u->do_, i, a->o_row), a->o_row, 1,
                 u->dv, a->v_row, 1);
  return st;
}

qn_status qni_attention_backward(const qni_attention_call *a, const qni_attention_unit *u) {
  const int64_t tile = QNI_ATTENTION_ROWS * u->S;
  void *memory;
  qn_status st = a->h->local(a->c, (2 * tile + QNI_ATTENTION_ROWS) * a->size, &memory);
  for (int64_t i = 0; !st && i < u->T; i += QNI_ATTENTION_ROWS) {
    qni_attention_tile t = tile_at(a, u, i);
    t.s = memory;
    t.ds = qni_net_at(memory, tile, a->size);
    st = tile_slopes(a, u, i, &t, qni_net_at(memory, 2 * tile, a->size));
    if (!st) st = tile_gradients(a, u, i, &t);
  }
  return st;
}
