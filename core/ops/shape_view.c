/*
** Views: other shapes and strides on the same memory. reshape flatten transpose permute
** narrow select expand squeeze unsqueeze.
**
** infer edits the view that the host has filled with the input's; nothing is copied, except
** that reshape and flatten take a contiguous input, which the host copies if need be.
** dim, index and start count from 1, negative ones from the end.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"

static void dense(qn_view *y) { *y = qni_map_dense(y, y->dtype, y->data); }

static void remove_dim(qn_view *y, int32_t d) {
  y->ndim--;
  for (int32_t k = d; k < y->ndim; k++) {
    y->shape[k] = y->shape[k + 1];
    y->stride[k] = y->stride[k + 1];
  }
}

/* The gradient of every view that keeps all elements: dy in x's shape. */
static qn_status reshape_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  qni_build_set(&b, 0,
                qni_build_op(&b, "reshape", 2,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_ints("shape", x->ndim, x->shape)}));
  return b.status;
}

/* ---- reshape, flatten ---- */

static qn_status reshape_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int64_t count = qni_map_count(h->in(c, 0)), known = 1;
  int32_t n = 0, free_dim = -1;
  const int64_t *shape = h->arg_ints(c, "shape", &n);
  if (n > QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "shape has %d dimensions; at most %d are possible", (int)n,
                   QN_MAX_DIMS);
  y->ndim = n;
  for (int32_t d = 0; d < n; d++) {
    y->shape[d] = shape[d];
    if (shape[d] == -1 && free_dim < 0)
      free_dim = d;
    else if (shape[d] < 0)
      return h->fail(c, QN_E_SHAPE, "size %d is %lld; one size may be -1, no other negative",
                     (int)d + 1, (long long)shape[d]);
    else if (__builtin_mul_overflow(known, shape[d], &known))
      return h->fail(c, QN_E_SHAPE, "the sizes' product is too large");
  }
  if (free_dim >= 0) {
    if (known == 0 || count % known)
      return h->fail(c, QN_E_SHAPE,
                     "%lld elements do not divide by %lld, the product of the other sizes",
                     (long long)count, (long long)known);
    y->shape[free_dim] = count / known;
  } else if (known != count) {
    return h->fail(c, QN_E_SHAPE, "%lld elements do not fit a shape of %lld", (long long)count,
                   (long long)known);
  }
  dense(y);
  return QN_OK;
}

static qn_status flatten_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t first = 0, last = 0;
  if (y->ndim == 0) {
    y->ndim = 1;
    y->shape[0] = 1;
    dense(y);
    return QN_OK;
  }
  qn_status st = qni_fold_dim(h, c, y->ndim, "first", &first);
  if (!st) st = qni_fold_dim(h, c, y->ndim, "last", &last);
  if (st) return st;
  if (first > last)
    return h->fail(c, QN_E_ARG, "first (dimension %d) comes after last (dimension %d)",
                   (int)first + 1, (int)last + 1);
  for (int32_t d = first; d < last; d++) {
    y->shape[first] *= y->shape[first + 1];
    remove_dim(y, first + 1);
  }
  dense(y);
  return QN_OK;
}

/* ---- transpose, permute ---- */

static void swap(qn_view *y, int32_t a, int32_t b) {
  int64_t shape = y->shape[a], stride = y->stride[a];
  y->shape[a] = y->shape[b];
  y->stride[a] = y->stride[b];
  y->shape[b] = shape;
  y->stride[b] = stride;
}

static qn_status transpose_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t a = 0, b = 0;
  qn_status st = qni_fold_dim(h, c, y->ndim, "a", &a);
  if (!st) st = qni_fold_dim(h, c, y->ndim, "b", &b);
  if (!st) swap(y, a, b);
  return st;
}

static qn_status transpose_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  qni_build_set(&b, 0,
                qni_build_op(&b, "transpose", 3,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_int("a", h->arg_int(c, "a")),
                                        qni_arg_int("b", h->arg_int(c, "b"))}));
  return b.status;
}

