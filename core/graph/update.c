/*
** Lane sums, clipping, optimizer step and mask in one pass over memory.
**
**   g = scale (lane_0 + lane_1 + ...);  w, m, v = step(w, m, v, clip g), where mask is not 0
**
** A block of g is summed into a worker's cache and taken from there by the kernel of the
** optimizer's op. With clipping there are two passes, since the norm must be known: the
** first stores g and sums its squares. A row of a table is summed and stepped by its one owner.
** Nothing is zeroed: the first part of the next step overwrites. Moments stored as bf16 are widened
** block by block, and rounded stochastically when they are put back (kernels/bf16.h). So is a parameter
** stored as bf16; with a master in f32 that is stepped on, and rounded to the nearest.
** SPDX-License-Identifier: MIT
*/
#include "graph/update.h"

#include <math.h>
#include <string.h>

#include "exec/pool.h"
#include "kernels/bf16.h"

_Static_assert((int)QNI_SQUARES_CHUNK == (int)QNI_OPTIM_GRAIN, "norms are summed as the op does");
enum { BLOCK = 2048, CHUNK = QNI_OPTIM_GRAIN, ROWS_PER_CHUNK = 256, MOST_ROW = 4096 };

/* ---- What is possible ---- */

static const qni_update *update_of(const qni_update *u, int32_t n, const qn_tensor *leaf) {
  for (int32_t i = 0; i < n; i++)
    if (u[i].w->storage == leaf->storage && u[i].w->view.data == leaf->view.data) return &u[i];
  return NULL;
}

static bool got_dense(const qni_leaf_sum *s) {
  bool got = false;
  for (int32_t k = 0; k < QNI_LANES; k++) got |= s->touched[k];
  return got;
}

static bool got_rows(const qni_leaf_sum *s) {
  bool got = false;
  for (int32_t k = 0; k < QNI_LANES; k++) got |= s->rows[k].n_parts > 0;
  return got;
}

static bool same_shape(const qn_tensor *a, const qn_tensor *b, int32_t dtype) {
  bool same = a->view.dtype == dtype && a->view.ndim == b->view.ndim &&
              qni_view_contiguous(&a->view) && a->storage != b->storage;
  for (int32_t d = 0; same && d < a->view.ndim; d++) same = a->view.shape[d] == b->view.shape[d];
  return same;
}

/* What is worked in. */
static int32_t dtype_of(const qni_update *u) {
  return u->w->view.dtype == QN_F64 ? QN_F64 : QN_F32;
}

/* A moment is of the type that is worked in, or bf16 beside f32. */
static bool moment_fits(const qn_tensor *m, const qni_update *u) {
  bool narrow = m->view.dtype == QN_BF16 && dtype_of(u) == QN_F32;
  return same_shape(m, u->w, narrow ? QN_BF16 : dtype_of(u));
}

static bool state_fits(const qni_update *u) {
  int32_t dtype = dtype_of(u);
  if (u->mask && !same_shape(u->mask, u->w, QN_BOOL)) return false;
  if (u->master && (u->w->view.dtype != QN_BF16 || !same_shape(u->master, u->w, QN_F32)))
    return false;
  if (u->m && u->v && u->kind != QNI_UPDATE_ADAGRAD_ROWS && u->m->view.dtype != u->v->view.dtype)
    return false;
  if (u->m && !moment_fits(u->m, u)) return false;
  if (u->kind == QNI_UPDATE_ADAGRAD_ROWS)
    return u->v && u->v->view.dtype == dtype && qni_view_contiguous(&u->v->view) &&
           qni_view_count(&u->v->view) == (u->w->view.ndim ? u->w->view.shape[0] : 1);
  if (u->kind == QNI_UPDATE_SGD) return u->m || u->with.momentum == 0;
  return u->m && u->v && moment_fits(u->v, u);
}

static bool leaf_possible(const qni_leaf_sum *s, const qni_update *u, bool clip) {
  bool dense = got_dense(s), rows = got_rows(s);
  if (!dense && !rows) return true;
  if (!u || s->leaf->grad || s->leaf->grad_ids || s->leaf->hooks || !state_fits(u)) return false;
  if (dense && rows) return false;
  if (dense) return u->kind != QNI_UPDATE_ADAGRAD_ROWS;
  const qn_view *v = &s->leaf->view;
  return (u->kind == QNI_UPDATE_ADAM_ROWS || u->kind == QNI_UPDATE_ADAGRAD_ROWS) && !clip &&
         !u->mask && qni_shape_count(v->ndim - 1, v->shape + 1) <= MOST_ROW;
}

