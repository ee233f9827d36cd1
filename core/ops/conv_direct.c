/*
** Direct convolution of f32 images with channels last and one group; no columns are made.
**
** Image and back are one thing, a gathering: result position (i, j) of a phase sums, over pairs
** of kernel taps, pixel (i step + dy, j step + dx) of the source. Forward is one phase whose
** step is the stride; the gradient of the image with stride s is s x s phases with step 1, one
** for each remainder of the position by s, and each meets its own taps.
**
** Tiles take pixels side by side in a row, from a copy with margins where taps reach outside;
** or, where rows are short, the same pixel of neighbouring images, whose taps are all inside or
** all outside. Weights are packed once a call. Rows of taps outside the image are left out.
** SPDX-License-Identifier: MIT
*/
#include <stdbool.h>
#include <string.h>

#include "kernels/conv.h"
#include "ops/conv_parts.h"
#include "ops/network.h"

enum {
  SHORT_ROW = 8,             /* columns up to which tiles go across images */
  ACROSS = 8,                /* images of such a tile */
  PANEL_BYTES = 256 * 1024,  /* more of a panel is worked off row by row of the kernel */
  WEIGHT_BYTES = 512 * 1024, /* more than this does not stay in cache over images */
  CHUNK_BYTES = 512 * 1024,  /* source images worked on together */
  TASKS = 16,                /* wanted, where the batch is small */
  RANGES = 32                /* of tasks, where it is large */
};

/* Taps along one axis: at[n] from the position's base, in ascending order; tap[n] in the kernel. */
struct axis {
  int64_t n, *at, *tap;
};

struct phase {
  int64_t rows, columns; /* result positions */
  int64_t first_row, first_column;
  struct axis y, x;
  int64_t k; /* panel rows: taps x source channels */
  const float *panels;
};

struct gather {
  const qn_host *h;
  qn_call *c;
  const qni_conv_table *kernels;
  const float *from, *bias;
  float *to;
  int64_t N, H, W, C;         /* source */
  int64_t OH, OW, O;          /* result */
  int64_t step_y, step_x;     /* source pixels from position to position */
  int64_t spread_y, spread_x; /* result pixels from position to position */
  int64_t left, right;        /* margins of source rows */
  int64_t vectors, panels;    /* of the result's channels */
  struct phase *phases;
  int64_t n_phases;
  const float *w;                    /* kernel as given, */
  int64_t lane_step, inner_step, kw; /* its strides over result and source channels */
  bool across;
  int64_t chunk, groups; /* images, and shares of the panels, of a task */
};

/* ---- Plan ---- */

/* Forward along one axis: position i meets source i stride + t dilation - padding. */
static void forward_axis(int64_t taps, int64_t dilation, int64_t padding, struct axis *a) {
  for (a->n = 0; a->n < taps; a->n++) a->at[a->n] = a->n * dilation - padding, a->tap[a->n] = a->n;
}

/* Source position i stride + rest sees the result at i + (rest + padding - t dilation) / stride. */
static void backward_axis(int64_t taps, int64_t stride, int64_t dilation, int64_t padding,
                          int64_t rest, struct axis *a) {
  a->n = 0;
  for (int64_t t = taps - 1; t >= 0; t--) {
    const int64_t d = rest + padding - t * dilation;
    if (d % stride) continue;
    a->at[a->n] = d / stride;
    a->tap[a->n++] = t;
  }
}

static qn_status axis_memory(struct gather *g, int64_t n, struct axis *a) {
  void *memory;
  qn_status st = g->h->scratch(g->c, 2 * n * (int64_t)sizeof(int64_t), &memory);
  a->at = memory;
  a->tap = a->at + n;
  return st;
}

static void margins(struct gather *g, const struct phase *p) {
  if (!p->x.n || !p->columns) return;
  const int64_t reach = (p->columns - 1) * g->step_x + p->x.at[p->x.n - 1] - (g->W - 1);
  g->left = qni_at_least(g->left, -p->x.at[0]);
  g->right = qni_at_least(g->right, reach);
}

