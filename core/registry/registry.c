/*
** The registry: staging, validation and lookup of ops.
**
** Invariant: `sorted` holds every published op once, by name and then by plugin id.
** A plugin is staged outside the tables; the last step of publishing swaps three
** pointers and cannot fail. Main thread only; what is published never moves.
** SPDX-License-Identifier: MIT
*/
#include "registry/registry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ops/ops.h"
#include "registry/types.h"
#include "things/things.h"

struct staged {
  struct qn_opref ref; /* first: handed out as qn_opref */
  qn_op op;
};

static struct {
  const qn_opref **sorted;
  qni_plugin **plugins;
  int32_t n_ops, n_plugins;
} table;

/* ---- Validation ---- */

/* [a-z][a-z0-9_]*, in plugin names and ids also capitals and `more`. */
static bool identifier(const char *name, bool plugin, const char *more) {
  if (!name || !*name || strlen(name) > 200) return false;
  for (const char *c = name; *c; c++) {
    bool low = (*c >= 'a' && *c <= 'z') || (plugin && *c >= 'A' && *c <= 'Z');
    bool inner = c > name && ((*c >= '0' && *c <= '9') || *c == '_' || strchr(more, *c));
    if (!low && !inner) return false;
  }
  return true;
}

static qn_status check_plugin(const qni_plugin *p) {
  if (!identifier(p->id, true, ".-") || !identifier(p->name, true, "-")) {
    qni_fail(QN_E_PLUGIN, "a plugin calls itself '%.60s' with the id '%.100s'",
             p->name ? p->name : "(null)", p->id ? p->id : "(null)");
    qni_error_detail(
        "names are letters, digits, '_' and '-', beginning with a letter; ids have '.' too");
    return QN_E_PLUGIN;
  }
  if (!p->version || !*p->version) return qni_fail(QN_E_PLUGIN, "plugin %s has no version", p->id);
  for (int32_t i = 0; i < table.n_plugins; i++)
    if (!strcmp(table.plugins[i]->id, p->id)) {
      qni_fail(QN_E_STATE, "a plugin with the id %s is loaded already", p->id);
      qni_error_detail("its version is %s, from %s", table.plugins[i]->version,
                       table.plugins[i]->path);
      return QN_E_STATE;
    }
  return QN_OK;
}

static qn_status check_fields(const qn_op *op) {
  const uint32_t known = QN_OP_RANDOM | QN_OP_READS_DATA | QN_OP_NAN_STOPS | QN_OP_NO_GRAD |
                         QN_OP_DOMAIN | QN_OP_ROW_GRADS | QN_OP_ADDS_GRADS | QN_OP_POINTWISE |
                         QN_OP_CHEAP;
  const char *text = op->schema;
  if (op->flags & ~known) {
    qni_fail(QN_E_VERSION, "%s has unknown bits in flags: 0x%" PRIx32, text, op->flags & ~known);
    qni_error_hint("the plugin was made for a newer Quern");
    return QN_E_VERSION;
  }
  if (op->det < QN_DET_NONE || op->det > QN_DET_BITWISE)
    return qni_fail(QN_E_PLUGIN, "%s has det = %d, expected 0 to 2", text, (int)op->det);
  if (op->batch < QN_BATCH_COUPLED || op->batch > QN_BATCH_SUM)
    return qni_fail(QN_E_PLUGIN, "%s has batch = %d, expected 0 to 3", text, (int)op->batch);
  if (!op->summary || !*op->summary) return qni_fail(QN_E_PLUGIN, "%s has no summary", text);
  return QN_OK;
}

