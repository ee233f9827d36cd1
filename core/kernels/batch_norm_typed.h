/*
** The kernels of batch_norm.h for one type. Included with REAL, FN(name), LANES.
**
** Rows go in blocks that stay in L1, columns in strips of up to MOST whose constants and sums
** are held in registers over the rows of a block.
** SPDX-License-Identifier: MIT
*/

/* Rows begin..end of a chunk, cut into blocks; strips of a block. */
struct FN(part) {
  const qni_batch_norm_job *j;
  int64_t begin, rows, col;
  int lanes;
};

static struct FN(part)
    FN(part_of)(const qni_batch_norm_job *j, int64_t row, int64_t last, int64_t col) {
  int64_t most = BLOCK_BYTES / (int64_t)sizeof(REAL) / j->cols;
  if (most < ROWS_LEAST) most = ROWS_LEAST;
  const int64_t lanes = j->cols - col;
  return (struct FN(part)){.j = j,
                           .begin = row,
                           .rows = last - row < most ? last - row : most,
                           .col = col,
                           .lanes = strip_of(lanes)};
}

static const REAL *FN(at)(const struct FN(part) * p, const void *base) {
  return base ? (const REAL *)base + p->begin * p->j->cols + p->col : NULL;
}

static inline void FN(constants)(const struct FN(part) * p, const void *from, REAL *to) {
  for (int l = 0; l < p->lanes; l++) to[l] = ((const REAL *)from)[p->col + l];
}

/* Each strip is done with `lanes` a constant where it is a whole one. */
#define STRIP(body, p, ...)                                                                        \
  ((p)->lanes == MOST        ? body(p, MOST, __VA_ARGS__)                                          \
   : (p)->lanes == 2 * LANES ? body(p, 2 * LANES, __VA_ARGS__)                                     \
   : (p)->lanes == LANES     ? body(p, LANES, __VA_ARGS__)                                         \
                             : body(p, (p)->lanes, __VA_ARGS__))

/* ---- Statistics ---- */

static inline __attribute__((always_inline)) void
FN(strip_stats)(const struct FN(part) * p, const int lanes, REAL *mean, REAL *square) {
  const int64_t C = p->j->cols, n = p->rows;
  const REAL *x = FN(at)(p, p->j->x);
  REAL s[4][MOST] = {{0}}, d[4][MOST] = {{0}};
  int64_t r = 0;
  for (; r + 4 <= n; r += 4)
    for (int k = 0; k < 4; k++)
      for (int l = 0; l < lanes; l++) s[k][l] += x[(r + k) * C + l];
  for (; r < n; r++)
    for (int l = 0; l < lanes; l++) s[0][l] += x[r * C + l];
  for (int l = 0; l < lanes; l++) mean[l] = ((s[0][l] + s[1][l]) + (s[2][l] + s[3][l])) / (REAL)n;
  for (r = 0; r + 4 <= n; r += 4)
    for (int k = 0; k < 4; k++)
      for (int l = 0; l < lanes; l++) {
        const REAL off = x[(r + k) * C + l] - mean[l];
        d[k][l] += off * off;
      }
  for (; r < n; r++)
    for (int l = 0; l < lanes; l++) d[0][l] += (x[r * C + l] - mean[l]) * (x[r * C + l] - mean[l]);
  for (int l = 0; l < lanes; l++) square[l] = (d[0][l] + d[1][l]) + (d[2][l] + d[3][l]);
}

/* Joins n numbers of (mean, square) to n_old of (*m, *s). */
static inline void FN(join)(double n_old, double n, double mean, double square, double *m,
                            double *s) {
  const double all = n_old + n, off = mean - *m;
  *m += off * (n / all);
  *s += square + off * off * (n_old * (n / all));
}

