/*
** Life of a call's record, and what it adds to an error's text.
** SPDX-License-Identifier: MIT
*/
#include "graph/frame.h"

#include <stdio.h>
#include <string.h>

#include "exec/rng.h"

void qni_frame_init(qn_call *c, const qn_opref *op, enum qni_phase phase) {
  c->op = op;
  c->phase = phase;
  c->n_in = c->n_out = 0;
  c->node = NULL;
  c->needs = c->written = 0;
  c->seed = qni_rng_current_seed();
  c->step = qni_rng_current_step();
  c->instance = 0;
  c->first_row = 0;
  c->replay = NULL;
  c->pending = QN_OK;
  c->thing = NULL;
  c->held = c->held_first;
  c->n_held = 0;
  c->max_held = (int32_t)(sizeof c->held_first / sizeof c->held_first[0]);
  c->memory = (qni_arena){0};
}

void qni_frame_free(qn_call *c) {
  for (int32_t i = 0; i < c->n_held; i++) qn_tensor_free(c->held[i]);
  qni_arena_free(&c->memory);
}

qn_status qni_frame_hold(qn_call *c, qn_tensor *t) {
  if (c->n_held == c->max_held) {
    qn_tensor **grown = qni_arena_alloc(&c->memory, 2 * (size_t)c->max_held * sizeof *grown);
    if (!grown) {
      qn_tensor_free(t);
      return QN_E_NOMEM;
    }
    memcpy(grown, c->held, (size_t)c->n_held * sizeof *grown);
    c->held = grown;
    c->max_held *= 2;
  }
  c->held[c->n_held++] = t;
  return QN_OK;
}

/* "x: f32[2,3]" for each tensor; jagged ones say how many sequences they have. */
static void explain_input(const qn_call *c, int32_t i, const qn_view *v, const qn_tensor *offsets) {
  char shape[160];
  const char *name = c->op->schema->param[c->owner[i]].name;
  qni_shape_text(shape, sizeof shape, v->dtype, v->ndim, v->shape);
  if (offsets)
    qni_error_detail("%s: %s in %lld sequences", name, shape,
                     (long long)offsets->view.shape[0] - 1);
  else
    qni_error_detail("%s: %s", name, shape);
}

qn_status qni_frame_explain(const qn_call *c, qn_status status) {
  bool forward = c->phase == QNI_PHASE_FORWARD || c->phase == QNI_PHASE_INFER;
  for (int32_t i = 0; i < c->n_in; i++) {
    const qn_tensor *t = forward ? c->input[i] : NULL;
    if (t)
      explain_input(c, i, &t->view, t->offsets);
    else if (!forward && c->node->in_like[i].dtype)
      explain_input(c, i, &c->node->in_like[i], c->node->in_offsets[i]);
  }
  if (!forward && c->node->source) qni_error_detail("recorded at %s", c->node->source);
  char plugin[128] = "";
  const qni_plugin *p = c->op->plugin;
  if (p && p->entry) snprintf(plugin, sizeof plugin, "%s %s", p->id, p->version);
  qni_error_place(c->op->schema->canonical, plugin);
  return status;
}
