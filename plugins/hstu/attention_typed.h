/*
** Heads of one sequence, for REAL; see attention.c for the formulas.
**
** Keys are transposed and values packed once per head. Forward walks blocks of
** query rows so that their scores stay in L1; backward recomputes the scores of
** a block, then dV, dQ, dK come from four products. Columns right of the
** diagonal are skipped in steps of one register tile. Biases are those of all heads:
** heads that are worked on together look them up once, and add up their dS before
** they go to the biases' gradients.
** SPDX-License-Identifier: MIT
*/

struct FN(head) {
  const struct hstu_attn *a;
  int64_t L, first, index; /* length, first token, which head */
  int64_t Lp, Dp, Ep;      /* padded row lengths */
  int64_t Dx, Ex;          /* odd columns of q and k, of v: the last ones */
  const REAL *q;
  int64_t q_row, q_col;
  const REAL *bp, *bt; /* bp: entry of offset 0 */
  const uint8_t *bucket;
  REAL *kt, *vt, *kr, *vr, *qr, *dk, *dv; /* packed: [D][Lp], [E][Lp], [L][Dp], [L][Ep], ... */
  REAL *vx, *dkx, *dvx;                   /* odd columns of v, dk, dv: [Ex or Dx][Lp] */
  REAL *p, *g, *out;                      /* blocks of rows [ROWS][Lp]; out [ROWS][max(Dp,Ep)] */
  REAL *dy;                               /* [ROWS][Ep] */
  REAL *time;                             /* sums by bucket [TABLES][BUCKET_ROOM] */
  REAL *bias, *sum;                       /* for a row of all heads together, [Lp]: see open_row */
  uint8_t *keep;                          /* [Lp] */
};

/* What a row of scores is given and gives to, shifted so that [j] is column j's; NULL: nothing. */
struct FN(row) {
  const REAL *bp;
  const uint8_t *bucket;
  REAL *dbp;
};

static const REAL *FN(at)(const struct hstu_mat *m, int64_t row, int64_t head) {
  return (const REAL *)m->data + row * m->row + head * m->head;
}

/* Rows of a block in backward: the blocks of a sequence are about equal, as small ones cost most. */
static int64_t FN(back_rows)(int64_t length) {
  const int64_t blocks = most(1, (length + BACK_ROWS - 1) / BACK_ROWS);
  const int64_t rows = (length + blocks - 1) / blocks;
  return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
}

/* Lays the work memory out; with work NULL only counts. */
static int64_t FN(layout)(struct FN(head) * s, char *work, bool backward) {
  int64_t rows = backward ? BACK_ROWS : FORE_ROWS, used = 0;
  int64_t wide = most(s->Dp, s->Ep), D = s->a->D, E = s->a->E;
  struct {
    REAL **p;
    int64_t count;
  } part[] = {{&s->kt, D * s->Lp},
              {&s->vr, backward ? 0 : s->L * s->Ep},
              {&s->vx, backward ? 0 : s->Ex * s->Lp},
              {&s->dkx, backward ? s->Dx * s->Lp : 0},
              {&s->dvx, backward ? s->Ex * s->Lp : 0},
              {&s->p, rows * s->Lp},
              {&s->out, rows * wide},
              {&s->vt, backward ? E * s->Lp : 0},
              {&s->kr, backward ? s->L * s->Dp : 0},
              {&s->qr, backward ? rows * s->Dp : 0},
              {&s->dk, backward ? s->Lp * s->Dp : 0},
              {&s->dv, backward ? s->Lp * s->Ep : 0},
              {&s->g, backward ? rows * s->Lp : 0},
              {&s->dy, backward ? rows * s->Ep : 0},
              {&s->time, backward ? TABLES * BUCKET_ROOM : 0},
              {&s->bias, s->Lp},
              {&s->sum, backward ? s->Lp : 0}};
  for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
    *part[i].p = work ? (REAL *)(void *)(work + used) : NULL;
    used += part[i].count * (int64_t)sizeof(REAL);
  }
  s->keep = work ? (uint8_t *)(work + used) : NULL;
  return used + (s->Lp + 63) / 64 * 64;
}

