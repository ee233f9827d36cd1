/*
** matmul: products of matrices, batches of them, and vectors.
**
**   Y = A B       dA = dY B'      dB = A' dY
**
** Leading dimensions are broadcast, their gradients summed. A vector is a row on the
** left and a column on the right, and its dimension is absent from the result. All
** transposes are strides; nothing is copied.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "matmul_batch.h"
#include "network.h"

/* One operand as a matrix [rows, cols] under leading dimensions. */
struct matrix {
  int64_t rows, cols, row, col; /* as it is multiplied: after the transpose */
  int32_t n_lead;
  int64_t lead[QN_MAX_DIMS], stride[QN_MAX_DIMS];
  int32_t transposed;
};

struct plan {
  struct matrix a, b;
  int32_t n_lead; /* of the result */
  int64_t lead[QN_MAX_DIMS];
  int32_t a_vector, b_vector;
};

static void swap(int64_t *x, int64_t *y) {
  const int64_t t = *x;
  *x = *y;
  *y = t;
}

static void as_matrix(const qn_view *v, int32_t transpose, int32_t left, struct matrix *m) {
  const int32_t n = v->ndim;
  m->n_lead = n > 2 ? n - 2 : 0;
  for (int32_t d = 0; d < m->n_lead; d++) m->lead[d] = v->shape[d], m->stride[d] = v->stride[d];
  m->transposed = transpose && n > 1;
  if (n == 1) {
    m->rows = left ? 1 : v->shape[0];
    m->cols = left ? v->shape[0] : 1;
    m->row = left ? v->shape[0] : v->stride[0];
    m->col = left ? v->stride[0] : 1;
    return;
  }
  m->rows = v->shape[n - 2], m->row = v->stride[n - 2];
  m->cols = v->shape[n - 1], m->col = v->stride[n - 1];
  if (m->transposed) swap(&m->rows, &m->cols), swap(&m->row, &m->col);
}

/* Size of leading dimension d of n, counted as in the result; 1 where the operand has none. */
static int64_t lead_size(const struct matrix *m, int32_t d, int32_t n) {
  const int32_t own = d - (n - m->n_lead);
  return own < 0 ? 1 : m->lead[own];
}

static int64_t lead_stride(const struct matrix *m, int32_t d, int32_t n) {
  const int32_t own = d - (n - m->n_lead);
  return own < 0 || m->lead[own] == 1 ? 0 : m->stride[own];
}

static qn_status no_fit(const qn_host *h, qn_call *c, const qn_view *a, const qn_view *b,
                        const char *why) {
  char x[160], y[160];
  return h->fail(c, QN_E_SHAPE, "a %s%s and b %s%s cannot be multiplied: %s",
                 qni_net_shape_text(a, x, sizeof x),
                 h->arg_bool(c, "transpose_a") ? " (transposed)" : "",
                 qni_net_shape_text(b, y, sizeof y),
                 h->arg_bool(c, "transpose_b") ? " (transposed)" : "", why);
}

static qn_status make_plan(const qn_host *h, qn_call *c, const qn_view *a, const qn_view *b,
                           struct plan *p) {
  if (a->ndim == 0 || b->ndim == 0) return no_fit(h, c, a, b, "a scalar is no matrix; use mul");
  as_matrix(a, h->arg_bool(c, "transpose_a"), 1, &p->a);
  as_matrix(b, h->arg_bool(c, "transpose_b"), 0, &p->b);
  p->a_vector = a->ndim == 1;
  p->b_vector = b->ndim == 1;
  if (p->a.cols != p->b.rows)
    return no_fit(h, c, a, b, "the columns of a must be as many as the rows of b");
  p->n_lead = p->a.n_lead > p->b.n_lead ? p->a.n_lead : p->b.n_lead;
  for (int32_t d = 0; d < p->n_lead; d++) {
    const int64_t x = lead_size(&p->a, d, p->n_lead), y = lead_size(&p->b, d, p->n_lead);
    if (x != y && x != 1 && y != 1)
      return no_fit(h, c, a, b, "their leading dimensions must be equal, or 1");
    p->lead[d] = x == 1 ? y : x;
  }
  return QN_OK;
}

static qn_status infer(const qn_host *h, qn_call *c) {
  struct plan p;
  qn_status st = make_plan(h, c, h->in(c, 0), h->in(c, 1), &p);
  if (st) return st;
  qn_view *y = h->out(c, 0);
  y->ndim = p.n_lead;
  for (int32_t d = 0; d < p.n_lead; d++) y->shape[d] = p.lead[d];
  if (!p.a_vector) y->shape[y->ndim++] = p.a.rows;
  if (!p.b_vector) y->shape[y->ndim++] = p.b.cols;
  return QN_OK;
}

