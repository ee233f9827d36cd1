/*
** linear: y = act(x W' + b) + r, activation and residual inside the product's epilogue.
**
**   g = dy act'(z), z = x W' + b:   dx = g W,  dW = g' x,  db = sum of the rows of g,  dr = dy
**
** relu needs y alone for act', without a residual; else z is kept when a gradient may follow. gelu
** is the exact one, z Phi(z).
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "kernels/linear.h"
#include "network.h"

enum { SAVED_X, SAVED_W, SAVED_Y, SAVED_Z, SAVED_B };
enum { TOGETHER_BYTES = 160 * 1024, SLICE_ROWS = 1024, LEAST_TOGETHER = 96 };
enum { CHUNK = 512, GRAIN = 1 << 15 /* rows, elements of a piece of work */ };

static int wants_gradient(const qn_host *h, qn_call *c) {
  for (int32_t i = 0; i < 4; i++)
    if (h->needs_grad(c, i)) return 1;
  return 0;
}

static qn_gemm product_of(const qn_view *x, const qn_view *w, const qn_view *b, void *y,
                          int32_t act) {
  const int64_t I = qni_net_cols(x), O = w->shape[0];
  return (qn_gemm){.m = qni_net_rows(x),
                   .n = O,
                   .k = I,
                   .batch = 1,
                   .a = x->data,
                   .b = w->data,
                   .c = y,
                   .bias = b ? b->data : NULL,
                   .a_row = I,
                   .a_col = 1,
                   .b_row = 1,
                   .b_col = I,
                   .c_row = O,
                   .alpha = 1,
                   .dtype = x->dtype,
                   .act = act};
}

/* Where y alone gives act'. */
static int y_is_enough(int32_t act, const qn_view *residual) {
  return act == QN_ACT_RELU && !residual;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1), *b = h->in(c, 2), *r = h->in(c, 3);
  qn_view *y = h->out(c, 0), *z = NULL;
  const int32_t act = (int32_t)h->arg_int(c, "act");
  const int keep = act != QN_ACT_NONE && !y_is_enough(act, r) && wants_gradient(h, c);
  qn_status st = h->save(c, SAVED_X, x);
  if (!st) st = h->save(c, SAVED_W, w);
  if (!st && b) st = h->save(c, SAVED_B, b);
  if (!st && y_is_enough(act, r)) st = h->save(c, SAVED_Y, y);
  if (!st && keep) st = h->save_new(c, SAVED_Z, y->dtype, y->ndim, y->shape, &z);
  if (st || qni_net_count(y) == 0) return st;
  const qn_gemm g = product_of(x, w, b, y->data, act);
  return h->gemm_beside(c, &g, keep ? z->data : NULL, r ? r->data : NULL);
}

/* out = the sum of `parts` rows of n, or out += it. */
static void join(const qn_view *out, int32_t add, int64_t parts, const void *rows) {
  const int64_t n = qni_net_count(out);
  if (qni_net_is64(out)) {
    double *y = out->data;
    const double *x = rows;
    for (int64_t p = 0; p < parts; p++)
      for (int64_t i = 0; i < n; i++) y[i] = (p > 0 || add ? y[i] : 0) + x[p * n + i];
  } else {
    float *y = out->data;
    const float *x = rows;
    for (int64_t p = 0; p < parts; p++)
      for (int64_t i = 0; i < n; i++) y[i] = (p > 0 || add ? y[i] : 0) + x[p * n + i];
  }
}

/* One backward pass, or the part of its rows that is worked on. */
struct pass {
  const qn_host *h;
  qn_call *c;
  const qn_view *w;
  qn_view *dx, *dw, *db; /* NULL where not wanted */
  int32_t dtype, act;
  int64_t rows, I, O;
  const char *x, *dy, *z; /* [rows,I], [rows,O], [rows,O] or NULL without an activation */
  char *to;               /* dx's rows */
  void *g, *sums;         /* [rows,O] and [chunks,O] of memory */
  int32_t add_dw, add_db; /* to what is there */
};

