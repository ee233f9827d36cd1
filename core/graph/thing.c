/*
** Life of things and the calls of their functions.
** SPDX-License-Identifier: MIT
*/
#include "graph/thing.h"

#include <inttypes.h>
#include <string.h>

#include "exec/rng.h"
#include "graph/arguments.h"
#include "graph/record.h"

/* ---- Settings ---- */

/* Keeps what a bound value points at. */
static qn_status own_value(qni_arena *memory, qni_value *v) {
  size_t bytes = v->kind == QN_ARG_STR                              ? strlen(v->v.s) + 1
                 : v->kind == QN_ARG_INTS || v->kind == QN_ARG_NUMS ? (size_t)v->count * 8
                                                                    : 0;
  if (!bytes) return QN_OK;
  void *copy = qni_arena_alloc(memory, bytes);
  if (!copy) return QN_E_NOMEM;
  memcpy(copy, v->v.s, bytes);
  v->v.s = copy;
  return QN_OK;
}

static qn_status bind_settings(qni_thing *t, const qn_arg *args, int32_t n_args) {
  qn_call c;
  qni_binder b;
  qni_frame_init(&c, t->type->settings, QNI_PHASE_FORWARD);
  qni_binder_init(&b, &c);
  qn_status st = qni_binder_bind(&b, args, n_args);
  for (int32_t i = 0; !st && i < b.s->n_params; i++) {
    t->setting[i] = b.attrs[i];
    st = own_value(&t->memory, &t->setting[i]);
  }
  if (st) qni_frame_explain(&c, st);
  qni_frame_free(&c);
  return st;
}

const qni_value *qni_thing_setting(const qni_thing *t, const char *name, const qni_param **param) {
  static const qni_value absent;
  const qni_schema *s = t->type->settings->schema;
  int32_t p = qni_schema_param(s, name);
  *param = p < 0 ? NULL : &s->param[p];
  return p < 0 ? &absent : &t->setting[p];
}

/* ---- Calls ---- */

static qn_status refuse_capture(const qni_thing *t) {
  qni_fail(QN_E_STATE, "%s %s was called in a step that is being captured",
           qni_kind_name(t->type->kind), t->type->name);
  qni_error_hint("things have state that a captured step cannot replay: call it outside");
  return QN_E_STATE;
}

/* What differs between functions. */
struct work {
  qn_op_fn plain;
  const qn_moment *moment;
  const void *bytes;
  int64_t n_bytes, *count;
  qn_parameter *const *list;
  int32_t n_list;
};

static qn_status dispatch(const qni_thing *t, qn_call *c, const struct work *w) {
  const void *d = t->type->head;
  if (w->plain) return w->plain(&qni_host, c);
  if (w->moment) return ((const qn_hook *)d)->run(&qni_host, c, w->moment);
  if (w->count) return ((const qn_dataset *)d)->count(&qni_host, c, w->count);
  if (w->list) return ((const qn_scorer *)d)->score(&qni_host, c, w->n_list, w->list);
  return ((const qn_codec *)d)->decode(&qni_host, c, w->bytes, w->n_bytes);
}

static qn_status run(qni_thing *t, const struct work *w) {
  qn_call c;
  int16_t owner[1];
  if (qni_recorder) return refuse_capture(t);
  qni_frame_init(&c, t->type->settings, QNI_PHASE_FORWARD);
  c.attrs = t->setting;
  c.owner = owner;
  c.thing = t;
  if (t->type->head->flags & QN_THING_RANDOM) c.instance = qni_rng_instance();
  qn_status st = dispatch(t, &c, w);
  if (!st) st = c.pending;
  if (st) {
    if (qn_error_last()->status == QN_OK)
      qni_fail(st, "%s %s failed without saying why", qni_kind_name(t->type->kind), t->type->name);
    qni_frame_explain(&c, st);
  }
  qni_frame_free(&c);
  return st;
}

