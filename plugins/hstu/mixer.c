/*
** hstu_mixer: everything between the two linear maps of an HSTU layer, in one pass.
**
**   m = [U | V | Q | K]  [T, 2 H dv + 2 H dqk]     the columns of the first map's result
**   y = hstu_attention(q, k, v, ...)               attention.c
**   z = dropout(u norm(y))                         gate.c; over all H dv columns together
** A sequence is finished, all heads and the gate, before the next is begun, so
** y meets the gate in cache, and the gradients of U, V, Q and K are written into
** their columns of one matrix instead of four that would have to be joined.
** parts = 3: [u, hat, u hat]; gate = false: z = hat. SPDX-License-Identifier: MIT
*/
#include "attention.h"
#include "gate.h"

enum { SAVED_Y = 4, SAVED_KEEP = 5 }; /* slots 0..3 hold the inputs */
enum { FETCH = 4 };                   /* rows ahead */

struct mixer {
  struct hstu_attn attn;
  struct hstu_gate gate;
  const void *m;    /* [T,M] */
  void *dm, *y, *z; /* y [T,H dv] */
  const void *dz;
  uint8_t *keep;   /* [T, parts H dv] */
  int64_t M, wide; /* columns of m and of z */
  bool gated;
};

/* Where a block of columns of an [T,M] matrix of H heads lies. */
static struct hstu_mat columns(const struct mixer *s, const void *base, int64_t first,
                               int64_t width) {
  size_t bytes = s->attn.dtype == QN_F32 ? 4 : 8;
  return (struct hstu_mat){(char *)(uintptr_t)base + (size_t)first * bytes, s->M, width, 1};
}

static qn_status open_mixer(struct mixer *s, const qn_host *h, qn_call *c, bool backward) {
  struct hstu_attn *a = &s->attn;
  a->H = h->arg_int(c, "heads");
  a->D = h->arg_int(c, "dqk");
  a->E = h->arg_int(c, "dv");
  s->M = h->like(c, 0)->shape[1];
  qn_status st = hstu_attn_open(a, h, c, 1, backward);
  if (st) return st;
  int64_t value = a->H * a->E, query = a->H * a->D;
  s->m = hstu_input(h, c, 0, backward)->data;
  a->v = columns(s, s->m, value, a->E);
  a->q = columns(s, s->m, 2 * value, a->D);
  a->k = columns(s, s->m, 2 * value + query, a->D);
  s->gated = h->arg_bool(c, "gate");
  s->gate = (struct hstu_gate){.D = value,
                               .parts = (int32_t)h->arg_int(c, "parts"),
                               .eps = h->arg_num(c, "eps"),
                               .dropout = h->arg_num(c, "dropout")};
  s->wide = value * s->gate.parts;
  if (s->gate.parts == 2 || (s->gate.parts == 3 && !s->gated))
    return h->fail(c, QN_E_ARG, "parts is 1, or 3 with a gate");
  return hstu_check_dropout(h, c, s->gate.dropout);
}

/* Chunks of whole sequences: the units of the cut are sequences here. */
static int64_t work_bytes(const struct mixer *s, bool backward) {
  return hstu_attn_work(&s->attn, hstu_attn_longest(&s->attn), backward);
}

static void gate_rows(const struct mixer *s, int64_t begin, int64_t end) {
  const struct hstu_attn *a = &s->attn;
  for (int64_t t = begin; t < end; t++) {
    uint8_t *keep = s->keep ? s->keep + t * s->wide : NULL;
    if (keep) hstu_keep(a->h, a->c, 1, t, 0, s->wide, drop_below(s->gate.dropout), keep);
    if (a->dtype == QN_F32)
      hstu_gate_forward_f32(&s->gate, s->gated ? (const float *)s->m + t * s->M : NULL,
                            (const float *)s->y + t * s->gate.D, keep, (float *)s->z + t * s->wide);
    else
      hstu_gate_forward_f64(&s->gate, s->gated ? (const double *)s->m + t * s->M : NULL,
                            (const double *)s->y + t * s->gate.D, keep,
                            (double *)s->z + t * s->wide);
  }
}