/* g = dy act'(z), the flow itself without an activation; db, the sum of its rows. */
static qn_status slope(const struct pass *p, const void **g) {
  const int64_t chunks = (p->rows + CHUNK - 1) / CHUNK;
  qni_linear_job j = {.rows = p->rows,
                      .cols = p->O,
                      .chunk = CHUNK,
                      .act = p->act,
                      .dy = p->dy,
                      .z = p->z,
                      .g = p->g,
                      .sums = p->sums};
  *g = p->act == QN_ACT_NONE ? (const void *)p->dy : p->g;
  if (p->act == QN_ACT_NONE && !p->db) return QN_OK;
  qn_status st =
      p->h->parallel(p->c, chunks, 1, qni_linear_kernels()->slope[p->dtype == QN_F64], &j);
  if (!st && p->db) join(p->db, p->add_db, chunks, p->sums);
  return st;
}

static qn_status give_x(const struct pass *p, const void *g) {
  const qn_gemm q = {.m = p->rows,
                     .n = p->I,
                     .k = p->O,
                     .batch = 1,
                     .a = g,
                     .b = p->w->data,
                     .c = p->to,
                     .a_row = p->O,
                     .a_col = 1,
                     .b_row = p->I,
                     .b_col = 1,
                     .c_row = p->I,
                     .alpha = 1,
                     .beta = p->h->adds(p->c, 0) ? 1 : 0,
                     .dtype = p->dtype};
  return p->I > 0 ? p->h->gemm(p->c, &q) : QN_OK;
}

static qn_status give_w(const struct pass *p, const void *g) {
  const qn_gemm q = {.m = p->O,
                     .n = p->I,
                     .k = p->rows,
                     .batch = 1,
                     .a = g,
                     .b = p->x,
                     .c = p->dw->data,
                     .a_row = 1,
                     .a_col = p->O,
                     .b_row = p->I,
                     .b_col = 1,
                     .c_row = p->I,
                     .alpha = 1,
                     .beta = p->add_dw ? 1 : 0,
                     .dtype = p->dtype};
  return p->I > 0 ? p->h->gemm(p->c, &q) : QN_OK;
}

static qn_status give_rows(const struct pass *p) {
  const void *g;
  qn_status st = slope(p, &g);
  if (!st && p->dx) st = give_x(p, g);
  if (!st && p->dw) st = give_w(p, g);
  return st;
}

/*
** Rows that go through together: all of them, but of a slice of a batch with an activation so many
** that g stays in the second cache between its uses.
*/
static int64_t rows_together(const struct pass *p) {
  const int64_t bytes = p->O * (p->dtype == QN_F64 ? 8 : 4), few = TOGETHER_BYTES / bytes / 24 * 24;
  if (p->act == QN_ACT_NONE || p->rows > SLICE_ROWS || few < LEAST_TOGETHER) return p->rows;
  const int64_t parts = (p->rows + few - 1) / few;
  return (p->rows + parts - 1) / parts;
}

struct passed_on {
  const qn_view *dy, *dr;
  int32_t add;
};