static qn_status check_functions(const qn_op *op, const qni_schema *s) {
  for (int32_t o = 0; o < s->n_outputs; o++) {
    if (!op->forward && s->output[o].alias < 0) {
      qni_fail(QN_E_PLUGIN, "%s has no forward function, but output %s is not a view", s->name,
               s->output[o].name);
      qni_error_hint("an op without forward may have outputs like y&x only");
      return QN_E_PLUGIN;
    }
    if (!op->infer && qni_schema_open(s, o)) {
      qni_fail(QN_E_PLUGIN, "%s leaves the shape of output %s open, but has no infer function",
               s->name, s->output[o].name);
      qni_error_hint("give it an infer function, or write the shape into the schema");
      return QN_E_PLUGIN;
    }
  }
  return QN_OK;
}

/* ---- Staging ---- */

void qni_registry_unstage(const qn_opref *ref) {
  if (!ref) return;
  qni_schema_free(ref->schema);
  qni_mem_free((void *)(uintptr_t)ref);
}

static void free_plugin(qni_plugin *p) {
  if (!p) return;
  qni_mem_free(p->id);
  qni_mem_free(p->name);
  qni_mem_free(p->version);
  qni_mem_free(p->path);
  qni_mem_free(p->build);
  qni_mem_free(p);
}

static qni_plugin *copy_plugin(const qni_plugin *from) {
  qni_plugin *p = qni_mem_alloc(sizeof *p);
  if (!p) return NULL;
  *p = *from;
  p->id = qni_mem_strdup(from->id);
  p->name = qni_mem_strdup(from->name);
  p->version = qni_mem_strdup(from->version);
  p->path = qni_mem_strdup(from->path ? from->path : "");
  p->build = qni_mem_strdup(from->build ? from->build : "");
  if (p->id && p->name && p->version && p->path && p->build) return p;
  free_plugin(p);
  return NULL;
}

qn_status qni_registry_stage(const qn_op *given, const qni_plugin *plugin, const qn_opref **out) {
  const size_t first_release = QN_SIZE_TO(qn_op, kink);
  if (given->struct_size < first_release)
    return qni_fail(QN_E_PLUGIN,
                    "an op of %s says struct_size = %" PRIu32 ", at least %zu was expected",
                    plugin->id, given->struct_size, first_release);
  if (!given->schema) return qni_fail(QN_E_PLUGIN, "an op of %s has no schema", plugin->id);
  struct staged *s = qni_mem_zalloc(1, sizeof *s);
  if (!s) return QN_E_NOMEM;
  *out = &s->ref;
  memcpy(&s->op, given, given->struct_size < sizeof s->op ? given->struct_size : sizeof s->op);
  s->op.struct_size = sizeof s->op;
  qn_status st = qni_schema_parse(given->schema, &s->ref.schema);
  if (!st) st = check_fields(&s->op);
  if (!st) st = check_functions(&s->op, s->ref.schema);
  if (st) return st;
  s->ref.name = s->ref.schema->name;
  s->ref.op = &s->op;
  s->ref.plugin = plugin;
  for (int32_t i = 0; i < s->ref.schema->n_params; i++)
    s->ref.n_inputs_fixed +=
        s->ref.schema->param[i].kind == QNI_TENSOR && !s->ref.schema->param[i].variadic;
  if (identifier(s->ref.name, false, "")) return QN_OK;
  return qni_fail(QN_E_PLUGIN,
                  "an op of %s is named %s; names are lower-case letters, digits and '_'",
                  plugin->id, s->ref.name);
}

static int by_name(const void *a, const void *b) {
  const qn_opref *x = *(const qn_opref *const *)a, *y = *(const qn_opref *const *)b;
  int order = strcmp(x->name, y->name);
  return order ? order : strcmp(x->plugin->id, y->plugin->id);
}

static qn_status no_outputs(const qni_schema *s) {
  qni_fail(QN_E_PLUGIN, "%s has no outputs", s->name);
  qni_error_hint("write '->' and what it returns after the arguments");
  return QN_E_PLUGIN;
}