/* Leading strides of a row-major result of `matrix` elements an item; 0 where `m` is repeated. */
static void dense_strides(const struct plan *p, const struct matrix *m, int64_t matrix,
                          int64_t *stride) {
  int64_t step = matrix;
  for (int32_t d = p->n_lead - 1; d >= 0; d--) {
    const int64_t size = m ? lead_size(m, d, p->n_lead) : p->lead[d];
    stride[d] = size == 1 ? 0 : step;
    step *= size;
  }
}

static qni_batch batch_of(const struct plan *p) {
  qni_batch l = {.n = p->n_lead};
  for (int32_t d = 0; d < p->n_lead; d++) l.size[d] = p->lead[d];
  return l;
}

static int64_t items(const struct plan *p) {
  int64_t n = 1;
  for (int32_t d = 0; d < p->n_lead; d++) n *= p->lead[d];
  return n;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *a = h->in(c, 0), *b = h->in(c, 1);
  qn_view *y = h->out(c, 0);
  struct plan p;
  qn_status st = make_plan(h, c, a, b, &p);
  if (!st) st = h->save(c, 0, a);
  if (!st) st = h->save(c, 1, b);
  if (st || items(&p) == 0) return st;
  if (p.a.cols == 0) return qni_net_fill_zero(y), QN_OK;
  qn_gemm g = {.m = p.a.rows,
               .n = p.b.cols,
               .k = p.a.cols,
               .a = a->data,
               .b = b->data,
               .c = y->data,
               .alpha = 1,
               .a_row = p.a.row,
               .a_col = p.a.col,
               .b_row = p.b.row,
               .b_col = p.b.col,
               .c_row = p.b.cols,
               .dtype = y->dtype};
  qni_batch l = batch_of(&p);
  for (int32_t d = 0; d < l.n; d++)
    l.a[d] = lead_stride(&p.a, d, l.n), l.b[d] = lead_stride(&p.b, d, l.n);
  dense_strides(&p, NULL, g.m * g.n, l.c);
  return qni_batch_multiply(h, c, g, l);
}

/* X Z into the gradient of one operand; x_stride and z_stride are theirs over the leading dimensions. */
struct factor {
  const void *data;
  int64_t row, col, stride[QN_MAX_DIMS];
};

static struct factor factor_of(const struct plan *p, const struct matrix *m, const qn_view *v,
                               int32_t transpose) {
  struct factor f = {
      .data = v->data, .row = transpose ? m->col : m->row, .col = transpose ? m->row : m->col};
  for (int32_t d = 0; d < p->n_lead; d++) f.stride[d] = lead_stride(m, d, p->n_lead);
  return f;
}

static struct factor flow_of(const struct plan *p, const qn_view *dy, int32_t transpose) {
  const int64_t N = p->b.cols;
  struct factor f = {.data = dy->data, .row = transpose ? 1 : N, .col = transpose ? N : 1};
  dense_strides(p, NULL, p->a.rows * N, f.stride);
  return f;
}

static qn_status product(const qn_host *h, qn_call *c, const struct plan *p,
                         const struct matrix *of, int64_t k, const struct factor *x,
                         const struct factor *z, qn_view *grad) {
  const int64_t m = of->transposed ? of->cols : of->rows, n = of->transposed ? of->rows : of->cols;
  if (items(p) == 0 || k == 0) return qni_net_fill_zero(grad), QN_OK;
  qn_gemm g = {.m = m,
               .n = n,
               .k = k,
               .a = x->data,
               .b = z->data,
               .c = grad->data,
               .alpha = 1,
               .a_row = x->row,
               .a_col = x->col,
               .b_row = z->row,
               .b_col = z->col,
               .c_row = n,
               .dtype = grad->dtype};
  qni_batch l = batch_of(p);
  for (int32_t d = 0; d < l.n; d++) l.a[d] = x->stride[d], l.b[d] = z->stride[d];
  dense_strides(p, of, m * n, l.c);
  return qni_batch_multiply(h, c, g, l);
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *a = h->saved(c, 0), *b = h->saved(c, 1), *dy = h->in(c, 0);
  qn_view *da = h->out(c, 0), *db = h->out(c, 1);
  struct plan p;
  qn_status st = make_plan(h, c, a, b, &p);
  if (!st && da) { /* dA = dY B', or its transpose B dY' */
    const int32_t t = p.a.transposed;
    struct factor y = flow_of(&p, dy, t), z = factor_of(&p, &p.b, b, !t);
    st = t ? product(h, c, &p, &p.a, p.b.cols, &z, &y, da)
           : product(h, c, &p, &p.a, p.b.cols, &y, &z, da);
  }
  if (!st && db) { /* dB = A' dY, or its transpose dY' A */
    const int32_t t = p.b.transposed;
    struct factor y = flow_of(&p, dy, t), z = factor_of(&p, &p.a, a, !t);
    st = t ? product(h, c, &p, &p.b, p.a.rows, &y, &z, db)
           : product(h, c, &p, &p.b, p.a.rows, &z, &y, db);
  }
  return st;
}