bool qni_update_possible(const qni_lanes *l, const qni_update *u, int32_t n, bool clip) {
  for (int32_t i = 0; i < l->n; i++) {
    const qni_leaf_sum *s = &l->leaf[i];
    if (!leaf_possible(s, update_of(u, n, s->leaf), clip)) return false;
    if (clip && s->like.dtype != QN_F32) return false; /* norms of f64 come after those of f32 */
  }
  return true;
}

/* ---- What is stored as bf16 ---- */

/* Of a parameter and its moments; NULL: not stored so. */
struct narrow {
  uint16_t *w, *m, *v;
  float *master; /* of w; NULL: none */
  uint32_t seed_w, seed_m, seed_v;
};

static bool is_bf16(const qn_tensor *t) { return t && t->view.dtype == QN_BF16; }

static struct narrow narrow_of(const qni_update *u) {
  return (struct narrow){.w = is_bf16(u->w) ? u->w->view.data : NULL,
                         .m = is_bf16(u->m) ? u->m->view.data : NULL,
                         .v = is_bf16(u->v) ? u->v->view.data : NULL,
                         .master = u->master ? u->master->view.data : NULL,
                         .seed_m = qni_bf16_seed(u->with.step, u->salt),
                         .seed_v = qni_bf16_seed(u->with.step, u->salt + 1),
                         .seed_w = qni_bf16_seed(u->with.step, u->salt + 2)};
}

static void *wide_data(const qn_tensor *t) { return t && !is_bf16(t) ? t->view.data : NULL; }

static bool any_narrow(const struct narrow *s) { return s->w || s->m || s->v; }

/* n elements from `at` on, in f32; the job's pointers are to them already where they are not narrow. */
struct widened {
  float w[MOST_ROW], m[MOST_ROW], v[MOST_ROW];
};

static void widen(const struct narrow *s, int64_t at, int64_t n, struct widened *x,
                  qni_optim_job *job) {
  const qni_bf16_table *k = qni_bf16();
  if (s->m) k->widen(n, s->m + at, x->m), job->m = x->m;
  if (s->v) k->widen(n, s->v + at, x->v), job->v = x->v;
  if (s->w && s->master)
    k->follow(n, s->w + at, s->master + at), job->w = s->master + at;
  else if (s->w)
    k->widen(n, s->w + at, x->w), job->w = x->w;
}

static void put_back(const struct narrow *s, int64_t at, int64_t n, const struct widened *x) {
  const qni_bf16_table *k = qni_bf16();
  if (s->m) k->stochastic(n, x->m, s->m + at, at, s->seed_m);
  if (s->v) k->stochastic(n, x->v, s->v + at, at, s->seed_v);
  if (s->w && s->master)
    k->nearest(n, s->master + at, s->w + at);
  else if (s->w)
    k->stochastic(n, x->w, s->w + at, at, s->seed_w);
}

/* ---- Dense ---- */

struct pass {
  const void *lane[QNI_LANES];
  int32_t n_lanes;
  double scale;
  int64_t n;
  bool wide;         /* f64 */
  char *flat;        /* where g lies, or goes in the first of two passes; NULL: in passing */
  double *part;      /* sums of squares by chunk */
  qn_range_fn step;  /* of the optimizer */
  qni_optim_job job; /* pointers to element 0; g is set by block */
  struct narrow narrow;
};

#define SUM_BLOCK(REAL)                                                                            \
  static void sum_##REAL(const struct pass *p, int64_t begin, int64_t n, REAL *restrict to) {      \
    const REAL scale = (REAL)p->scale;                                                             \
    for (int64_t i = 0; i < n; i++) to[i] = 0;                                                     \
    for (int32_t k = 0; k < p->n_lanes; k++) {                                                     \
      const REAL *restrict x = (const REAL *)p->lane[k] + begin;                                   \
      for (int64_t i = 0; i < n; i++) to[i] += x[i];                                               \
    }                                                                                              \
    for (int64_t i = 0; i < n; i++) to[i] *= scale;                                                \
  }
SUM_BLOCK(float)
SUM_BLOCK(double)

static void sum_block(const struct pass *p, int64_t begin, int64_t n, void *to) {
  if (p->wide)
    sum_double(p, begin, n, to);
  else
    sum_float(p, begin, n, to);
}

static void *moved(void *data, int64_t by, int64_t size) {
  return data ? (char *)data + by * size : NULL;
}

