/*
** The product kernels of gemm.c for one type. Included with
**   REAL, VEC, VL        element, vector of VL elements
**   FN(name)             the function's name
**   HVEC, LOW(v)         half a vector, the first one of v
**   LOAD_LAST, READ_LAST, STORE_LAST   a vector's first `count` lanes: of B, of C, to C
**   LOAD_HALF, READ_HALF, STORE_HALF   the same of half a vector
** SPDX-License-Identifier: MIT
*/

/* Where a tile's sums go: C = alpha sums + beta C (beta 0: C is not read) + bias. */
struct FN(target) {
  REAL *c;
  int64_t c_row;
  const REAL *bias; /* NULL: none */
  REAL alpha, beta;
  int relu;          /* then C = C where it is not below 0, else 0 */
  int last;          /* lanes of the last vector in use, 1..VL */
  const char *ahead; /* what to fetch for later, one line for each step of k */
  int64_t ahead_step;
};

/* C = alpha sum + beta C + bias, perhaps relu of it, for the `count` lanes of one vector, read and stored
   with the macros of its kind. */
#define WRITE(READ, STORE, at, sums, count, shift)                                                 \
  do {                                                                                             \
    __typeof__(sums) y = t->alpha * (sums);                                                        \
    if (t->beta != 0) y += t->beta * READ(at, count);                                              \
    if (t->bias) y += (shift);                                                                     \
    if (t->relu) y = (__typeof__(y))(~(y < 0) & (__typeof__(y < 0))y);                             \
    STORE(at, y, count);                                                                           \
  } while (0)

/*
** sums[H][V vectors] over k products of a column of A (broadcast) and a row of B. HALF: of the last vector
** half the lanes or fewer are in use, and it is worked on as a vector of that size.
*/
static inline __attribute__((always_inline)) void
FN(tile)(const int H, const int V, const int HALF, int64_t k, const REAL *a, int64_t a_row,
         int64_t a_col, const REAL *b, int64_t b_row, const struct FN(target) * t) {
  VEC sum[MAX_H][MAX_V];
  HVEC end[MAX_H];
  const int last = t->last, whole = V - HALF;
  const REAL *at[MAX_H / 3];
  UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i] = a + 3 * i * a_row;
  UNROLL for (int i = 0; i < H; i++) {
    UNROLL for (int v = 0; v < whole; v++) sum[i][v] = (VEC){0};
    if (HALF) end[i] = (HVEC){0};
    UNROLL for (int v = 0; v < V; v++) /* on its way while the sums are made */
        __builtin_prefetch(t->c + i * t->c_row + v * VL, 1);
  }
  const char *ahead = t->ahead;
  const int64_t ahead_step = t->ahead_step;
  for (int64_t p = 0; p < k; p++, b += b_row, ahead += ahead_step) {
    VEC row[MAX_V];
    HVEC row_end;
    __builtin_prefetch(ahead, 0, 2);
    UNROLL for (int v = 0; v < V - 1; v++) memcpy(&row[v], b + v * VL, sizeof row[v]);
    if (HALF)
      row_end = LOAD_HALF(b + whole * VL, last);
    else
      row[V - 1] = LOAD_LAST(b + (V - 1) * VL, last);
    UNROLL for (int i = 0; i < H; i++) {
      const VEC x = at[i / 3][(i % 3) * a_row] - (VEC){0}; /* one load, which spreads it */
      UNROLL for (int v = 0; v < whole; v++) sum[i][v] += x * row[v];
      if (HALF) end[i] += LOW(x) * row_end;
    }
    UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i] += a_col;
  }
  VEC bias[MAX_V];
  HVEC bias_end = (HVEC){0};
  UNROLL for (int v = 0; v < whole; v++) {
    bias[v] = (VEC){0};
    if (t->bias) bias[v] = READ_LAST(t->bias + v * VL, v < V - 1 ? VL : last);
  }
  if (HALF && t->bias) bias_end = READ_HALF(t->bias + whole * VL, last);
  REAL *c = t->c;
  UNROLL for (int i = 0; i < H; i++, c += t->c_row) {
    UNROLL for (int v = 0; v < whole; v++)
        WRITE(READ_LAST, STORE_LAST, c + v * VL, sum[i][v], v < V - 1 ? VL : last, bias[v]);
    if (HALF) WRITE(READ_HALF, STORE_HALF, c + whole * VL, end[i], last, bias_end);
  }
}
#undef WRITE

