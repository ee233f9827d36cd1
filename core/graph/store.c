/*
** "qn.store/1": what functions of things see of their state.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "base/json.h"
#include "graph/frame.h"
#include "graph/thing.h"

enum { NAME_MOST = 200, TEXT_MOST = 64 << 20 };

/* ---- Named tensors ---- */

/* Where the name is, or would be put; *found tells which. */
static int32_t place_of(const qni_thing *t, const char *name, bool *found) {
  int32_t low = 0, high = t->n_state;
  while (low < high) {
    int32_t mid = (low + high) / 2;
    if (strcmp(t->state[mid].name, name) < 0)
      low = mid + 1;
    else
      high = mid;
  }
  *found = low < t->n_state && !strcmp(t->state[low].name, name);
  return low;
}

static qn_status check_name(const char *name) {
  size_t n = name ? strlen(name) : 0;
  bool good = n > 0 && n <= NAME_MOST;
  for (size_t i = 0; good && i < n; i++) good = (unsigned char)name[i] >= 32 && name[i] != 127;
  if (good) return QN_OK;
  qni_fail(QN_E_ARG, "'%.40s' cannot name a tensor of state", name ? name : "(null)");
  qni_error_hint("names have 1 to %d bytes and no control characters", NAME_MOST);
  return QN_E_ARG;
}

qn_status qni_thing_put(qni_thing *t, const char *name, qn_tensor *tensor) {
  bool found;
  qn_status st = check_name(name);
  if (st) return st;
  int32_t at = place_of(t, name, &found);
  if (found) {
    qn_tensor *former = t->state[at].tensor;
    t->state[at].tensor = qn_tensor_retain(tensor);
    qn_tensor_free(former);
    return QN_OK;
  }
  char *copy = qni_mem_strdup(name);
  qni_state *grown =
      copy ? qni_mem_realloc(t->state, ((size_t)t->n_state + 1) * sizeof *grown) : NULL;
  if (!grown) {
    qni_mem_free(copy);
    return QN_E_NOMEM;
  }
  memmove(grown + at + 1, grown + at, (size_t)(t->n_state - at) * sizeof *grown);
  grown[at] = (qni_state){.name = copy, .tensor = qn_tensor_retain(tensor)};
  t->state = grown;
  t->n_state++;
  return QN_OK;
}

static bool like(const qn_view *v, int32_t dtype, int32_t ndim, const int64_t *shape) {
  bool same = v->dtype == dtype && v->ndim == ndim;
  for (int32_t d = 0; same && d < ndim; d++) same = v->shape[d] == shape[d];
  return same;
}

static qn_status no_thing(void) {
  qni_fail(QN_E_PLUGIN, "an op asks for state, which only objects, hooks and the like have");
  return QN_E_PLUGIN;
}

static qn_status store_make(qn_call *c, const char *name, int32_t dtype, int32_t ndim,
                            const int64_t *shape, qn_view **view) {
  bool found;
  *view = NULL;
  if (!c->thing) return no_thing();
  qn_status st = check_name(name);
  if (st) return st;
  int32_t at = place_of(c->thing, name, &found);
  if (found && like(&c->thing->state[at].tensor->view, dtype, ndim, shape))
    return *view = &c->thing->state[at].tensor->view, QN_OK;
  qn_tensor *made;
  st = qni_tensor_zeros(dtype, ndim, shape, &made);
  if (st) return st;
  st = qni_thing_put(c->thing, name, made);
  if (!st) *view = &made->view;
  qn_tensor_free(made);
  return st;
}

static qn_view *store_find(qn_call *c, const char *name) {
  bool found = false;
  int32_t at = c->thing && name ? place_of(c->thing, name, &found) : 0;
  return found ? &c->thing->state[at].tensor->view : NULL;
}

static void store_drop(qn_call *c, const char *name) {
  bool found = false;
  int32_t at = c->thing && name ? place_of(c->thing, name, &found) : 0;
  if (!found) return;
  qni_thing *t = c->thing;
  qni_mem_free(t->state[at].name);
  qn_tensor_free(t->state[at].tensor);
  memmove(t->state + at, t->state + at + 1, (size_t)(--t->n_state - at) * sizeof *t->state);
}

static int32_t store_count(qn_call *c) { return c->thing ? c->thing->n_state : 0; }

static const char *store_at(qn_call *c, int32_t i, qn_view **view) {
  *view = NULL;
  if (!c->thing || i < 0 || i >= c->thing->n_state) return NULL;
  *view = &c->thing->state[i].tensor->view;
  return c->thing->state[i].name;
}

/* ---- Text ---- */

qn_status qni_thing_set_text(qni_thing *t, const char *text) {
  json_t *json = NULL;
  char *copy = NULL;
  size_t n = text ? strlen(text) : 0;
  if (n > TEXT_MOST) return qni_fail(QN_E_ARG, "a text of state has %zu bytes", n);
  qn_status st = n ? qni_json_parse(text, n, "a text of state", &json) : QN_OK;
  if (json) json_decref(json);
  if (!st && n && !(copy = qni_mem_strdup(text))) st = QN_E_NOMEM;
  if (st) return st;
  qni_mem_free(t->text);
  t->text = copy;
  return QN_OK;
}

static const char *store_text(qn_call *c) {
  return c->thing && c->thing->text ? c->thing->text : "";
}

static qn_status store_text_set(qn_call *c, const char *json) {
  return c->thing ? qni_thing_set_text(c->thing, json) : no_thing();
}

/* ---- What functions give beside state ---- */

static qn_status store_emit(qn_call *c, const char *name, double value) {
  qni_thing *t = c->thing;
  if (!t) return no_thing();
  qn_status st = check_name(name);
  if (st) return st;
  for (int32_t i = 0; i < t->n_emitted; i++)
    if (!strcmp(t->emitted[i].name, name)) return t->emitted[i].value = value, QN_OK;
  size_t n = strlen(name) + 1;
  char *copy = qni_arena_alloc(&t->said, n);
  qni_emitted *grown =
      copy ? qni_mem_realloc(t->emitted, ((size_t)t->n_emitted + 1) * sizeof *grown) : NULL;
  if (!grown) return QN_E_NOMEM;
  t->emitted = grown;
  grown[t->n_emitted++] = (qni_emitted){.name = memcpy(copy, name, n), .value = value};
  return QN_OK;
}

static qn_status store_put(qn_call *c, const void *bytes, int64_t n) {
  if (!c->thing || !c->thing->put) {
    qni_fail(QN_E_PLUGIN, "put() was called where no file is being written");
    qni_error_hint("it belongs into encode of a codec");
    return QN_E_PLUGIN;
  }
  if (n < 0 || (n > 0 && !bytes)) return qni_fail(QN_E_ARG, "put() of %lld bytes", (long long)n);
  return n ? c->thing->put(c->thing->put_ctx, bytes, (size_t)n) : QN_OK;
}

static qn_status store_hold(qn_call *c, void *pointer, void (*release)(void *pointer)) {
  if (!c->thing) return no_thing();
  if (c->thing->release) c->thing->release(c->thing->held);
  c->thing->held = pointer;
  c->thing->release = release;
  return QN_OK;
}

static void *store_held(qn_call *c) { return c->thing ? c->thing->held : NULL; }

const qn_store qni_store = {
    .struct_size = sizeof(qn_store),
    .make = store_make,
    .find = store_find,
    .drop = store_drop,
    .count = store_count,
    .at = store_at,
    .text = store_text,
    .text_set = store_text_set,
    .emit = store_emit,
    .put = store_put,
    .hold = store_hold,
    .held = store_held,
};
