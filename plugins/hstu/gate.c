/*
** norm_gate: the normalised attention result, gated by u, with dropout.
**
**   hat = (y - mean(y)) / sqrt(var(y) + eps)      over the row, no affine part
**   z   = u hat                                   parts = 1
**   z   = [u, hat, u hat]                         parts = 3 ("concat_ua")
** then dropout on z. y is of the order of 1/n, so var(y) may be of the order of eps:
** eps stands inside the root and counts; the statistics take two passes. A row of
** equal values gives hat = 0.
** Backward works hat out again from y; only the dropout mask is kept.
** SPDX-License-Identifier: MIT
*/
#include "gate.h"

#define HSTU_REAL_BITS 32
#include "hstu_real.h"
#include "tile_typed.h"
#include "gate_typed.h"
#undef HSTU_REAL_BITS
#define HSTU_REAL_BITS 64
#include "hstu_real.h"
#include "tile_typed.h"
#include "gate_typed.h"

enum { ROWS_PER_CHUNK = 64 };
enum { SAVED_U, SAVED_Y, SAVED_KEEP };

struct rows { /* one call */
  const qn_host *h;
  qn_call *c;
  struct hstu_gate gate;
  int32_t dtype;
  const void *u, *y, *dz;
  void *z, *du, *dy;
  uint8_t *keep;
};

static qn_status open_rows(struct rows *s, const qn_host *h, qn_call *c, int64_t *n_rows) {
  const qn_view *y = h->like(c, 1);
  s->h = h;
  s->c = c;
  s->dtype = y->dtype;
  s->gate.D = y->shape[y->ndim - 1];
  s->gate.parts = (int32_t)h->arg_int(c, "parts");
  s->gate.eps = h->arg_num(c, "eps");
  s->gate.dropout = h->arg_num(c, "dropout");
  *n_rows = 1;
  for (int32_t i = 0; i + 1 < y->ndim; i++) *n_rows *= y->shape[i];
  if (s->gate.parts == 2) return h->fail(c, QN_E_ARG, "parts is 1 (u norm(y)) or 3 (all three)");
  qn_status st = hstu_real_dtype(h, c, s->dtype);
  return st ? st : hstu_check_dropout(h, c, s->gate.dropout);
}

static qn_status forward_rows(void *ctx, int64_t begin, int64_t end) {
  const struct rows *s = ctx;
  int64_t D = s->gate.D, wide = D * s->gate.parts;
  for (int64_t r = begin; r < end; r++) {
    uint8_t *keep = s->keep ? s->keep + r * wide : NULL;
    if (keep) hstu_keep(s->h, s->c, 0, r, 0, wide, drop_below(s->gate.dropout), keep);
    if (s->dtype == QN_F32)
      hstu_gate_forward_f32(&s->gate, (const float *)s->u + r * D, (const float *)s->y + r * D,
                            keep, (float *)s->z + r * wide);
    else
      hstu_gate_forward_f64(&s->gate, (const double *)s->u + r * D, (const double *)s->y + r * D,
                            keep, (double *)s->z + r * wide);
  }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct rows s = {.u = h->in(c, 0)->data, .y = h->in(c, 1)->data, .z = h->out(c, 0)->data};
  int64_t n_rows;
  qn_status st = open_rows(&s, h, c, &n_rows);
  if (!st && s.gate.dropout > 0) {
    int64_t shape[1] = {n_rows * s.gate.D * s.gate.parts};
    qn_view *keep;
    st = h->save_new(c, SAVED_KEEP, QN_U8, 1, shape, &keep);
    if (!st) s.keep = keep->data;
  }
  if (!st) st = h->parallel(c, n_rows, ROWS_PER_CHUNK, forward_rows, &s);
  if (!st) st = h->save(c, SAVED_U, h->in(c, 0));
  return st ? st : h->save(c, SAVED_Y, h->in(c, 1));
}

static qn_status backward_rows(void *ctx, int64_t begin, int64_t end) {
  const struct rows *s = ctx;
  int64_t D = s->gate.D, wide = D * s->gate.parts;
  void *room;
  qn_status st = s->h->local(s->c, 2 * D * 8, &room);
  for (int64_t r = begin; !st && r < end; r++) {
    const uint8_t *keep = s->keep ? s->keep + r * wide : NULL;
    if (s->dtype == QN_F32)
      hstu_gate_backward_f32(&s->gate, (const float *)s->u + r * D, (const float *)s->y + r * D,
                             keep, (const float *)s->dz + r * wide,
                             s->du ? (float *)s->du + r * D : NULL,
                             s->dy ? (float *)s->dy + r * D : NULL, room);
    else
      hstu_gate_backward_f64(&s->gate, (const double *)s->u + r * D, (const double *)s->y + r * D,
                             keep, (const double *)s->dz + r * wide,
                             s->du ? (double *)s->du + r * D : NULL,
                             s->dy ? (double *)s->dy + r * D : NULL, room);
  }
  return st;
}

static qn_status backward(const qn_host *h, qn_call *c) {
  const qn_view *keep = h->saved(c, SAVED_KEEP), *du = h->out(c, 0), *dy = h->out(c, 1);
  struct rows s = {.u = h->saved(c, SAVED_U)->data,
                   .y = h->saved(c, SAVED_Y)->data,
                   .dz = h->in(c, 0)->data,
                   .du = du ? du->data : NULL,
                   .dy = dy ? dy->data : NULL,
                   .keep = keep ? keep->data : NULL};
  int64_t n_rows;
  qn_status st = open_rows(&s, h, c, &n_rows);
  return st ? st : h->parallel(c, n_rows, ROWS_PER_CHUNK, backward_rows, &s);
}

const qn_op hstu_norm_gate_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_ROWS,
    .flags = QN_OP_RANDOM | QN_OP_NAN_STOPS, /* dropout hides what it drops */
    .schema = "norm_gate(u: f[...,D], y: f[...,D], *, parts: int{1..3} = 1, eps: num{0..} = 1e-6, "
              "dropout: num{0..1} = 0) -> z: f[...,parts*D]",
    .summary = "u times layer-normalised y, without affine part, and dropout.",
    .doc =
        "hat = (y - mean) / sqrt(var + eps) over the last dimension; z = u hat, or [u, hat, u hat] "
        "for parts = 3. dropout zeroes entries of z and scales the others by 1/(1-p).",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), eq. 3",
    .example = "print(quern.norm_gate(quern.ones{1, 2}, quern.tensor{{0.0, "
               "8.0}}):round():totable()[1][2]) --> 1.0",
    .forward = forward,
    .backward = backward,
};