static int64_t padded_row(const struct gather *g) { return (g->left + g->W + g->right) * g->C; }

/* How the work is cut: by sizes alone. */
static void cut(struct gather *g) {
  int64_t weights = 0, widest = 0;
  for (int64_t i = 0; i < g->n_phases; i++) {
    weights += g->phases[i].k * g->O * 4;
    widest = qni_at_least(widest, g->phases[i].columns);
  }
  g->across = g->N >= ACROSS && widest <= SHORT_ROW;
  if (g->across) g->left = g->right = 0;
  const bool copied = g->left || g->right, heavy = weights > WEIGHT_BYTES;
  const int64_t image = qni_at_least(g->H * padded_row(g) * 4, 1), fit = CHUNK_BYTES / image;
  g->chunk = heavy ? qni_at_least(copied ? fit : 2 * fit, 1) : 1;
  if (g->across) g->chunk = qni_at_least(g->chunk / ACROSS * ACROSS, ACROSS);
  if (g->chunk > g->N) g->chunk = g->N;
  g->groups = heavy && !copied ? g->panels : 1;
  const int64_t chunks = qni_divide_up(g->N, qni_at_least(g->chunk, 1));
  while (chunks * g->groups < TASKS && g->groups < g->panels) g->groups++;
}

static int64_t panel_vectors(const struct gather *g, int64_t p) {
  return g->vectors - 2 * p < 2 ? 1 : 2;
}

static qn_status pack_panels(void *ctx, int64_t begin, int64_t end) {
  const struct gather *g = ctx;
  const int64_t lanes = g->kernels->lanes;
  for (int64_t i = begin; i < end; i++) {
    const struct phase *p = &g->phases[i / g->panels];
    const int64_t panel = i % g->panels, lane = panel * 2 * lanes, n = p->y.n * p->x.n;
    void *taps;
    qn_status st = g->h->local(g->c, qni_at_least(n, 1) * (int64_t)sizeof(int64_t), &taps);
    if (st) return st;
    for (int64_t t = 0; t < n; t++)
      ((int64_t *)taps)[t] = p->y.tap[t / p->x.n] * g->kw + p->x.tap[t % p->x.n];
    const int64_t width = panel_vectors(g, panel) * lanes, left = g->O - lane;
    const qni_conv_pack job = {.w = g->w + lane * g->lane_step,
                               .lane_step = g->lane_step,
                               .inner_step = g->inner_step,
                               .inner = g->C,
                               .taps = taps,
                               .n_taps = n,
                               .lanes = left < width ? left : width,
                               .width = width};
    g->kernels->pack(&job, (float *)(uintptr_t)p->panels + lane * p->k);
  }
  return QN_OK;
}

static qn_status prepare(struct gather *g) {
  int64_t room = 0;
  void *memory;
  g->vectors = qni_divide_up(g->O, g->kernels->lanes);
  g->panels = qni_divide_up(g->vectors, 2);
  for (int64_t i = 0; i < g->n_phases; i++) {
    struct phase *p = &g->phases[i];
    p->k = p->y.n * p->x.n * g->C;
    room += p->k * g->vectors * g->kernels->lanes;
    margins(g, p);
  }
  qn_status st = g->h->scratch(g->c, room * 4, &memory);
  if (st) return st;
  for (int64_t i = 0; i < g->n_phases; i++) {
    g->phases[i].panels = memory;
    memory = (float *)memory + g->phases[i].k * g->vectors * g->kernels->lanes;
  }
  cut(g);
  return g->h->parallel(g->c, g->n_phases * g->panels, 1, pack_panels, g);
}

/* ---- Tiles ---- */

/* A range first..last-1 of an axis' taps that fall inside 0..size-1 from base. */
struct span {
  int64_t first, last;
};

