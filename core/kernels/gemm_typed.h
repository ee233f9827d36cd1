/*
** The product kernels of gemm.c for one type. Included with
**   REAL, VEC, VL        element, vector of VL elements
**   FN(name)             the function's name
**   LOAD_LAST, READ_LAST, STORE_LAST   a vector's first `count` lanes: of B, of C, to C
** SPDX-License-Identifier: MIT
*/

/* Where a tile's sums go: C = alpha sums + beta C (beta 0: C is not read) + bias. */
struct FN(target) {
  REAL *c;
  int64_t c_row;
  const REAL *bias; /* NULL: none */
  REAL alpha, beta;
  int last;          /* lanes of the last vector in use, 1..VL */
  const char *ahead; /* what to fetch for later, one line for each step of k */
  int64_t ahead_step;
};

/* sums[H][V vectors] over k products of a column of A (broadcast) and a row of B. */
static inline __attribute__((always_inline)) void
FN(tile)(const int H, const int V, int64_t k, const REAL *a, int64_t a_row, int64_t a_col,
         const REAL *b, int64_t b_row, const struct FN(target) * t) {
  VEC sum[MAX_H][MAX_V];
  const int last = t->last;
  const REAL *at[MAX_H / 3];
  UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i] = a + 3 * i * a_row;
  UNROLL for (int i = 0; i < H; i++) UNROLL for (int v = 0; v < V; v++) {
    sum[i][v] = (VEC){0};
    __builtin_prefetch(t->c + i * t->c_row + v * VL, 1); /* on its way while the sums are made */
  }
  const char *ahead = t->ahead;
  const int64_t ahead_step = t->ahead_step;
  for (int64_t p = 0; p < k; p++, b += b_row, ahead += ahead_step) {
    VEC row[MAX_V];
    __builtin_prefetch(ahead, 0, 2);
    UNROLL for (int v = 0; v < V - 1; v++) memcpy(&row[v], b + v * VL, sizeof row[v]);
    row[V - 1] = LOAD_LAST(b + (V - 1) * VL, last);
    UNROLL for (int i = 0; i < H; i++) {
      const REAL x = at[i / 3][(i % 3) * a_row];
      UNROLL for (int v = 0; v < V; v++) sum[i][v] += x * row[v];
    }
    UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i] += a_col;
  }
  VEC bias[MAX_V];
  UNROLL for (int v = 0; v < V; v++) {
    bias[v] = (VEC){0};
    if (t->bias) bias[v] = READ_LAST(t->bias + v * VL, v < V - 1 ? VL : last);
  }
  REAL *c = t->c;
  UNROLL for (int i = 0; i < H; i++, c += t->c_row) {
    UNROLL for (int v = 0; v < V; v++) {
      const int count = v < V - 1 ? VL : last;
      VEC y = t->alpha * sum[i][v];
      if (t->beta != 0) y += t->beta * READ_LAST(c + v * VL, count);
      if (t->bias) y += bias[v];
      STORE_LAST(c + v * VL, y, count);
    }
  }
}

/* Tables, and macros that look like calls: */
/* clang-format off */
typedef void (*FN(tile_fn))(int64_t k, const REAL *a, int64_t a_row, int64_t a_col, const REAL *b,
                            int64_t b_row, const struct FN(target) *t);

#define TILE(H, V)                                                                              \
  static __attribute__((noinline)) void FN(tile_##H##x##V)(                                     \
      int64_t k, const REAL *a, int64_t a_row, int64_t a_col, const REAL *b, int64_t b_row,     \
      const struct FN(target) *t) {                                                             \
    FN(tile)(H, V, k, a, a_row, a_col, b, b_row, t);                                            \
  }
TILE(1, 1) TILE(2, 1) TILE(4, 1) TILE(6, 1) TILE(8, 1) TILE(12, 1)
TILE(1, 2) TILE(2, 2) TILE(4, 2) TILE(6, 2)
#if MAX_V == 4
TILE(8, 2) TILE(12, 2)
TILE(1, 3) TILE(2, 3) TILE(4, 3) TILE(6, 3) TILE(8, 3)
TILE(1, 4) TILE(2, 4) TILE(4, 4) TILE(6, 4)
#endif

/* By width and height; a missing height is made of lower ones. */
static const FN(tile_fn) FN(tiles)[MAX_V + 1][MAX_H + 1] = {
    [1] = {[1] = FN(tile_1x1), [2] = FN(tile_2x1), [4] = FN(tile_4x1), [6] = FN(tile_6x1),
           [8] = FN(tile_8x1), [12] = FN(tile_12x1)},
    [2] = {[1] = FN(tile_1x2), [2] = FN(tile_2x2), [4] = FN(tile_4x2), [6] = FN(tile_6x2),
#if MAX_V == 4
           [8] = FN(tile_8x2), [12] = FN(tile_12x2)},
    [3] = {[1] = FN(tile_1x3), [2] = FN(tile_2x3), [4] = FN(tile_4x3), [6] = FN(tile_6x3),
           [8] = FN(tile_8x3)},
    [4] = {[1] = FN(tile_1x4), [2] = FN(tile_2x4), [4] = FN(tile_4x4), [6] = FN(tile_6x4)},
#else
    },
