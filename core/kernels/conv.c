/*
** Direct convolution kernels, one table per instruction level; see conv.h.
** SPDX-License-Identifier: MIT
*/
#include "kernels/conv.h"

#include "kernels/math_vec.h"
#include "kernels/vec_part.h"

#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#else
#define UNROLL PRAGMA(GCC unroll 16)
#endif

enum { MAX_H = 16, MAX_V = 2 };

/* ---- Tiles of pixels ---- */

static inline __attribute__((always_inline)) void
start_sums(const int H, const int V, const qni_conv_tile *t, int last, vf sum[MAX_H][MAX_V]) {
  UNROLL for (int v = 0; v < V; v++) {
    const int count = v < V - 1 ? VF_N : last;
    vf first = {0};
    if (t->bias && !t->add) first = vf_load_part(t->bias + v * VF_N, count);
    UNROLL for (int i = 0; i < H; i++) sum[i][v] =
        t->add ? vf_load_part(t->y + i * t->y_step + v * VF_N, count) : first;
  }
}

static inline __attribute__((always_inline)) void tile(const int H, const int V,
                                                       const qni_conv_tile *t) {
  const int last = t->last;
  vf sum[MAX_H][MAX_V];
  start_sums(H, V, t, last, sum);
  for (int32_t r = 0; r < t->n_runs; r++) {
    const qni_conv_run *run = &t->runs[r];
    const float *w = t->w + run->k * V * VF_N, *at[MAX_H / 3 + 1];
    const int64_t step = t->a_step;
    UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i] = t->a + run->from + 3 * i * step;
    for (int64_t k = 0; k < run->length; k++, w += V * VF_N) {
      vf row[MAX_V];
      UNROLL for (int v = 0; v < V; v++) row[v] = vf_load(w + v * VF_N);
      UNROLL for (int i = 0; i < H; i++) {
        const float x = at[i / 3][(i % 3) * step];
        UNROLL for (int v = 0; v < V; v++) sum[i][v] += x * row[v];
      }
      UNROLL for (int i = 0; i < (H + 2) / 3; i++) at[i]++;
    }
  }
  UNROLL for (int i = 0; i < H; i++) {
    UNROLL for (int v = 0; v < V - 1; v++) vf_store(t->y + i * t->y_step + v * VF_N, sum[i][v]);
    vf_store_part(t->y + i * t->y_step + (V - 1) * VF_N, sum[i][V - 1], last);
  }
}

/* ---- Tiles of the weight gradient ---- */

static inline __attribute__((always_inline)) void weigh_tile(const int H, const int V,
                                                             const qni_conv_weigh *t, int64_t c) {
  const int last = t->last;
  const int64_t columns = t->columns, x_step = t->x_step, g_step = t->g_step, row = t->sum_row;
  vf sum[MAX_H][MAX_V];
  float *to = t->sum + c * row;
  UNROLL for (int i = 0; i < H; i++) UNROLL for (int v = 0; v < V; v++) sum[i][v] =
      vf_load_part(to + i * row + v * VF_N, v < V - 1 ? VF_N : last);
  for (int64_t n = 0; n < t->images; n++)
    for (int64_t r = 0; r < t->rows; r++) {
      const float *x = t->x + n * t->x_image + r * t->x_row + c,
                  *g = t->g + n * t->g_image + r * t->g_row;
      for (int64_t p = 0; p < columns; p++, x += x_step, g += g_step) {
        vf of_g[MAX_V];
        UNROLL for (int v = 0; v < V - 1; v++) of_g[v] = vf_load(g + v * VF_N);
        of_g[V - 1] = vf_load_part(g + (V - 1) * VF_N, last);
        UNROLL for (int i = 0; i < H; i++) UNROLL for (int v = 0; v < V; v++) sum[i][v] +=
            x[i] * of_g[v];
      }
    }
  UNROLL for (int i = 0; i < H; i++) UNROLL for (int v = 0; v < V; v++)
      vf_store_part(to + i * row + v * VF_N, sum[i][v], v < V - 1 ? VF_N : last);
}

/* ---- Tables of both, by width and height; a missing height is made of lower ones ---- */

/* clang-format off */
typedef void (*tile_fn)(const qni_conv_tile *t);
typedef void (*weigh_fn)(const qni_conv_weigh *t, int64_t c);
#define TILE(H, V)                                                                              \
  static __attribute__((noinline)) void tile_##H##x##V(const qni_conv_tile *t) { tile(H, V, t); }
#define WEIGH(H, V)                                                                             \
  static __attribute__((noinline)) void weigh_##H##x##V(const qni_conv_weigh *t, int64_t c) {   \
    weigh_tile(H, V, t, c);                                                                     \
  }
#define BOTH(H, V) TILE(H, V) WEIGH(H, V)
BOTH(1, 1) BOTH(2, 1) BOTH(3, 1) BOTH(4, 1) BOTH(8, 1) TILE(7, 1)
BOTH(1, 2) BOTH(2, 2) BOTH(3, 2) BOTH(4, 2) TILE(6, 2)
#if defined(__AVX512F__)
TILE(14, 1) BOTH(16, 1) TILE(7, 2) BOTH(8, 2) TILE(14, 2)
#endif