static struct FN(head)
    FN(open)(const struct hstu_attn *a, int64_t seq, int64_t head, int64_t length) {
  struct FN(head) s = {.a = a, .L = length};
  s.Lp = padded_walk(length, sizeof(REAL));
  s.Dp = padded(a->D, sizeof(REAL));
  s.Ep = padded(a->E, sizeof(REAL));
  s.Dx = FN(odd_columns)(a->D);
  s.Ex = FN(odd_columns)(a->E);
  if (seq < 0) return s;
  s.index = head;
  s.first = a->offsets[seq];
  s.q = FN(at)(&a->q, s.first, s.index);
  s.q_row = a->q.row;
  s.q_col = a->q.col;
  s.bp = a->bp ? (const REAL *)a->bp + a->n - 1 : NULL;
  s.bt = a->bt;
  s.bucket = a->bucket ? a->bucket + s.first * a->bucket_row : NULL;
  return s;
}

/* Columns that row i can see. */
static int64_t FN(seen)(const struct FN(head) * s, int64_t i) {
  return s->a->causal ? i + 1 : s->L;
}

/* S[r] = q_i . K^T for rows i0 .. i0+rows-1, as far right as each group of rows can see. */
static void FN(score_block)(const struct FN(head) * s, int64_t i0, int64_t rows) {
  for (int64_t r = 0; r < rows; r += TILE_ROWS) {
    int64_t height = least(TILE_ROWS, rows - r);
    int64_t cols = FN(seen)(s, i0 + r + height - 1);
    cols = (cols + FN(HALF) - 1) / FN(HALF) * FN(HALF);
    FN(product)
    (height, cols, s->a->D, s->q + (i0 + r) * s->q_row, s->q_row, s->q_col, s->kt, s->Lp,
     s->p + r * s->Lp, s->Lp, false);
  }
}

/* S = alpha (S + (bp[j-i] + bt[bucket_ij])) */
static void FN(bias_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t cols,
                         REAL *row) {
  const REAL alpha = (REAL)s->a->alpha, *bp = t->bp, *bt = s->bt;
  const uint8_t *bucket = t->bucket;
  if (bp && bucket)
    for (int64_t j = 0; j < cols; j++) row[j] = alpha * (row[j] + (bp[j] + bt[bucket[j]]));
  else if (bp)
    for (int64_t j = 0; j < cols; j++) row[j] = alpha * (row[j] + bp[j]);
  else if (bucket)
    for (int64_t j = 0; j < cols; j++) row[j] = alpha * (row[j] + bt[bucket[j]]);
  else if (s->a->alpha != 1)
    for (int64_t j = 0; j < cols; j++) row[j] *= alpha;
}

#if !REAL_IS_FLOAT
static void plain_silu_row(int64_t n, double *x, double *g) {
  for (int64_t j = 0; j < n; j++) {
    double t = x[j], sig = t >= 0 ? 1 / (1 + exp(-t)) : exp(t) / (1 + exp(t));
    x[j] = t * sig;
    if (g) g[j] *= sig * (1 + t * (1 - sig));
  }
}
static void exp_row_f64(const qn_math *m, int64_t n, const double *x, double *y) {
  (void)m;
  for (int64_t j = 0; j < n; j++) y[j] = exp(x[j]);
}
#else
static void exp_row_f32(const qn_math *m, int64_t n, const float *x, float *y) { m->exp(n, x, y); }
#endif

#if REAL_IS_FLOAT
#include "attention_silu.h"
#else
static void bias_sum_f64(const struct head_f64 *s, const struct row_f64 *t, int64_t cols,
                         double *sum) {
  for (int64_t j = 0; j < cols; j++)
    sum[j] = (t->bp ? t->bp[j] : 0) + (t->bucket ? s->bt[t->bucket[j]] : 0);
}
#endif

