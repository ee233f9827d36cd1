/*
** Memory and order of a loss's work; loss_typed.h does it. Lanes are contiguous
** positions, their number a function of the sizes alone. SPDX-License-Identifier: MIT
*/
#include "loss.h"

enum { LANE_BYTES = 256 << 20, TILE_BYTES = 1 << 20, LEAST_LANE = 4 * CHUNK_ROWS };
enum {
  BLOCK_BYTES = 256 << 10,
  LEAST_BLOCK = 256,
  MOST_BLOCK = 1 << 20,
  LEAST_SLOTS = 64,
  MOST_SLOTS = 1024
};

static const double MASKED = -5e4; /* score of a negative that is the positive */

/* Slots whose sums are made together. */
static int64_t slots_together(const struct hstu_loss *s) {
  return least(most(LEAST_SLOTS, s->A / 16), MOST_SLOTS);
}

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "tile_typed.h"
#include "loss_typed.h"
#include "loss_pair_typed.h"
#include "loss_pool_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "tile_typed.h"
#include "loss_typed.h"
#include "loss_pair_typed.h"
#include "loss_pool_typed.h"

struct want { /* one piece of work memory */
  void *to;   /* address of the pointer to set */
  int64_t bytes;
};

static qn_status take_all(const struct hstu_loss *s, const struct want *want, size_t n) {
  for (size_t i = 0; i < n; i++) {
    void *memory = NULL;
    qn_status st = want[i].bytes ? s->h->scratch(s->c, want[i].bytes, &memory) : QN_OK;
    if (st) return st;
    memcpy(want[i].to, &memory, sizeof memory);
  }
  return QN_OK;
}

/* Lanes such that their copies of `bytes` stay within bounds. */
static int64_t lanes_for(int64_t bytes) {
  int64_t n = MAX_LANES;
  while (n > 1 && n * bytes > LANE_BYTES) n /= 2;
  return n;
}

void hstu_loss_blocks(struct hstu_loss *s) {
  const int64_t cached = BLOCK_BYTES / most(1, s->Dp * (int64_t)hstu_loss_real(s));
  s->block_rows = least(most(most(LEAST_BLOCK, cached), 4 * s->A / s->n_pair), MOST_BLOCK);
  s->n_blocks = (s->T + s->block_rows - 1) / s->block_rows;
}

static void plan(struct hstu_loss *s) {
  int64_t real = (int64_t)hstu_loss_real(s);
  s->n_panels = (s->P + PANEL - 1) / PANEL;
  s->keep_tiles = s->n_panels * CHUNK_ROWS * PANEL * real <= TILE_BYTES;
  int64_t wanted = s->want_e ? lanes_for(s->n_panels * PANEL * s->Dp * real) : MAX_LANES;
  s->lane_rows = most(LEAST_LANE, (s->T + wanted - 1) / wanted);
  s->n_lanes = s->P ? most(1, (s->T + s->lane_rows - 1) / s->lane_rows) : 0;
}

static void chain_pool(struct hstu_loss *s) {
  for (int64_t a = 0; a < s->A; a++) s->chain_first[a] = -1;
  for (int64_t c = s->P - 1; c >= 0; c--) {
    s->chain[c] = s->chain_first[s->pool[c]];
    s->chain_first[s->pool[c]] = (int32_t)c;
  }
}

static void weight_gradient(const struct hstu_loss *s, double loss) {
  for (int64_t i = 0; i < s->T; i++) {
    double g = (s->row_loss[i] - loss) / s->total;
    if (s->dtype == QN_F32)
      ((float *)s->grad_w)[i] = (float)g;
    else
      ((double *)s->grad_w)[i] = g;
  }
}

qn_status hstu_loss_run(struct hstu_loss *s, double *loss) {
  plan(s);
  int64_t real = (int64_t)hstu_loss_real(s), word = sizeof(int32_t);
  int64_t pool = s->n_panels * PANEL, grad = s->want_e, pooled = s->P > 0, chains = pooled * grad;
  int64_t n_sums = most(s->n_lanes, s->n_blocks);
  struct want want[] = {{&s->rows, s->A * s->Dp * real},
                        {&s->inverse, (s->given ? 0 : s->A) * real},
                        {&s->coef, pooled * s->T * real},
                        {&s->row_loss, s->T * (int64_t)sizeof(double)},
                        {&s->pool_columns, pool * s->D * real},
                        {&s->pool_rows, pool * s->Dp * real},
                        {&s->lane_loss, n_sums * (int64_t)sizeof(double)},
                        {&s->pool_grad, grad * s->n_lanes * pool * s->Dp * real},
                        {&s->chain, chains * s->P * word},
                        {&s->chain_first, chains * s->A * word}};
  qn_status st = take_all(s, want, sizeof want / sizeof want[0]);
  if (st) return st;
  if (chains) chain_pool(s);
  st = s->dtype == QN_F32 ? run_loss_f32(s) : run_loss_f64(s);
  *loss = 0;
  for (int64_t l = 0; !st && l < (pooled ? s->n_lanes : s->n_blocks); l++) *loss += s->lane_loss[l];
  if (!st) *loss /= s->total;
  if (!st && s->want_w) weight_gradient(s, *loss);
  return st;
}

qn_status hstu_loss_pairs_back(struct hstu_loss *s) {
  return s->h->parallel(s->c, s->A, slots_together(s),
                        s->dtype == QN_F32 ? pair_gradient_f32 : pair_gradient_f64, s);
}
