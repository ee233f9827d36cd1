/*
** What a slice holds between forward and backward, made smaller.
**
** A temporary that the forward part makes and the backward part reads lies in the arena all the while.
** Two ways to free its place meanwhile:
**   again    the op that made it runs again before its first use in backward, where it is cheap
**            (QN_OP_POINTWISE, QN_OP_CHEAP) and what it reads is there by then anyway
**   narrow   it is kept as bf16: a copy is made after its last use in forward, and widened before
**            its first use in backward
** Either way backward reads a tensor of its own, which lives as long as backward needs it. The first
** changes no bit. The second rounds: until the step has been checked copies are f32, so that
** all but the rounding is checked (qni_program_narrow).
** SPDX-License-Identifier: MIT
*/
#include "graph/hold.h"

#include <string.h>

enum { LEAST_WIDTH = 32 /* elements of a sample's row; statistics of rows stay as they are */ };

typedef struct qni_added { /* an entry to be put in before entry `at` */
  int32_t at, segment, row;
  qni_entry entry;
} qni_added;

struct hold {
  qni_program *p;
  bool *pinned;    /* by buffer: something that runs again reads it */
  int32_t *map;    /* by view: its place in backward; -1: the same */
  qni_added *list; /* in order of being found */
  int32_t n;
};

/* ---- Who touches a buffer ---- */

static bool lists(const qni_program *p, const int32_t *views, int32_t n, int32_t b) {
  for (int32_t i = 0; views && i < n; i++)
    if (views[i] >= 0 && p->view[views[i]].buffer == b) return true;
  return false;
}

static bool reads(const qni_program *p, const qni_entry *e, int32_t b) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  return lists(p, e->in, back ? e->n_out : e->n_in, b) ||
         (back && lists(p, e->saved, QN_MAX_SAVED, b));
}

static bool writes(const qni_program *p, const qni_entry *e, int32_t b) {
  return qni_entry_puts(p, e, b) ||
         (e->kind != QNI_ENTRY_BACKWARD && lists(p, e->saved, QN_MAX_SAVED, b));
}

struct span {                                 /* of a buffer's uses */
  int32_t n_writers, forward, backward, last; /* last forward use, first backward use, last use */
  bool plain;                                 /* backward only reads it, by ops */
};

static struct span span_of(const qni_program *p, int32_t b) {
  struct span s = {.forward = -1, .backward = -1, .last = -1, .plain = true};
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    if (p->when[i] == QNI_WHEN_DEAD) continue;
    bool read = reads(p, e, b), write = writes(p, e, b);
    if (!read && !write) continue;
    s.last = i;
    s.n_writers += write;
    if (!e->backward) {
      s.forward = i;
      continue;
    }
    if (s.backward < 0) s.backward = i;
    s.plain &= !write && (e->kind == QNI_ENTRY_BACKWARD || e->kind == QNI_ENTRY_FORWARD ||
                          e->kind == QNI_ENTRY_COPY);
    for (int32_t k = 0; e->kind == QNI_ENTRY_FORWARD && k < e->n_in; k++)
      s.plain &= !qni_entry_writes(e, k) || !lists(p, &e->in[k], 1, b);
  }
  return s;
}

/* ---- Candidates ---- */

static bool all_f32(const qni_program *p, int32_t b) {
  for (int32_t v = 0; v < p->n_views; v++)
    if (p->view[v].buffer == b && p->view[v].dtype != QN_F32) return false;
  return true;
}

static bool is_held(const qni_program *p, int32_t b, struct span *s) {
  const qni_pbuffer *x = &p->buffer[b];
  const qni_affine *f = &p->affines.list[x->bytes];
  if (x->kind != QNI_BUFFER_TEMP || !qni_plan_in_arena(x) || x->reduced || x->from != x->to ||
      (x->from & 1) || b == p->view[p->root].buffer)
    return false;
  if (f->add || f->scale % 4 || f->scale < 4 * LEAST_WIDTH || !qni_affine_batched(f)) return false;
  if (!all_f32(p, b)) return false;
  *s = span_of(p, b);
  return s->n_writers == 1 && s->plain && s->forward >= 0 && s->backward >= 0;
}

