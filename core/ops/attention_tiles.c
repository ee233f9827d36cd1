/* Softmax attention of one (sequence, head), tile by tile. SPDX-License-Identifier: MIT */
#include "attention_tiles.h"

#include "kernels/gemm.h"
#include "network.h"

enum { ROWS = 48, KEYS = 48 }; /* of a tile, halved for very many keys; of a packed block */
enum { LINE = 64 };

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

/* ---- Keys and values across, packed in blocks of KEYS ---- */

struct across {
  const char *panels;
  int64_t depth, block; /* width of a row; bytes of a whole block */
};

/* The product of rows by the n keys (or values) of a block: B is what lies at b, across. */
static qn_gemm block_product(const qni_attention_call *a, int64_t m, int64_t n, int64_t depth,
                             const void *b, int64_t b_row) {
  return (qn_gemm){.m = m,
                   .n = n,
                   .k = depth,
                   .batch = 1,
                   .b = b,
                   .b_row = 1,
                   .b_col = b_row,
                   .alpha = 1,
                   .dtype = a->dtype};
}

static int64_t block_bytes(const qni_attention_call *a, int64_t depth) {
  const int64_t bytes = (int64_t)qni_gemm_kernels()->panel_bytes[is64(a)](KEYS, depth);
  return (bytes + LINE - 1) / LINE * LINE;
}

static int64_t blocks_of(int64_t S) { return (S + KEYS - 1) / KEYS; }

static struct across pack(const qni_attention_call *a, int64_t S, int64_t depth, const void *base,
                          int64_t row, char *to) {
  const qni_gemm_table *t = qni_gemm_kernels();
  const struct across p = {to, depth, block_bytes(a, depth)};
  for (int64_t i = 0, first = 0; first < S; i++, first += KEYS) {
    const int64_t n = S - first < KEYS ? S - first : KEYS;
    const qn_gemm g = block_product(a, 0, n, depth, qni_net_at(base, first * row, a->size), row);
    t->panels[is64(a)](&g, 0, t->n_panels[is64(a)](n), to + i * p.block);
  }
  return p;
}

/* out[rows,cols] = alpha x times the packed rows, whole blocks of them: out has room for all S. */
static void times_across(const qni_attention_call *a, const qni_attention_tile *t, int64_t S,
                         double alpha, const void *x, int64_t x_row, const struct across *p,
                         void *out) {
  for (int64_t i = 0, first = 0; first < t->cols; i++, first += KEYS) {
    const qni_gemm_with with = {.panels = p->panels + i * p->block};
    qn_gemm g = block_product(a, t->rows, S - first < KEYS ? S - first : KEYS, p->depth, NULL, 0);
    g.a = x, g.a_row = x_row, g.a_col = 1;
    g.c = qni_net_at(out, first, a->size), g.c_row = t->s_row;
    g.alpha = alpha;
    if (is64(a))
      qni_gemm_kernels()->f64(&g, &with, NULL, QNI_GEMM_STACK);
    else
      qni_gemm_kernels()->f32(&g, &with, NULL, QNI_GEMM_STACK);
  }
}

/* ---- Tiles ---- */

static int64_t tile_rows(const qni_attention_unit *u) { return u->S > 1024 ? ROWS / 2 : ROWS; }

/* Whole vectors, and steps down a column that do not share cache sets. */
static int64_t score_row(const qni_attention_call *a, int64_t S) {
  const int64_t lane = LINE / a->size, row = (S + lane - 1) / lane * lane;
  return row % (1024 / a->size) ? row : row + lane;
}

/* The work memory of a unit, one part after the other on cache lines. */
struct room {
  void *keys, *values, *s, *ds, *norm; /* values, ds: backward; norm: delta then */
  int64_t bytes;
};

static void *part(struct room *r, void *base, int64_t bytes) {
  void *at = base ? (char *)base + r->bytes : NULL;
  r->bytes += (bytes + LINE - 1) / LINE * LINE;
  return at;
}

static struct room lay_out(const qni_attention_call *a, const qni_attention_unit *u, void *base,
                           int backward) {
  struct room r = {.bytes = 0};
  const int64_t tile = tile_rows(u) * score_row(a, u->S) * a->size, blocks = blocks_of(u->S);
  r.keys = part(&r, base, blocks * block_bytes(a, a->D));
  if (backward) r.values = part(&r, base, blocks * block_bytes(a, a->E));
  r.s = part(&r, base, tile);
  if (backward) r.ds = part(&r, base, tile);
  r.norm = part(&r, base, tile_rows(u) * a->size);
  return r;
}