static void FN(softmax_row)(const qn_math *math, int64_t n, REAL *row) {
  REAL top = row[0];
  for (int64_t j = 1; j < n; j++) top = row[j] > top ? row[j] : top;
  for (int64_t j = 0; j < n; j++) row[j] -= top;
  FN(exp_row)(math, n, row, row);
  REAL one = 1 / FN(row_sum)(n, row);
  for (int64_t j = 0; j < n; j++) row[j] *= one;
}

static void FN(add_row)(int64_t cols, const REAL *from, REAL *to) {
  for (int64_t j = 0; j < cols; j++) to[j] += from[j];
}

/*
** P = silu(S + bias). With g, the gradient of P: it becomes dS, and is added to dbp. Results get
** their factors scale and alpha: forward_gain, back_gain.
*/
static void FN(silu_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t cols,
                         REAL *row, REAL *g) {
#if REAL_IS_FLOAT
  silu_bias_row(s, t, cols, row, g);
#else
  FN(bias_row)(s, t, cols, row);
  plain_silu_row(cols, row, g);
  if (g && t->dbp) FN(add_row)(cols, g, t->dbp);
#endif
}

/* The same with softmax: dS = alpha P (G - sum P G / scale). */
static void FN(soft_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t cols,
                         REAL *row, REAL *g) {
  const REAL scale = (REAL)s->a->scale, alpha = (REAL)s->a->alpha;
  FN(bias_row)(s, t, cols, row);
  FN(softmax_row)(s->a->math, cols, row);
  for (int64_t j = 0; j < cols && scale != 1; j++) row[j] *= scale;
  if (!g) return;
  const REAL sum = FN(row_dot)(cols, row, g) / scale;
  for (int64_t j = 0; j < cols; j++) g[j] = alpha * row[j] * (g[j] - sum);
  if (t->dbp) FN(add_row)(cols, g, t->dbp);
}

/* What P and what dS still have to be multiplied by. */
static REAL FN(forward_gain)(const struct hstu_attn *a) {
  return (REAL)(a->softmax ? 1 : a->scale);
}
static REAL FN(back_gain)(const struct hstu_attn *a) {
  return (REAL)(a->softmax ? 1 : a->scale * a->alpha);
}

static void FN(act_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t cols,
                        REAL *row, REAL *g) {
  (s->a->softmax ? FN(soft_row) : FN(silu_row))(s, t, cols, row, g);
}

/*
** Row i for `heads` heads. One head adds its biases, and its dS to dbp, on its way; several are
** given the sum of both biases, and add up their dS until close_row takes it.
*/
static struct FN(row) FN(open_row)(const struct FN(head) * s, int64_t heads, int64_t i,
                                   int64_t cols, REAL *dbp, const REAL *dbt) {
  struct FN(row) t = {.bp = s->bp ? s->bp - i : NULL,
                      .bucket = s->bucket ? s->bucket + i * s->a->bucket_row : NULL,
                      .dbp = dbp ? dbp - i : NULL};
  if (heads == 1) return t;
  FN(bias_sum)(s, &t, cols, s->bias);
  t.bp = s->bias;
  t.bucket = NULL;
  t.dbp = dbp || dbt ? s->sum : NULL;
  for (int64_t j = 0; t.dbp && j < cols; j += FN(LANES)) *(FN(vec) *)(s->sum + j) = (FN(vec)){0};
  return t;
}

/* Draws of a row: columns head * 2^20 + j, so that lengths and padding do not matter. */
static void FN(keep_row)(const struct FN(head) * s, int64_t i, int64_t cols) {
  hstu_keep(s->a->h, s->a->c, 0, s->first + i, s->index << 20, cols, drop_below(s->a->dropout),
            s->keep);
}