static bool is_cheap(const qni_program *p, int32_t entry) {
  const qni_entry *e = &p->entry[entry];
  if (e->kind != QNI_ENTRY_FORWARD || e->backward || e->n_out != 1) return false;
  for (int32_t i = 0; i < p->n_patches; i++)
    if (p->patch[i].entry == entry) return false;
  bool cheap = (e->op->op->flags & (QN_OP_POINTWISE | QN_OP_CHEAP)) != 0;
  for (int32_t i = 0; i < e->n_in; i++) cheap &= !qni_entry_writes(e, i);
  return cheap;
}

/* Is all that the entry reads there at entry `when` without our doing? */
static bool inputs_there(const qni_program *p, const qni_entry *e, int32_t when) {
  for (int32_t i = 0; i < e->n_in; i++) {
    if (e->in[i] < 0) continue;
    const qni_pbuffer *b = &p->buffer[p->view[e->in[i]].buffer];
    if (!qni_plan_in_arena(b) && !b->state) continue;
    struct span s = span_of(p, p->view[e->in[i]].buffer);
    if (b->uniform || b->state || s.n_writers != 1 || s.last < when) return false;
  }
  return true;
}

/* ---- New tensors ---- */

static int32_t add_buffer(struct hold *h, int32_t like, int32_t bytes) {
  qni_program *p = h->p;
  qni_pbuffer *b = &p->buffer[p->n_buffers];
  *b = p->buffer[like];
  b->bytes = bytes;
  return p->n_buffers++;
}

static int32_t add_view(struct hold *h, const qni_pview *v) {
  h->p->view[h->p->n_views] = *v;
  return h->p->n_views++;
}

/* All of a buffer as a row of n elements (function). */
static int32_t add_row(struct hold *h, int32_t buffer, int32_t n, int32_t one, int32_t origin) {
  return add_view(h, &(qni_pview){.buffer = buffer,
                                  .offsets = -1,
                                  .dtype = QN_F32,
                                  .ndim = 1,
                                  .shape = {n},
                                  .stride = {one},
                                  .origin = origin});
}

static int32_t view_of(const qni_program *p, int32_t b) {
  int32_t v = 0;
  while (p->view[v].buffer != b) v++;
  return v;
}

static qn_status scaled(qni_program *p, int32_t f, int64_t by, int32_t *function) {
  int64_t values[QNI_TRIALS];
  for (int32_t t = 0; t < QNI_TRIALS; t++)
    values[t] = qni_affine_value(&p->affines.list[f], &p->affines.trial[t]) / by;
  return qni_affine_fit(&p->affines, values, function);
}

/* Backward reads the views of `to` where it read those of `from`. */
static void redirect(struct hold *h, int32_t from, int32_t to) {
  qni_program *p = h->p;
  int32_t n = p->n_views;
  for (int32_t v = 0; v < n; v++) {
    h->map[v] = -1;
    if (p->view[v].buffer != from) continue;
    qni_pview copy = p->view[v];
    copy.buffer = to;
    h->map[v] = add_view(h, &copy);
  }
  for (int32_t i = 0; i < p->n_entries; i++) {
    const qni_entry *e = &p->entry[i];
    if (!e->backward) continue;
    int32_t n_in = e->kind == QNI_ENTRY_BACKWARD ? e->n_out : e->n_in;
    for (int32_t k = 0; k < n_in; k++)
      if (e->in[k] >= 0 && e->in[k] < n && h->map[e->in[k]] >= 0) e->in[k] = h->map[e->in[k]];
    for (int32_t k = 0; e->kind == QNI_ENTRY_BACKWARD && k < QN_MAX_SAVED; k++)
      if (e->saved[k] >= 0 && e->saved[k] < n && h->map[e->saved[k]] >= 0)
        p->entry[i].saved[k] = h->map[e->saved[k]];
  }
}

/* ---- Entries ---- */

static void add_entry(struct hold *h, int32_t at, int32_t like, const qni_entry *e) {
  h->list[h->n++] =
      (qni_added){.at = at, .segment = h->p->segment[like], .row = h->p->row[like], .entry = *e};
}