static void forget_emitted(qni_thing *t) {
  t->n_emitted = 0;
  qni_arena_reset(&t->said);
}

qn_status qni_thing_run(qni_thing *t, qn_op_fn fn) {
  if (!fn) return QN_OK;
  forget_emitted(t);
  return run(t, &(struct work){.plain = fn});
}

qn_status qni_thing_method(qni_thing *t, const qn_arg *args, int32_t n_args, qn_tensor **outs,
                           int32_t max_outs, int32_t *n_outs) {
  *n_outs = 0;
  if (qni_recorder) return refuse_capture(t);
  return qni_call_of(t, t->type->method, args, n_args, outs, max_outs, n_outs);
}

qn_status qni_thing_event(qni_thing *t, const qn_moment *m) {
  const qn_hook *hook = (const void *)t->type->head;
  if (!(hook->events >> m->event & 1)) return QN_OK;
  return run(t, &(struct work){.moment = m});
}

qn_status qni_thing_count(qni_thing *t, int64_t *n) {
  *n = 0;
  qn_status st = run(t, &(struct work){.count = n});
  if (!st && *n < 0)
    st = qni_fail(QN_E_PLUGIN, "dataset %s says it has %" PRId64 " records", t->type->name, *n);
  return st;
}

qn_status qni_thing_decode(qni_thing *t, const void *bytes, size_t n) {
  if (!((const qn_codec *)(const void *)t->type->head)->decode)
    return qni_fail(QN_E_UNSUPPORTED, "codec %s only writes", t->type->name);
  return run(t, &(struct work){.bytes = bytes ? bytes : "", .n_bytes = (int64_t)n});
}

qn_status qni_thing_score(qni_thing *t, int32_t n, qn_parameter *const *list) {
  return run(t, &(struct work){.list = list, .n_list = n});
}

/* ---- Life ---- */

qn_status qni_thing_new(const qni_type *type, const qn_arg *args, int32_t n_args,
                        qni_thing **thing) {
  *thing = NULL;
  qni_thing *t = qni_mem_zalloc(1, sizeof *t);
  if (!t) return QN_E_NOMEM;
  t->type = type;
  qn_status st = bind_settings(t, args, n_args);
  if (!st) st = qni_thing_run(t, type->head->create);
  if (st)
    qni_thing_free(t);
  else
    *thing = t;
  return st;
}

static void free_state(qni_state *state, int32_t n) {
  for (int32_t i = 0; i < n; i++) {
    qni_mem_free(state[i].name);
    qn_tensor_free(state[i].tensor);
  }
  qni_mem_free(state);
}

void qni_thing_free(qni_thing *t) {
  if (!t) return;
  if (t->release) t->release(t->held);
  free_state(t->state, t->n_state);
  qni_mem_free(t->text);
  qni_mem_free(t->emitted);
  qni_arena_free(&t->said);
  qni_arena_free(&t->memory);
  qni_mem_free(t);
}

/* ---- State put back ---- */

qn_status qni_thing_load(qni_thing *t, const char *const *names, qn_tensor *const *tensors,
                         int32_t n, const char *text) {
  qni_state *before = t->state;
  char *text_before = t->text;
  int32_t n_before = t->n_state;
  t->state = NULL, t->n_state = 0, t->text = NULL;
  qn_status st = qni_thing_set_text(t, text);
  for (int32_t i = 0; !st && i < n; i++) {
    qn_tensor *copy = NULL;
    st = qni_tensor_cast(tensors[i], tensors[i]->view.dtype, &copy);
    if (!st) st = qni_thing_put(t, names[i], copy);
    qn_tensor_free(copy);
  }
  if (!st) st = qni_thing_run(t, t->type->head->load);
  if (!st) {
    free_state(before, n_before);
    qni_mem_free(text_before);
    return QN_OK;
  }
  free_state(t->state, t->n_state);
  qni_mem_free(t->text);
  t->state = before, t->n_state = n_before, t->text = text_before;
  return st;
}
