/*
** Reading, checking and finding types of things.
**
** Invariant: `table` holds every published type once, by kind, name and plugin id. Main
** thread only; what is published never moves.
** SPDX-License-Identifier: MIT
*/
#include "registry/types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

struct kind {
  const char *name, *id;
  size_t bytes; /* of the descriptor in the first release */
};
static const struct kind kinds[QNI_THING_KINDS] = {
    {"object", "qn.object/1", QN_SIZE_TO(qn_object, step)},
    {"hook", "qn.hook/1", QN_SIZE_TO(qn_hook, run)},
    {"dataset", "qn.dataset/1", QN_SIZE_TO(qn_dataset, read)},
    {"metric", "qn.metric/1", QN_SIZE_TO(qn_metric, result)},
    {"codec", "qn.codec/1", QN_SIZE_TO(qn_codec, encode)},
    {"scorer", "qn.scorer/1", QN_SIZE_TO(qn_scorer, score)},
};

static struct {
  qni_type **type;
  int32_t n;
} table;

const char *qni_kind_name(int32_t kind) {
  return kind >= 0 && kind < QNI_THING_KINDS ? kinds[kind].name : NULL;
}

const char *qni_kind_id(int32_t kind) {
  return kind >= 0 && kind < QNI_THING_KINDS ? kinds[kind].id : NULL;
}

int32_t qni_kind_find(const char *word) {
  for (int32_t k = 0; k < QNI_THING_KINDS; k++)
    if (!strcmp(word, kinds[k].name) || !strcmp(word, kinds[k].id)) return k;
  return -1;
}

/* ---- Checking ---- */

static qn_status unknown_bits(const char *what, const char *name, uint32_t bits) {
  qni_fail(QN_E_VERSION, "%s has unknown bits in %s: 0x%" PRIx32, name, what, bits);
  qni_error_hint("the plugin was made for a newer Quern");
  return QN_E_VERSION;
}

static qn_status lacks(const qni_type *t, const char *what) {
  return qni_fail(QN_E_PLUGIN, "%s %s has no %s", kinds[t->kind].name, t->name, what);
}

/* Settings are plain arguments: no tensors, no outputs. */
static qn_status check_settings(const qni_type *t) {
  const qni_schema *s = t->settings->schema;
  bool tensors = s->n_outputs > 0;
  for (int32_t i = 0; i < s->n_params; i++) tensors |= s->param[i].kind == QNI_TENSOR;
  if (!tensors) return QN_OK;
  qni_fail(QN_E_PLUGIN, "the settings of %s %s have tensors or outputs", kinds[t->kind].name,
           t->name);
  qni_error_hint("write plain arguments, as in \"%s(*, rate: num = 0.1)\"", t->name);
  return QN_E_PLUGIN;
}

static qn_status check_read(const qni_type *t) {
  const qni_schema *s = t->method->schema;
  const qni_param *p = s->n_params ? &s->param[0] : NULL;
  if (p && p->kind == QNI_TENSOR && p->tensor.dtype == QN_I64 && !p->variadic && s->n_outputs)
    return QN_OK;
  qni_fail(QN_E_PLUGIN, "dataset %s reads by %s", t->name, s->canonical);
  qni_error_hint("its first input is the list of records: \"read(records: i64[B]) -> ...\"");
  return QN_E_PLUGIN;
}