/* ---- Second order ---- */

static qn_tensor *multiply(qni_build *b, qn_tensor *x, int32_t tx, qn_tensor *y, int32_t ty) {
  return qni_build_op(b, "matmul", 4,
                      (qn_arg[]){qni_arg_tensor(x), qni_arg_tensor(y),
                                 qni_arg_bool("transpose_a", tx), qni_arg_bool("transpose_b", ty)});
}

static qn_tensor *shaped(qni_build *b, const char *op, qn_tensor *x, int32_t ndim,
                         const int64_t *shape) {
  return qni_build_op(b, op, 2, (qn_arg[]){qni_arg_tensor(x), qni_arg_ints("shape", ndim, shape)});
}

/* A vector operand as the matrix that it stands for. */
static qn_tensor *operand(qni_build *b, int32_t slot, int32_t vector, const struct matrix *m) {
  qn_tensor *t = qni_build_saved(b, slot);
  return vector && t ? shaped(b, "reshape", t, 2, (int64_t[]){m->rows, m->cols}) : t;
}

static void set_grad(qni_build *b, int32_t input, int32_t vector, const struct matrix *m,
                     qn_tensor *g) {
  const qn_view *like = b->h->like(b->c, input);
  if (vector) {
    g = shaped(b, "sum_to", g, 2, (int64_t[]){m->rows, m->cols});
    g = shaped(b, "reshape", g, 1, like->shape);
  } else {
    g = shaped(b, "sum_to", g, like->ndim, like->shape);
  }
  qni_build_set(b, input, g);
}

static qn_status compose(const qn_host *h, qn_call *c) {
  struct plan p;
  qn_status st = make_plan(h, c, h->like(c, 0), h->like(c, 1), &p);
  if (st) return st;
  qni_build build = qni_build_start(h, c);
  const int32_t ta = p.a.transposed, tb = p.b.transposed;
  qn_tensor *a = operand(&build, 0, p.a_vector, &p.a), *b = operand(&build, 1, p.b_vector, &p.b);
  qn_tensor *dy = qni_build_flow(&build);
  if (p.a_vector || p.b_vector) {
    int64_t shape[QN_MAX_DIMS + 2];
    for (int32_t d = 0; d < p.n_lead; d++) shape[d] = p.lead[d];
    shape[p.n_lead] = p.a.rows;
    shape[p.n_lead + 1] = p.b.cols;
    dy = shaped(&build, "reshape", dy, p.n_lead + 2, shape);
  }
  if (h->needs_grad(c, 0))
    set_grad(&build, 0, p.a_vector, &p.a,
             ta ? multiply(&build, b, tb, dy, 1) : multiply(&build, dy, 0, b, !tb));
  if (h->needs_grad(c, 1))
    set_grad(&build, 1, p.b_vector, &p.b,
             tb ? multiply(&build, dy, 1, a, ta) : multiply(&build, a, !ta, dy, 0));
  return build.status;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  struct plan p;
  if (make_plan(h, c, h->like(c, 0), h->like(c, 1), &p)) return 0;
  return 2 * items(&p) * p.a.rows * p.a.cols * p.b.cols;
}

QNI_OP(matmul_op, QN_BATCH_ROWS,
       "matmul(a: f[?] strided, b: f[?] strided, *, transpose_a: bool = false, transpose_b: bool = "
       "false) -> y: f[?]",
       "Product of two matrices, of batches of matrices, or of vectors.",
       "Y = A B over the last two dimensions; dA = dY B', dB = A' dY.\n"
       "Leading dimensions are broadcast. A vector is a row on the left and a column on the right; "
       "its\n"
       "dimension is absent from the result. transpose_a and transpose_b swap the last two "
       "dimensions first.",
       "print(quern.matmul(quern.tensor{{1,2},{3,4}}, quern.tensor{{1,0},{0,1}}))", .infer = infer,
       .forward = forward, .backward = backward, .compose = compose, .flops = flops);

extern const qn_op *const qni_ops_matmul[];
const qn_op *const qni_ops_matmul[] = {&matmul_op, NULL};
