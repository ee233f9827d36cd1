/* Products of batches of matrices with broadcasting. SPDX-License-Identifier: MIT */
#include "matmul_batch.h"

#include "network.h"

static void drop(qni_batch *l, int32_t d) {
  l->n--;
  for (int32_t i = d; i < l->n; i++) {
    l->size[i] = l->size[i + 1];
    l->a[i] = l->a[i + 1];
    l->b[i] = l->b[i + 1];
    l->c[i] = l->c[i + 1];
  }
}

/* Dimension d and the next step alike in all three operands. */
static int joins(const qni_batch *l, int32_t d) {
  const int64_t n = l->size[d + 1];
  return l->a[d] == n * l->a[d + 1] && l->b[d] == n * l->b[d + 1] && l->c[d] == n * l->c[d + 1];
}

static void merge(qni_batch *l) {
  for (int32_t d = l->n - 1; d >= 0; d--)
    if (l->size[d] == 1) drop(l, d);
  for (int32_t d = l->n - 2; d >= 0; d--) {
    if (!joins(l, d)) continue;
    l->size[d + 1] *= l->size[d];
    drop(l, d);
  }
}

/* The innermost dimension as more rows of A and C, or as more columns of A and rows of B. */
static void absorb(qn_gemm *g, qni_batch *l) {
  if (l->n == 0) return;
  const int32_t d = l->n - 1;
  const int64_t n = l->size[d];
  if (l->b[d] == 0 && l->c[d] != 0 && l->a[d] == g->m * g->a_row && l->c[d] == g->m * g->c_row) {
    g->m *= n;
    l->n--;
  } else if (l->c[d] == 0 && l->a[d] == g->k * g->a_col && l->b[d] == g->k * g->b_row) {
    g->k *= n;
    l->n--;
  }
}

/* Runs the items left, one call for each run of the innermost dimension. */
static qn_status run_all(const qn_host *h, qn_call *c, const qn_gemm *base, const qni_batch *l,
                         int32_t loops) {
  int64_t at[QN_MAX_DIMS] = {0}, size = base->dtype == QN_F64 ? 8 : 4;
  for (;;) {
    qn_gemm g = *base;
    int64_t a = 0, b = 0, y = 0;
    for (int32_t d = 0; d < loops; d++) {
      a += at[d] * l->a[d];
      b += at[d] * l->b[d];
      y += at[d] * l->c[d];
      if (l->c[d] == 0 && at[d] > 0) g.beta = 1;
    }
    g.a = qni_net_at(base->a, a, size);
    g.b = qni_net_at(base->b, b, size);
    g.c = qni_net_at(base->c, y, size);
    qn_status st = h->gemm(c, &g);
    if (st) return st;
    int32_t d = loops - 1;
    while (d >= 0 && ++at[d] == l->size[d]) at[d--] = 0;
    if (d < 0) return QN_OK;
  }
}

qn_status qni_batch_multiply(const qn_host *h, qn_call *c, qn_gemm g, qni_batch l) {
  if (g.m == 0 || g.n == 0) return QN_OK;
  merge(&l);
  absorb(&g, &l);
  g.batch = 1;
  g.beta = 0;
  int32_t loops = l.n;
  if (l.n > 0 && l.c[l.n - 1] != 0) {
    loops--;
    g.batch = l.size[loops];
    g.a_batch = l.a[loops];
    g.b_batch = l.b[loops];
    g.c_batch = l.c[loops];
  }
  return run_all(h, c, &g, &l, loops);
}
