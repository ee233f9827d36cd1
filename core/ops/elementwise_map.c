/*
** Walking operands for element-by-element kernels.
**
** Dimensions that lie together in every operand are merged first, so the usual case
** is one run. Where the last dimension is long, or not too short and operands can be
** passed as they lie, runs follow it; otherwise blocks of QNI_MAP_BLOCK elements are gathered.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_map.h"

#include <string.h>

#include "elementwise_convert.h"

enum { LONG_ROW = 128, SHORT_ROW = 8 };

struct walk { /* a map with merged dimensions */
  const qni_map *m;
  int32_t ndim;
  int64_t shape[QN_MAX_DIMS];
  int64_t stride[QNI_MAP_OPERANDS][QN_MAX_DIMS];
  bool flat[QNI_MAP_OPERANDS];   /* row-major as a whole */
  bool direct[QNI_MAP_OPERANDS]; /* stored type is the kernel's */
  int64_t n;
};

int64_t qni_map_count(const qn_view *v) {
  int64_t n = 1;
  for (int32_t d = 0; d < v->ndim; d++) n *= v->shape[d];
  return n;
}

bool qni_map_contiguous(const qn_view *v) {
  int64_t step = 1;
  for (int32_t d = v->ndim - 1; d >= 0; d--) {
    if (v->shape[d] == 0) return true;
    if (v->shape[d] != 1 && v->stride[d] != step) return false;
    step *= v->shape[d];
  }
  return true;
}

bool qni_map_same_shape(const qn_view *a, const qn_view *b) {
  if (a->ndim != b->ndim) return false;
  for (int32_t d = 0; d < a->ndim; d++)
    if (a->shape[d] != b->shape[d]) return false;
  return true;
}

qn_view qni_map_dense(const qn_view *like, int32_t dtype, void *data) {
  qn_view v = *like;
  int64_t step = 1;
  for (int32_t d = v.ndim - 1; d >= 0; d--) {
    v.stride[d] = step;
    step *= v.shape[d] > 0 ? v.shape[d] : 1;
  }
  v.dtype = dtype;
  v.data = data;
  return v;
}

bool qni_map_floating(int32_t dtype) {
  return dtype == QN_F32 || dtype == QN_F64 || dtype == QN_BF16;
}

int32_t qni_map_type(int32_t dtype) {
  if (dtype == QN_F32 || dtype == QN_BF16) return QN_F32;
  return dtype == QN_F64 ? QN_F64 : QN_I64;
}

qni_map_fn qni_map_kernel(int32_t pw, int32_t dtype) {
  const qni_pointwise_table *t = qni_pointwise();
  int32_t type = qni_map_type(dtype);
  return type == QN_F32 ? t->f32[pw] : type == QN_F64 ? t->f64[pw] : t->i64[pw];
}

/* Stride of operand k along dimension d of the first operand; 0 where it broadcasts. */
static int64_t broadcast_stride(const qn_view *to, const qn_view *v, int32_t d) {
  int32_t e = d - (to->ndim - v->ndim);
  return e < 0 || v->shape[e] == 1 ? 0 : v->stride[e];
}

static void add_dim(struct walk *w, int32_t d) {
  const qn_view *to = w->m->view[0];
  bool merge = w->ndim > 0;
  for (int32_t k = 0; k < w->m->n && merge; k++)
    merge = w->stride[k][w->ndim - 1] == broadcast_stride(to, w->m->view[k], d) * to->shape[d];
  if (!merge) w->shape[w->ndim++] = 1;
  w->shape[w->ndim - 1] *= to->shape[d];
  for (int32_t k = 0; k < w->m->n; k++)
    w->stride[k][w->ndim - 1] = broadcast_stride(to, w->m->view[k], d);
}

/* Whether operand k is stored as the kernel takes it. */
static bool is_direct(const qni_map *m, int32_t k) {
  return m->view[k]->dtype == m->type[k] || (m->type[k] == QN_BOOL && m->view[k]->dtype == QN_U8);
}