/* Reads "order" as a permutation of 0..ndim-1. */
static qn_status permutation(const qn_host *h, qn_call *c, int32_t ndim, int32_t *order) {
  int32_t n = 0;
  bool seen[QN_MAX_DIMS] = {false};
  const int64_t *given = h->arg_ints(c, "order", &n);
  if (n != ndim)
    return h->fail(c, QN_E_ARG, "order names %d of %d dimensions; each must be named once", (int)n,
                   (int)ndim);
  for (int32_t i = 0; i < n; i++) {
    qn_status st = qni_fold_one_dim(h, c, ndim, "order", given[i], &order[i]);
    if (st) return st;
    if (seen[order[i]])
      return h->fail(c, QN_E_ARG, "order names dimension %d twice", (int)order[i] + 1);
    seen[order[i]] = true;
  }
  return QN_OK;
}

static qn_status permute_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int32_t order[QN_MAX_DIMS];
  qn_status st = permutation(h, c, x->ndim, order);
  for (int32_t i = 0; i < x->ndim && !st; i++) {
    y->shape[i] = x->shape[order[i]];
    y->stride[i] = x->stride[order[i]];
  }
  return st;
}

static qn_status permute_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  int32_t order[QN_MAX_DIMS], n = h->like(c, 0)->ndim;
  int64_t inverse[QN_MAX_DIMS] = {0};
  qn_status st = permutation(h, c, n, order);
  if (st) return st;
  for (int32_t i = 0; i < n; i++) inverse[order[i]] = i + 1;
  qni_build_set(&b, 0,
                qni_build_op(&b, "permute", 2,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_ints("order", n, inverse)}));
  return b.status;
}

/* ---- narrow, select ---- */

/* First position, counted from 0, of a start or index given from 1 or from the end. */
static int64_t position(int64_t given, int64_t size) {
  return given < 0 ? given + size : given - 1;
}

static qn_status narrow_where(const qn_host *h, qn_call *c, const qn_view *x, int32_t *dim,
                              int64_t *start) {
  int64_t length = h->arg_int(c, "length"), given = h->arg_int(c, "start");
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", dim);
  if (st) return st;
  int64_t size = x->shape[*dim];
  *start = position(given, size);
  if (given == 0 || *start < 0 || length < 0 || *start > size || length > size - *start)
    return h->fail(
        c, QN_E_ARG,
        "start %lld with length %lld leaves dimension %d of size %lld; positions count from 1",
        (long long)given, (long long)length, (int)*dim + 1, (long long)size);
  return QN_OK;
}

static void skip(qn_view *y, int32_t dim, int64_t elements) {
  if (y->data) y->data = (char *)y->data + elements * y->stride[dim] * qni_map_size(y->dtype);
}

static qn_status narrow_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  int64_t start = 0;
  qn_status st = narrow_where(h, c, y, &dim, &start);
  if (st) return st;
  y->shape[dim] = h->arg_int(c, "length");
  if (qni_map_count(y) > 0) skip(y, dim, start);
  return QN_OK;
}

/* dy with zeros around it: start before, the rest after, along dim. */
static qn_status pad_back(qni_build *b, qn_tensor *g, const qn_view *x, int32_t dim, int64_t start,
                          int64_t length) {
  int64_t pads[2 * QN_MAX_DIMS] = {0};
  int32_t n = 2 * (x->ndim - dim);
  pads[n - 2] = start;
  pads[n - 1] = x->shape[dim] - start - length;
  qni_build_set(
      b, 0, qni_build_op(b, "pad", 2, (qn_arg[]){qni_arg_tensor(g), qni_arg_ints("pad", n, pads)}));
  return b->status;
}

static qn_status narrow_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  int32_t dim = 0;
  int64_t start = 0;
  qn_status st = narrow_where(h, c, x, &dim, &start);
  return st ? st : pad_back(&b, qni_build_flow(&b), x, dim, start, h->arg_int(c, "length"));
}