static qn_status forward_chunks(void *ctx, int64_t begin, int64_t end) {
  const struct mixer *s = ctx;
  const struct hstu_attn *a = &s->attn;
  void *work;
  qn_status st = a->h->local(a->c, work_bytes(s, false), &work);
  if (st) return st;
  for (int64_t b = a->cut.first[begin]; b < a->cut.first[end]; b++) {
    for (int64_t g = 0; g < a->groups; g++) hstu_attn_forward(a, b * a->groups + g, work);
    gate_rows(s, a->offsets[b], a->offsets[b + 1]);
  }
  return QN_OK;
}

static qn_status save_new(const struct mixer *s, int32_t slot, int32_t dtype, int64_t width,
                          void **data) {
  int64_t shape[2] = {s->attn.T, width};
  qn_view *view;
  qn_status st = s->attn.h->save_new(s->attn.c, slot, dtype, 2, shape, &view);
  if (!st) *data = view->data;
  return st;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  struct mixer s = {0};
  qn_status st = open_mixer(&s, h, c, false);
  if (st) return st;
  void *keep = NULL;
  st = save_new(&s, SAVED_Y, s.attn.dtype, s.gate.D, &s.y);
  if (!st && s.gate.dropout > 0) st = save_new(&s, SAVED_KEEP, QN_U8, s.wide, &keep);
  if (st) return st;
  s.keep = keep;
  s.z = h->out(c, 0)->data;
  s.attn.y = (struct hstu_mat){s.y, s.gate.D, s.attn.E, 1};
  hstu_cut_units(s.attn.offsets, s.attn.n_seq, 1, &s.attn.cut);
  st = h->parallel(c, s.attn.cut.n_chunks, 1, forward_chunks, &s);
  return st ? st : hstu_save_inputs(h, c, 4);
}

/* Rows of m lie too far apart for the hardware to see them coming. */
static void fetch_gate(const struct mixer *s, int64_t t) {
  const int64_t bytes = s->attn.dtype == QN_F32 ? 4 : 8;
  const char *u = (const char *)s->m + t * s->M * bytes;
  for (int64_t at = 0; s->gated && at < s->gate.D * bytes; at += 64) __builtin_prefetch(u + at);
}

/* du into dm, dy into rows of `dy` from the sequence's first on. */
static void gate_rows_back(const struct mixer *s, int64_t begin, int64_t end, void *dy,
                           void *room) {
  int64_t D = s->gate.D, M = s->M;
  for (int64_t t = begin; t < end; t++) {
    const uint8_t *keep = s->keep ? s->keep + t * s->wide : NULL;
    if (t + FETCH < end) fetch_gate(s, t + FETCH);
    if (s->attn.dtype == QN_F32)
      hstu_gate_backward_f32(&s->gate, s->gated ? (const float *)s->m + t * M : NULL,
                             (const float *)s->y + t * D, keep, (const float *)s->dz + t * s->wide,
                             s->dm ? (float *)s->dm + t * M : NULL, (float *)dy + (t - begin) * D,
                             room);
    else
      hstu_gate_backward_f64(
          &s->gate, s->gated ? (const double *)s->m + t * M : NULL, (const double *)s->y + t * D,
          keep, (const double *)s->dz + t * s->wide, s->dm ? (double *)s->dm + t * M : NULL,
          (double *)dy + (t - begin) * D, room);
  }
}