static void walk_init(struct walk *w, const qni_map *m) {
  const qn_view *to = m->view[0];
  w->m = m;
  w->ndim = 0;
  w->n = qni_map_count(to);
  for (int32_t d = 0; d < to->ndim; d++)
    if (to->shape[d] != 1) add_dim(w, d);
  if (!w->ndim) {
    w->ndim = 1;
    w->shape[0] = w->n;
    for (int32_t k = 0; k < m->n; k++) w->stride[k][0] = 1;
  }
  for (int32_t k = 0; k < m->n; k++) {
    w->direct[k] = is_direct(m, k);
    w->flat[k] = true;
    for (int64_t d = w->ndim - 1, step = 1; d >= 0; step *= w->shape[d], d--)
      w->flat[k] = w->flat[k] && w->stride[k][d] == step;
  }
}

/* Position of element i: index of each dimension. */
static void locate(const struct walk *w, int64_t i, int64_t *at) {
  for (int32_t d = w->ndim - 1; d >= 0; d--) {
    at[d] = i % w->shape[d];
    i /= w->shape[d];
  }
}

static char *address(const struct walk *w, int32_t k, const int64_t *at) {
  int64_t offset = 0;
  for (int32_t d = 0; d < w->ndim; d++) offset += at[d] * w->stride[k][d];
  return (char *)w->m->view[k]->data + offset * qni_map_size(w->m->view[k]->dtype);
}

/* Elements i..i+n-1 of operand k through `buffer`: loaded, or stored if `out`. */
static void transfer(const struct walk *w, int32_t k, int64_t i, int64_t n, char *buffer,
                     bool out) {
  int64_t at[QN_MAX_DIMS];
  const int32_t last = w->ndim - 1, type = w->m->type[k], dtype = w->m->view[k]->dtype;
  const int64_t width = qni_map_size(type), step = w->stride[k][last];
  locate(w, i, at);
  while (n > 0) {
    int64_t run = w->shape[last] - at[last];
    if (run > n) run = n;
    char *p = address(w, k, at);
    if (out)
      qni_map_store(type, buffer, run, dtype, p, step);
    else
      qni_map_load(dtype, p, step, run, type, buffer);
    buffer += run * width;
    n -= run;
    at[last] += run;
    for (int32_t d = last; d > 0 && at[d] == w->shape[d]; d--) at[d] = 0, at[d - 1]++;
  }
}

struct block {
  void *p[QNI_MAP_OPERANDS];
  int64_t step[QNI_MAP_OPERANDS];
  bool buffered[QNI_MAP_OPERANDS];
};

/* How operand k of a run starting at `at` is passed: as it lies, as one value, or by buffer. */
static bool place(const struct walk *w, int32_t k, const int64_t *at, bool row, struct block *b) {
  int64_t step = w->stride[k][w->ndim - 1];
  bool one_run = row || w->ndim == 1;
  b->step[k] = 1;
  b->buffered[k] = true;
  if (w->direct[k] && (w->flat[k] || (one_run && step == 1)))
    b->buffered[k] = false;
  else if (one_run && step == 0 && k > 0 && w->m->scalars && w->direct[k])
    b->buffered[k] = false, b->step[k] = 0;
  if (!b->buffered[k]) b->p[k] = address(w, k, at);
  return b->buffered[k];
}

/* Whether the kernel takes each operand's rows as they lie. */
static bool rows_lie(const struct walk *w) {
  const int32_t last = w->ndim - 1;
  if (last == 0 || w->shape[last] < SHORT_ROW || w->shape[last] >= LONG_ROW) return false;
  for (int32_t k = 0; k < w->m->n; k++) {
    const int64_t step = w->stride[k][last];
    if (!w->direct[k] || (step != 1 && !(step == 0 && k > 0 && w->m->scalars))) return false;
  }
  return true;
}

/* Elements begin..end-1, row by row. */
static void run_rows(const struct walk *w, int64_t begin, int64_t end) {
  const qni_map *m = w->m;
  const int32_t last = w->ndim - 1, n = m->n;
  int64_t at[QN_MAX_DIMS], step[QNI_MAP_OPERANDS], down[QNI_MAP_OPERANDS];
  void *p[QNI_MAP_OPERANDS];
  for (int32_t k = 0; k < n; k++) {
    step[k] = w->stride[k][last];
    down[k] = w->stride[k][last - 1] * qni_map_size(m->view[k]->dtype);
  }
  locate(w, begin, at);
  while (begin < end) {
    int64_t length = w->shape[last] - at[last], rows = 1;
    if (length > end - begin) length = end - begin;
    if (length == w->shape[last]) rows = w->shape[last - 1] - at[last - 1];
    if (rows > (end - begin) / length) rows = (end - begin) / length;
    for (int32_t k = 0; k < n; k++) p[k] = address(w, k, at);
    for (int64_t r = 0; r < rows; r++) {
      m->fn(m->param, length, p, step);
      for (int32_t k = 0; k < n; k++) p[k] = (char *)p[k] + down[k];
    }
    begin += rows * length;
    at[last] = 0;
    at[last - 1] += rows;
    for (int32_t d = last - 1; d > 0 && at[d] == w->shape[d]; d--) at[d] = 0, at[d - 1]++;
  }
}