/* One block at most. */
static qn_status step_narrow(const struct pass *p, qni_optim_job job, int64_t begin, int64_t n) {
  _Alignas(64) struct widened x;
  widen(&p->narrow, begin, n, &x, &job);
  qn_status st = p->step(&job, 0, n);
  put_back(&p->narrow, begin, n, &x);
  return st;
}

static qn_status step_block(const struct pass *p, int64_t begin, int64_t n, const void *g) {
  int64_t size = p->wide ? 8 : 4;
  qni_optim_job job = p->job;
  job.w = moved(job.w, begin, size);
  job.m = moved(job.m, begin, size);
  job.v = moved(job.v, begin, size);
  job.mask = job.mask ? job.mask + begin : NULL;
  job.g = g;
  return any_narrow(&p->narrow) ? step_narrow(p, job, begin, n) : p->step(&job, 0, n);
}

static qn_status sum_and_step(void *ctx, int64_t first, int64_t last) {
  const struct pass *p = ctx;
  _Alignas(64) double block[BLOCK];
  qn_status st = QN_OK;
  for (int64_t at = first; !st && at < last; at += BLOCK) {
    int64_t n = last - at < BLOCK ? last - at : BLOCK;
    sum_block(p, at, n, block);
    st = step_block(p, at, n, block);
  }
  return st;
}

/* What the mask leaves out does not move, and does not count in the norm. */
static void drop_masked(const struct pass *p, int64_t begin, int64_t n) {
  for (int64_t i = begin; p->job.mask && i < begin + n; i++) {
    if (p->job.mask[i]) continue;
    if (p->wide)
      ((double *)(void *)p->flat)[i] = 0;
    else
      ((float *)(void *)p->flat)[i] = 0;
  }
}

/* First pass of clipping: whole chunks, as grad_norm_sq takes them. */
static qn_status sum_and_square(void *ctx, int64_t first, int64_t last) {
  const struct pass *p = ctx;
  int64_t size = p->wide ? 8 : 4;
  for (int64_t k = first; k < last; k++) {
    int64_t at = k * CHUNK, n = p->n - at < CHUNK ? p->n - at : CHUNK;
    sum_block(p, at, n, p->flat + at * size);
    drop_masked(p, at, n);
    p->part[k] = qni_optim()->sum_square[p->wide](n, p->flat + at * size);
  }
  return QN_OK;
}

static qn_status step_only(void *ctx, int64_t first, int64_t last) {
  const struct pass *p = ctx;
  qn_status st = QN_OK;
  for (int64_t at = first; !st && at < last; at += BLOCK)
    st = step_block(p, at, last - at < BLOCK ? last - at : BLOCK, p->flat + at * (p->wide ? 8 : 4));
  return st;
}

static int64_t chunks_of(const qni_leaf_sum *s) {
  return (qni_view_count(&s->leaf->view) + CHUNK - 1) / CHUNK;
}

static struct pass pass_of(const qni_leaf_sum *s, double scale) {
  struct pass p = {.scale = scale,
                   .n = qni_view_count(&s->leaf->view),
                   .wide = s->like.dtype == QN_F64,
                   .flat = s->flat};
  for (int32_t k = 0; k < QNI_LANES; k++)
    if (s->touched[k]) p.lane[p.n_lanes++] = s->lane[k];
  return p;
}

/* Adds up squares in the order of the updates, the leaves' own chunks in order. */
static qn_status squares(qni_lanes *l, double scale, const qni_update *u, int32_t n,
                         double *norm_sq) {
  qn_status st = QN_OK;
  *norm_sq = 0;
  for (int32_t i = 0; !st && i < n; i++) {
    qni_leaf_sum *s = NULL;
    for (int32_t k = 0; k < l->n && !s; k++)
      if (update_of(&u[i], 1, l->leaf[k].leaf) && got_dense(&l->leaf[k])) s = &l->leaf[k];
    if (!s) continue;
    int64_t chunks = chunks_of(s);
    if (!qni_lanes_flat(s)) return QN_E_NOMEM;
    struct pass p = pass_of(s, scale);
    p.part = s->part;
    p.job.mask = u[i].mask ? u[i].mask->view.data : NULL;
    st = qni_pool_run(chunks, 1, sum_and_square, &p);
    for (int64_t k = 0; !st && k < chunks; k++) *norm_sq += s->part[k];
  }
  return st;
}