static struct span inside(const struct axis *a, int64_t base, int64_t size) {
  struct span s = {0, a->n};
  while (s.first < s.last && base + a->at[s.first] < 0) s.first++;
  while (s.last > s.first && base + a->at[s.last - 1] >= size) s.last--;
  return s;
}

/* Stretches of a row of `row` elements per source row that taps y x x see; adjacent ones are one. */
static int32_t find_runs(const struct gather *g, const struct phase *p, struct span y,
                         struct span x, int64_t row, qni_conv_run *runs) {
  int32_t n = 0;
  for (int64_t i = y.first; i < y.last; i++)
    for (int64_t j = x.first; j < x.last; j++) {
      const int64_t from = p->y.at[i] * row + p->x.at[j] * g->C;
      if (j > x.first && p->x.at[j] == p->x.at[j - 1] + 1)
        runs[n - 1].length += g->C;
      else
        runs[n++] = (qni_conv_run){.from = from, .length = g->C, .k = (i * p->x.n + j) * g->C};
    }
  return n;
}

/* One panel of a chunk: images begin..end-1, whose source is at `source`, `image` apart. */
struct piece {
  const struct gather *g;
  const struct phase *p;
  int64_t begin, end;
  const float *source;
  int64_t row, image; /* elements of a source row and image, with margins */
  struct span taps;   /* rows of taps of this pass */
  bool add;
  qni_conv_tile tile;
  qni_conv_run *runs;
};

static float *result_at(const struct piece *s, int64_t n, int64_t i, int64_t j) {
  const struct gather *g = s->g;
  const int64_t y = s->p->first_row + i * g->spread_y, x = s->p->first_column + j * g->spread_x;
  return g->to + ((n * g->OH + y) * g->OW + x) * g->O;
}

static struct span rows_inside(const struct piece *s, int64_t i) {
  struct span y = inside(&s->p->y, i * s->g->step_y, s->g->H);
  if (y.first < s->taps.first) y.first = s->taps.first;
  if (y.last > s->taps.last) y.last = s->taps.last;
  if (y.last < y.first) y.last = y.first;
  return y;
}

/* Asks memory for what row i of image n will need; the copy of its rows comes first. */
static void fetch_next(const struct piece *s, int64_t n, int64_t i) {
  const struct gather *g = s->g;
  if (n >= g->N || s->tile.add) return;
  const int64_t row = g->W * g->C, y = i * g->step_y;
  for (int64_t k = 0; k < g->step_y && y + k < g->H; k++)
    qni_fetch_read(g->from + ((n * g->H) + y + k) * row, row);
  qni_fetch_write(result_at(s, n, i, 0), s->p->columns * g->spread_x * g->O);
}

static void along_rows(struct piece *s, int64_t lane) {
  const struct gather *g = s->g;
  const struct span all = {0, s->p->x.n};
  s->tile.a_step = g->step_x * g->C;
  s->tile.y_step = g->spread_x * g->O;
  for (int64_t n = s->begin; n < s->end; n++)
    for (int64_t i = 0; i < s->p->rows; i++) {
      s->tile.n_runs = find_runs(g, s->p, rows_inside(s, i), all, s->row, s->runs);
      s->tile.a = s->source + (n - s->begin) * s->image + i * g->step_y * s->row + g->left * g->C;
      s->tile.y = result_at(s, n, i, 0) + lane;
      if (lane == 0) fetch_next(s, n + 1, i);
      g->kernels->pixels(&s->tile, s->p->columns);
    }
}

static void across_images(struct piece *s, int64_t lane) {
  const struct gather *g = s->g;
  s->tile.a_step = s->image;
  s->tile.y_step = g->OH * g->OW * g->O;
  for (int64_t n = s->begin; n < s->end; n += ACROSS) {
    const int64_t count = s->end - n < ACROSS ? s->end - n : ACROSS;
    for (int64_t i = 0; i < s->p->rows; i++)
      for (int64_t j = 0; j < s->p->columns; j++) {
        s->tile.n_runs = find_runs(g, s->p, rows_inside(s, i),
                                   inside(&s->p->x, j * g->step_x, g->W), s->row, s->runs);
        s->tile.a =
            s->source + (n - s->begin) * s->image + i * g->step_y * s->row + j * g->step_x * g->C;
        s->tile.y = result_at(s, n, i, j) + lane;
        g->kernels->pixels(&s->tile, count);
      }
  }
}

