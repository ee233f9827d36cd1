/* Transforms of Winograd's convolution, one table per instruction level. SPDX-License-Identifier: MIT */
#include "kernels/winograd.h"

#include "kernels/vec_part.h"

static const float zeros[QNI_WINOGRAD_CHANNELS];

#define EACH(i, n) for (int i = 0; i < (n); i++)

/* ---- The small matrices, along one axis, `s` vectors from one entry to the next ---- */

VF_INLINE void b_axis(vf *x, int s) {
  const vf x0 = x[0], x1 = x[s], x2 = x[2 * s], x3 = x[3 * s];
  x[0] = x0 - x2, x[s] = x1 + x2, x[2 * s] = x2 - x1, x[3 * s] = x1 - x3;
}

/* 4 -> 2 */
VF_INLINE void a_axis(const vf *m, int s, vf *y, int t) {
  y[0] = m[0] + m[s] + m[2 * s];
  y[t] = m[s] - m[2 * s] - m[3 * s];
}

/* 2 -> 4: the transpose */
VF_INLINE void a_back(const vf *y, int s, vf *m, int t) {
  m[0] = y[0], m[t] = y[0] + y[s], m[2 * t] = y[0] - y[s], m[3 * t] = -y[s];
}

/* 3 -> 4 */
VF_INLINE void g_axis(const vf *w, int s, vf *u, int t) {
  const vf ends = 0.5f * (w[0] + w[2 * s]), middle = 0.5f * w[s];
  u[0] = w[0], u[t] = ends + middle, u[2 * t] = ends - middle, u[3 * t] = w[2 * s];
}

/* 4 -> 3: the transpose */
VF_INLINE void g_back(const vf *u, int s, vf *w, int t) {
  const vf sum = 0.5f * (u[s] + u[2 * s]), difference = 0.5f * (u[s] - u[2 * s]);
  w[0] = u[0] + sum, w[t] = difference, w[2 * t] = sum + u[3 * s];
}

static inline int64_t at_most(int64_t a, int64_t most) { return a < most ? a : most; }

/* ---- Tiles: a stretch of tiles along one row of an image, one vector of channels at a time ---- */

enum { STRETCH = 4 }; /* tiles, where a pixel has more than one vector: they stay in L1 meanwhile */

struct stretch {
  float *rows[4];  /* of pixels, the first channel of column 0; zeros outside the image */
  int64_t step[4]; /* from column to column: 0 among zeros */
  int64_t x;       /* column of the first tile's first pixel */
  int64_t W, used, count, apart;
};

/* The stretch that begins with tile `tile` and ends with its row or the tiles' end. */
static struct stretch stretch_of(const qni_winograd_tiles *t, int64_t tile, int32_t n_rows,
                                 int64_t apart) {
  const int64_t each = t->down * t->across, n = tile / each, rest = tile % each;
  const int64_t y = rest / t->across * 2 - t->padding, column = rest % t->across;
  const int64_t left = t->first + t->count - tile, row_left = t->across - column;
  struct stretch s = {
      .x = column * 2 - t->padding,
      .W = t->W,
      .used = t->used,
      .count = at_most(left < row_left ? left : row_left, t->used > VF_N ? STRETCH : left),
      .apart = apart};
  for (int32_t i = 0; i < n_rows; i++) {
    const int inside = y + i >= 0 && y + i < t->H;
    s.rows[i] = inside ? t->pixels + (n * t->H + y + i) * t->W * t->C : (float *)(uintptr_t)zeros;
    s.step[i] = inside ? t->C : 0;
  }
  return s;
}

/* Pixels of one column, or zeros. */
VF_INLINE void column_of(const struct stretch *s, int n_rows, int64_t x, int64_t c, int lanes,
                         vf *to) {
  const int inside = x >= 0 && x < s->W;
  EACH(i, n_rows) to[i] = (vf){0};
  if (!inside) return;
  EACH(i, n_rows) to[i] = vf_load_part(s->rows[i] + x * s->step[i] + c, lanes);
}

VF_INLINE void spread_lanes(const struct stretch *s, int64_t c, int lanes, float *v) {
  vf d[4][4]; /* columns, transformed downwards */
  EACH(k, 2) {
    column_of(s, 4, s->x + k, c, lanes, d[k]);
    b_axis(d[k], 1);
  }
  for (int64_t t = 0, x = s->x + 2; t < s->count; t++, x += 2, v += s->used) {
    EACH(k, 2) {
      column_of(s, 4, x + k, c, lanes, d[2 + k]);
      b_axis(d[2 + k], 1);
    }
    float *to = v;
    EACH(i, 4) {
      vf_store_part(to, d[0][i] - d[2][i], lanes);
      vf_store_part(to + s->apart, d[1][i] + d[2][i], lanes);
      vf_store_part(to + 2 * s->apart, d[2][i] - d[1][i], lanes);
      vf_store_part(to + 3 * s->apart, d[1][i] - d[3][i], lanes);
      to += 4 * s->apart;
      d[0][i] = d[2][i], d[1][i] = d[3][i];
    }
  }
}

