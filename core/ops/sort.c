/*
** Order along a dimension: sort argsort topk searchsorted.
**
** Sorting is a stable merge sort of (value, place) pairs, line by line; NaN is greater
** than everything. topk keeps the k best in a heap whose root is the worst of them; of
** equal values the earlier place is better. Places are ids: they count from 0.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "elementwise_compose.h"
#include "elementwise_table.h"
#include "reduce_fold.h"
#include "reduce_line.h"

/* A value as a key: floating numbers as double, integers as i64 in `whole`. */
typedef struct pair {
  double value;
  int64_t whole, place;
} pair;

struct sort_job {
  const qn_view *x;
  qn_view *values; /* NULL: not wanted */
  int64_t *places;
  qni_lines l;
  int64_t k; /* of topk */
  bool descending;
  const qn_host *h;
  qn_call *c;
};

/* -1, 0, 1 as a sorts before, with, after b in ascending order. */
static int compare(const pair *a, const pair *b) {
  if (a->value != a->value || b->value != b->value)
    return (a->value != a->value) - (b->value != b->value);
  if (a->value != b->value) return a->value < b->value ? -1 : 1;
  return (a->whole > b->whole) - (a->whole < b->whole);
}

static bool after(const pair *a, const pair *b, bool descending) {
  int order = compare(a, b);
  return descending ? order < 0 : order > 0;
}

static pair load(const struct sort_job *j, int64_t at, int64_t r) {
  const int32_t dtype = j->x->dtype;
  pair p = {.place = r};
  const char *from = (const char *)j->x->data + (at + r * j->l.B) * qni_map_size(dtype);
  if (qni_map_floating(dtype))
    qni_map_load(dtype, from, 1, 1, QN_F64, &p.value);
  else
    qni_map_load(dtype, from, 1, 1, QN_I64, &p.whole);
  return p;
}

/* Element r of line i goes out: its value, copied from x, and its place. */
static void emit(const struct sort_job *j, int64_t at, int64_t out, const pair *p) {
  const int64_t size = qni_map_size(j->x->dtype);
  if (j->values)
    memcpy((char *)j->values->data + out * size,
           (const char *)j->x->data + (at + p->place * j->l.B) * size, (size_t)size);
  j->places[out] = p->place;
}

static void merge_sort(pair *p, pair *spare, int64_t n, bool descending) {
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t low = 0; low < n; low += 2 * width) {
      int64_t mid = low + width < n ? low + width : n,
              high = low + 2 * width < n ? low + 2 * width : n;
      int64_t a = low, b = mid;
      for (int64_t i = low; i < high; i++)
        spare[i] = b >= high || (a < mid && !after(&p[a], &p[b], descending)) ? p[a++] : p[b++];
    }
    memcpy(p, spare, (size_t)n * sizeof *p);
  }
}

static qn_status sort_range(void *ctx, int64_t begin, int64_t end) {
  const struct sort_job *j = ctx;
  void *memory = NULL;
  qn_status st = j->h->local(j->c, 2 * j->l.R * (int64_t)sizeof(pair), &memory);
  pair *p = memory;
  for (int64_t i = begin; i < end && !st; i++) {
    int64_t at = qni_lines_start(&j->l, i);
    for (int64_t r = 0; r < j->l.R; r++) p[r] = load(j, at, r);
    merge_sort(p, p + j->l.R, j->l.R, j->descending);
    for (int64_t r = 0; r < j->l.R; r++) emit(j, at, at + r * j->l.B, &p[r]);
  }
  return st;
}

/* ---- topk ---- */

/* Does a come later in the result than b? */
static bool worse(const struct sort_job *j, const pair *a, const pair *b) {
  int order = compare(a, b);
  if (order) return j->descending ? order < 0 : order > 0;
  return a->place > b->place;
}

/* Restores the heap below i: each parent is worse than its children. */
static void sink(const struct sort_job *j, pair *p, int64_t n, int64_t i) {
  for (int64_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && worse(j, &p[child + 1], &p[child])) child++;
    if (!worse(j, &p[child], &p[i])) return;
    pair t = p[i];
    p[i] = p[child];
    p[child] = t;
  }
}