static void FN(drop_row)(const struct FN(head) * s, int64_t cols, REAL *row) {
  const REAL grow = (REAL)(1 / (1 - s->a->dropout));
  for (int64_t j = 0; j < cols; j++) row[j] *= s->keep[j] ? grow : 0;
}

/* Columns that a whole group of rows is multiplied with: beyond a row's own they must be 0. */
static int64_t FN(group_end)(const struct FN(head) * s, int64_t i0, int64_t rows, int64_t r) {
  return FN(seen)(s, i0 + least(r / TILE_ROWS * TILE_ROWS + TILE_ROWS, rows) - 1);
}

/* The last vector of a row, and up to `to`. */
static void FN(zero_tail)(REAL *row, int64_t from, int64_t to) {
  for (; from % FN(LANES); from++) row[from] = 0;
  for (; from < to; from += FN(LANES)) *(FN(vec) *)(row + from) = (FN(vec)){0};
}

/* C[r] = sum_j m[r][j] B[j] for rows i0 .. i0+rows-1; the odd columns of B lie across in bx. */
static void FN(row_sums)(const struct FN(head) * s, int64_t i0, int64_t rows, const REAL *m,
                         const REAL *b, int64_t width, int64_t row, const REAL *bx, int64_t odd) {
  for (int64_t r = 0; r < rows; r += TILE_ROWS) {
    const int64_t height = least(TILE_ROWS, rows - r), end = FN(group_end)(s, i0, rows, r);
    REAL *out = s->out + r * row;
    FN(product)
    (height, width - odd, end, m + r * s->Lp, s->Lp, 1, b, row, out, row, false);
    FN(dot_columns)(height, odd, end, m + r * s->Lp, s->Lp, bx, s->Lp, out + width - odd, row);
  }
}

/* Row r of a block that begins at i0. */
static void FN(forward_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t i0,
                            int64_t rows, int64_t r) {
  int64_t cols = FN(seen)(s, i0 + r);
  REAL *row = s->p + r * s->Lp;
  FN(act_row)(s, t, cols, row, NULL);
  if (s->a->dropout > 0) {
    FN(keep_row)(s, i0 + r, cols);
    FN(drop_row)(s, cols, row);
  }
  FN(zero_tail)(row, cols, FN(group_end)(s, i0, rows, r));
}

static void FN(forward_block)(const struct FN(head) * s, int64_t heads, int64_t i0, int64_t rows) {
  const struct hstu_attn *a = s->a;
  for (int64_t h = 0; h < heads; h++) FN(score_block)(s + h, i0, rows);
  for (int64_t r = 0; r < rows; r++) {
    struct FN(row) t = FN(open_row)(s, heads, i0 + r, FN(seen)(s, i0 + r), NULL, NULL);
    for (int64_t h = 0; h < heads; h++) FN(forward_row)(s + h, &t, i0, rows, r);
  }
  for (const struct FN(head) *end = s + heads; s < end; s++) {
    FN(row_sums)(s, i0, rows, s->p, s->vr, a->E, s->Ep, s->vx, s->Ex);
    REAL *y = (REAL *)a->y.data + (s->first + i0) * a->y.row + s->index * a->y.head;
    FN(unpack_rows)(rows, a->E, FN(forward_gain)(a), s->out, s->Ep, y, a->y.row);
  }
}

/* The heads of a unit: opened, their work memory laid out. Returns how many. */
static int64_t FN(open_heads)(const struct hstu_attn *a, int64_t unit, char *work, bool backward,
                              struct FN(head) * s) {
  const int64_t seq = unit / a->groups, head = unit % a->groups * a->together;
  const int64_t heads = least(a->together, a->H - head);
  for (int64_t h = 0; h < heads; h++) {
    s[h] = FN(open)(a, seq, head + h, a->offsets[seq + 1] - a->offsets[seq]);
    work += FN(layout)(&s[h], work, backward);
  }
  return heads;
}

