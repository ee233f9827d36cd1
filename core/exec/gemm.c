/*
** The door to matrix products.
**
** A call becomes a plan, and what each number of C is the sum of follows from the shape alone:
**   by k      few results and many products each (weight gradients): k is cut into 16
**             parts, 8 where C is large, each summed into C-sized memory of its own; the parts
**             are added in order;
**   by tiles  otherwise: items of the batch, or tiles of C, as many as the threads ask for;
**   alone     inside a range of the pool, where other workers have work of their own.
** Each piece goes to our kernels or, in f64, to the BLAS, which depends on the shape alone too.
** SPDX-License-Identifier: MIT
*/
#include "exec/gemm.h"

#include <string.h>

#include "base/mem.h"
#include "exec/blas.h"
#include "exec/cpu.h"
#include "exec/pool.h"
#include "kernels/gemm.h"

QNI_DISPATCH(gemm_kernels, qni_gemm_table)

enum { PACK_ROOM = 640 * 1024, STRIPES = 24, FEW = 8, UNIT_ROWS = 6, UNIT_COLUMNS = 64 };
enum { EACH = 8 /* pieces for each thread */ };

static size_t size_of(const qn_gemm *g) { return g->dtype == QN_F32 ? 4 : 8; }

static const void *shifted(const void *p, int64_t elements, size_t size) {
  return p ? (const char *)p + elements * (int64_t)size : NULL;
}

/* ---- One piece ---- */

static void add_bias(const qn_gemm *g) {
  for (int64_t i = 0; i < g->m; i++)
    if (g->dtype == QN_F32) {
      float *c = (float *)g->c + i * g->c_row;
      const float *bias = g->bias;
      for (int64_t j = 0; j < g->n; j++) c[j] += bias[j];
    } else {
      double *c = (double *)g->c + i * g->c_row;
      const double *bias = g->bias;
      for (int64_t j = 0; j < g->n; j++) c[j] += bias[j];
    }
}

/* A product, and what it may have besides. */
struct product {
  qn_gemm g;
  qni_gemm_with with;
};

static void finish(const struct product *p) {
  const qni_gemm_table *kernels = qni_gemm_kernels();
  const qn_gemm *g = &p->g;
  if (g->bias) add_bias(g);
  if (g->dtype == QN_F32)
    kernels->act_f32(g->act, g->m, g->n, g->c, p->with.z, p->with.residual, g->c_row);
  else
    kernels->act_f64(g->act, g->m, g->n, g->c, p->with.z, p->with.residual, g->c_row);
}

static qn_status run_piece(const struct product *p, bool by_blas) {
  if (by_blas) {
    qni_blas_run(&p->g);
    finish(p);
    return QN_OK;
  }
  void *pack = qni_pool_slot(QNI_LOCAL_GEMM, PACK_ROOM);
  if (!pack) return QN_E_NOMEM;
  if (p->g.dtype == QN_F32)
    qni_gemm_kernels()->f32(&p->g, &p->with, pack, PACK_ROOM);
  else
    qni_gemm_kernels()->f64(&p->g, &p->with, pack, PACK_ROOM);
  return QN_OK;
}

/* Rows i.. and columns j.. of item b. */
static struct product piece_of(const struct product *whole, int64_t b, int64_t i, int64_t m,
                               int64_t j, int64_t n) {
  const qn_gemm *g = &whole->g;
  const size_t size = size_of(g);
  const int64_t c = (b * g->c_batch + i * g->c_row + j) * (int64_t)size;
  struct product p = *whole;
  p.g.batch = 1;
  p.g.m = m;
  p.g.n = n;
  p.g.a = shifted(g->a, b * g->a_batch + i * g->a_row, size);
  p.g.b = shifted(g->b, b * g->b_batch + j * g->b_col, size);
  p.g.c = (char *)g->c + c;
  p.g.bias = shifted(g->bias, j, size);
  if (p.with.z) p.with.z = (char *)p.with.z + c;
  if (p.with.residual) p.with.residual = (const char *)p.with.residual + c;
  if (n < g->n || g->batch > 1) p.with.panels = NULL;
  return p;
}

/* Large products in f64, for which our tiles are not tuned. */
static bool blas_is_better(const qn_gemm *g) {
  return g->dtype == QN_F64 && g->m >= 256 && g->n >= 512 && g->k >= 512 && qni_blas_takes(g);
}

/* ---- By tiles ---- */

