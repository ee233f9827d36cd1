/*
** Matrix products against sums in double, for every level, stride, epilogue and size
** class, and equal bits for any number of workers.
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exec/cpu.h"
#include "exec/gemm.h"
#include "exec/pool.h"
#include "kernels/gemm.h"
#include "kernels/math.h"

static const int64_t sizes[] = {0, 1, 2, 3, 7, 16, 33, 50, 64, 129};
enum { N_SIZES = sizeof sizes / sizeof *sizes };
static const char *const levels[] = {"plain", "avx2", "avx512"};

static uint32_t state = 7;
static double uniform(void) {
  state = state * 1664525u + 1013904223u;
  return (double)(state >> 8) / 8388608.0 - 1.0;
}

/* Buffers with sentinels around what a product may write. */
static void *random_cells(int64_t n, int32_t dtype) {
  void *cells = malloc((size_t)(n + 1) * 8);
  assert_non_null(cells);
  for (int64_t i = 0; i < n; i++)
    if (dtype == QN_F32)
      ((float *)cells)[i] = (float)uniform();
    else
      ((double *)cells)[i] = uniform();
  return cells;
}

static double cell(const void *p, int64_t i, int32_t dtype) {
  return dtype == QN_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static double act_of(int32_t act, double x) {
  switch (act) {
  case QN_ACT_RELU: return x < 0 ? 0 : x;
  case QN_ACT_SILU: return x / (1 + exp(-x));
  case QN_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
  default: return x;
  }
}

/* Before the activation. */
static double expected(const qn_gemm *g, const void *before, int64_t b, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t p = 0; p < g->k; p++)
    sum += cell(g->a, b * g->a_batch + i * g->a_row + p * g->a_col, g->dtype) *
           cell(g->b, b * g->b_batch + p * g->b_row + j * g->b_col, g->dtype);
  double y = g->alpha * sum;
  if (g->beta != 0) y += g->beta * cell(before, b * g->c_batch + i * g->c_row + j, g->dtype);
  if (g->bias) y += cell(g->bias, j, g->dtype);
  return y;
}

struct layout {
  bool a_turned, b_turned, gaps; /* transposed operands; strides with room between */
};

/* How products are run: on their own, as part of a parallel loop, there with B packed before. */
static enum { BY_ITSELF, IN_A_RANGE, PACKED } way;

struct call {
  const qn_gemm *g;
  const void *panels, *residual;
  void *z;
};

static qn_status call_range(void *ctx, int64_t begin, int64_t end) {
  const struct call *c = ctx;
  (void)begin, (void)end;
  return qni_gemm_beside(c->g, c->panels, c->z, c->residual);
}

static void run_product(const qn_gemm *g, void *z, const void *residual) {
  const qni_gemm_table *kernels = qni_gemm_kernels();
  const int is64 = g->dtype == QN_F64;
  struct call c = {.g = g, .z = z, .residual = residual};
  if (way == BY_ITSELF) {
    assert_int_equal(qni_gemm_beside(g, NULL, z, residual), QN_OK);
    return;
  }
  void *panels = NULL;
  if (way == PACKED && g->batch == 1) {
    const int64_t all = kernels->n_panels[is64](g->n);
    const size_t bytes = kernels->panel_bytes[is64](g->n, g->k);
    panels = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(panels);
    kernels->panels[is64](g, all / 2, all, panels);
    kernels->panels[is64](g, 0, all / 2, panels);
    c.panels = panels;
  }
  assert_int_equal(qni_pool_run(1, 1, call_range, &c), QN_OK);
  free(panels);
}