static void one_panel(struct piece *s, int64_t panel) {
  const struct gather *g = s->g;
  const int64_t lanes = g->kernels->lanes, lane = panel * 2 * lanes, left = g->O - lane;
  const int64_t vectors = panel_vectors(g, panel), last = left - (vectors - 1) * lanes;
  const bool large = s->p->k * vectors * lanes * 4 > PANEL_BYTES;
  s->tile.w = s->p->panels + lane * s->p->k;
  s->tile.bias = g->bias ? g->bias + lane : NULL;
  s->tile.vectors = (int32_t)vectors;
  s->tile.last = (int32_t)(last < lanes ? last : lanes);
  const int64_t step = large ? 1 : qni_at_least(s->p->y.n, 1);
  for (int64_t r = 0; r < qni_at_least(s->p->y.n, 1); r += step) {
    s->taps = (struct span){r, r + step};
    s->tile.add = r > 0;
    if (g->across)
      across_images(s, lane);
    else
      along_rows(s, lane);
  }
}

/* Images begin..end-1 with zeros at both ends of each row. */
static void copy_padded(const struct gather *g, int64_t begin, int64_t end, float *to) {
  const size_t left = (size_t)(g->left * g->C), right = (size_t)(g->right * g->C),
               middle = (size_t)(g->W * g->C);
  const float *from = g->from + begin * g->H * g->W * g->C;
  for (int64_t r = 0; r < (end - begin) * g->H; r++, from += middle) {
    memset(to, 0, left * sizeof *to);
    memcpy(to + left, from, middle * sizeof *to);
    memset(to + left + middle, 0, right * sizeof *to);
    to += left + middle + right;
  }
}

static qn_status run_task(const struct gather *g, int64_t task) {
  const int64_t begin = task / g->groups * g->chunk, group = task % g->groups;
  const int64_t end = begin + g->chunk < g->N ? begin + g->chunk : g->N;
  const bool copied = g->left || g->right;
  int64_t most = 1;
  for (int64_t i = 0; i < g->n_phases; i++)
    most = qni_at_least(most, g->phases[i].y.n * g->phases[i].x.n);
  struct piece s = {.g = g, .begin = begin, .end = end, .row = padded_row(g)};
  s.image = s.row * g->H;
  void *memory;
  const int64_t runs = qni_divide_up(most * (int64_t)sizeof(qni_conv_run), 64) * 64;
  qn_status st = g->h->local(g->c, runs + (copied ? (end - begin) * s.image * 4 : 0), &memory);
  if (st) return st;
  s.tile.runs = s.runs = memory;
  float *copy = (float *)(void *)((char *)memory + runs);
  if (copied) copy_padded(g, begin, end, copy);
  s.source = copied ? copy : g->from + begin * s.image;
  for (int64_t i = 0; i < g->n_phases; i++)
    for (int64_t p = group; p < g->panels; p += g->groups) {
      s.p = &g->phases[i];
      one_panel(&s, p);
    }
  return QN_OK;
}

static qn_status run_tasks(void *ctx, int64_t begin, int64_t end) {
  qn_status st = QN_OK;
  for (int64_t i = begin; i < end && !st; i++) st = run_task(ctx, i);
  return st;
}

static qn_status run(struct gather *g) {
  qn_status st = prepare(g);
  if (st || !g->N) return st;
  const int64_t tasks = qni_divide_up(g->N, g->chunk) * g->groups;
  return g->h->parallel(g->c, tasks, qni_at_least(tasks / RANGES, 1), run_tasks, g);
}

/* ---- The two gatherings ---- */