/* Fills ops[0..n-1], as far as it comes on failure, and sorts them. */
static qn_status stage_all(const qn_op *const *given, int32_t n, const qni_plugin *plugin,
                           const qn_opref **ops) {
  for (int32_t i = 0; i < n; i++) {
    qn_status st = qni_registry_stage(given[i], plugin, &ops[i]);
    if (!st && !ops[i]->schema->n_outputs) st = no_outputs(ops[i]->schema);
    if (!st) {
      ((struct staged *)(uintptr_t)ops[i])->ref.index = table.n_ops + i;
      continue;
    }
    qni_error_place(given[i]->schema, plugin->id);
    return st;
  }
  qsort(ops, (size_t)n, sizeof *ops, by_name);
  for (int32_t i = 1; i < n; i++)
    if (!strcmp(ops[i - 1]->name, ops[i]->name))
      return qni_fail(QN_E_PLUGIN, "%s defines %s twice", plugin->id, ops[i]->name);
  return QN_OK;
}

/* ---- Publishing ---- */

/* Merges staged into the tables; allocates first, then cannot fail. */
static qn_status commit(qni_plugin *plugin, const qn_opref *const *staged, int32_t n,
                        qni_type_batch *types) {
  const qn_opref **sorted = qni_mem_alloc((size_t)(table.n_ops + n + 1) * sizeof *sorted);
  qni_plugin **plugins =
      sorted ? qni_mem_alloc((size_t)(table.n_plugins + 1) * sizeof *plugins) : NULL;
  qn_status st = plugins ? qni_types_publish(types) : QN_E_NOMEM;
  if (st) {
    qni_mem_free(plugins);
    qni_mem_free(sorted);
    return st;
  }
  for (int32_t i = 0, j = 0, k = 0; i + j < table.n_ops + n; k++)
    sorted[k] = j == n || (i < table.n_ops && by_name(&table.sorted[i], &staged[j]) < 0)
                    ? table.sorted[i++]
                    : staged[j++];
  for (int32_t i = 0; i < table.n_plugins; i++) plugins[i] = table.plugins[i];
  plugin->n_ops = n;
  plugins[table.n_plugins++] = plugin;
  table.n_ops += n;
  qni_mem_free(table.sorted);
  qni_mem_free(table.plugins);
  table.sorted = sorted;
  table.plugins = plugins;
  return QN_OK;
}

/* What a plugin offers beside ops; the core's own stand in things/. */
static qni_query_fn query_of(const qni_plugin *p) {
  if (!p->entry) return p->id && !strcmp(p->id, "core") ? qni_things_query : NULL;
  return QN_HAS(p->entry, query) ? p->entry->query : NULL;
}

qn_status qni_registry_publish(const qni_plugin *given, const qn_op *const *ops) {
  qni_type_batch types = {0};
  int32_t n = 0;
  while (ops[n]) n++;
  qn_status st = check_plugin(given);
  if (st) return st;
  qni_plugin *plugin = copy_plugin(given);
  const qn_opref **staged = plugin ? qni_mem_zalloc((size_t)n + 1, sizeof *staged) : NULL;
  st = staged ? stage_all(ops, n, plugin, staged) : QN_E_NOMEM;
  if (!st) st = qni_types_stage(plugin, query_of(given), &types);
  if (!st) st = commit(plugin, staged, n, &types);
  if (st) {
    qni_types_drop(&types);
    for (int32_t i = 0; staged && i < n; i++) qni_registry_unstage(staged[i]);
    free_plugin(plugin);
  }
  qni_mem_free(staged);
  return st;
}

qn_status qni_registry_start(void) {
  static char core[] = "core";
  if (table.n_plugins) return QN_OK;
  size_t n = 0;
  for (int32_t f = 0; qni_ops_tables[f]; f++)
    for (int32_t i = 0; qni_ops_tables[f][i]; i++) n++;
  const qn_op **all = qni_mem_zalloc(n + 1, sizeof *all);
  if (!all) return QN_E_NOMEM;
  n = 0;
  for (int32_t f = 0; qni_ops_tables[f]; f++)
    for (int32_t i = 0; qni_ops_tables[f][i]; i++) all[n++] = qni_ops_tables[f][i];
  qn_status st = qni_registry_publish(
      &(qni_plugin){.id = core, .name = core, .version = (char *)(uintptr_t)qn_version()}, all);
  qni_mem_free(all);
  return st;
}