/* What each kind must have beside its settings. */
static qn_status check_kind(const qni_type *t) {
  const void *d = t->head;
  const qn_hook *hook = d;
  const qn_codec *codec = d;
  const qn_scorer *scorer = d;
  switch (t->kind) {
  case QNI_OBJECT: return t->method ? QN_OK : lacks(t, "step");
  case QNI_HOOK:
    if (hook->events >> (QN_AT_FINISH + 1)) return unknown_bits("events", t->name, hook->events);
    return hook->run ? QN_OK : lacks(t, "run");
  case QNI_DATASET:
    if (!((const qn_dataset *)d)->count) return lacks(t, "count");
    return t->method ? check_read(t) : lacks(t, "read");
  case QNI_METRIC:
    if (!((const qn_metric *)d)->result) return lacks(t, "result");
    return t->method ? QN_OK : lacks(t, "add");
  case QNI_CODEC:
    if (!codec->suffixes || !codec->suffixes[0]) return lacks(t, "suffixes");
    return codec->decode || codec->encode ? QN_OK : lacks(t, "decode and no encode");
  default:
    if (scorer->reads & ~(uint32_t)(QN_SCORE_GRAD | QN_SCORE_MASK))
      return unknown_bits("reads", t->name, scorer->reads);
    return scorer->score ? QN_OK : lacks(t, "score");
  }
}

/* ---- Staging ---- */

static const qn_op *method_of(int32_t kind, const void *descriptor) {
  switch (kind) {
  case QNI_OBJECT: return ((const qn_object *)descriptor)->step;
  case QNI_DATASET: return ((const qn_dataset *)descriptor)->read;
  case QNI_METRIC: return ((const qn_metric *)descriptor)->add;
  default: return NULL;
  }
}

static qn_status no_run(const qn_host *h, qn_call *c) {
  return h->fail(c, QN_E_INTERNAL, "settings are no op");
}

static qn_status stage(int32_t kind, const qn_thing *head, const qni_plugin *plugin, qni_type *t) {
  *t = (qni_type){.kind = kind, .head = head, .plugin = plugin, .name = "?"};
  if (head->struct_size < kinds[kind].bytes)
    return qni_fail(QN_E_PLUGIN,
                    "a %s of %s says struct_size = %" PRIu32 ", at least %zu was expected",
                    kinds[kind].name, plugin->id, head->struct_size, kinds[kind].bytes);
  if (!head->settings) return lacks(t, "settings, not even its name");
  qn_op settings = {.struct_size = sizeof settings,
                    .det = QN_DET_BITWISE,
                    .schema = head->settings,
                    .summary = head->summary,
                    .forward = no_run};
  qn_status st = qni_registry_stage(&settings, plugin, &t->settings);
  if (st) return st;
  t->name = t->settings->name;
  if (head->flags & ~(uint32_t)QN_THING_RANDOM) return unknown_bits("flags", t->name, head->flags);
  if ((st = check_settings(t))) return st;
  const qn_op *method = method_of(kind, head);
  if (method) st = qni_registry_stage(method, plugin, &t->method);
  return st ? st : check_kind(t);
}

static void free_type(qni_type *t) {
  if (!t) return;
  qni_registry_unstage(t->settings);
  qni_registry_unstage(t->method);
  qni_mem_free(t);
}

void qni_types_drop(qni_type_batch *batch) {
  for (int32_t i = 0; i < batch->n; i++) free_type(batch->type[i]);
  qni_mem_free(batch->type);
  *batch = (qni_type_batch){0};
}

static qn_status grow(qni_type ***list, int32_t n) {
  qni_type **grown = qni_mem_realloc(*list, (size_t)n * sizeof *grown);
  if (!grown) return QN_E_NOMEM;
  *list = grown;
  return QN_OK;
}

static qn_status defined_twice(const qni_type_batch *batch) {
  const qni_type *last = batch->type[batch->n - 1];
  for (int32_t i = 0; i + 1 < batch->n; i++)
    if (batch->type[i]->kind == last->kind && !strcmp(batch->type[i]->name, last->name))
      return qni_fail(QN_E_PLUGIN, "%s defines the %s %s twice", last->plugin->id,
                      kinds[last->kind].name, last->name);
  return QN_OK;
}

static qn_status stage_kind(int32_t kind, const qni_plugin *plugin, qni_query_fn query,
                            qni_type_batch *batch) {
  const qn_thing *const *list = query(kinds[kind].id);
  qn_status st = QN_OK;
  for (int32_t i = 0; !st && list && list[i]; i++) {
    if ((st = grow(&batch->type, batch->n + 1))) break;
    qni_type *t = qni_mem_zalloc(1, sizeof *t);
    if (!t) return QN_E_NOMEM;
    batch->type[batch->n++] = t;
    st = stage(kind, list[i], plugin, t);
    if (st) qni_error_place(list[i]->settings, plugin->id);
    if (!st) st = defined_twice(batch);
  }
  return st;
}