/* dr = dy, or dr += dy. */
static qn_status pass_on(void *ctx, int64_t begin, int64_t end) {
  const struct passed_on *p = ctx;
  const int64_t size = qni_net_size(p->dy);
  if (!p->add)
    memcpy(qni_net_at(p->dr->data, begin, size), qni_net_at(p->dy->data, begin, size),
           (size_t)((end - begin) * size));
  else if (size == 8)
    for (int64_t i = begin; i < end; i++)
      ((double *)p->dr->data)[i] += ((const double *)p->dy->data)[i];
  else
    for (int64_t i = begin; i < end; i++)
      ((float *)p->dr->data)[i] += ((const float *)p->dy->data)[i];
  return QN_OK;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->saved(c, SAVED_X), *w = h->saved(c, SAVED_W), *dy = h->in(c, 0);
  struct pass p = {.h = h,
                   .c = c,
                   .w = w,
                   .dx = h->out(c, 0),
                   .dw = h->out(c, 1),
                   .db = h->out(c, 2),
                   .dtype = x->dtype,
                   .act = (int32_t)h->arg_int(c, "act"),
                   .rows = qni_net_rows(x),
                   .I = qni_net_cols(x),
                   .O = w->shape[0],
                   .x = x->data,
                   .dy = dy->data,
                   .add_dw = h->adds(c, 1),
                   .add_db = h->adds(c, 2)};
  const int64_t R = p.rows, size = qni_net_size(x);
  qn_view *dr = h->out(c, 3);
  qn_status st = QN_OK;
  if (dr)
    st = h->parallel(c, qni_net_count(dy), GRAIN, pass_on,
                     &(struct passed_on){dy, dr, h->adds(c, 3)});
  if (p.dx && p.O == 0 && !h->adds(c, 0)) qni_net_fill_zero(p.dx);
  if (p.dw && R == 0 && !p.add_dw) qni_net_fill_zero(p.dw);
  if (p.db && R == 0 && !p.add_db) qni_net_fill_zero(p.db);
  if (st || R == 0 || p.O == 0) return st;
  if (p.act != QN_ACT_NONE)
    p.z = h->saved(c, y_is_enough(p.act, h->like(c, 3)) ? SAVED_Y : SAVED_Z)->data;
  const int64_t step = rows_together(&p);
  if (p.db) st = h->scratch(c, (step + CHUNK - 1) / CHUNK * p.O * size, &p.sums);
  if (!st && p.act != QN_ACT_NONE) st = h->scratch(c, step * p.O * size, &p.g);
  for (int64_t r = 0; !st && r < R; r += step) {
    p.rows = R - r < step ? R - r : step;
    p.x = (const char *)x->data + r * p.I * size;
    p.dy = (const char *)dy->data + r * p.O * size;
    if (p.z && r) p.z += step * p.O * size;
    if (p.dx) p.to = (char *)p.dx->data + r * p.I * size;
    st = give_rows(&p);
    p.add_dw = p.add_db = 1;
  }
  return st;
}

/* ---- Second order ---- */

static qn_tensor *reshape(qni_build *b, qn_tensor *x, int32_t ndim, const int64_t *shape) {
  return qni_build_op(b, "reshape", 2,
                      (qn_arg[]){qni_arg_tensor(x), qni_arg_ints("shape", ndim, shape)});
}

static qn_tensor *multiply(qni_build *b, qn_tensor *x, qn_tensor *y, int32_t transpose) {
  return qni_build_op(
      b, "matmul", 3,
      (qn_arg[]){qni_arg_tensor(x), qni_arg_tensor(y), qni_arg_bool("transpose_a", transpose)});
}

static qn_tensor *times(qni_build *b, qn_tensor *x, double a) {
  return qni_build_num(b, "mul", x, a);
}

/* sigma + z (sigma - sigma^2) */
static qn_tensor *silu_slope(qni_build *b, qn_tensor *z) {
  qn_tensor *s = qni_build_op1(b, "sigmoid", z);
  qn_tensor *bend = qni_build_op2(b, "sub", s, qni_build_op2(b, "mul", s, s));
  return qni_build_op2(b, "add", s, qni_build_op2(b, "mul", z, bend));
}

/* Phi(z) + z phi(z) */
static qn_tensor *gelu_slope(qni_build *b, qn_tensor *z) {
  qn_tensor *phi = times(
      b, qni_build_num(b, "add", qni_build_op1(b, "erf", times(b, z, 0.70710678118654752440)), 1),
      0.5);
  qn_tensor *bell = qni_build_op1(b, "exp", times(b, qni_build_op2(b, "mul", z, z), -0.5));
  return qni_build_op2(b, "add", phi,
                       qni_build_op2(b, "mul", z, times(b, bell, 0.39894228040143267794)));
}