VF_INLINE void widen_lanes(const struct stretch *s, int64_t c, int lanes, float *w) {
  for (int64_t t = 0, x = s->x; t < s->count; t++, x += 2, w += s->used) {
    vf y[2][2], half[2][4], d[4];
    EACH(k, 2) {
      column_of(s, 2, x + k, c, lanes, y[k]);
      a_back(y[k], 1, half[k], 1);
    }
    float *to = w;
    EACH(i, 4) {
      const vf pair[2] = {half[0][i], half[1][i]};
      a_back(pair, 1, d, 1);
      EACH(k, 4) vf_store_part(to + k * s->apart, d[k], lanes);
      to += 4 * s->apart;
    }
  }
}

VF_INLINE void gather_lanes(const struct stretch *s, int64_t c, int lanes, const float *m,
                            const float *bias) {
  const vf add = bias ? vf_load_part(bias + c, lanes) : (vf){0};
  for (int64_t t = 0, x = s->x; t < s->count; t++, x += 2, m += s->used) {
    vf d[16], half[8], y[4];
    EACH(i, 16) d[i] = vf_load_part(m + i * s->apart, lanes);
    EACH(i, 4) a_axis(d + i, 4, half + i, 4);
    EACH(i, 2) a_axis(half + 4 * i, 1, y + 2 * i, 1);
    EACH(i, 2) {
      if (!s->step[i]) continue; /* below the image */
      float *to = s->rows[i] + x * s->step[i] + c;
      vf_store_part(to, y[2 * i] + add, lanes);
      if (x + 1 < s->W) vf_store_part(to + s->step[i], y[2 * i + 1] + add, lanes);
    }
  }
}

/* Does `body` for all stretches of the tiles; `at` moves over the tiles' transformed rows. */
#define STRETCHES(t, n_rows, apart, at, body, ...)                                                 \
  for (int64_t tile = (t)->first, end = tile + (t)->count; tile < end;) {                          \
    const struct stretch s = stretch_of(t, tile, n_rows, apart);                                   \
    int64_t c = 0;                                                                                 \
    for (; c + VF_N <= s.used; c += VF_N) body(&s, c, VF_N, at + c __VA_ARGS__);                   \
    if (c < s.used) body(&s, c, (int)(s.used - c), at + c __VA_ARGS__);                            \
    at += s.count * s.used;                                                                        \
    tile += s.count;                                                                               \
  }

static void spread(const qni_winograd_tiles *t, float *v, int64_t apart) {
  STRETCHES(t, 4, apart, v, spread_lanes)
}
static void widen(const qni_winograd_tiles *t, float *w, int64_t apart) {
  STRETCHES(t, 2, apart, w, widen_lanes)
}
static void gather(const qni_winograd_tiles *t, const float *m, int64_t apart,
                   const float *bias){STRETCHES(t, 2, apart, m, gather_lanes, , bias)}

/* ---- Kernels ---- */

VF_INLINE void kernel_part(const float *w, int64_t w_apart, int count, float *u, int64_t apart) {
  vf k[9], half[12], d[16];
  EACH(t, 9) k[t] = vf_load_part(w + t * w_apart, count);
  EACH(t, 3) g_axis(k + t, 3, half + t, 3);
  EACH(t, 4) g_axis(half + 3 * t, 1, d + 4 * t, 1);
  EACH(t, 16) vf_store_part(u + t * apart, d[t], count);
}

static void kernel(const float *w, int64_t w_apart, int64_t n, float *u, int64_t u_apart) {
  int64_t i = 0;
  for (; i + VF_N <= n; i += VF_N) kernel_part(w + i, w_apart, VF_N, u + i, u_apart);
  if (i < n) kernel_part(w + i, w_apart, (int)(n - i), u + i, u_apart);
}

VF_INLINE void kernel_back_part(const float *u, int64_t apart, int count, float *w,
                                int64_t w_apart) {
  vf d[16], half[12], k[9];
  EACH(t, 16) d[t] = vf_load_part(u + t * apart, count);
  EACH(t, 4) g_back(d + t, 4, half + t, 4);
  EACH(t, 3) g_back(half + 4 * t, 1, k + 3 * t, 1);
  EACH(t, 9) vf_store_part(w + t * w_apart, k[t], count);
}

static void kernel_back(const float *u, int64_t u_apart, int64_t n, float *w, int64_t w_apart) {
  int64_t i = 0;
  for (; i + VF_N <= n; i += VF_N) kernel_back_part(u + i, u_apart, VF_N, w + i, w_apart);
  if (i < n) kernel_back_part(u + i, u_apart, (int)(n - i), w + i, w_apart);
}

extern const qni_winograd_table QNI_KERNEL(winograd);
const qni_winograd_table QNI_KERNEL(winograd) = {.spread = spread,
                                                 .gather = gather,
                                                 .widen = widen,
                                                 .kernel = kernel,
                                                 .kernel_back = kernel_back};
