/*
** Runs of element-wise entries that are done piece by piece.
**
** Neighbours in a segment that are element-wise (QN_OP_POINTWISE), whose tensors are contiguous
** and have one number of elements, go over these together: each op does a piece of
** QNI_PIECE elements, then the next op the same piece, while it is in the nearest cache. What
** is made and used up inside a run needs memory for one piece only. The ops are those of
** unfused entries, and so are the bits.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "graph/program.h"

enum { MOST_RUN = 12 }; /* entries; so that a list of their views has a limit (replay.c) */

typedef struct qni_counts { /* elements in the trial slices */
  int64_t n[QNI_TRIALS];
} qni_counts;

static int64_t value(const qni_program *p, int32_t function, int32_t trial) {
  return qni_affine_value(&p->affines.list[function], &p->affines.trial[trial]);
}

/* Elements of a contiguous view; false: it is not. */
static bool count(const qni_program *p, int32_t view, qni_counts *c) {
  const qni_pview *v = &p->view[view];
  for (int32_t t = 0; t < QNI_TRIALS; t++) {
    int64_t n = 1;
    for (int32_t d = v->ndim - 1; d >= 0; d--) {
      int64_t size = value(p, v->shape[d], t);
      if (size != 1 && value(p, v->stride[d], t) != n) return false;
      n *= size;
    }
    c->n[t] = n;
  }
  return true;
}

static bool is_one(const qni_counts *c) {
  for (int32_t t = 0; t < QNI_TRIALS; t++)
    if (c->n[t] != 1) return false;
  return true;
}

static bool equal(const qni_counts *a, const qni_counts *b) {
  return !memcmp(a->n, b->n, sizeof a->n);
}

/* Takes a view into the run: all its elements, or (where allowed) one number for all. */
static bool takes(const qni_program *p, int32_t view, bool one, qni_counts *run) {
  qni_counts c;
  if (view < 0) return true;
  if (!count(p, view, &c)) return false;
  if (p->view[view].buffer >= 0 &&
      (p->buffer[p->view[view].buffer].direct || p->buffer[p->view[view].buffer].dynamic))
    return false;
  if (one && is_one(&c)) return true;
  if (!run->n[0]) *run = c;
  return equal(&c, run) && !is_one(&c);
}

static bool takes_all(const qni_program *p, const int32_t *views, int32_t n, bool one,
                      qni_counts *run) {
  for (int32_t i = 0; views && i < n; i++)
    if (!takes(p, views[i], one, run)) return false;
  return true;
}

static bool takes_entry(const qni_program *p, const qni_entry *e, qni_counts *run) {
  if (!e->op || !(e->op->op->flags & QN_OP_POINTWISE)) return false;
  if (e->kind == QNI_ENTRY_FORWARD)
    return takes_all(p, e->out, e->n_out, false, run) && takes_all(p, e->in, e->n_in, true, run) &&
           takes_all(p, e->saved, QN_MAX_SAVED, true, run);
  if (e->kind != QNI_ENTRY_BACKWARD) return false;
  return takes_all(p, e->in, e->n_out, false, run) && takes_all(p, e->out, e->n_in, false, run) &&
         takes_all(p, e->like, e->n_in, true, run) &&
         takes_all(p, e->saved, QN_MAX_SAVED, true, run);
}

/* ---- Places in memory ---- */

static void lists_of(const qni_entry *e, const int32_t *list[4], int32_t n[4]) {
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  list[0] = e->in, n[0] = back ? e->n_out : e->n_in;
  list[1] = e->out, n[1] = back ? e->n_in : e->n_out;
  list[2] = e->saved, n[2] = QN_MAX_SAVED;
  list[3] = back ? e->like : NULL, n[3] = back ? e->n_in : 0;
}