static qn_status backward_chunks(void *ctx, int64_t begin, int64_t end) {
  const struct mixer *s = ctx;
  struct hstu_attn a = s->attn;
  int64_t longest = hstu_attn_longest(&a), D = s->gate.D;
  int64_t attn = work_bytes(s, true), rows = longest * D * 8;
  char *work;
  void *memory;
  qn_status st = a.h->local(a.c, attn + rows + 2 * D * 8, &memory);
  if (st) return st;
  work = memory;
  for (int64_t chunk = begin; chunk < end; chunk++)
    for (int64_t b = a.cut.first[chunk]; b < a.cut.first[chunk + 1]; b++) {
      gate_rows_back(s, a.offsets[b], a.offsets[b + 1], work + attn, work + attn + rows);
      a.dy = (struct hstu_mat){work + attn, D, a.E, 1};
      a.dy_first = a.offsets[b];
      for (int64_t g = 0; g < a.groups; g++)
        hstu_attn_backward(&a, b * a.groups + g, work, hstu_attn_partial(&a, chunk));
    }
  return QN_OK;
}

static void *data_of(const qn_view *v) { return v ? v->data : NULL; }

static qn_status backward(const qn_host *h, qn_call *c) {
  struct mixer s = {0};
  struct hstu_attn *a = &s.attn;
  qn_status st = open_mixer(&s, h, c, true);
  if (st) return st;
  s.y = h->saved(c, SAVED_Y)->data;
  s.keep = data_of(h->saved(c, SAVED_KEEP));
  s.dz = h->in(c, 0)->data;
  s.dm = data_of(h->out(c, 0));
  if (s.dm) {
    int64_t value = a->H * a->E;
    a->dv = columns(&s, s.dm, value, a->E);
    a->dq = columns(&s, s.dm, 2 * value, a->D);
    a->dk = columns(&s, s.dm, 2 * value + a->H * a->D, a->D);
  }
  a->dbp = data_of(a->bp ? h->out(c, 1) : NULL);
  a->dbt = data_of(a->bt ? h->out(c, 2) : NULL);
  hstu_cut_units(a->offsets, a->n_seq, 1, &a->cut);
  st = hstu_attn_partials(a);
  if (!st) st = h->parallel(c, a->cut.n_chunks, 1, backward_chunks, &s);
  if (!st) hstu_attn_reduce(a);
  return st;
}

static int64_t flops(const qn_host *h, qn_call *c) {
  int64_t n_seq, pairs = 0;
  const int64_t *o = h->offsets(c, 0, &n_seq);
  for (int64_t b = 0; o && b < n_seq; b++) pairs += (o[b + 1] - o[b]) * (o[b + 1] - o[b] + 1) / 2;
  return 2 * pairs * h->arg_int(c, "heads") * (h->arg_int(c, "dqk") + h->arg_int(c, "dv"));
}

const qn_op hstu_mixer_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_SEQUENCES,
    .flags = QN_OP_RANDOM,
    .schema = "hstu_mixer(m: f[T@B,2*heads*(dqk+dv)], bp: f[2*n-1]? = nil, bt: f[129]? = nil, "
              "buckets: u8[T@B,W]? = nil, "
              "*, heads: int{1..}, dqk: int{1..}, dv: int{1..}, n: int{1..}, "
              "score: enum{silu|softmax} = silu, causal: bool = true, alpha: num? = nil, "
              "scale: num? = nil, attn_dropout: num{0..1} = 0, gate: bool = true, "
              "parts: int{1..3} = 1, eps: num{0..} = 1e-6, dropout: num{0..1} = 0) "
              "-> z: f[T@B,parts*heads*dv]",
    .summary = "An HSTU layer between its two linear maps: attention, norm, gate, dropout.",
    .doc = "m holds the columns [U | V | Q | K]. Equal to norm_gate(u, hstu_attention(q, k, v, bp, "
           "bt, buckets)); see there. gate = false leaves out u: z = norm(y).",
    .cite = "Zhai et al. 2024 (arXiv 2402.17152), eq. 2-3",
    .example = "local m = quern.jagged(quern.ones{4, 8}, {0, 3, 4}); "
               "print(quern.hstu_mixer(m, {heads = 1, dqk = 2, dv = 2, n = "
               "3}).shape[1]) --> 4",
    .forward = forward,
    .backward = backward,
    .flops = flops,
};