static qn_status select_where(const qn_host *h, qn_call *c, const qn_view *x, int32_t *dim,
                              int64_t *index) {
  int64_t given = h->arg_int(c, "index");
  qn_status st = qni_fold_dim(h, c, x->ndim, "dim", dim);
  if (st) return st;
  *index = position(given, x->shape[*dim]);
  if (given == 0 || *index < 0 || *index >= x->shape[*dim])
    return h->fail(c, QN_E_ARG,
                   "index %lld is outside dimension %d of size %lld; positions count from 1, or "
                   "from -1 backwards",
                   (long long)given, (int)*dim + 1, (long long)x->shape[*dim]);
  return QN_OK;
}

static qn_status select_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  int64_t index = 0;
  qn_status st = select_where(h, c, y, &dim, &index);
  if (st) return st;
  if (qni_map_count(y) > 0) skip(y, dim, index);
  remove_dim(y, dim);
  return QN_OK;
}

static qn_status select_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  int32_t dim = 0;
  int64_t index = 0;
  qn_status st = select_where(h, c, x, &dim, &index);
  if (st) return st;
  qn_tensor *g =
      qni_build_op(&b, "unsqueeze", 2,
                   (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)), qni_arg_int("dim", dim + 1)});
  return pad_back(&b, g, x, dim, index, 1);
}

/* ---- expand, squeeze, unsqueeze ---- */

static qn_status expand_infer(const qn_host *h, qn_call *c) {
  const qn_view x = *h->in(c, 0);
  qn_view *y = h->out(c, 0);
  int32_t n = 0;
  const int64_t *shape = h->arg_ints(c, "shape", &n);
  if (n < x.ndim || n > QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "shape has %d dimensions; it needs %d to %d", (int)n, (int)x.ndim,
                   QN_MAX_DIMS);
  y->ndim = n;
  for (int32_t d = 0; d < n; d++) {
    int32_t e = d - (n - x.ndim);
    int64_t old = e < 0 ? 1 : x.shape[e], size = shape[d] == -1 && e >= 0 ? old : shape[d];
    if (size < 0 || (old != size && old != 1))
      return h->fail(c, QN_E_SHAPE,
                     "dimension %d of size %lld cannot become %lld; only size 1 repeats",
                     (int)d + 1, (long long)old, (long long)shape[d]);
    y->shape[d] = size;
    y->stride[d] = e < 0 || (old == 1 && size != 1) ? 0 : x.stride[e];
  }
  return QN_OK;
}

static qn_status expand_backward(const qn_host *h, qn_call *c) {
  return h->out(c, 0) ? qni_fold_sum_to(h, c, h->in(c, 0), h->out(c, 0)) : QN_OK;
}
static qn_status expand_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  qni_build_set(&b, 0,
                qni_build_op(&b, "sum_to", 2,
                             (qn_arg[]){qni_arg_tensor(qni_build_flow(&b)),
                                        qni_arg_ints("shape", x->ndim, x->shape)}));
  return b.status;
}

static qn_status squeeze_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  if (!h->has_arg(c, "dim")) {
    for (int32_t d = y->ndim - 1; d >= 0; d--)
      if (y->shape[d] == 1) remove_dim(y, d);
    return QN_OK;
  }
  qn_status st = qni_fold_dim(h, c, y->ndim, "dim", &dim);
  if (!st && y->shape[dim] == 1) remove_dim(y, dim);
  return st;
}

static qn_status unsqueeze_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  int32_t dim = 0;
  if (y->ndim == QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "x has %d dimensions already, the most there can be",
                   QN_MAX_DIMS);
  qn_status st = qni_fold_dim(h, c, y->ndim + 1, "dim", &dim);
  if (st) return st;
  for (int32_t d = y->ndim++; d > dim; d--) {
    y->shape[d] = y->shape[d - 1];
    y->stride[d] = y->stride[d - 1];
  }
  y->shape[dim] = 1;
  y->stride[dim] =
      dim + 1 < y->ndim ? y->stride[dim + 1] * (y->shape[dim + 1] > 0 ? y->shape[dim + 1] : 1) : 1;
  return QN_OK;
}