#endif
};
#undef TILE
/* clang-format on */

/* The next tile's height when `rows` are left: 7 and 8 rows of a 6-row tile go as 4 + rest. */
static int FN(height)(int V, int64_t rows) {
  int h = rows < MAX_H ? (int)rows : MAX_H;
  if ((rows == 8 || rows == 7) && !FN(tiles)[V][8]) return 4;
  while (!FN(tiles)[V][h]) h--;
  return h;
}

/* One panel of B: k rows of `width` lanes (whole vectors), zeros beyond column n. */
static void FN(pack_panel)(int64_t k, int64_t n, int64_t width, const REAL *b, int64_t b_row,
                           int64_t b_col, REAL *out) {
  if (b_col == 1) {
    for (int64_t p = 0; p < k; p++, b += b_row, out += width) {
      memcpy(out, b, (size_t)n * sizeof *out);
      for (int64_t j = n; j < width; j++) out[j] = 0;
    }
    return;
  }
  int64_t j = 0;
  for (; j + 4 <= n && b_row == 1; j += 4) {
    int64_t p = 0;
    const REAL *from = b + j * b_col;
    for (; p + 4 <= k; p += 4) FN(transpose4)(from + p, b_col, out + p * width + j, width);
    for (; p < k; p++)
      for (int i = 0; i < 4; i++) out[p * width + j + i] = from[i * b_col + p];
  }
  for (; j < n; j++)
    for (int64_t p = 0; p < k; p++) out[p * width + j] = b[p * b_row + j * b_col];
  for (; j < width; j++)
    for (int64_t p = 0; p < k; p++) out[p * width + j] = 0;
}

static void FN(act)(int32_t act, int64_t m, int64_t n, REAL *c, int64_t c_row) {
  if (act == QN_ACT_NONE) return;
  for (int64_t i = 0; i < m; i++) FN(act_row)(act, n, c + i * c_row);
}

/* What the next block of k will read: two stretches of memory, fetched while this block is worked on. */
struct FN(ahead) {
  const char *at[2], *end[2];
};

static void FN(aim)(struct FN(ahead) * s, int64_t k, const REAL *idle, struct FN(target) * t) {
  const int i = s->at[0] < s->end[0] ? 0 : 1;
  const bool any = s->at[i] < s->end[i];
  t->ahead = any ? s->at[i] : (const char *)idle;
  t->ahead_step = any ? 64 : 0;
  s->at[i] += any ? 64 * k : 0;
}

/* A block of columns and of k: B's panels, packed or where they lie. */
struct FN(block) {
  int64_t n, k;          /* columns and depth of the block */
  int n_panels, vectors; /* panels, and vectors in all of them */
  const REAL *b;
  int64_t b_row; /* 0: packed panels one after the other */
  struct FN(ahead) * ahead;
};

/* Vectors of panel i: as even as can be, wider ones first. */
static int FN(panel_width)(const struct FN(block) * s, int i) {
  return s->vectors / s->n_panels + (i < s->vectors % s->n_panels);
}

static void FN(rows)(const struct FN(block) * s, int64_t m, const REAL *a, int64_t a_row,
                     int64_t a_col, const struct FN(target) * target) {
  int64_t j = 0;
  const REAL *panel = s->b;
  for (int i = 0; i < s->n_panels; i++) {
    const int V = FN(panel_width)(s, i);
    const int64_t width = (int64_t)V * VL, left = s->n - j;
    struct FN(target) t = *target;
    t.c += j;
    if (t.bias) t.bias += j;
    t.last = (int)(left >= width ? VL : left - (width - VL));
    for (int64_t r = 0; r < m;) {
      const int h = FN(height)(V, m - r);
      FN(aim)(s->ahead, s->k, panel, &t);
      FN(tiles)[V][h](s->k, a + r * a_row, a_row, a_col, panel, s->b_row ? s->b_row : width, &t);
      t.c += h * t.c_row;
      r += h;
    }
    panel += s->b_row ? width : width * s->k;
    j += width;
  }
}

static void FN(pack_block)(struct FN(block) * s, const REAL *b, int64_t b_row, int64_t b_col,
                           REAL *pack) {
  s->b = pack;
  s->b_row = 0;
  int64_t j = 0;
  for (int i = 0; i < s->n_panels; i++) {
    const int64_t width = (int64_t)FN(panel_width)(s, i) * VL, left = s->n - j;
    FN(pack_panel)(s->k, left < width ? left : width, width, b + j * b_col, b_row, b_col, pack);
    pack += width * s->k;
    j += width;
  }
}

