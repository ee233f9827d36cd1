/*
** A BLAS found at run time. It is never linked: OpenBLAS chooses its kernels when it is
** loaded, by CPU model, and takes SSE3 ones for models younger than itself (five times
** slower). So the core type is set from the CPU's features first, then the library is
** opened, kept to one thread (the pool does the splitting), compared with our own
** kernels on one product, and timed.
** What is used for which shape never depends on the timing: that only warns.
** SPDX-License-Identifier: MIT
*/
#include "exec/blas.h"

#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "exec/cpu.h"
#include "exec/pool.h"
#include "exec/prof.h"
#include "kernels/gemm.h"

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112, CUBE = 256 };

typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float *, int, const float *,
                         int, float, float *, int);
typedef void (*dgemm_fn)(int, int, int, int, int, int, double, const double *, int, const double *,
                         int, double, double *, int);

static struct {
  void *library;
  sgemm_fn sgemm;
  dgemm_fn dgemm;
  char path[512], config[256], core[64], warning[512];
  double gflops, own_gflops;
} blas;

const char *qni_blas_path(void) { return blas.path; }
const char *qni_blas_config(void) { return blas.config; }
const char *qni_blas_core(void) { return blas.core; }
const char *qni_blas_warning(void) { return blas.warning; }
double qni_blas_speed(double *own) {
  if (own) *own = blas.own_gflops;
  return blas.gflops;
}

/* ---- Opening ---- */

/* ISO C has no conversion from object to function pointer; POSIX promises this one. */
static bool symbol(const char *name, void *function) {
  void *found = dlsym(blas.library, name);
  memcpy(function, &found, sizeof found);
  return found != NULL;
}

static const char *core_for_cpu(void) {
  if (qni_cpu_has("avx512f") && qni_cpu_has("avx512bw") && qni_cpu_has("avx512dq") &&
      qni_cpu_has("avx512vl"))
    return "SkylakeX";
  return qni_cpu_has("avx2") && qni_cpu_has("fma") ? "Haswell" : NULL;
}

static void read_texts(void) {
  char *(*text)(void);
  if (symbol("openblas_get_corename", &text)) snprintf(blas.core, sizeof blas.core, "%s", text());
  if (symbol("openblas_get_config", &text)) snprintf(blas.config, sizeof blas.config, "%s", text());
}

/* Something else had loaded OpenBLAS before the core type was set: makes it choose again. */
static void choose_core_again(void) {
  void (*quit)(void), (*init)(void);
  void **chosen = dlsym(blas.library, "gotoblas");
  if (!chosen || !symbol("gotoblas_dynamic_quit", &quit) || !symbol("gotoblas_dynamic_init", &init))
    return;
  quit();
  *chosen = NULL;
  init();
  read_texts();
}

static bool open_library(const char *path) {
  static const char *const candidates[] = {"libopenblas.so.0", "libopenblas.so",
                                           "libopenblasp.so.0", "libcblas.so.3", "libblis.so.4"};
  size_t count = path ? 1 : sizeof candidates / sizeof *candidates;
  blas.library = NULL; /* one opened before stays loaded: it may have threads */
  for (size_t i = 0; i < count && !blas.library; i++) {
    const char *name = path ? path : candidates[i];
    blas.library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (blas.library && symbol("cblas_sgemm", &blas.sgemm) && symbol("cblas_dgemm", &blas.dgemm))
      break;
    if (blas.library) dlclose(blas.library);
    blas.library = NULL;
  }
  if (!blas.library) return false;
  Dl_info info;
  void *address;
  memcpy(&address, &blas.sgemm, sizeof address);
  const char *found = dladdr(address, &info) && info.dli_fname ? info.dli_fname : path;
  snprintf(blas.path, sizeof blas.path, "%s", found ? found : "BLAS");
  return true;
}

/* ---- Looking at it ---- */

struct cube {
  float *a, *b, *own, *theirs;
};

static qn_gemm cube_product(const struct cube *t, float *c) {
  return (qn_gemm){.m = CUBE,
                   .n = CUBE,
                   .k = CUBE,
                   .batch = 1,
                   .a = t->a,
                   .b = t->b,
                   .c = c,
                   .a_row = CUBE,
                   .a_col = 1,
                   .b_row = CUBE,
                   .b_col = 1,
                   .c_row = CUBE,
                   .alpha = 1,
                   .beta = 0,
                   .dtype = QN_F32};
}

/* Best of five, in GF/s. */
static double time_cube(const struct cube *t, bool own, void *pack, int64_t room) {
  const qn_gemm g = cube_product(t, own ? t->own : t->theirs);
  int64_t best = INT64_MAX;
  for (int i = 0; i < 5; i++) {
    int64_t begin = qni_prof_now();
    if (own)
      qni_gemm_kernels()->f32(&g, NULL, pack, room);
    else
      qni_blas_run(&g);
    int64_t spent = qni_prof_now() - begin;
    if (spent < best) best = spent;
  }
  return 2.0 * CUBE * CUBE * CUBE / (double)(best > 0 ? best : 1);
}

static bool equal_enough(const struct cube *t) {
  for (int i = 0; i < CUBE * CUBE; i++)
    if (!(fabsf(t->own[i] - t->theirs[i]) <= 1e-3f)) return false;
  return true;
}