static qn_status run_range(void *ctx, int64_t begin, int64_t end) {
  const struct walk *w = ctx;
  const qni_map *m = w->m;
  if (rows_lie(w)) return run_rows(w, begin, end), QN_OK;
  const int32_t last = w->ndim - 1;
  const bool row = w->shape[last] >= LONG_ROW;
  double buffer[QNI_MAP_OPERANDS][QNI_MAP_BLOCK];
  for (int64_t i = begin, n; i < end; i += n) {
    int64_t at[QN_MAX_DIMS];
    struct block b;
    bool any = false;
    locate(w, i, at);
    n = end - i;
    if (row && n > w->shape[last] - at[last]) n = w->shape[last] - at[last];
    for (int32_t k = 0; k < m->n; k++) any = place(w, k, at, row, &b) || any;
    if (any && n > QNI_MAP_BLOCK) n = QNI_MAP_BLOCK;
    for (int32_t k = 0; k < m->n; k++) {
      if (!b.buffered[k]) continue;
      b.p[k] = buffer[k];
      if (k > 0) transfer(w, k, i, n, b.p[k], false);
    }
    m->fn(m->param, n, b.p, b.step);
    if (b.buffered[0]) transfer(w, 0, i, n, b.p[0], true);
  }
  return QN_OK;
}

/* All operands lie alike, without gaps and in the kernel's types: one run, nothing to walk. */
static bool lies_flat(const qni_map *m) {
  const qn_view *to = m->view[0];
  if (!qni_map_contiguous(to)) return false;
  for (int32_t k = 0; k < m->n; k++)
    if (!is_direct(m, k) || !qni_map_same_shape(m->view[k], to) ||
        (k > 0 && !qni_map_contiguous(m->view[k])))
      return false;
  return true;
}

static qn_status run_flat(void *ctx, int64_t begin, int64_t end) {
  static const int64_t step[QNI_MAP_OPERANDS] = {1, 1, 1, 1};
  const qni_map *m = ctx;
  void *p[QNI_MAP_OPERANDS];
  for (int32_t k = 0; k < m->n; k++)
    p[k] = (char *)m->view[k]->data + begin * qni_map_size(m->view[k]->dtype);
  m->fn(m->param, end - begin, p, step);
  return QN_OK;
}

qn_status qni_map_run(const qn_host *h, qn_call *c, const qni_map *m) {
  if (lies_flat(m))
    return h->parallel(c, qni_map_count(m->view[0]), QNI_MAP_GRAIN, run_flat, (void *)(uintptr_t)m);
  struct walk w;
  walk_init(&w, m);
  if (w.n == 0) return QN_OK;
  return h->parallel(c, w.n, QNI_MAP_GRAIN, run_range, &w);
}

qn_status qni_map_pw(const qn_host *h, qn_call *c, int32_t pw, const double *param, qn_view *y,
                     const qn_view *a, const qn_view *b, const qn_view *d) {
  bool compare = pw >= QNI_PW_EQ && pw <= QNI_PW_GE,
       masked = pw >= QNI_PW_WHERE && pw <= QNI_PW_MASK;
  int32_t value = compare ? a->dtype : y->dtype, type = qni_map_type(value);
  qni_map m = {.fn = qni_map_kernel(pw, value),
               .param = param,
               .n = a ? b ? d ? 4 : 3 : 2 : 1,
               .scalars = b != NULL,
               .view = {y, a, b, d},
               .type = {compare ? QN_BOOL : type, masked ? QN_BOOL : type, type, type}};
  if (!m.fn) return h->fail(c, QN_E_DTYPE, "this is not defined for elements of an integer type");
  return qni_map_run(h, c, &m);
}