/* Tables, and macros that look like calls: */
/* clang-format off */
typedef void (*FN(tile_fn))(int64_t k, const REAL *a, int64_t a_row, int64_t a_col, const REAL *b,
                            int64_t b_row, const struct FN(target) *t);

#define TILE_OF(name, H, V, HALF)                                                               \
  static __attribute__((noinline)) void FN(name)(                                               \
      int64_t k, const REAL *a, int64_t a_row, int64_t a_col, const REAL *b, int64_t b_row,     \
      const struct FN(target) *t) {                                                             \
    FN(tile)(H, V, HALF, k, a, a_row, a_col, b, b_row, t);                                      \
  }
#if MASKED
#define TILE(H, V) TILE_OF(tile_##H##x##V, H, V, 0) TILE_OF(half_##H##x##V, H, V, 1)
#else
#define TILE(H, V) TILE_OF(tile_##H##x##V, H, V, 0)
#endif
TILE(1, 1) TILE(2, 1) TILE(4, 1) TILE(6, 1) TILE(8, 1) TILE(12, 1)
TILE(1, 2) TILE(2, 2) TILE(4, 2) TILE(6, 2)
#if MAX_V == 4
TILE(8, 2) TILE(12, 2)
TILE(1, 3) TILE(2, 3) TILE(4, 3) TILE(6, 3) TILE(8, 3)
TILE(1, 4) TILE(2, 4) TILE(4, 4) TILE(6, 4)
#define TILES(kind)                                                                             \
  {[1] = {[1] = FN(kind##_1x1), [2] = FN(kind##_2x1), [4] = FN(kind##_4x1),                     \
          [6] = FN(kind##_6x1), [8] = FN(kind##_8x1), [12] = FN(kind##_12x1)},                  \
   [2] = {[1] = FN(kind##_1x2), [2] = FN(kind##_2x2), [4] = FN(kind##_4x2),                     \
          [6] = FN(kind##_6x2), [8] = FN(kind##_8x2), [12] = FN(kind##_12x2)},                  \
   [3] = {[1] = FN(kind##_1x3), [2] = FN(kind##_2x3), [4] = FN(kind##_4x3),                     \
          [6] = FN(kind##_6x3), [8] = FN(kind##_8x3)},                                          \
   [4] = {[1] = FN(kind##_1x4), [2] = FN(kind##_2x4), [4] = FN(kind##_4x4),                     \
          [6] = FN(kind##_6x4)}}
#else
#define TILES(kind)                                                                             \
  {[1] = {[1] = FN(kind##_1x1), [2] = FN(kind##_2x1), [4] = FN(kind##_4x1),                     \
          [6] = FN(kind##_6x1), [8] = FN(kind##_8x1), [12] = FN(kind##_12x1)},                  \
   [2] = {[1] = FN(kind##_1x2), [2] = FN(kind##_2x2), [4] = FN(kind##_4x2),                     \
          [6] = FN(kind##_6x2)}}
#endif

/* By width and height; a missing height is made of lower ones. */
static const FN(tile_fn) FN(tiles)[MAX_V + 1][MAX_H + 1] = TILES(tile);
#if MASKED
static const FN(tile_fn) FN(halves)[MAX_V + 1][MAX_H + 1] = TILES(half);
#else
#define halves_f32 tiles_f32
#define halves_f64 tiles_f64
#endif
#undef TILES
#undef TILE
#undef TILE_OF
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

static void FN(add_row)(int64_t n, REAL *restrict c, const REAL *restrict r) {
  for (int64_t j = 0; j < n; j++) c[j] += r[j];
}

/* C becomes act(C) + R, Z what C was; both may be NULL. */
static void FN(act)(int32_t act, int64_t m, int64_t n, REAL *c, REAL *z, const REAL *r,
                    int64_t c_row) {
  const int64_t rows = n == c_row ? 1 : m, width = n == c_row ? m * n : n;
  for (int64_t i = 0; i < rows; i++) {
    const int64_t at = i * c_row;
    if (act != QN_ACT_NONE || z) FN(act_row)(act, width, c + at, z ? z + at : NULL);
    if (r) FN(add_row)(width, c + at, r + at);
  }
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

/* How the columns of B are cut into panels: as even as can be, wider ones first. */
struct FN(cut) {
  int64_t n;
  int64_t vectors, n_panels;
};

static struct FN(cut) FN(cut_of)(int64_t n) {
  const int64_t vectors = n > 0 ? (n - 1) / VL + 1 : 0;
  return (struct FN(cut)){n, vectors, (vectors + MAX_V - 1) / MAX_V};
}

/* Vectors of panel i, and of those before it. */
static int FN(width)(const struct FN(cut) * s, int64_t i) {
  return (int)(s->vectors / s->n_panels) + (i < s->vectors % s->n_panels);
}
static int64_t FN(before)(const struct FN(cut) * s, int64_t i) {
  const int64_t wider = s->vectors % s->n_panels;
  return i * (s->vectors / s->n_panels) + (i < wider ? i : wider);
}

/* Panels first .. end - 1 over a block of k: packed one after the other, or where they lie. */
struct FN(block) {
  struct FN(cut) cut;
  int64_t first, end;
  int64_t k; /* depth of the block */
  const REAL *b;
  int64_t b_row;        /* 0: packed */
  const uint8_t *empty; /* by panel: it is all zeros; NULL: nobody looked */
  struct FN(ahead) * ahead;
};

static int64_t FN(columns)(const struct FN(block) * s) {
  const int64_t j = FN(before)(&s->cut, s->first) * VL, end = FN(before)(&s->cut, s->end) * VL;
  return (end < s->cut.n ? end : s->cut.n) - j;
}

static void FN(rows)(const struct FN(block) * s, int64_t m, const REAL *a, int64_t a_row,
                     int64_t a_col, const struct FN(target) * target) {
  int64_t left = FN(columns)(s);
  const REAL *panel = s->b;
  struct FN(target) t = *target;
  for (int64_t i = s->first; i < s->end; i++) {
    const int V = FN(width)(&s->cut, i);
    const int64_t width = (int64_t)V * VL, b_row = s->b_row ? s->b_row : width;
    const int64_t k = s->empty && s->empty[i] ? 0 : s->k;
    t.last = (int)(left >= width ? VL : left - (width - VL));
    const FN(tile_fn) *tile = 2 * t.last <= VL ? FN(halves)[V] : FN(tiles)[V];
    REAL *c = t.c;
    for (int64_t r = 0; r < m;) {
      const int h = FN(height)(V, m - r);
      FN(aim)(s->ahead, k, panel, &t);
      tile[h](k, a + r * a_row, a_row, a_col, panel, b_row, &t);
      t.c += h * t.c_row;
      r += h;
    }
    t.c = c + width;
    if (t.bias) t.bias += width;
    panel += s->b_row ? width : width * s->k;
    left -= width;
  }
}

/* Panels first .. end - 1 of B[k,n], of which b is the corner; they go to `to`. */
static void FN(pack)(const struct FN(cut) * s, int64_t first, int64_t end, int64_t k, const REAL *b,
                     int64_t b_row, int64_t b_col, REAL *to) {
  for (int64_t i = first; i < end; i++) {
    const int64_t j = FN(before)(s, i) * VL, width = (int64_t)FN(width)(s, i) * VL, left = s->n - j;
    FN(pack_panel)(k, left < width ? left : width, width, b + j * b_col, b_row, b_col, to);
    to += width * k;
  }
}

/* A lies across: a step of k is a row of memory, as in weight gradients. The same for every piece of a product. */
static bool FN(across)(const qn_gemm *g) { return g->a_row == 1 && g->a_col > 2 * VL; }

/*
** Rows that keep A's and C's part near 100 KiB, a multiple of 24; 24 KiB where an activation
** goes over C again; more where A lies across and what is read of it are whole lines.
*/
static int64_t FN(row_block)(int64_t n, int64_t k, bool again, bool across) {
  const int64_t room = (again ? 24 : across ? 1024 : 100) * 1024;
  int64_t rows = room / ((n + k) * (int64_t)sizeof(REAL)) / 24 * 24;
  return rows < 24 ? 24 : rows > 240 ? 240 : rows;
}

static void FN(block_product)(const qn_gemm *g, const qni_gemm_with *with,
                              const struct FN(block) * s, int64_t p, bool last) {
  const REAL *a = (const REAL *)g->a + p * g->a_col, *bias = g->bias;
  const int64_t j = FN(before)(&s->cut, s->first) * VL, n = FN(columns)(s);
  REAL *c = (REAL *)g->c + j, *z = with && with->z ? (REAL *)with->z + j : NULL;
  const REAL *r = with && with->residual ? (const REAL *)with->residual + j : NULL;
  const bool relu = last && g->act == QN_ACT_RELU && !z && !r;
  const bool again = last && !relu && (g->act != QN_ACT_NONE || z || r);
  const int64_t step = FN(row_block)(n, s->k, again, FN(across)(g));
  for (int64_t i = 0; i < g->m; i += step) {
    const int64_t m = g->m - i < step ? g->m - i : step;
    const struct FN(target) t = {.c = c + i * g->c_row,
                                 .c_row = g->c_row,
                                 .bias = last && bias ? bias + j : NULL,
                                 .alpha = (REAL)g->alpha,
                                 .beta = p ? 1 : (REAL)g->beta,
                                 .relu = relu};
    FN(rows)(s, m, a + i * g->a_row, g->a_row, g->a_col, &t);
    const int64_t at = i * g->c_row;
    if (last && !relu) FN(act)(g->act, m, n, t.c, z ? z + at : NULL, r ? r + at : NULL, g->c_row);
  }
}

/*
** B stays where it lies when few rows would use the packed copy, or it goes through once as A does, and no
** lane needs padding.
*/
static bool FN(direct)(const qn_gemm *g) {
  if (g->b_col != 1 || (g->n % VL != 0 && !MASKED)) return false;
  if (g->m <= 24) return true;
  const bool few = g->m < 384 || g->n <= MAX_V * VL || FN(across)(g);
  return few && g->b_row <= 1024 / VL * VL;
}

static int64_t FN(even_depth)(int64_t k, int64_t most) {
  const int64_t blocks = k ? (k - 1) / most + 1 : 1;
  return (k + blocks - 1) / blocks;
}

/* Depth of the blocks of k. Where A lies across, the next block of A and B is fetched while one is worked on. */
static int64_t FN(k_block)(const qn_gemm *g, int64_t k) {
  return FN(even_depth)(k, FN(across)(g) ? MAX_K / 2 : MAX_K);
}

/* Columns of A and B that come from memory: nobody has fetched their first block. */
static bool FN(far)(const qn_gemm *g) {
  return FN(across)(g) && (g->a_col + g->b_row) * g->k * (int64_t)sizeof(REAL) > 1024 * 1024;
}

/* Depth of the block at p; far columns start slowly, with 32 steps, and double. */
static int64_t FN(depth_at)(int64_t p, int64_t k, int64_t k_step, bool slowly) {
  int64_t depth = k_step;
  if (slowly && p < depth) depth = p < 32 ? 32 : p;
  return k - p < depth ? k - p : depth;
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

static int64_t FN(n_panels)(int64_t n) { return FN(cut_of)(n).n_panels; }

/*
** All panels of B[k,n]: block of k after block, in each panel after panel; behind them a byte for each
** panel of each block, 1 where it has nothing but zeros.
*/
static int64_t FN(panel_cells)(int64_t n, int64_t k) { return FN(cut_of)(n).vectors * VL * k; }

static size_t FN(panel_bytes)(int64_t n, int64_t k) {
  const int64_t blocks = k ? (k - 1) / FN(even_depth)(k, MAX_K) + 1 : 0;
  return (size_t)FN(panel_cells)(n, k) * sizeof(REAL) + (size_t)(blocks * FN(n_panels)(n));
}

static bool FN(all_zero)(const REAL *x, int64_t n) {
  int64_t i = 0;
  while (i < n && x[i] == 0) i++;
  return i == n;
}

/* Panels first .. end - 1 of a B that many products read. */
static void FN(panels)(const qn_gemm *g, int64_t first, int64_t end, void *to) {
  const struct FN(cut) cut = FN(cut_of)(g->n);
  const int64_t k_step = FN(even_depth)(g->k, MAX_K);
  uint8_t *empty = (uint8_t *)((REAL *)to + FN(panel_cells)(g->n, g->k));
  for (int64_t p = 0; p < g->k; p += k_step, empty += cut.n_panels) {
    const int64_t k = g->k - p < k_step ? g->k - p : k_step;
    for (int64_t i = first; i < end; i++) {
      REAL *panel = (REAL *)to + (p * cut.vectors + k * FN(before)(&cut, i)) * VL;
      FN(pack)
      (&cut, i, i + 1, k, (const REAL *)g->b + p * g->b_row, g->b_row, g->b_col, panel);
      empty[i] = FN(all_zero)(panel, k * FN(width)(&cut, i) * VL);
    }
  }
}

static void FN(gemm)(const qn_gemm *g, const qni_gemm_with *with, void *pack, int64_t room) {
  if (g->m <= 0 || g->n <= 0) return;
  const REAL *panels = with ? with->panels : NULL;
  const int64_t k = g->k > 0 ? g->k : 0;
  const int64_t k_step = panels ? FN(even_depth)(k, MAX_K) : FN(k_block)(g, k);
  const bool slowly = !panels && FN(far)(g);
  struct FN(block) s = {.cut = FN(cut_of)(g->n)};
  if (panels && k) s.empty = (const uint8_t *)(panels + FN(panel_cells)(g->n, k));
  const int64_t most = room / ((k_step ? k_step : 1) * MAX_V * VL * (int64_t)sizeof(REAL));
  const int64_t fit = most < 1 ? 1 : most > MOST_PANELS ? MOST_PANELS : most;
  for (int64_t p = 0; p < k || p == 0; p += s.k) {
    s.k = FN(depth_at)(p, k, k_step, slowly);
    const int64_t next = p + s.k;
    struct FN(ahead) ahead = FN(next_block)(g, next, FN(depth_at)(next, k, k_step, slowly));
    s.ahead = &ahead;
    for (s.first = 0; s.first < s.cut.n_panels; s.first = s.end) {
      s.end = s.first + fit < s.cut.n_panels ? s.first + fit : s.cut.n_panels;
      const int64_t at = FN(before)(&s.cut, s.first) * VL;
      const REAL *b = (const REAL *)g->b + p * g->b_row;
      s.b_row = 0;
      if (panels) {
        s.b = panels + p * s.cut.vectors * VL + s.k * at;
      } else if (FN(direct)(g) && g->b_row) {
        s.b = b + at * g->b_col;
        s.b_row = g->b_row;
      } else {
        FN(pack)(&s.cut, s.first, s.end, s.k, b, g->b_row, g->b_col, pack);
        s.b = pack;
      }
      FN(block_product)(g, with, &s, p, p + s.k >= k);
    }
    if (s.empty) s.empty += s.cut.n_panels;
    if (!k) break;
  }
}