/* Compares and times one product; false with a warning when the library is wrong. */
static qn_status examine(bool *good) {
  enum { CELLS = CUBE * CUBE, ROOM = 512 * 1024 };
  size_t bytes = 4 * sizeof(float) * CELLS + ROOM;
  float *memory = qni_mem_buffer(bytes);
  if (!memory) return QN_E_NOMEM;
  struct cube t = {memory, memory + CELLS, memory + 2 * CELLS, memory + 3 * CELLS};
  uint32_t state = 1;
  for (int i = 0; i < 2 * CELLS; i++) {
    state = state * 1664525u + 1013904223u;
    memory[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
  }
  blas.own_gflops = time_cube(&t, true, memory + 4 * CELLS, ROOM);
  blas.gflops = time_cube(&t, false, NULL, 0);
  *good = equal_enough(&t);
  qni_mem_buffer_free(memory, bytes);
  if (!*good)
    snprintf(blas.warning, sizeof blas.warning,
             "%s gives wrong products and is not used; own kernels take all of them", blas.path);
  else if (blas.gflops < 0.4 * blas.own_gflops)
    snprintf(blas.warning, sizeof blas.warning,
             "%s is slow here: %.0f GF/s with core type %s, own kernels %.0f; "
             "set OPENBLAS_CORETYPE or QUERN_BLAS=none",
             blas.path, blas.gflops, blas.core[0] ? blas.core : "unknown", blas.own_gflops);
  return QN_OK;
}

/* The library maps a work buffer at a thread's first product. */
static qn_status warm(void *ctx, int64_t begin, int64_t end) {
  float cells[3][64 * 64] = {{0}};
  const qn_gemm g = {.m = 64,
                     .n = 64,
                     .k = 64,
                     .batch = 1,
                     .a = cells[0],
                     .b = cells[1],
                     .c = cells[2],
                     .a_row = 64,
                     .a_col = 1,
                     .b_row = 64,
                     .b_col = 1,
                     .c_row = 64,
                     .alpha = 1,
                     .beta = 0,
                     .dtype = QN_F32};
  (void)ctx;
  for (int64_t i = begin; i < end; i++) qni_blas_run(&g);
  return QN_OK;
}

static void forget(void) {
  blas.sgemm = NULL;
  blas.dgemm = NULL;
  blas.path[0] = blas.core[0] = blas.config[0] = 0;
}

qn_status qni_blas_start(const char *path) {
  if (path && !*path) path = NULL;
  forget();
  blas.warning[0] = 0;
  if (path && !strcmp(path, "none")) return QN_OK;
  const char *core = core_for_cpu();
  bool ours = core && !getenv("OPENBLAS_CORETYPE");
  if (ours) setenv("OPENBLAS_CORETYPE", core, 1);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  if (!open_library(path)) {
    forget();
    snprintf(blas.warning, sizeof blas.warning,
             "no BLAS found (%s); own kernels take all products; install libopenblas0-pthread",
             path ? path : "libopenblas.so.0");
    return QN_OK;
  }
  read_texts();
  if (ours && blas.core[0] && strcmp(blas.core, core)) choose_core_again();
  void (*set_threads)(int);
  if (symbol("openblas_set_num_threads", &set_threads)) set_threads(1);
  bool good = true;
  qn_status status = examine(&good);
  if (!status && good) status = qni_pool_run(qni_pool_threads(), 1, warm, NULL);
  if (status || !good) forget();
  return status;
}

/* ---- Use ---- */

static bool side_fits(int64_t row, int64_t col, int64_t rows, int64_t cols) {
  int64_t lead = col == 1 ? row : col, least = col == 1 ? cols : rows;
  return (col == 1 || row == 1) && lead >= least && lead >= 1 && lead <= INT_MAX;
}

bool qni_blas_takes(const qn_gemm *g) {
  return blas.sgemm && g->m <= INT_MAX && g->n <= INT_MAX && g->k <= INT_MAX && g->m > 0 &&
         g->n > 0 && g->k > 0 && g->c_row >= g->n && g->c_row <= INT_MAX &&
         side_fits(g->a_row, g->a_col, g->m, g->k) && side_fits(g->b_row, g->b_col, g->k, g->n);
}

void qni_blas_run(const qn_gemm *g) {
  const int m = (int)g->m, n = (int)g->n, k = (int)g->k, c_row = (int)g->c_row;
  const int a_trans = g->a_col == 1 ? NO_TRANS : TRANS, b_trans = g->b_col == 1 ? NO_TRANS : TRANS;
  const int a_lead = (int)(g->a_col == 1 ? g->a_row : g->a_col);
  const int b_lead = (int)(g->b_col == 1 ? g->b_row : g->b_col);
  if (g->dtype == QN_F32)
    blas.sgemm(ROW_MAJOR, a_trans, b_trans, m, n, k, (float)g->alpha, g->a, a_lead, g->b, b_lead,
               (float)g->beta, g->c, c_row);
  else
    blas.dgemm(ROW_MAJOR, a_trans, b_trans, m, n, k, g->alpha, g->a, a_lead, g->b, b_lead, g->beta,
               g->c, c_row);
}