/* Rows that keep A's and C's part near 100 KiB, a multiple of 24. */
static int64_t FN(row_block)(int64_t n, int64_t k) {
  int64_t rows = 100 * 1024 / ((n + k) * (int64_t)sizeof(REAL)) / 24 * 24;
  return rows < 24 ? 24 : rows > 240 ? 240 : rows;
}

static void FN(block_product)(const qn_gemm *g, const struct FN(block) * s, int64_t j, int64_t p,
                              bool last) {
  const REAL *a = (const REAL *)g->a + p * g->a_col, *bias = g->bias;
  REAL *c = (REAL *)g->c + j;
  const int64_t step = FN(row_block)(s->n, s->k);
  for (int64_t i = 0; i < g->m; i += step) {
    const int64_t m = g->m - i < step ? g->m - i : step;
    const struct FN(target) t = {.c = c + i * g->c_row,
                                 .c_row = g->c_row,
                                 .bias = last && bias ? bias + j : NULL,
                                 .alpha = (REAL)g->alpha,
                                 .beta = p ? 1 : (REAL)g->beta};
    FN(rows)(s, m, a + i * g->a_row, g->a_row, g->a_col, &t);
    if (last) FN(act)(g->act, m, s->n, t.c, t.c_row);
  }
}

/* B stays where it lies when few rows would use the packed copy and no lane needs padding. */
static bool FN(direct)(const qn_gemm *g) {
  return g->b_col == 1 && (g->n % VL == 0 || MASKED) && (g->m <= 24 || g->b_row <= 1024 / VL * VL);
}

/* Depth of a block of k. A whose rows lie across cache lines is read by whole lines: its block stays small. */
static int64_t FN(k_block)(const qn_gemm *g, int64_t k) {
  const bool across = g->a_row == 1 && g->m > 2 * VL;
  int64_t depth = MAX_K;
  while (across && depth > 128 && g->m * depth * (int64_t)sizeof(REAL) > 256 * 1024) depth /= 2;
  const int64_t blocks = k ? (k - 1) / depth + 1 : 1;
  return (k + blocks - 1) / blocks;
}

/*
** Rows p .. p + k - 1 of A across and of B, where they lie close. Only such products, which add up long
** columns, wait for memory: others walk along rows, which the processor fetches by itself.
*/
static struct FN(ahead) FN(next_block)(const qn_gemm *g, int64_t p, int64_t k) {
  struct FN(ahead) s = {{NULL, NULL}, {NULL, NULL}};
  if (g->a_row != 1 || k <= 0) return s;
  const REAL *a = (const REAL *)g->a + p * g->a_col, *b = (const REAL *)g->b + p * g->b_row;
  if (g->a_col <= 2 * g->m) {
    s.at[0] = (const char *)a;
    s.end[0] = (const char *)(a + k * g->a_col);
  }
  if (g->b_col == 1 && g->b_row <= 2 * g->n) {
    s.at[1] = (const char *)b;
    s.end[1] = (const char *)(b + k * g->b_row);
  }
  return s;
}

static void FN(gemm)(const qn_gemm *g, void *pack, int64_t room) {
  if (g->m <= 0 || g->n <= 0) return;
  const int64_t k = g->k > 0 ? g->k : 0, k_step = FN(k_block)(g, k);
  const int64_t vectors = (g->n - 1) / VL + 1;
  const int64_t most = room / ((k_step ? k_step : 1) * VL * (int64_t)sizeof(REAL));
  const int64_t fit = most < MAX_V ? MAX_V : most > 32 ? 32 : most / MAX_V * MAX_V;
  for (int64_t p = 0; p < k || p == 0; p += k_step) {
    const int64_t depth = k - p < k_step ? k - p : k_step;
    const int64_t left = k - p - depth;
    struct FN(ahead) ahead = FN(next_block)(g, p + depth, left < k_step ? left : k_step);
    for (int64_t v = 0; v < vectors; v += fit) {
      const int64_t j = v * VL, many = vectors - v < fit ? vectors - v : fit;
      struct FN(block) s = {.n = g->n - j < many * VL ? g->n - j : many * VL,
                            .k = depth,
                            .ahead = &ahead,
                            .vectors = (int)many,
                            .n_panels = (int)(many - 1) / MAX_V + 1};
      const REAL *b = (const REAL *)g->b + p * g->b_row + j * g->b_col;
      s.b = b;
      s.b_row = g->b_row;
      if (!FN(direct)(g) || !g->b_row) FN(pack_block)(&s, b, g->b_row, g->b_col, pack);
      FN(block_product)(g, &s, j, p, p + s.k >= k);
    }
    if (!k) break;
  }
}