static void best_of_line(const struct sort_job *j, pair *p, int64_t at) {
  for (int64_t r = 0; r < j->k; r++) p[r] = load(j, at, r);
  for (int64_t i = j->k / 2 - 1; i >= 0; i--) sink(j, p, j->k, i);
  for (int64_t r = j->k; r < j->l.R; r++) {
    pair next = load(j, at, r);
    if (worse(j, &next, &p[0])) continue;
    p[0] = next;
    sink(j, p, j->k, 0);
  }
  for (int64_t n = j->k - 1; n > 0; n--) { /* the worst goes to the end */
    pair t = p[0];
    p[0] = p[n];
    p[n] = t;
    sink(j, p, n, 0);
  }
}

static qn_status topk_range(void *ctx, int64_t begin, int64_t end) {
  const struct sort_job *j = ctx;
  void *memory = NULL;
  qn_status st = j->h->local(j->c, j->k * (int64_t)sizeof(pair), &memory);
  for (int64_t i = begin; i < end && !st; i++) {
    int64_t at = qni_lines_start(&j->l, i), out = i / j->l.B * j->k * j->l.B + i % j->l.B;
    best_of_line(j, memory, at);
    for (int64_t r = 0; r < j->k; r++) emit(j, at, out + r * j->l.B, (const pair *)memory + r);
  }
  return st;
}

/* ---- Ops ---- */

static qn_status sort_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  int32_t dim = 0;
  for (int32_t o = 0; o < h->n_out(c); o++) {
    qn_view *y = h->out(c, o);
    y->ndim = x->ndim;
    memcpy(y->shape, x->shape, sizeof y->shape);
  }
  return qni_fold_dim(h, c, x->ndim, "dim", &dim);
}

static qn_status sort_lines(const qn_host *h, qn_call *c, qn_view *values, qn_view *places) {
  struct sort_job j = {.x = h->in(c, 0),
                       .values = values,
                       .places = places->data,
                       .h = h,
                       .c = c,
                       .descending = h->arg_bool(c, "descending")};
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, j.x->ndim, "dim", &dim);
  j.l = qni_lines_of(j.x, dim);
  if (!st)
    st = h->parallel(c, j.l.R ? j.l.A * j.l.B : 0, 1 + QNI_MAP_GRAIN / 8 / (j.l.R + 1), sort_range,
                     &j);
  return st ? st : h->save(c, 0, places);
}
static qn_status sort_forward(const qn_host *h, qn_call *c) {
  return sort_lines(h, c, h->out(c, 0), h->out(c, 1));
}
static qn_status argsort_forward(const qn_host *h, qn_call *c) {
  return sort_lines(h, c, NULL, h->out(c, 0));
}

static qn_status topk_infer(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0);
  int32_t dim = 0;
  int64_t k = h->arg_int(c, "k");
  qn_status st = sort_infer(h, c);
  if (!st) st = qni_fold_dim(h, c, x->ndim, "dim", &dim);
  if (st) return st;
  if (k > x->shape[dim])
    return h->fail(c, QN_E_ARG, "k is %lld, but dimension %d has only %lld elements", (long long)k,
                   (int)dim + 1, (long long)x->shape[dim]);
  h->out(c, 0)->shape[dim] = h->out(c, 1)->shape[dim] = k;
  return QN_OK;
}

static qn_status topk_forward(const qn_host *h, qn_call *c) {
  struct sort_job j = {.x = h->in(c, 0),
                       .values = h->out(c, 0),
                       .places = h->out(c, 1)->data,
                       .h = h,
                       .c = c,
                       .k = h->arg_int(c, "k"),
                       .descending = h->arg_bool(c, "largest")};
  int32_t dim = 0;
  qn_status st = qni_fold_dim(h, c, j.x->ndim, "dim", &dim);
  j.l = qni_lines_of(j.x, dim);
  if (!st)
    st = h->parallel(c, j.k ? j.l.A * j.l.B : 0, 1 + QNI_MAP_GRAIN / 2 / (j.l.R + 1), topk_range,
                     &j);
  return st ? st : h->save(c, 0, h->out(c, 1));
}

/* dx = dy at the places, 0 elsewhere; serves sort and topk. */
static qn_status sort_compose(const qn_host *h, qn_call *c) {
  qni_build b = qni_build_start(h, c);
  const qn_view *x = h->like(c, 0);
  qn_tensor *g = qni_build_flow(&b);
  if (!g) return b.status;
  qn_arg shape = qni_arg_ints("shape", x->ndim, x->shape);
  const char *dtype = x->dtype == QN_F64 ? "f64" : x->dtype == QN_F32 ? "f32" : "bf16";
  qn_tensor *zero = qni_build_op(
      &b, "full", 3, (qn_arg[]){shape, qni_arg_named("value", 0), qni_arg_str("dtype", dtype)});
  qni_build_set(
      &b, 0,
      qni_build_op(&b, "scatter_add", 4,
                   (qn_arg[]){qni_arg_tensor(zero), qni_arg_tensor(qni_build_saved(&b, 0)),
                              qni_arg_tensor(g), qni_arg_int("dim", h->arg_int(c, "dim"))}));
  return b.status;
}