/* Do all views that the run has of the entry's tensors begin at one place of theirs? */
static bool same_places(const qni_program *p, const qni_segment *s, int32_t from, int32_t to) {
  const int32_t *mine[4], *other[4];
  int32_t n[4], m[4];
  lists_of(&p->entry[s->entry[to]], mine, n);
  for (int32_t k = from; k <= to; k++) {
    lists_of(&p->entry[s->entry[k]], other, m);
    for (int32_t a = 0; a < 3; a++)
      for (int32_t i = 0; i < n[a]; i++)
        for (int32_t b = 0; b < 3; b++)
          for (int32_t j = 0; j < m[b]; j++) {
            int32_t x = mine[a][i], y = other[b][j];
            if (x < 0 || y < 0 || p->view[x].buffer < 0 || p->view[x].buffer != p->view[y].buffer)
              continue;
            if (p->view[x].offset != p->view[y].offset || p->view[x].dtype != p->view[y].dtype)
              return false;
          }
  }
  return true;
}

/* ---- Runs ---- */

static bool is_listed(const qni_segment *s, int32_t from, int32_t n, int32_t entry) {
  for (int32_t k = from; k < from + n; k++)
    if (s->entry[k] == entry) return true;
  return false;
}

static bool touches(const qni_program *p, int32_t entry, int32_t buffer) {
  const int32_t *list[4];
  int32_t n[4];
  lists_of(&p->entry[entry], list, n);
  for (int32_t a = 0; a < 3; a++)
    for (int32_t i = 0; i < n[a]; i++)
      if (list[a][i] >= 0 && p->view[list[a][i]].buffer == buffer) return true;
  return false;
}

/* Memory that is made and used up inside the run holds one piece. */
static void mark_pieces(qni_program *p, const qni_segment *s, int32_t from, int32_t n) {
  for (int32_t b = 0; b < p->n_buffers; b++) {
    qni_pbuffer *x = &p->buffer[b];
    bool inside = qni_plan_in_arena(x) && x->kind == QNI_BUFFER_TEMP && !x->reduced &&
                  x->producer >= 0 && is_listed(s, from, n, x->producer) &&
                  b != (p->root < 0 ? -1 : p->view[p->root].buffer);
    for (int32_t i = 0; inside && i < p->n_entries; i++)
      if (p->when[i] != QNI_WHEN_DEAD && touches(p, i, b)) inside = is_listed(s, from, n, i);
    x->piece |= inside;
  }
}

/*
** What a run touches lives from its first entry to its last: an early entry's second piece comes after
** a late entry's first one. Memory for one piece is used in the entries' order, piece after piece.
*/
static void stretch(qni_program *p, const qni_segment *s, int32_t from, int32_t n) {
  int32_t first = s->entry[from], last = s->entry[from + n - 1];
  for (int32_t b = 0; b < p->n_buffers; b++) {
    qni_pbuffer *x = &p->buffer[b];
    bool touched = false;
    for (int32_t k = from; k < from + n && !touched && !x->piece; k++)
      touched = x->first >= 0 && touches(p, s->entry[k], b);
    if (!touched) continue;
    if (x->first > first) {
      p->fills[first] |= p->fills[x->first] && x->uniform;
      x->first = first;
    }
    if (x->last < last) x->last = last;
  }
}

static void find_runs(qni_program *p, qni_segment *s) {
  for (int32_t k = 0; k < s->n;) {
    qni_counts run = {{0}};
    int32_t n = 0;
    while (k + n < s->n && n < MOST_RUN) {
      qni_counts before = run;
      if (takes_entry(p, &p->entry[s->entry[k + n]], &run) && same_places(p, s, k, k + n)) {
        n++;
        continue;
      }
      run = before;
      break;
    }
    s->run[k] = n > 1 ? n : 1;
    if (n > 1) mark_pieces(p, s, k, n);
    if (n > 1) stretch(p, s, k, n);
    k += n > 1 ? n : 1;
  }
}

qn_status qni_program_fuse(qni_program *p, bool on) {
  for (int32_t s = 0; s < p->n_segments; s++) {
    qni_segment *x = &p->list[s];
    x->run = qni_arena_alloc(&p->memory, (size_t)(x->n + 1) * sizeof *x->run);
    if (!x->run) return QN_E_NOMEM;
    for (int32_t k = 0; k < x->n; k++) x->run[k] = 1;
    if (on && !(s & 1)) find_runs(p, x);
  }
  return QN_OK;
}