static qn_status take_room(const qni_attention_call *a, const qni_attention_unit *u, int backward,
                           struct room *r) {
  void *base;
  qn_status st = a->h->local(a->c, lay_out(a, u, NULL, backward).bytes, &base);
  if (!st) *r = lay_out(a, u, base, backward);
  return st;
}

/* The queries i .. i + rows - 1 and the keys that any of them sees. */
static qni_attention_tile tile_at(const qni_attention_call *a, const qni_attention_unit *u,
                                  const struct room *r, int64_t i) {
  const int64_t rows = tile_rows(u);
  qni_attention_tile t = {.s = r->s,
                          .ds = r->ds,
                          .norm = r->norm,
                          .delta = r->norm,
                          .s_row = score_row(a, u->S),
                          .rows = u->T - i < rows ? u->T - i : rows,
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
  struct room r;
  qn_status st = take_room(a, u, 0, &r);
  if (st) return st;
  const struct across keys = pack(a, u->S, a->D, u->k, a->k_row, r.keys);
  for (int64_t i = 0; !st && i < u->T; i += tile_rows(u)) {
    const qni_attention_tile t = tile_at(a, u, &r, i);
    void *o = qni_net_at(u->out, i * a->o_row, a->size);
    times_across(a, &t, u->S, a->scale, row(a, u->q, i, a->q_row), a->q_row, &keys, t.s);
    qni_attention()->forward[is64(a)](&t);
    if (t.cols == 0) {
      zero_rows(a, o, t.rows, a->o_row, a->E);
      continue;
    }
    st = product(a, t.rows, a->E, t.cols, 1, t.s, t.s_row, 1, u->v, a->v_row, 1, o, a->o_row, 0);
    qni_attention()->scale_rows[is64(a)](t.rows, a->E, a->o_row, t.norm, o);
  }
  return st;
}

/* dS of a tile, in t->ds; P in t->s. */
static void tile_slopes(const qni_attention_call *a, const qni_attention_unit *u, int64_t i,
                        const qni_attention_tile *t, const struct across *keys,
                        const struct across *values) {
  const void *o = row(a, u->o, i, a->o_row), *go = row(a, u->do_, i, a->o_row);
  qni_attention()->row_dots[is64(a)](t->rows, a->E, a->o_row, o, go, t->norm);
  times_across(a, t, u->S, a->scale, row(a, u->q, i, a->q_row), a->q_row, keys, t->s);
  times_across(a, t, u->S, 1, go, a->o_row, values, t->ds);
  qni_attention()->backward[is64(a)](t);
}

static qn_status tile_gradients(const qni_attention_call *a, const qni_attention_unit *u, int64_t i,
                                const qni_attention_tile *t) {
  const int64_t n = t->cols, step = t->s_row;
  qn_status st = QN_OK;
  if (u->dq && n == 0)
    zero_rows(a, qni_net_at(u->dq, i * a->q_row, a->size), t->rows, a->q_row, a->D);
  else if (u->dq)
    st = product(a, t->rows, a->D, n, a->scale, t->ds, step, 1, u->k, a->k_row, 1,
                 qni_net_at(u->dq, i * a->q_row, a->size), a->q_row, 0);
  if (!st && u->dk)
    st = product(a, n, a->D, t->rows, a->scale, t->ds, 1, step, row(a, u->q, i, a->q_row), a->q_row,
                 1, u->dk, a->k_row, 1);
  if (!st && u->dv)
    st = product(a, n, a->E, t->rows, 1, t->s, 1, step, row(a, u->do_, i, a->o_row), a->o_row, 1,
                 u->dv, a->v_row, 1);
  return st;
}

qn_status qni_attention_backward(const qni_attention_call *a, const qni_attention_unit *u) {
  struct room r;
  qn_status st = take_room(a, u, 1, &r);
  if (st) return st;
  const struct across keys = pack(a, u->S, a->D, u->k, a->k_row, r.keys),
                      values = pack(a, u->S, a->E, u->v, a->v_row, r.values);
  for (int64_t i = 0; !st && i < u->T; i += tile_rows(u)) {
    const qni_attention_tile t = tile_at(a, u, &r, i);
    tile_slopes(a, u, i, &t, &keys, &values);
    st = tile_gradients(a, u, i, &t);
  }
  return st;
}
