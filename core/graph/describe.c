/*
** A captured step in words and numbers.
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>

#include "graph/capture_own.h"

static int64_t fused_entries(const qni_program *p) {
  int64_t n = 0;
  for (int32_t s = 0; s < p->n_segments; s++)
    for (int32_t k = 0; k < p->list[s].n; k += p->list[s].run[k])
      if (p->list[s].run[k] > 1) n += p->list[s].run[k];
  return n;
}

void qni_capture_describe(const qni_capture *c, qni_capture_info *info) {
  const qni_program *p = c->program;
  *info = (qni_capture_info){.arena_bytes = (int64_t)c->runner.arena_bytes,
                             .step_bytes = (int64_t)p->step_bytes,
                             .packed_bytes = (int64_t)c->runner.packs.bytes,
                             .slices = c->runner.n_slices,
                             .lanes = QNI_LANES,
                             .again = p->n_again,
                             .narrow = p->n_narrow,
                             .parameters = c->runner.lanes.n,
                             .budget = c->budget,
                             .segments = p->n_segments,
                             .fused = fused_entries(p),
                             .batch_bytes = (int64_t)c->runner.batch_bytes,
                             .loss_kind = p->loss.kind};
  for (int32_t i = 0; i < p->n_entries; i++) {
    info->entries += p->when[i] == QNI_WHEN_SLICE;
    info->hoisted += p->when[i] == QNI_WHEN_STEP;
    info->whole += p->when[i] == QNI_WHEN_WHOLE;
    info->dropped += p->when[i] == QNI_WHEN_DEAD;
  }
}

static void shape_text(const qni_program *p, int32_t view, char *buf, size_t size) {
  char f[64];
  const qni_pview *v = &p->view[view];
  size_t n = (size_t)snprintf(buf, size, "%s[", qni_dtype_name(v->dtype));
  for (int32_t d = 0; d < v->ndim && n < size; d++)
    n += (size_t)snprintf(buf + n, size - n, "%s%s", d ? "," : "",
                          qni_affine_text(&p->affines.list[v->shape[d]], f, sizeof f));
  if (n < size) snprintf(buf + n, size - n, "]");
}

static bool writes(const qni_program *p, const qni_entry *e, int32_t buffer) {
  int32_t n = e->kind == QNI_ENTRY_BACKWARD ? e->n_in : e->n_out;
  for (int32_t o = 0; o < n; o++)
    if (e->out[o] >= 0 && p->view[e->out[o]].buffer == buffer) return true;
  for (int32_t s = 0; e->kind == QNI_ENTRY_FORWARD && s < QN_MAX_SAVED; s++)
    if (e->saved[s] >= 0 && p->view[e->saved[s]].buffer == buffer) return true;
  return false;
}

/* Notes the last entry before i that wrote what a view shows. */
static void come_from(const qni_program *p, int32_t i, int32_t view, qni_capture_entry *x) {
  if (view < 0 || p->view[view].buffer < 0) return;
  int32_t k = i - 1;
  while (k >= 0 && (p->when[k] == QNI_WHEN_DEAD || !writes(p, &p->entry[k], p->view[view].buffer)))
    k--;
  for (int32_t n = 0; n < x->n_from; n++)
    if (x->from[n] == k) return;
  if (k >= 0 && x->n_from < 16) x->from[x->n_from++] = k;
}

bool qni_capture_entry_at(const qni_capture *c, int64_t i, qni_capture_entry *x) {
  static const char *const when[] = {"dropped", "step", "slice", "batch"};
  const qni_program *p = c->program;
  if (i < 0 || i >= p->n_entries) return false;
  const qni_entry *e = &p->entry[i];
  bool back = e->kind == QNI_ENTRY_BACKWARD;
  int32_t first = -1;
  *x = (qni_capture_entry){.when = when[p->when[i]], .segment = p->segment[i], .why = p->why[i]};
  for (int32_t o = 0; o < (back ? e->n_in : e->n_out) && first < 0; o++) first = e->out[o];
  if (first >= 0) shape_text(p, first, x->shape, sizeof x->shape);
  qni_entry_text(e, x->what, sizeof x->what);
  if (p->when[i] == QNI_WHEN_DEAD) return true;
  if (e->kind == QNI_ENTRY_SINK_ROWS) x->from[x->n_from++] = qni_program_maker(p, (int32_t)i);
  for (int32_t k = 0; k < (back ? e->n_out : e->n_in); k++) come_from(p, (int32_t)i, e->in[k], x);
  for (int32_t s = 0; back && s < QN_MAX_SAVED; s++) come_from(p, (int32_t)i, e->saved[s], x);
  if (c->runner.whole_started && c->runner.batch.extent.B)
    x->flops = qni_worker_flops(p, (qni_worker *)(uintptr_t)&c->runner.whole, (int32_t)i);
  return true;
}