static qn_status FN(stats)(void *ctx, int64_t begin, int64_t end) {
  const qni_batch_norm_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * j->chunk, limit = first + j->chunk,
                  last = limit < j->rows ? limit : j->rows;
    double *m = j->first + i * j->cols, *s = j->second + i * j->cols;
    for (int64_t c = 0; c < j->cols; c++) m[c] = s[c] = 0;
    for (int64_t row = first; row < last;) {
      struct FN(part) p;
      for (int64_t c = 0; c < j->cols; c += p.lanes) {
        REAL mean[MOST], square[MOST];
        p = FN(part_of)(j, row, last, c);
        STRIP(FN(strip_stats), &p, mean, square);
        for (int l = 0; l < p.lanes; l++) FN(join)
        ((double)(row - first), (double)p.rows, (double)mean[l], (double)square[l], &m[c + l],
         &s[c + l]);
      }
      row += p.rows;
    }
  }
  return QN_OK;
}

/* ---- Forward ---- */

static inline __attribute__((always_inline)) void
FN(strip_apply)(const struct FN(part) * p, const int lanes, const REAL *residual, const int relu) {
  const int64_t C = p->j->cols;
  const REAL *x = FN(at)(p, p->j->x);
  REAL *restrict y = (REAL *)p->j->y + p->begin * C + p->col, scale[MOST], shift[MOST];
  FN(constants)(p, p->j->scale, scale);
  FN(constants)(p, p->j->shift, shift);
  for (int64_t r = 0; r < p->rows; r++)
    for (int l = 0; l < lanes; l++) {
      REAL v = x[r * C + l] * scale[l] + shift[l];
      if (residual) v += residual[r * C + l];
      y[r * C + l] = relu && v <= 0 ? 0 : v;
    }
}

static void FN(apply_part)(const struct FN(part) * p) {
  const REAL *residual = FN(at)(p, p->j->residual);
  if (residual && p->j->relu)
    STRIP(FN(strip_apply), p, residual, 1);
  else if (residual)
    STRIP(FN(strip_apply), p, residual, 0);
  else if (p->j->relu)
    STRIP(FN(strip_apply), p, NULL, 1);
  else
    STRIP(FN(strip_apply), p, NULL, 0);
}

/* ---- Backward ---- */

static inline __attribute__((always_inline)) REAL FN(passed)(const int gate, REAL dy, REAL y,
                                                             REAL x, REAL scale, REAL shift) {
  if (gate == OPEN) return dy;
  if (gate == BY_Y) return y > 0 ? dy : 0;
  return x * scale + shift > 0 ? dy : 0;
}

/* Row r joins the sums of g and of g (x - mean). */
static inline __attribute__((always_inline)) void
FN(sum_row)(const int lanes, const int gate, int64_t at, const REAL *x, const REAL *dy,
            const REAL *y, REAL *restrict keep, const REAL *mean, const REAL *scale,
            const REAL *shift, REAL *s, REAL *t) {
  for (int l = 0; l < lanes; l++) {
    const REAL g =
        FN(passed)(gate, dy[at + l], gate == BY_Y ? y[at + l] : 0, x[at + l], scale[l], shift[l]);
    if (keep) keep[at + l] = g;
    s[l] += g;
    t[l] += g * (x[at + l] - mean[l]);
  }
}

static inline __attribute__((always_inline)) void FN(strip_sums)(const struct FN(part) * p,
                                                                 const int lanes, const int gate,
                                                                 REAL *restrict keep, double *sum,
                                                                 double *product) {
  const int64_t C = p->j->cols;
  const REAL *x = FN(at)(p, p->j->x), *dy = FN(at)(p, p->j->dy), *y = FN(at)(p, p->j->y);
  REAL mean[MOST], scale[MOST], shift[MOST];
  REAL s[MOST] = {0}, t[MOST] = {0};
  FN(constants)(p, p->j->mean, mean);
  FN(constants)(p, p->j->scale, scale);
  FN(constants)(p, p->j->shift, shift);
  for (int64_t r = 0; r < p->rows; r++)
    FN(sum_row)(lanes, gate, r * C, x, dy, y, keep, mean, scale, shift, s, t);
  for (int l = 0; l < lanes; l++) {
    sum[l] += (double)s[l];
    product[l] += (double)t[l];
  }
}

static int FN(gate_of)(const qni_batch_norm_job *j) { return !j->relu ? OPEN : j->y ? BY_Y : BY_X; }