/* Runs one product and compares every cell, those between rows of C included. */
static void check_product(int64_t m, int64_t n, int64_t k, int64_t batch, struct layout l,
                          double alpha, double beta, bool bias, int32_t act, int32_t dtype) {
  const int64_t gap = l.gaps ? 3 : 0;
  qn_gemm g = {.m = m,
               .n = n,
               .k = k,
               .batch = batch,
               .alpha = alpha,
               .beta = beta,
               .act = act,
               .dtype = dtype,
               .c_row = n + gap};
  const int64_t a_lead = (l.a_turned ? m : k) + gap, b_lead = (l.b_turned ? k : n) + gap;
  g.a_row = l.a_turned ? 1 : a_lead;
  g.a_col = l.a_turned ? a_lead : 1;
  g.b_row = l.b_turned ? 1 : b_lead;
  g.b_col = l.b_turned ? b_lead : 1;
  g.a_batch = a_lead * (l.a_turned ? k : m);
  g.b_batch = b_lead * (l.b_turned ? n : k);
  g.c_batch = g.c_row * m;
  const int64_t c_cells = g.c_batch * batch;
  void *a = random_cells(g.a_batch * batch, dtype), *b = random_cells(g.b_batch * batch, dtype);
  void *row = random_cells(n, dtype), *before = random_cells(c_cells, dtype);
  void *residual = (m + n + k) % 3 ? NULL : random_cells(c_cells, dtype);
  const size_t bytes = (size_t)c_cells * (dtype == QN_F32 ? 4 : 8);
  if (beta == 0) memset(before, 0xFF, bytes); /* NaN: must not be read */
  void *c = malloc(bytes + 8), *z = malloc(bytes + 8);
  assert_non_null(c);
  assert_non_null(z);
  memcpy(c, before, bytes);
  memcpy(z, before, bytes);
  g.a = a;
  g.b = b;
  g.c = c;
  g.bias = bias ? row : NULL;
  run_product(&g, z, residual);
  const double slack = (dtype == QN_F32 ? 3e-7 : 1e-15) * (8 + sqrt((double)k) * 4);
  for (int64_t x = 0; x < c_cells; x++) {
    const int64_t item = x / g.c_batch, i = x % g.c_batch / g.c_row, j = x % g.c_row;
    if (j >= n) {
      const size_t size = dtype == QN_F32 ? 4 : 8;
      assert_memory_equal((char *)c + (size_t)x * size, (char *)before + (size_t)x * size, size);
      assert_memory_equal((char *)z + (size_t)x * size, (char *)before + (size_t)x * size, size);
      continue;
    }
    const double kept = expected(&g, before, item, i, j), got = cell(c, x, dtype);
    const double want = act_of(act, kept) + (residual ? cell(residual, x, dtype) : 0);
    if (!(fabs(kept - cell(z, x, dtype)) <= slack * (1 + fabs(kept))))
      fail_msg("before act %d: %.9g, expected %.9g", (int)act, cell(z, x, dtype), kept);
    if (!(fabs(want - got) <= slack * (1 + fabs(want))))
      fail_msg("[%d,%d]x[%d,%d] a' %d b' %d gaps %d dtype %d act %d at %d,%d: %.9g, expected %.9g",
               (int)m, (int)k, (int)k, (int)n, l.a_turned, l.b_turned, l.gaps, dtype, act, (int)i,
               (int)j, got, want);
  }
  free(a);
  free(b);
  free(row);
  free(residual);
  free(before);
  free(c);
  free(z);
}

static bool level(const char *name) {
  if (!qni_cpu_start(name)) return true;
  print_message("level %s skipped: not on this CPU or build\n", name);
  return false;
}

static void all_sizes_and_transposes(void **test) {
  (void)test;
  for (int l = 0; l < 3; l++) {
    if (!level(levels[l])) continue;
    for (int i = 0; i < N_SIZES; i++)
      for (int j = 0; j < N_SIZES; j++)
        for (int p = 0; p < N_SIZES; p++) {
          const int turn = (i + j + p) % 8;
          const struct layout lay = {turn & 1, turn & 2, turn & 4};
          const int32_t dtype = (i + 2 * j + p) % 3 ? QN_F32 : QN_F64;
          check_product(sizes[i], sizes[j], sizes[p], 1, lay, 1, 0, false, QN_ACT_NONE, dtype);
        }
  }
}

static void epilogues(void **test) {
  (void)test;
  static const double betas[] = {0, 1, -0.5};
  for (int l = 0; l < 3; l++) {
    if (!level(levels[l])) continue;
    for (int x = 0; x < 48; x++) {
      const struct layout lay = {x & 1, x & 2, x % 3 == 0};
      check_product(17 + x % 5, 19 + x % 31, 5 + x % 13, 1 + x % 2, lay, x % 3 ? 1 : 0.25,
                    betas[x % 3], x & 4, x / 4 % 4, x % 2 ? QN_F64 : QN_F32);
    }
  }
}