/* ---- searchsorted ---- */

struct search {
  const qn_view *sorted, *x;
  int64_t *y;
  int64_t n, rows, per_row; /* sorted values in a row; rows; searched values for each */
  bool right;
};

static int64_t find(const struct search *s, int64_t row, double v) {
  int64_t low = 0, high = s->n;
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    double m = qni_line_value(s->sorted->dtype, s->sorted->data, row * s->n + mid);
    if (s->right ? m <= v : m < v)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

static qn_status search_range(void *ctx, int64_t begin, int64_t end) {
  const struct search *s = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t row = s->rows == 1 ? 0 : i / s->per_row;
    s->y[i] = find(s, row, qni_line_value(s->x->dtype, s->x->data, i));
  }
  return QN_OK;
}

static qn_status searchsorted_forward(const qn_host *h, qn_call *c) {
  const qn_view *sorted = h->in(c, 0), *x = h->in(c, 1);
  struct search s = {
      .sorted = sorted, .x = x, .y = h->out(c, 0)->data, .right = h->arg_bool(c, "right")};
  bool fits = sorted->ndim == 1 || (sorted->ndim == x->ndim && x->ndim > 0);
  s.n = sorted->ndim > 0 ? sorted->shape[sorted->ndim - 1] : 0;
  s.rows = 1;
  for (int32_t d = 0; fits && sorted->ndim > 1 && d < sorted->ndim - 1; d++) {
    fits = sorted->shape[d] == x->shape[d];
    s.rows *= sorted->shape[d];
  }
  s.per_row = x->ndim > 0 ? x->shape[x->ndim - 1] : 1;
  if (!fits)
    return h->fail(c, QN_E_SHAPE, "sorted must have one dimension, or the leading sizes of x");
  return h->parallel(c, qni_map_count(x), QNI_MAP_GRAIN / 8, search_range, &s);
}

/* ---- Tables ---- */

QNI_OP(sort_op, QN_BATCH_COUPLED,
       "sort(x: t[?], dim: int = -1, descending: bool = false) -> y: t[?], i: i64[?]",
       "Sorts along a dimension; equal values keep their order.",
       "y = x in order along dim, i = where each came from, counted from 0. NaN is greater than "
       "everything. "
       "Gradient: dx[i] = dy.",
       "print(quern.sort(quern.tensor{3,1,2}))", .flags = QN_OP_NAN_STOPS, .infer = sort_infer,
       .forward = sort_forward, .compose = sort_compose);
QNI_OP(argsort_op, QN_BATCH_COUPLED,
       "argsort(x: t[?], dim: int = -1, descending: bool = false) -> i: i64[?]",
       "The places that would sort a tensor along a dimension, counted from 0.",
       "gather(x, i, dim) is sorted; equal values keep their order. No gradient.",
       "print(quern.argsort(quern.tensor{3,1,2}))", .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
       .infer = sort_infer, .forward = argsort_forward);
QNI_OP(topk_op, QN_BATCH_COUPLED,
       "topk(x: t[?], k: int{0..}, dim: int = -1, largest: bool = true) -> y: t[?], i: i64[?]",
       "The k largest or smallest elements along a dimension, best first.",
       "y = the k best of x, i = their places counted from 0; of equal ones the earlier comes "
       "first. Gradient: dx[i] = dy.",
       "print(quern.topk(quern.tensor{3,1,2}, 2))", .flags = QN_OP_NAN_STOPS, .infer = topk_infer,
       .forward = topk_forward, .compose = sort_compose);
QNI_OP(searchsorted_op, QN_BATCH_COUPLED,
       "searchsorted(sorted: any[?], x: any[...], right: bool = false) -> i: i64[...]",
       "Where values belong in a sorted list: how many elements come before each.",
       "i = number of sorted elements below x (at most x if right). sorted is one list, or one for "
       "each row of x.",
       "print(quern.searchsorted(quern.tensor{1,3,5}, quern.tensor{0,3,9}))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .forward = searchsorted_forward);

const qn_op *const qni_ops_sort[] = {&sort_op, &argsort_op, &topk_op, &searchsorted_op, NULL};