static void FN(sums_part)(const struct FN(part) * p, double *sum, double *product) {
  REAL *keep = p->j->g ? (REAL *)p->j->g + p->begin * p->j->cols + p->col : NULL;
  const int gate = FN(gate_of)(p->j);
  if (keep && gate == BY_Y)
    STRIP(FN(strip_sums), p, BY_Y, keep, sum, product);
  else if (keep)
    STRIP(FN(strip_sums), p, OPEN, keep, sum, product);
  else if (gate == BY_Y)
    STRIP(FN(strip_sums), p, BY_Y, NULL, sum, product);
  else if (gate == BY_X)
    STRIP(FN(strip_sums), p, BY_X, NULL, sum, product);
  else
    STRIP(FN(strip_sums), p, OPEN, NULL, sum, product);
}

static qn_status FN(sums)(void *ctx, int64_t begin, int64_t end) {
  const qni_batch_norm_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * j->chunk, limit = first + j->chunk,
                  last = limit < j->rows ? limit : j->rows;
    double *sum = j->first + i * j->cols, *product = j->second + i * j->cols;
    for (int64_t c = 0; c < j->cols; c++) sum[c] = product[c] = 0;
    for (int64_t row = first; row < last;) {
      struct FN(part) p;
      for (int64_t c = 0; c < j->cols; c += p.lanes) {
        p = FN(part_of)(j, row, last, c);
        FN(sums_part)(&p, sum + c, product + c);
      }
      row += p.rows;
    }
  }
  return QN_OK;
}

static inline __attribute__((always_inline)) void
FN(strip_back)(const struct FN(part) * p, const int lanes, const int gate, const REAL *from) {
  const int64_t C = p->j->cols;
  const REAL *x = FN(at)(p, p->j->x), *y = FN(at)(p, p->j->y);
  REAL *restrict dx = (REAL *)p->j->dx + p->begin * C + p->col;
  REAL mean[MOST], scale[MOST], shift[MOST], a[MOST], u[MOST], q[MOST], m[MOST];
  FN(constants)(p, p->j->mean, mean);
  FN(constants)(p, p->j->scale, scale);
  FN(constants)(p, p->j->shift, shift);
  FN(constants)(p, p->j->a, a);
  FN(constants)(p, p->j->u, u);
  FN(constants)(p, p->j->q, q);
  FN(constants)(p, p->j->m, m);
  for (int64_t r = 0; r < p->rows; r++)
    for (int l = 0; l < lanes; l++) {
      const int64_t at = r * C + l;
      const REAL g =
          FN(passed)(gate, from[at], gate == BY_Y ? y[at] : 0, x[at], scale[l], shift[l]);
      dx[at] = a[l] * (g - u[l]) + q[l] * (x[at] - mean[l]) + m[l];
    }
}

static void FN(back_part)(const struct FN(part) * p) {
  const int gate = p->j->g ? OPEN : FN(gate_of)(p->j);
  const REAL *from = FN(at)(p, p->j->g ? p->j->g : p->j->dy);
  switch (gate) {
  case OPEN: STRIP(FN(strip_back), p, OPEN, from); break;
  case BY_Y: STRIP(FN(strip_back), p, BY_Y, from); break;
  default: STRIP(FN(strip_back), p, BY_X, from);
  }
}

/* ---- Ranges that write rows ---- */

static void FN(each_part)(const qni_batch_norm_job *j, int64_t i,
                          void (*part)(const struct FN(part) * p)) {
  const int64_t limit = (i + 1) * j->chunk, last = limit < j->rows ? limit : j->rows;
  for (int64_t row = i * j->chunk; row < last;) {
    struct FN(part) p;
    for (int64_t c = 0; c < j->cols; c += p.lanes) {
      p = FN(part_of)(j, row, last, c);
      part(&p);
    }
    row += p.rows;
  }
}

static qn_status FN(apply)(void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) FN(each_part)(ctx, i, FN(apply_part));
  return QN_OK;
}

static qn_status FN(back)(void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) FN(each_part)(ctx, i, FN(back_part));
  return QN_OK;
}
#undef STRIP