static qn_status add_copy(struct hold *h, int32_t at, int32_t like, int32_t from, int32_t to) {
  int32_t *views = qni_arena_alloc(&h->p->memory, 2 * sizeof *views);
  if (!views) return QN_E_NOMEM;
  views[0] = from, views[1] = to;
  qni_entry e = {.kind = QNI_ENTRY_COPY,
                 .n_in = 1,
                 .n_out = 1,
                 .in = views,
                 .out = views + 1,
                 .forward = -1,
                 .leaf = -1,
                 .backward = true,
                 .again = true,
                 .source = h->p->entry[like].source};
  for (int32_t s = 0; s < QN_MAX_SAVED; s++) e.saved[s] = -1;
  add_entry(h, at, like, &e);
  return QN_OK;
}

static qn_status run_again(struct hold *h, int32_t b, const struct span *s) {
  qni_program *p = h->p;
  int32_t maker = p->buffer[b].producer, out = p->entry[maker].out[0];
  int32_t *views = qni_arena_alloc(&p->memory, sizeof *views);
  if (!views) return QN_E_NOMEM;
  int32_t mine = add_buffer(h, b, p->buffer[b].bytes);
  redirect(h, b, mine);
  views[0] = h->map[out];
  qni_entry e = p->entry[maker];
  e.out = views;
  e.backward = e.again = true;
  for (int32_t k = 0; k < QN_MAX_SAVED; k++) e.saved[k] = -1;
  for (int32_t i = 0; i < e.n_in; i++)
    if (e.in[i] >= 0) h->pinned[p->view[e.in[i]].buffer] = true;
  add_entry(h, s->backward, maker, &e);
  return QN_OK;
}

static qn_status keep_narrow(struct hold *h, int32_t b, const struct span *s) {
  qni_program *p = h->p;
  int32_t count, one, maker = p->buffer[b].producer, origin = view_of(p, b);
  qn_status st = scaled(p, p->buffer[b].bytes, 4, &count);
  if (!st) st = qni_affine_fit(&p->affines, (int64_t[QNI_TRIALS]){1, 1, 1}, &one);
  if (st || count < 0) return st;
  int32_t kept = add_buffer(h, b, p->buffer[b].bytes), mine = add_buffer(h, b, p->buffer[b].bytes);
  p->buffer[kept].narrow = true;
  redirect(h, b, mine);
  int32_t from = add_row(h, b, count, one, origin), small = add_row(h, kept, count, one, origin),
          to = add_row(h, mine, count, one, origin);
  st = add_copy(h, s->forward + 1, maker, from, small);
  return st ? st : add_copy(h, s->backward, maker, small, to);
}

/* ---- Putting them in ---- */

static void *grown(qni_arena *arena, const void *old, int32_t n, int32_t room, size_t size) {
  char *list = qni_arena_alloc(arena, (size_t)(room + 1) * size);
  if (!list) return NULL;
  if (n > 0) memcpy(list, old, (size_t)n * size);
  memset(list + (size_t)n * size, 0, (size_t)(room + 1 - n) * size);
  return list;
}

/* Room for what may be added: entries, buffers and views of at most n tensors. */
static qn_status make_room(struct hold *h, int32_t n) {
  qni_program *p = h->p;
  qni_arena *a = &p->memory;
  h->list = grown(a, NULL, 0, 2 * n, sizeof *h->list);
  p->buffer = grown(a, p->buffer, p->n_buffers, p->n_buffers + 2 * n, sizeof *p->buffer);
  int32_t views = 2 * p->n_views + 3 * n; /* each may be read in backward under another name */
  p->view = grown(a, p->view, p->n_views, views, sizeof *p->view);
  h->map = grown(a, NULL, 0, views, sizeof *h->map);
  h->pinned = grown(a, NULL, 0, p->n_buffers + 2 * n, sizeof *h->pinned);
  return h->list && p->buffer && p->view && h->map && h->pinned ? QN_OK : QN_E_NOMEM;
}