static qni_optim_job job_of(const qni_update *u, double norm_sq) {
  qni_optim_job job = {.w = wide_data(u->w),
                       .m = wide_data(u->m),
                       .v = wide_data(u->v),
                       .mask = u->mask ? u->mask->view.data : NULL};
  qni_optim_numbers(&u->with, norm_sq, &job);
  if (u->kind == QNI_UPDATE_ADAM || u->kind == QNI_UPDATE_ADAM_ROWS)
    qni_optim_moments(&u->with, &job);
  else if (u->kind == QNI_UPDATE_SGD)
    job.beta1 = u->with.momentum;
  job.eps = u->with.eps;
  job.nesterov = u->with.nesterov;
  return job;
}

static qn_status update_dense(const qni_leaf_sum *s, const qni_update *u, double scale,
                              double norm_sq) {
  struct pass p = pass_of(s, scale);
  const qni_optim_table *kernels = qni_optim();
  p.step = u->kind == QNI_UPDATE_SGD ? kernels->sgd[p.wide] : kernels->adam[p.wide];
  p.job = job_of(u, norm_sq);
  p.narrow = narrow_of(u);
  return qni_pool_run(p.n, CHUNK, u->with.max_norm > 0 ? step_only : sum_and_step, &p);
}

/* ---- Rows ---- */

struct row_pass {
  const qni_row_groups *g;
  qn_range_fn step;
  qni_optim_job job;
  struct narrow narrow;
  bool by_row; /* v has one number for each row */
};

static qn_status step_narrow_row(const struct row_pass *p, int64_t id, const void *g) {
  _Alignas(64) struct widened x;
  const int64_t n = p->g->width, at = id * n;
  qni_optim_job job = p->job;
  job.w = moved(job.w, at, sizeof(float));
  job.m = moved(job.m, at, sizeof(float));
  job.v = moved(job.v, p->by_row ? id : at, sizeof(float));
  job.g = g;
  widen(&p->narrow, at, n, &x, &job);
  qn_status st = p->step(&job, 0, 1);
  put_back(&p->narrow, at, n, &x);
  return st;
}

static qn_status step_rows(void *ctx, int64_t begin, int64_t end) {
  const struct row_pass *p = ctx;
  _Alignas(64) double row[MOST_ROW];
  qn_status st = QN_OK;
  for (int64_t k = begin; !st && k < end; k++) {
    memset(row, 0, p->g->row);
    int64_t id = qni_row_groups_add(p->g, k, row);
    qni_optim_job job = p->job;
    job.ids = &id;
    job.g = row;
    st = any_narrow(&p->narrow) ? step_narrow_row(p, id, row) : p->step(&job, 0, 1);
  }
  return st;
}

static qn_status update_rows(qni_lanes *l, qni_leaf_sum *s, const qni_update *u, int64_t n_slices,
                             double scale) {
  qni_row_groups g;
  qn_status st = qni_row_groups_make(l, s, n_slices, scale, &g);
  if (st) return st;
  bool wide = s->like.dtype == QN_F64;
  const qni_optim_table *kernels = qni_optim();
  struct row_pass p = {.g = &g,
                       .job = job_of(u, 0),
                       .narrow = narrow_of(u),
                       .by_row = u->kind == QNI_UPDATE_ADAGRAD_ROWS};
  p.step = u->kind == QNI_UPDATE_ADAM_ROWS ? kernels->adam_rows[wide] : kernels->adagrad_rows[wide];
  p.job.width = g.width;
  return qni_pool_run(g.n, ROWS_PER_CHUNK, step_rows, &p);
}

/* ---- All ---- */

qn_status qni_update_run(qni_lanes *l, int64_t n_slices, double scale, const qni_update *u,
                         int32_t n, double *norm_sq) {
  qn_status st = QN_OK;
  *norm_sq = 0;
  if (n && u[0].with.max_norm > 0) st = squares(l, scale, u, n, norm_sq);
  if (!isfinite(*norm_sq)) return st; /* the caller sees it, with the parameters as they were */
  for (int32_t i = 0; !st && i < l->n; i++) {
    qni_leaf_sum *s = &l->leaf[i];
    const qni_update *x = update_of(u, n, s->leaf);
    if (!got_dense(s) && !got_rows(s)) continue;
    st = got_dense(s) ? update_dense(s, x, scale, *norm_sq) : update_rows(l, s, x, n_slices, scale);
    qni_tensor_touch(x->w);
    if (x->m) qni_tensor_touch(x->m);
    if (x->v) qni_tensor_touch(x->v);
    if (x->master) qni_tensor_touch(x->master);
  }
  return st;
}