qn_status qni_types_stage(const qni_plugin *plugin, qni_query_fn query, qni_type_batch *batch) {
  qn_status st = QN_OK;
  *batch = (qni_type_batch){0};
  for (int32_t k = 0; query && !st && k < QNI_THING_KINDS; k++)
    st = stage_kind(k, plugin, query, batch);
  if (st) qni_types_drop(batch);
  return st;
}

/* ---- Publishing ---- */

static int by_name(const void *a, const void *b) {
  const qni_type *x = *(qni_type *const *)a, *y = *(qni_type *const *)b;
  if (x->kind != y->kind) return x->kind - y->kind;
  int order = strcmp(x->name, y->name);
  return order ? order : strcmp(x->plugin->id, y->plugin->id);
}

qn_status qni_types_publish(qni_type_batch *batch) {
  if (!batch->n) return QN_OK;
  qn_status st = grow(&table.type, table.n + batch->n);
  if (st) return st;
  memcpy(table.type + table.n, batch->type, (size_t)batch->n * sizeof *batch->type);
  table.n += batch->n;
  qsort(table.type, (size_t)table.n, sizeof *table.type, by_name);
  qni_mem_free(batch->type);
  *batch = (qni_type_batch){0};
  return QN_OK;
}

void qni_types_stop(void) {
  for (int32_t i = 0; i < table.n; i++) free_type(table.type[i]);
  qni_mem_free(table.type);
  memset(&table, 0, sizeof table);
}

/* ---- Finding ---- */

int32_t qni_type_count(void) { return table.n; }

const qni_type *qni_type_at(int32_t i) { return i >= 0 && i < table.n ? table.type[i] : NULL; }

static bool from(const qni_plugin *p, const char *name, size_t n) {
  return (strlen(p->name) == n && !memcmp(p->name, name, n)) ||
         (strlen(p->id) == n && !memcmp(p->id, name, n));
}

static const qni_type *not_found(int32_t kind, const char *name) {
  const char *best = NULL;
  int32_t best_distance = 0, n = 0;
  qni_fail(QN_E_NOT_FOUND, "there is no %s named '%.100s'", kinds[kind].name, name);
  for (int32_t i = 0; i < table.n; i++) {
    if (table.type[i]->kind != kind) continue;
    if (n++ < 16) qni_error_detail("%s, of %s", table.type[i]->name, table.type[i]->plugin->id);
    int32_t d = qni_near(name, table.type[i]->name);
    if (d < 0 || (best && d >= best_distance)) continue;
    best = table.type[i]->name, best_distance = d;
  }
  if (best)
    qni_error_hint("did you mean '%s'?", best);
  else
    qni_error_hint("is its plugin loaded?");
  return NULL;
}

const qni_type *qni_type_find(int32_t kind, const char *name) {
  const char *dot = strrchr(name, '.'), *bare = dot ? dot + 1 : name;
  const qni_type *found = NULL;
  for (int32_t i = 0; i < table.n; i++) {
    const qni_type *t = table.type[i];
    if (t->kind != kind || strcmp(t->name, bare)) continue;
    if (dot && !from(t->plugin, name, (size_t)(dot - name))) continue;
    if (!dot && !t->plugin->entry) return t;
    if (found) {
      qni_fail(QN_E_ARG, "the %s '%s' is ambiguous", kinds[kind].name, name);
      qni_error_detail("it is defined by %s and by %s", found->plugin->id, t->plugin->id);
      qni_error_hint("write %s.%s or %s.%s", found->plugin->name, bare, t->plugin->name, bare);
      return NULL;
    }
    found = t;
  }
  return found ? found : not_found(kind, name);
}