bool qni_direct_takes(const qni_conv *v) {
  return v->w.last && v->dtype == QN_F32 && v->groups == 1 && v->w.C > 0 && v->O > 0;
}

qn_status qni_direct_image(const qn_host *h, qn_call *c, const qni_conv *v, const void *x,
                           const void *w, const void *bias, void *y) {
  const qni_window *s = &v->w;
  const int64_t taps = s->kh * s->kw;
  struct phase p = {.rows = s->OH, .columns = s->OW};
  struct gather g = {.h = h,
                     .c = c,
                     .kernels = qni_conv_kernels(),
                     .from = x,
                     .bias = bias,
                     .to = y,
                     .N = s->N,
                     .H = s->H,
                     .W = s->W,
                     .C = s->C,
                     .OH = s->OH,
                     .OW = s->OW,
                     .O = v->O,
                     .step_y = s->sh,
                     .step_x = s->sw,
                     .spread_y = 1,
                     .spread_x = 1,
                     .phases = &p,
                     .n_phases = 1,
                     .w = w,
                     .lane_step = s->C * taps,
                     .inner_step = taps,
                     .kw = s->kw};
  if (taps == 1 && s->sh == 1 && s->sw == 1 && !s->ph && !s->pw) { /* a product: one long row */
    g.W *= g.H, g.OW *= g.OH, p.columns *= p.rows;
    g.H = g.OH = p.rows = 1;
  }
  qn_status st = axis_memory(&g, s->kh, &p.y);
  if (!st) st = axis_memory(&g, s->kw, &p.x);
  if (st) return st;
  forward_axis(s->kh, s->dh, s->ph, &p.y);
  forward_axis(s->kw, s->dw, s->pw, &p.x);
  return run(&g);
}

static qn_status backward_phases(struct gather *g, const qni_window *s) {
  void *memory;
  g->n_phases = s->sh * s->sw;
  qn_status st = g->h->scratch(g->c, g->n_phases * (int64_t)sizeof *g->phases, &memory);
  g->phases = memory;
  for (int64_t i = 0; !st && i < g->n_phases; i++) {
    struct phase *p = &g->phases[i];
    *p = (struct phase){.first_row = i / s->sw, .first_column = i % s->sw};
    p->rows = qni_divide_up(qni_at_least(g->OH - p->first_row, 0), s->sh);
    p->columns = qni_divide_up(qni_at_least(g->OW - p->first_column, 0), s->sw);
    st = axis_memory(g, s->kh, &p->y);
    if (!st) st = axis_memory(g, s->kw, &p->x);
    if (st) return st;
    backward_axis(s->kh, s->sh, s->dh, s->ph, p->first_row, &p->y);
    backward_axis(s->kw, s->sw, s->dw, s->pw, p->first_column, &p->x);
  }
  return st;
}

qn_status qni_direct_back(const qn_host *h, qn_call *c, const qni_conv *v, const void *dy,
                          const void *w, void *dx) {
  const qni_window *s = &v->w;
  const int64_t taps = s->kh * s->kw;
  struct gather g = {.h = h,
                     .c = c,
                     .kernels = qni_conv_kernels(),
                     .from = dy,
                     .to = dx,
                     .N = s->N,
                     .H = s->OH,
                     .W = s->OW,
                     .C = v->O,
                     .OH = s->H,
                     .OW = s->W,
                     .O = s->C,
                     .step_y = 1,
                     .step_x = 1,
                     .spread_y = s->sh,
                     .spread_x = s->sw,
                     .w = w,
                     .lane_step = taps,
                     .inner_step = s->C * taps,
                     .kw = s->kw};
  if (taps == 1 && s->sh == 1 && s->sw == 1 && !s->ph && !s->pw) {
    qni_window flat = *s;
    g.W *= g.H, g.OW *= g.OH;
    g.H = g.OH = 1;
    qn_status st = backward_phases(&g, &flat);
    return st ? st : run(&g);
  }
  qn_status st = backward_phases(&g, s);
  return st ? st : run(&g);
}