static qn_status put_in(struct hold *h) {
  qni_program *p = h->p;
  int32_t total = p->n_entries + h->n, n = 0;
  qni_entry *entry = grown(&p->memory, NULL, 0, total, sizeof *entry);
  uint8_t *when = grown(&p->memory, NULL, 0, total, 1);
  int32_t *segment = grown(&p->memory, NULL, 0, total, sizeof *segment);
  int32_t *row = grown(&p->memory, NULL, 0, total, sizeof *row);
  int32_t *place = grown(&p->memory, NULL, 0, p->n_entries, sizeof *place);
  const char **why = grown(&p->memory, NULL, 0, total, sizeof *why);
  if (!entry || !when || !segment || !row || !place || !why) return QN_E_NOMEM;
  for (int32_t i = 0; i < p->n_entries; i++) {
    for (int32_t k = 0; k < h->n; k++) {
      if (h->list[k].at != i) continue;
      entry[n] = h->list[k].entry;
      when[n] = QNI_WHEN_SLICE;
      segment[n] = h->list[k].segment;
      row[n++] = h->list[k].row;
    }
    place[i] = n;
    entry[n] = p->entry[i];
    when[n] = p->when[i];
    segment[n] = p->segment[i];
    row[n] = p->row[i];
    why[n++] = p->why[i];
  }
  for (int32_t i = 0; i < n; i++)
    if (entry[i].forward >= 0) entry[i].forward = place[entry[i].forward];
  for (int32_t i = 0; i < p->n_patches; i++) p->patch[i].entry = place[p->patch[i].entry];
  for (int32_t b = 0; b < p->n_buffers; b++)
    if (p->buffer[b].producer >= 0) p->buffer[b].producer = place[p->buffer[b].producer];
  p->seed_entry = place[p->seed_entry];
  p->entry = entry, p->when = when, p->segment = segment, p->row = row, p->why = why;
  p->n_entries = n;
  return QN_OK;
}

/* ---- All ---- */

static int32_t candidates(const qni_program *p) {
  struct span s;
  int32_t n = 0;
  for (int32_t b = 0; b < p->n_buffers; b++) n += is_held(p, b, &s);
  return n;
}

static bool can_run_again(const struct hold *h, int32_t b, struct span *s) {
  const qni_program *p = h->p;
  return is_held(p, b, s) && !(h->pinned && h->pinned[b]) && is_cheap(p, p->buffer[b].producer) &&
         inputs_there(p, &p->entry[p->buffer[b].producer], s->backward);
}

/* Is a slice of one sample above the budget, and would it be within without what can be made again? */
static bool brings_within(const struct hold *h, const qni_extent *one, int64_t budget) {
  const qni_program *p = h->p;
  struct span s;
  int64_t saved = 0, bytes = qni_plan_bytes(p, one) - qni_plan_bytes(p, &(qni_extent){0, 0, 1});
  for (int32_t b = 0; bytes > budget && b < p->n_buffers; b++)
    if (can_run_again(h, b, &s))
      saved += qni_affine_value(&p->affines.list[p->buffer[b].bytes], one);
  return bytes > budget && bytes - saved <= budget;
}

qn_status qni_program_hold(qni_program *p, const qni_extent *one, int64_t budget) {
  struct hold h = {.p = p};
  struct span s;
  const qni_choices *how = &p->choices;
  if (p->root < 0 || p->all_whole) return QN_OK;
  bool again = how->again == QNI_AGAIN_ON ||
               (how->again == QNI_AGAIN_AUTO && brings_within(&h, one, budget));
  if (!again && !how->narrow) return QN_OK;
  int32_t n_buffers = p->n_buffers, n = candidates(p);
  if (n == 0) return QN_OK;
  qn_status st = make_room(&h, n);
  for (int32_t b = 0; !st && again && b < n_buffers; b++) {
    if (!can_run_again(&h, b, &s)) continue;
    st = run_again(&h, b, &s);
    p->n_again++;
  }
  for (int32_t b = 0; !st && how->narrow && b < n_buffers; b++) {
    if (h.pinned[b] || !is_held(p, b, &s)) continue;
    st = keep_narrow(&h, b, &s);
    p->n_narrow++;
  }
  if (!st) st = put_in(&h);
  return st ? st : qni_program_replan(p);
}

qn_status qni_program_narrow(qni_program *p) {
  qn_status st = QN_OK;
  for (int32_t b = 0; !st && b < p->n_buffers; b++) {
    if (!p->buffer[b].narrow) continue;
    st = scaled(p, p->buffer[b].bytes, 2, &p->buffer[b].bytes);
    for (int32_t v = 0; v < p->n_views; v++)
      if (p->view[v].buffer == b) p->view[v].dtype = QN_BF16;
  }
  return st ? st : qni_program_replan(p);
}