static void FN(attn_forward)(const struct hstu_attn *a, int64_t unit, void *work) {
  struct FN(head) s[TOGETHER] = {{0}};
  const int64_t heads = FN(open_heads)(a, unit, work, false, s);
  for (int64_t h = 0; h < heads; h++) {
    const REAL *k = FN(at)(&a->k, s->first, s[h].index), *v = FN(at)(&a->v, s->first, s[h].index);
    FN(transpose)(s->L, a->D, k, a->k.row, a->k.col, s[h].kt, s->Lp);
    FN(pack_rows)(s->L, a->E, v, a->v.row, a->v.col, s[h].vr, s->Ep);
    v += (a->E - s->Ex) * a->v.col;
    FN(transpose)(s->L, s->Ex, v, a->v.row, a->v.col, s[h].vx, s->Lp);
  }
  for (int64_t i0 = 0; i0 < s->L; i0 += FORE_ROWS)
    FN(forward_block)(s, heads, i0, least(FORE_ROWS, s->L - i0));
}

/* G[r] = dy_i . V^T */
static void FN(value_block)(const struct FN(head) * s, int64_t i0, int64_t rows) {
  for (int64_t r = 0; r < rows; r += TILE_ROWS) {
    int64_t height = least(TILE_ROWS, rows - r);
    int64_t cols = FN(seen)(s, i0 + r + height - 1);
    cols = (cols + FN(HALF) - 1) / FN(HALF) * FN(HALF);
    FN(product)
    (height, cols, s->a->E, s->dy + r * s->Ep, s->Ep, 1, s->vt, s->Lp, s->g + r * s->Lp, s->Lp,
     false);
  }
}

/* dbt[bucket_ij] += dS_ij; TABLES of them break the chain of additions. */
static void FN(time_grad)(const struct FN(head) * s, int64_t i, int64_t cols, const REAL *ds,
                          REAL *dbt) {
  const uint8_t *bucket = s->bucket + i * s->a->bucket_row;
  int64_t j = 0;
  for (; j + TABLES <= cols; j += TABLES) UNROLL
  for (int t = 0; t < TABLES; t++) dbt[t * BUCKET_ROOM + bucket[j + t]] += ds[j + t];
  for (; j < cols; j++) dbt[bucket[j]] += ds[j];
}

/* What several heads have added up goes to the biases' gradients; of one only dbt is left. */
static void FN(close_row)(const struct FN(head) * s, int64_t heads, int64_t i, int64_t cols,
                          const REAL *ds, REAL *dbp, REAL *dbt) {
  if (heads > 1 && dbp) FN(add_row)(cols, s->sum, dbp - i);
  if (dbt) FN(time_grad)(s, i, cols, heads > 1 ? s->sum : ds, dbt);
}

/* P and dS of a row of a block. */
static void FN(recompute_row)(const struct FN(head) * s, const struct FN(row) * t, int64_t i0,
                              int64_t rows, int64_t r) {
  int64_t cols = FN(seen)(s, i0 + r), end = FN(group_end)(s, i0, rows, r);
  REAL *p = s->p + r * s->Lp, *g = s->g + r * s->Lp;
  if (s->a->dropout > 0) {
    FN(keep_row)(s, i0 + r, cols);
    FN(drop_row)(s, cols, g);
  }
  /* dS feels alpha in S = alpha (q k + b), and holds it already */
  FN(act_row)(s, t, cols, p, g);
  if (s->a->dropout > 0) FN(drop_row)(s, cols, p);
  FN(zero_tail)(p, cols, end);
  FN(zero_tail)(g, cols, end);
}