static void batches_and_blocks_of_k(void **test) {
  (void)test;
  for (int l = 0; l < 3; l++) {
    if (!level(levels[l])) continue;
    for (int turn = 0; turn < 8; turn++) {
      const struct layout lay = {turn & 1, turn & 2, turn & 4};
      check_product(30, 50, 40, 33, lay, 1, 0, true, QN_ACT_SILU, QN_F32);
      check_product(25, 70, 1300, 1, lay, 0.5, 1, true, QN_ACT_RELU, QN_F32);
      check_product(25, 70, 600, 1, lay, 0.5, 1, true, QN_ACT_NONE, QN_F64);
      check_product(13, 40, 6000, 1, lay, 0.5, -1, true, QN_ACT_GELU, QN_F32); /* by k */
      check_product(7, 700, 33, 1, lay, 1, 0, false, QN_ACT_NONE, QN_F32);     /* by columns */
    }
  }
}

/* The same in a parallel loop, where nothing is cut, and with B packed before. */
static void products_in_a_range(void **test) {
  for (way = IN_A_RANGE; way <= PACKED; way++) {
    all_sizes_and_transposes(test);
    epilogues(test);
    batches_and_blocks_of_k(test);
  }
  way = BY_ITSELF;
}

/*
** Panels of nothing but zeros are passed over, in every block of k by itself, and change no bit: of A x 0
** nothing is added, not even what is not finite in A.
*/
static void empty_panels_are_passed_over(void **test) {
  (void)test;
  enum { M = 40, N = 300, K = 1100 };
  float *a = random_cells(M * K, QN_F32), *b = random_cells(K * N, QN_F32);
  float *c = malloc(M * N * sizeof *c), *want = malloc(M * N * sizeof *want);
  assert_non_null(c);
  assert_non_null(want);
  for (int64_t p = 0; p < K; p++)
    for (int64_t j = 0; j < N; j++)
      if (j < 130 || (p >= 700 && j >= 200)) b[p * N + j] = 0;
  qn_gemm g = {.m = M,
               .n = N,
               .k = K,
               .batch = 1,
               .a = a,
               .b = b,
               .c = want,
               .a_row = K,
               .a_col = 1,
               .b_row = N,
               .b_col = 1,
               .c_row = N,
               .alpha = 1,
               .dtype = QN_F32};
  for (int l = 0; l < 3; l++) {
    if (!level(levels[l])) continue;
    g.c = want;
    way = IN_A_RANGE;
    run_product(&g, NULL, NULL);
    g.c = c;
    way = PACKED;
    run_product(&g, NULL, NULL);
    assert_memory_equal(c, want, M * N * sizeof *c);
    const float kept = a[7];
    a[7] = INFINITY;
    run_product(&g, NULL, NULL);
    a[7] = kept;
    assert_true(c[0] == 0 && isinf(c[140]));
  }
  way = BY_ITSELF;
  free(a);
  free(b);
  free(c);
  free(want);
}

/* k = 0 is a sum of nothing: beta C + bias, and the operands are not looked at. */
static void nothing_to_sum(void **test) {
  (void)test;
  float c[6] = {1, 2, 3, 4, 5, 6}, bias[3] = {10, 20, 30};
  qn_gemm g = {.m = 2,
               .n = 3,
               .batch = 1,
               .c = c,
               .c_row = 3,
               .alpha = 1,
               .beta = 2,
               .bias = bias,
               .dtype = QN_F32};
  assert_int_equal(qni_gemm(&g), QN_OK);
  const float want[6] = {12, 24, 36, 18, 30, 42};
  assert_memory_equal(c, want, sizeof want);
}

static void broadcast_batch_operands(void **test) {
  (void)test;
  float a[2 * 4], b[4 * 3], c[5 * 2 * 3];
  for (int i = 0; i < 8; i++) a[i] = (float)i;
  for (int i = 0; i < 12; i++) b[i] = (float)(i - 5);
  qn_gemm g = {.m = 2,
               .n = 3,
               .k = 4,
               .batch = 5,
               .a = a,
               .b = b,
               .c = c,
               .a_row = 4,
               .a_col = 1,
               .b_row = 3,
               .b_col = 1,
               .c_row = 3,
               .c_batch = 6,
               .alpha = 1,
               .dtype = QN_F32};
  assert_int_equal(qni_gemm(&g), QN_OK);
  for (int i = 1; i < 5; i++) assert_memory_equal(c, c + 6 * i, 6 * sizeof *c);
  assert_true(c[0] == (float)(0 * -5 + 1 * -2 + 2 * 1 + 3 * 4));
}