/* ---- Tables ---- */

/* Rows stay apart as long as dimension 1 is kept as it is; a captured graph checks the shapes. */
#define VIEW(name, batch_class, args, strides, summary, doc, call, ...)                            \
  QNI_OP(name##_op, batch_class, #name "(x: any[?]" strides args ") -> y&x: any[?]", summary, doc, \
         "print(quern." #name "(quern.tensor{{1,2},{3,4}}" call "))", .infer = name##_infer,       \
         __VA_ARGS__)

VIEW(reshape, QN_BATCH_ROWS, ", shape: [int]", "", "The same elements in another shape.",
     "y = the elements of x in row-major order in the given shape; one size may be -1. A view if x "
     "is contiguous. "
     "Gradient: dx = dy in x's shape.",
     ", {4}", .compose = reshape_compose);
VIEW(flatten, QN_BATCH_ROWS, ", first: int = 1, last: int = -1", "",
     "Joins neighbouring dimensions into one.",
     "y = x with dimensions first..last as one. Gradient: dx = dy in x's shape.", "",
     .compose = reshape_compose);
VIEW(transpose, QN_BATCH_ROWS, ", a: int, b: int", " strided", "Swaps two dimensions; a view.",
     "y = x with dimensions a and b swapped. Gradient: dx = dy, swapped back.", ", 1, 2",
     .compose = transpose_compose);
VIEW(permute, QN_BATCH_ROWS, ", order: [int]", " strided",
     "Puts the dimensions into another order; a view.",
     "dimension i of y is dimension order[i] of x. Gradient: dx = dy in the inverse order.",
     ", {2, 1}", .compose = permute_compose);
VIEW(narrow, QN_BATCH_ROWS, ", dim: int, start: int, length: int{0..}", " strided",
     "A stretch of one dimension; a view.",
     "y = positions start .. start + length - 1 of x along dim. Gradient: dx = dy there, 0 "
     "elsewhere.",
     ", 2, 1, 1", .compose = narrow_compose);
VIEW(select, QN_BATCH_ROWS, ", dim: int, index: int", " strided",
     "One position of a dimension, which goes away; a view.",
     "y = x at position index along dim. Gradient: dx = dy there, 0 elsewhere.", ", 1, -1",
     .compose = select_compose);
QNI_OP(expand_op, QN_BATCH_ROWS, "expand(x: any[?] strided, shape: [int]) -> y&x: any[?]",
       "Repeats dimensions of size 1 without copying; a view.",
       "y = x with dimensions of size 1, and new leading ones, repeated; -1 keeps a size. "
       "Gradient: dx = sum of dy "
       "over the repetitions.",
       "print(quern.expand(quern.tensor{{1},{2}}, {2, 3}))", .infer = expand_infer,
       .backward = expand_backward, .compose = expand_compose);
VIEW(squeeze, QN_BATCH_ROWS, ", dim: int? = nil", " strided", "Drops dimensions of size 1; a view.",
     "y = x without dimension dim if its size is 1, or without all such if dim is nil. Gradient: "
     "dx = dy in x's shape.",
     "", .compose = reshape_compose);
VIEW(unsqueeze, QN_BATCH_ROWS, ", dim: int", " strided",
     "Adds a dimension of size 1 at a place; a view.",
     "y = x with a new dimension dim of size 1. Gradient: dx = dy in x's shape.", ", 1",
     .compose = reshape_compose);

const qn_op *const qni_ops_shape_view[] = {&reshape_op,   &flatten_op, &transpose_op, &permute_op,
                                           &narrow_op,    &select_op,  &expand_op,    &squeeze_op,
                                           &unsqueeze_op, NULL};