void qni_registry_stop(void) {
  qni_types_stop();
  for (int32_t i = 0; i < table.n_ops; i++) qni_registry_unstage(table.sorted[i]);
  for (int32_t i = 0; i < table.n_plugins; i++) free_plugin(table.plugins[i]);
  qni_mem_free(table.sorted);
  qni_mem_free(table.plugins);
  memset(&table, 0, sizeof table);
}

/* ---- Lookup ---- */

/* The first op whose name is not less than `name`. */
static int32_t first_at(const char *name) {
  int32_t low = 0, high = table.n_ops;
  while (low < high) {
    int32_t middle = (low + high) / 2;
    if (strcmp(table.sorted[middle]->name, name) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool from(const qni_plugin *p, const char *name, size_t n) {
  return (strlen(p->name) == n && !memcmp(p->name, name, n)) ||
         (strlen(p->id) == n && !memcmp(p->id, name, n));
}

static bool of_core(const qn_opref *op) {
  return op->plugin == table.plugins[0] && !op->plugin->entry;
}

static const qn_opref *not_found(const char *name) {
  const char *dot = strrchr(name, '.'), *best = NULL;
  int32_t best_distance = 0;
  for (int32_t i = 0; i < table.n_ops; i++) {
    int32_t d = qni_near(dot ? dot + 1 : name, table.sorted[i]->name);
    if (d < 0 || (best && d >= best_distance)) continue;
    best = table.sorted[i]->name;
    best_distance = d;
  }
  qni_fail(QN_E_NOT_FOUND, "there is no op named '%.100s'", name);
  if (best && dot && !strcmp(best, dot + 1))
    qni_error_hint("an op %s exists, but not in that plugin", best);
  else if (best)
    qni_error_hint("did you mean '%s'?", best);
  else
    qni_error_hint("`quern ops` lists all ops; is its plugin loaded?");
  return NULL;
}

static const qn_opref *ambiguous(const char *name, const qn_opref *a, const qn_opref *b) {
  bool ids = !strcmp(a->plugin->name, b->plugin->name);
  qni_fail(QN_E_ARG, "the op name '%s' is ambiguous", name);
  qni_error_detail("it is defined by %s and by %s", a->plugin->id, b->plugin->id);
  qni_error_hint("write %s.%s or %s.%s", ids ? a->plugin->id : a->plugin->name, a->name,
                 ids ? b->plugin->id : b->plugin->name, b->name);
  return NULL;
}

/* A bare name that the core has is the core's: loading a plugin changes no recipe's meaning. */
const qn_opref *qni_registry_find(const char *name) {
  const char *dot = strrchr(name, '.'), *bare = dot ? dot + 1 : name;
  const qn_opref *found = NULL, *second = NULL;
  for (int32_t i = first_at(bare); i < table.n_ops && !strcmp(table.sorted[i]->name, bare); i++) {
    const qn_opref *op = table.sorted[i];
    if (dot && !from(op->plugin, name, (size_t)(dot - name))) continue;
    if (!dot && of_core(op)) return op;
    if (found)
      second = op;
    else
      found = op;
  }
  if (second) return ambiguous(name, found, second);
  return found ? found : not_found(name);
}

int32_t qni_registry_op_count(void) { return table.n_ops; }

const qn_opref *qni_registry_op(int32_t i) {
  return i >= 0 && i < table.n_ops ? table.sorted[i] : NULL;
}

int32_t qni_registry_plugin_count(void) { return table.n_plugins; }

const qni_plugin *qni_registry_plugin(int32_t i) {
  return i >= 0 && i < table.n_plugins ? table.plugins[i] : NULL;
}