static void bad_products_are_refused(void **test) {
  (void)test;
  float c = 0;
  qn_gemm g = {.m = 1, .n = 1, .k = -1, .batch = 1, .a = &c, .b = &c, .c = &c, .dtype = QN_F32};
  assert_int_equal(qni_gemm(&g), QN_E_ARG);
  qni_error_reset();
  g.k = 1;
  g.dtype = QN_I64;
  assert_int_equal(qni_gemm(&g), QN_E_DTYPE);
  qni_error_reset();
}

/*
** Shapes of every plan: by k (also in stripes, where workers outnumber parts), by rows, by columns, by batch, and
** by BLAS if there is one; A lies across, or along.
*/
static void bits_do_not_depend_on_workers(void **test) {
  (void)test;
  static const int64_t shapes[][5] = {
      {50, 50, 9000, 1, 1},   {2000, 50, 50, 1, 1},   {20, 3000, 64, 1, 1},
      {40, 40, 50, 31, 1},    {512, 520, 600, 1, 1},  {256, 1024, 256, 1, 1},
      {120, 130, 1100, 1, 1}, {256, 544, 4400, 1, 1}, {900, 300, 520, 1, 0}};
  static const int32_t workers[] = {1, 2, 3, 7};
  assert_int_equal(qni_cpu_start(NULL), QN_OK);
  assert_int_equal(qni_blas_start(NULL), QN_OK);
  qni_pool_shake(true);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], batch = shapes[s][3];
    float *a = random_cells(m * k * batch, QN_F32), *b = random_cells(k * n * batch, QN_F32);
    const size_t bytes = (size_t)(m * n * batch) * sizeof(float);
    float *first = malloc(bytes), *c = malloc(bytes);
    qn_gemm g = {.m = m,
                 .n = n,
                 .k = k,
                 .batch = batch,
                 .a = a,
                 .b = b,
                 .c = c,
                 .a_row = shapes[s][4] ? 1 : k,
                 .a_col = shapes[s][4] ? m : 1,
                 .a_batch = m * k,
                 .b_row = n,
                 .b_col = 1,
                 .b_batch = k * n,
                 .c_row = n,
                 .c_batch = m * n,
                 .alpha = 1,
                 .dtype = QN_F32};
    for (int w = 0; w < 4; w++) {
      assert_int_equal(qni_pool_resize(workers[w]), QN_OK);
      assert_int_equal(qni_gemm(&g), QN_OK);
      if (w == 0)
        memcpy(first, c, bytes);
      else
        assert_memory_equal(first, c, bytes);
    }
    free(a);
    free(b);
    free(c);
    free(first);
  }
  qni_pool_shake(false);
  assert_int_equal(qni_blas_start("none"), QN_OK);
  qni_pool_stop();
}

static void tile_of_the_math_table(void **test) {
  (void)test;
  for (int l = 0; l < 3; l++) {
    if (!level(levels[l])) continue;
    float a[9 * 40], b[40 * 21], c[9 * 21];
    for (int i = 0; i < 9 * 40; i++) a[i] = (float)uniform();
    for (int i = 0; i < 40 * 21; i++) b[i] = (float)uniform();
    for (int i = 0; i < 9 * 21; i++) c[i] = 1;
    qni_math()->gemm(9, 21, 40, 2.0f, a, 40, 1, b, 1, 40, c, 21, 1);
    for (int i = 0; i < 9; i++)
      for (int j = 0; j < 21; j++) {
        double sum = 0;
        for (int p = 0; p < 40; p++) sum += (double)a[i * 40 + p] * (double)b[j * 40 + p];
        assert_true(fabs(1 + 2 * sum - (double)c[i * 21 + j]) < 1e-5);
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_sizes_and_transposes), cmocka_unit_test(epilogues),
      cmocka_unit_test(batches_and_blocks_of_k),  cmocka_unit_test(empty_panels_are_passed_over),
      cmocka_unit_test(nothing_to_sum),           cmocka_unit_test(broadcast_batch_operands),
      cmocka_unit_test(bad_products_are_refused), cmocka_unit_test(bits_do_not_depend_on_workers),
      cmocka_unit_test(tile_of_the_math_table),   cmocka_unit_test(products_in_a_range),
  };
  return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