struct tiles {
  const struct product *whole;
  int64_t m, n, rows, columns; /* of a piece; pieces of an item: stripes of rows, of columns */
  bool by_blas;
};

static qn_status run_tiles(void *ctx, int64_t begin, int64_t end) {
  const struct tiles *t = ctx;
  const qn_gemm *g = &t->whole->g;
  qn_status status = QN_OK;
  for (int64_t x = begin; x < end && !status; x++) {
    const int64_t item = x / (t->rows * t->columns), at = x % (t->rows * t->columns);
    const int64_t i = at % t->rows * t->m, j = at / t->rows * t->n;
    const int64_t m = g->m - i < t->m ? g->m - i : t->m, n = g->n - j < t->n ? g->n - j : t->n;
    const struct product p = piece_of(t->whole, item, i, m, j, n);
    status = run_piece(&p, t->by_blas);
  }
  return status;
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A piece of a side cut into so many, in whole units. */
static int64_t part_of(int64_t side, int64_t parts, int64_t unit) {
  return divide_up(divide_up(side, parts), unit) * unit;
}

/*
** Halves the longer side until there are EACH pieces for every thread so large that packing is repaid, or FEW
** of any worthwhile size. A product of which nothing need be packed goes to two workers early. Our kernels sum
** every number of C in one order however it is cut; a BLAS does not, so its cuts are the same for all threads.
*/
static void cut_tiles(struct tiles *t) {
  const qn_gemm *g = &t->whole->g;
  const int32_t threads = qni_pool_threads();
  const int64_t wanted = t->by_blas ? STRIPES : threads > 1 ? EACH * threads : 1;
  t->m = g->m;
  t->n = g->n;
  for (;;) {
    t->rows = divide_up(g->m, t->m);
    t->columns = divide_up(g->n, t->n);
    const int64_t pieces = t->rows * t->columns * g->batch;
    const int64_t least_m = pieces < FEW ? 24 : 192, least_n = pieces < FEW ? 64 : 256;
    const int64_t m = part_of(g->m, 2 * t->rows, UNIT_ROWS),
                  n = part_of(g->n, 2 * t->columns, UNIT_COLUMNS);
    const double worthwhile = pieces == 1 && g->b_col == 1 ? 4e5 : 2e6;
    const bool rows = m >= least_m && m < t->m && (t->m >= t->n || n == t->n),
               columns = n >= least_n && n < t->n && !t->whole->with.panels;
    const double flops = 2.0 * (double)t->m * (double)t->n * (double)(g->k ? g->k : 1);
    if (pieces >= wanted || flops < worthwhile || !(rows || columns)) return;
    if (rows)
      t->m = m;
    else
      t->n = n;
  }
}

static qn_status by_tiles(const struct product *whole) {
  const qn_gemm *g = &whole->g;
  struct tiles t = {.whole = whole, .by_blas = blas_is_better(g)};
  cut_tiles(&t);
  const double piece = 2.0 * (double)t.m * (double)t.n * (double)(g->k ? g->k : 1);
  const int64_t pieces = t.rows * t.columns * g->batch;
  const double least = pieces < FEW ? 2e5 : 1e6; /* worth the hand-over */
  return qni_pool_run(pieces, piece < least ? (int64_t)(least / piece) + 1 : 1, run_tiles, &t);
}

/* ---- By k ---- */

enum { PARTS = 16, PART_LEAST = 512, CELLS_MOST = 512 * 1024 };

struct parts {
  const struct product *whole;
  const qn_gemm *g;
  char *sums; /* [n_parts][m][n] */
  int64_t n_parts, step;
  int64_t n_stripes, stripe; /* of the rows of a part, where threads outnumber parts */
};

static qn_status sum_parts(void *ctx, int64_t begin, int64_t end) {
  const struct parts *s = ctx;
  const size_t size = size_of(s->g);
  qn_status status = QN_OK;
  for (int64_t x = begin; x < end && !status; x++) {
    const int64_t i = x / s->n_stripes, at = i * s->step, left = s->g->k - at;
    const int64_t row = x % s->n_stripes * s->stripe, rows = s->g->m - row;
    struct product part = {.g = *s->g};
    qn_gemm *p = &part.g;
    p->m = rows < s->stripe ? rows : s->stripe;
    p->k = left < s->step ? left : s->step;
    p->a = shifted(p->a, at * p->a_col + row * p->a_row, size);
    p->b = shifted(p->b, at * p->b_row, size);
    p->c = s->sums + (size_t)((i * s->g->m + row) * p->n) * size;
    p->c_row = p->n;
    p->bias = NULL;
    p->alpha = 1;
    p->beta = 0;
    p->act = QN_ACT_NONE;
    status = run_piece(&part, false);
  }
  return status;
}

#define REAL float
#define FN(name) name##_f32
#include "exec/gemm_parts_typed.h"
#undef REAL
#undef FN
#define REAL double
#define FN(name) name##_f64
#include "exec/gemm_parts_typed.h"
#undef REAL
#undef FN

static qn_status by_k(const struct product *whole) {
  const qn_gemm *g = &whole->g;
  struct parts s = {.whole = whole, .g = g};
  const int64_t most = g->m * g->n > CELLS_MOST / 4 ? PARTS / 2 : PARTS;
  const int64_t parts = g->k / PART_LEAST < most ? g->k / PART_LEAST : most;
  s.step = divide_up(divide_up(g->k, parts), 8) * 8;
  s.n_parts = divide_up(g->k, s.step);
  s.stripe = part_of(g->m, divide_up(qni_pool_threads(), s.n_parts), 4 * UNIT_ROWS);
  s.n_stripes = divide_up(g->m, s.stripe);
  const size_t bytes = (size_t)(s.n_parts * g->m * g->n) * size_of(g);
  s.sums = qni_mem_buffer(bytes);
  if (!s.sums) return QN_E_NOMEM;
  qn_status status = qni_pool_run(s.n_parts * s.n_stripes, 1, sum_parts, &s);
  const int64_t grain = divide_up(16384, g->n * s.n_parts);
  if (!status) status = qni_pool_run(g->m, grain, g->dtype == QN_F32 ? join_f32 : join_f64, &s);
  qni_mem_buffer_free(s.sums, bytes);
  return status;
}

/* Rows alone would give too few pieces, and the parts' memory stays small beside A and B. */
static bool prefers_k(const qn_gemm *g) {
  return g->batch == 1 && g->k >= 2 * PART_LEAST && g->m * g->n <= CELLS_MOST &&
         g->k >= 8 * (g->m > g->n ? g->m : g->n);
}

/* ---- In a range ---- */

/*
** A caller that is in a range of the pool has its share of the work already: nothing is cut, B is
** packed once, sums over k go straight to C.
*/
static qn_status alone(const struct product *whole) {
  const qn_gemm *g = &whole->g;
  const bool by_blas = blas_is_better(g) && !whole->with.panels;
  qn_status status = QN_OK;
  for (int64_t b = 0; b < g->batch && !status; b++) {
    const struct product p = piece_of(whole, b, 0, g->m, 0, g->n);
    status = run_piece(&p, by_blas);
  }
  return status;
}

/* ---- The door ---- */

static qn_status refuse(const qn_gemm *g) {
  if (g->dtype != QN_F32 && g->dtype != QN_F64) {
    qni_fail(QN_E_DTYPE, "a matrix product takes f32 or f64, got element type %d", g->dtype);
    return QN_E_DTYPE;
  }
  qni_fail(QN_E_ARG, "a matrix product has negative sizes or an unknown activation");
  qni_error_detail("m %lld, n %lld, k %lld, batch %lld, act %d", (long long)g->m, (long long)g->n,
                   (long long)g->k, (long long)g->batch, g->act);
  return QN_E_ARG;
}

qn_status qni_gemm_beside(const qn_gemm *g, const void *panels, void *z, const void *residual) {
  if ((g->dtype != QN_F32 && g->dtype != QN_F64) || g->m < 0 || g->n < 0 || g->k < 0 ||
      g->batch < 0 || g->act < QN_ACT_NONE || g->act > QN_ACT_GELU)
    return refuse(g);
  if (!g->m || !g->n || !g->batch) return QN_OK;
  const struct product whole = {*g, {panels, z, residual}};
  if (qni_pool_inside()) return alone(&whole);
  return prefers_k(g) ? by_k(&whole) : by_tiles(&whole);
}

size_t qni_gemm_pack_bytes(const qn_gemm *g, int64_t *n_panels) {
  *n_panels = qni_gemm_kernels()->n_panels[0](g->n);
  return qni_gemm_kernels()->panel_bytes[0](g->n, g->k);
}

void qni_gemm_pack(const qn_gemm *g, int64_t first, int64_t end, void *panels) {
  qni_gemm_kernels()->panels[0](g, first, end, panels);
}

qn_status qni_gemm(const qn_gemm *g) { return qni_gemm_beside(g, NULL, NULL, NULL); }