/* g = dy act'(z), with z computed again as a function of x, w and b. */
static qn_tensor *compose_slope(qni_build *b, qn_tensor *x, qn_tensor *w) {
  const int64_t act = b->h->arg_int(b->c, "act");
  qn_tensor *dy = qni_build_flow(b);
  if (act == QN_ACT_NONE) return dy;
  qn_arg args[3] = {qni_arg_tensor(x), qni_arg_tensor(w)};
  const int32_t biased = b->h->like(b->c, 2) != NULL;
  if (biased) args[2] = qni_arg_tensor(qni_build_saved(b, SAVED_B));
  qn_tensor *z = qni_build_op(b, "linear", 2 + biased, args);
  if (act == QN_ACT_RELU) return qni_build_where(b, qni_build_num(b, "gt", z, 0), dy, NULL);
  return qni_build_op2(b, "mul", dy, act == QN_ACT_SILU ? silu_slope(b, z) : gelu_slope(b, z));
}

static qn_status compose(const qn_host *h, qn_call *c) {
  const qn_view *x = h->like(c, 0), *w = h->like(c, 1);
  qni_build b = qni_build_start(h, c);
  qn_tensor *xs = qni_build_saved(&b, SAVED_X), *ws = qni_build_saved(&b, SAVED_W);
  qn_tensor *g =
      reshape(&b, compose_slope(&b, xs, ws), 2, (int64_t[]){qni_net_rows(x), w->shape[0]});
  if (h->needs_grad(c, 0))
    qni_build_set(&b, 0, reshape(&b, multiply(&b, g, ws, 0), x->ndim, x->shape));
  xs = reshape(&b, xs, 2, (int64_t[]){qni_net_rows(x), qni_net_cols(x)});
  if (h->needs_grad(c, 1)) qni_build_set(&b, 1, multiply(&b, g, xs, 1));
  if (h->like(c, 2) && h->needs_grad(c, 2))
    qni_build_set(&b, 2,
                  qni_build_op(&b, "sum", 2, (qn_arg[]){qni_arg_tensor(g), qni_arg_int("dim", 1)}));
  if (h->like(c, 3) && h->needs_grad(c, 3)) qni_build_set(&b, 3, qni_build_flow(&b));
  return b.status;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  return 2 * qni_net_count(h->like(c, 0)) * h->like(c, 1)->shape[0];
}

/* relu has a corner at z = 0. */
static qn_status kink(const qn_host *h, qn_call *c) {
  if (h->arg_int(c, "act") != QN_ACT_RELU) return QN_OK;
  const qn_view *x = h->in(c, 0), *w = h->in(c, 1);
  const int64_t n = qni_net_rows(x) * w->shape[0];
  void *z;
  qn_status st = h->scratch(c, n * qni_net_size(x), &z);
  if (st || n == 0) return st;
  qn_gemm g = product_of(x, w, h->in(c, 2), z, QN_ACT_NONE);
  if ((st = h->gemm(c, &g))) return st;
  for (int64_t i = 0; i < n; i++) {
    const double v = qni_net_is64(x) ? ((double *)z)[i] : (double)((float *)z)[i];
    if (v > -1e-3 && v < 1e-3) return QN_E_NUMERIC;
  }
  return QN_OK;
}

QNI_OP(linear_op, QN_BATCH_ROWS,
       "linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, r: f[...,O]? = nil, *, "
       "act: enum{none|relu|silu|gelu} = none) -> y: f[...,O]",
       "Affine map of the last dimension, with an activation and a residual in the same pass.",
       "y = act(x W' + b) + r. With g = dy act'(x W' + b): dx = g W, dW = g' x, db = the sum of "
       "g's rows, dr = dy.\n"
       "silu(z) = z sigmoid(z); gelu(z) = z Phi(z), the exact form.",
       "print(quern.linear(quern.tensor{{1,2}}, quern.tensor{{1,1},{0,1}}))",
       .flags = QN_OP_ADDS_GRADS, .forward = forward, .backward = backward, .compose = compose,
       .flops = flops, .kink = kink);

extern const qn_op *const qni_ops_linear[];
const qn_op *const qni_ops_linear[] = {&linear_op, NULL};