/* P and dS of a block of rows, and what they give the biases. */
static void FN(recompute_block)(const struct FN(head) * s, int64_t heads, int64_t i0, int64_t rows,
                                REAL *dbp, REAL *dbt) {
  for (int64_t h = 0; h < heads; h++) {
    FN(score_block)(s + h, i0, rows);
    FN(value_block)(s + h, i0, rows);
  }
  for (int64_t r = 0; r < rows; r++) {
    const int64_t cols = FN(seen)(s, i0 + r);
    struct FN(row) t = FN(open_row)(s, heads, i0 + r, cols, dbp, dbt);
    for (int64_t h = 0; h < heads; h++) FN(recompute_row)(s + h, &t, i0, rows, r);
    FN(close_row)(s, heads, i0 + r, cols, s->g + r * s->Lp, dbp, dbt);
  }
}

/* The odd columns of column_sums: sums lie across, where columns j are vectors. */
static void FN(odd_sums)(const struct FN(head) * s, int64_t i0, int64_t rows, int64_t end,
                         const REAL *m, const REAL *from, int64_t row, int64_t odd, REAL *to) {
  const int64_t whole = s->a->causal ? i0 / FN(LANES) * FN(LANES) : end;
  FN(product)(odd, whole, rows, from, 1, row, m, s->Lp, to, s->Lp, true);
  for (int64_t j = whole; j < end; j += FN(LANES)) {
    const int64_t r = most(0, j - i0);
    FN(product)
    (odd, least(FN(LANES), end - j), rows - r, from + r * row, 1, row, m + r * s->Lp + j, s->Lp,
     to + j, s->Lp, true);
  }
}

/*
** to[j] += sum over rows r >= j - i0 of m[r][j] from[r], for groups of columns j; the first block
** to see a column sets it. The odd columns of `from` go to `across`.
*/
static void FN(column_sums)(const struct FN(head) * s, int64_t i0, int64_t rows, const REAL *m,
                            const REAL *from, int64_t width, int64_t row, REAL *to, int64_t odd,
                            REAL *across) {
  int64_t end = FN(seen)(s, i0 + rows - 1);
  for (int64_t j = 0; j < end; j += TILE_ROWS) {
    int64_t height = least(TILE_ROWS, end - j);
    int64_t r = s->a->causal ? most(0, (j - i0) / TILE_ROWS * TILE_ROWS) : 0;
    FN(product)
    (height, width - odd, rows - r, m + r * s->Lp + j, 1, s->Lp, from + r * row, row, to + j * row,
     row, s->a->causal ? j < i0 : i0 > 0);
  }
  if (odd) FN(odd_sums)(s, i0, rows, end, m, from + width - odd, row, odd, across);
}

/* What P and dS of a block give dv, dk and dq. */
static void FN(grads_block)(const struct FN(head) * s, int64_t i0, int64_t rows) {
  const struct hstu_attn *a = s->a;
  if (a->dv.data) FN(column_sums)(s, i0, rows, s->p, s->dy, a->E, s->Ep, s->dv, s->Ex, s->dvx);
  if (a->dk.data) {
    FN(pack_rows)(rows, a->D, s->q + i0 * s->q_row, s->q_row, s->q_col, s->qr, s->Dp);
    FN(column_sums)(s, i0, rows, s->g, s->qr, a->D, s->Dp, s->dk, s->Dx, s->dkx);
  }
  if (!a->dq.data) return;
  const int64_t odd = s->Dx;
  FN(row_sums)(s, i0, rows, s->g, s->kr, a->D, s->Dp, s->kt + (a->D - odd) * s->Lp, odd);
  REAL *dq = (REAL *)a->dq.data + (s->first + i0) * a->dq.row + s->index * a->dq.head;
  FN(unpack_rows)(rows, a->D, FN(back_gain)(a), s->out, s->Dp, dq, a->dq.row);
}