static const tile_fn tiles[MAX_V + 1][MAX_H + 1] = {
  [1] = {[1] = tile_1x1, [2] = tile_2x1, [3] = tile_3x1, [4] = tile_4x1, [7] = tile_7x1,
#if defined(__AVX512F__)
         [14] = tile_14x1, [16] = tile_16x1,
#endif
         [8] = tile_8x1},
  [2] = {[1] = tile_1x2, [2] = tile_2x2, [3] = tile_3x2, [4] = tile_4x2,
#if defined(__AVX512F__)
         [7] = tile_7x2, [8] = tile_8x2, [14] = tile_14x2,
#endif
         [6] = tile_6x2},
};
static const weigh_fn weighs[MAX_V + 1][MAX_H + 1] = {
  [1] = {[1] = weigh_1x1, [2] = weigh_2x1, [3] = weigh_3x1, [4] = weigh_4x1,
#if defined(__AVX512F__)
         [16] = weigh_16x1,
#endif
         [8] = weigh_8x1},
  [2] = {[1] = weigh_1x2, [2] = weigh_2x2, [3] = weigh_3x2,
#if defined(__AVX512F__)
         [8] = weigh_8x2,
#endif
         [4] = weigh_4x2},
};
/* clang-format on */

/* The next tile's height when `count` pixels are left: even shares before tall tiles. */
static int height(int V, int64_t count) {
  if (tiles[V][14] && count % 14 == 0) return 14;
  if (!tiles[V][8] && (count == 8 || count == 7)) return 4;
  int h = count < MAX_H ? (int)count : MAX_H;
  if (h > 8 && h < 16) h = 8;
  if (h == 16 && !tiles[V][16]) h = 8;
  while (!tiles[V][h]) h--;
  return h;
}

static void pixels(const qni_conv_tile *given, int64_t count) {
  qni_conv_tile t = *given;
  while (count > 0) {
    const int h = height(t.vectors, count);
    tiles[t.vectors][h](&t);
    t.a += h * t.a_step;
    t.y += h * t.y_step;
    count -= h;
  }
}

static void weigh(const qni_conv_weigh *t) {
  for (int64_t c = 0; c < t->channels;) {
    const int64_t left = t->channels - c;
    int h = left < MAX_H ? (int)left : MAX_H;
    while (!weighs[t->vectors][h]) h--;
    weighs[t->vectors][h](t, c);
    c += h;
  }
}

static void pack(const qni_conv_pack *p, float *out) {
  for (int64_t i = 0; i < p->inner; i++)
    for (int64_t k = 0; k < p->n_taps; k++) {
      float *to = out + (k * p->inner + i) * p->width;
      const float *from = p->w + i * p->inner_step + p->taps[k];
      for (int64_t l = 0; l < p->lanes; l++) to[l] = from[l * p->lane_step];
      for (int64_t l = p->lanes; l < p->width; l++) to[l] = 0;
    }
}

static void split(const float *from, int64_t step, int64_t count, int64_t channels, float *to,
                  int64_t at, int64_t room) {
  const int64_t whole = channels / QNI_CONV_BLOCK * QNI_CONV_BLOCK, rest = channels - whole;
  float *last = to + whole * room + at * rest;
  to += at * QNI_CONV_BLOCK;
  for (int64_t i = 0; i < count; i++, from += step, to += QNI_CONV_BLOCK) {
    for (int64_t c = 0; c < whole; c += QNI_CONV_BLOCK)
      memcpy(to + c * room, from + c, QNI_CONV_BLOCK * sizeof *to);
    for (int64_t c = 0; c < rest; c++) *last++ = from[whole + c];
  }
}

/* Stripes of 16 rows, so that a line is written at a time. */
static void turn(const float *from, int64_t rows, int64_t columns, float *restrict to) {
  int64_t r = 0;
  for (; r + 16 <= rows; r += 16)
    for (int64_t c = 0; c < columns; c++)
      for (int64_t i = 0; i < 16; i++) to[c * rows + r + i] = from[(r + i) * columns + c];
  for (int64_t c = 0; c < columns && r < rows; c++)
    for (int64_t i = r; i < rows; i++) to[c * rows + i] = from[i * columns + c];
}

static void join(const float *sums, int64_t n_parts, int64_t O, int64_t C, int64_t taps,
                 int64_t begin, int64_t end, float *dw) {
  const int64_t cells = O * C * taps;
  for (int64_t c = 0; c < C; c++)
    for (int64_t t = 0; t < taps; t++) {
      const float *from = sums + (t * C + c) * O;
      for (int64_t o = begin; o < end; o++) {
        float sum = from[o];
        for (int64_t p = 1; p < n_parts; p++) sum += from[p * cells + o];
        dw[(o * C + c) * taps + t] = sum;
      }
    }
}

extern const qni_conv_table QNI_KERNEL(conv_kernels);
const qni_conv_table QNI_KERNEL(conv_kernels) = {.lanes = VF_N,
                                                 .pixels = pixels,
                                                 .weigh = weigh,
                                                 .pack = pack,
                                                 .split = split,
                                                 .turn = turn,
                                                 .join = join};