static void FN(backward_block)(const struct FN(head) * s, int64_t heads, int64_t i0, int64_t rows,
                               REAL *dbp, REAL *dbt) {
  const struct hstu_mat *dy = &s->a->dy;
  for (int64_t h = 0; h < heads; h++) {
    const REAL *from = FN(at)(dy, s->first + i0 - s->a->dy_first, s[h].index);
    FN(pack_rows)(rows, s->a->E, from, dy->row, dy->col, s[h].dy, s->Ep);
  }
  FN(recompute_block)(s, heads, i0, rows, dbp, dbt);
  for (int64_t h = 0; h < heads; h++) FN(grads_block)(s + h, i0, rows);
}

static void FN(give)(const struct FN(head) * s, const struct hstu_mat *to, int64_t width, REAL gain,
                     REAL *from, int64_t from_row, const REAL *across, int64_t odd) {
  if (!to->data) return;
  for (int64_t x = 0; x < odd; x++)
    for (int64_t j = 0; j < s->L; j++) from[j * from_row + width - odd + x] = across[x * s->Lp + j];
  REAL *rows = (REAL *)to->data + s->first * to->row + s->index * to->head;
  FN(unpack_rows)(s->L, width, gain, from, from_row, rows, to->row);
}

/* Packs keys and values, and zeroes what is summed by every block. */
static void FN(prepare)(const struct FN(head) * s) {
  const struct hstu_attn *a = s->a;
  const REAL *k = FN(at)(&a->k, s->first, s->index), *v = FN(at)(&a->v, s->first, s->index);
  FN(transpose)(s->L, a->D, k, a->k.row, a->k.col, s->kt, s->Lp);
  FN(transpose)(s->L, a->E, v, a->v.row, a->v.col, s->vt, s->Lp);
  FN(pack_rows)(s->L, a->D, k, a->k.row, a->k.col, s->kr, s->Dp);
  memset(s->dkx, 0, (size_t)(s->Dx * s->Lp) * sizeof(REAL));
  memset(s->dvx, 0, (size_t)(s->Ex * s->Lp) * sizeof(REAL));
}

static void FN(attn_backward)(const struct hstu_attn *a, int64_t unit, void *work, void *bias) {
  struct FN(head) s[TOGETHER] = {{0}};
  const int64_t heads = FN(open_heads)(a, unit, work, true, s);
  for (int64_t h = 0; h < heads; h++) FN(prepare)(s + h);
  REAL *sums = bias;
  REAL *dbp = bias && a->dbp ? sums + a->n - 1 : NULL, *dbt = bias && a->dbt ? s->time : NULL;
  if (dbt) memset(dbt, 0, TABLES * BUCKET_ROOM * sizeof(REAL));
  const int64_t rows = FN(back_rows)(s->L);
  for (int64_t i0 = 0; i0 < s->L; i0 += rows)
    FN(backward_block)(s, heads, i0, least(rows, s->L - i0), dbp, dbt);
  for (int64_t h = 0; h < heads; h++) {
    FN(give)(s + h, &a->dk, a->D, FN(back_gain)(a), s[h].dk, s->Dp, s[h].dkx, s->Dx);
    FN(give)(s + h, &a->dv, a->E, FN(forward_gain)(a), s[h].dv, s->Ep, s[h].dvx, s->Ex);
  }
  for (int64_t b = 0; dbt && b < a->K; b++)
    for (int t = 0; t < TABLES; t++) sums[a->P + b] += dbt[t * BUCKET_ROOM + b];
}

static void FN(attn_reduce)(const struct hstu_attn *a) {
  REAL *dbp = a->dbp, *dbt = a->dbt;
  const REAL gain = FN(back_gain)(a);
  for (int64_t i = 0; i < a->P + a->K; i++) {
    REAL sum = 0;
    for (int64_t chunk = 0; chunk < a->cut.n_chunks; chunk++)
      sum += ((const REAL *)a->partial)[chunk * (a->P + a->K) + i];
    if (i < a->P && dbp) dbp[i] = gain * sum;
    if (i >= a->P && dbt) dbt[i - a->P] = gain * sum;
  }
}
