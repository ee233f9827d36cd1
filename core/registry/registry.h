/*
** The registry: one table of ops, filled by the core and by plugins alike.
**
** A plugin's ops are staged and published together, or not at all. Names are
** unique inside a plugin; where two plugins share one, the bare name is refused
** as ambiguous and "plugin.name" is needed ("name" or "id" of the plugin). A bare
** name that the core has is the core's. Nothing is ever removed.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_REGISTRY_H
#define QNI_REGISTRY_H

#include "registry/schema.h"

typedef struct qni_plugin {
  char *id, *name, *version, *path, *build;
  char sha256[65];        /* of the file; "" for the core */
  const qn_plugin *entry; /* NULL for the core */
  int32_t n_ops;
} qni_plugin;

/* What qn_opref is: a registered op. Lives for the whole process. */
struct qn_opref {
  const char *name; /* schema->name */
  const qn_op *op;  /* copied up to the sizeof this host knows */
  qni_schema *schema;
  const qni_plugin *plugin;
  int32_t n_inputs_fixed; /* tensor parameters that are not variadic */
  int32_t index;          /* in order of registration, for counters */
};

qn_status qni_registry_start(void) QNI_WARN_UNUSED; /* registers the core's ops (ops/ops.h) */
void qni_registry_stop(void);
/* Publishes all ops of a plugin, or none; `plugin` is copied. ops is NULL-ended. */
qn_status qni_registry_publish(const qni_plugin *plugin, const qn_op *const *ops) QNI_WARN_UNUSED;
/* Checks an op and makes a reference to it that nobody finds; what things' methods are. */
qn_status qni_registry_stage(const qn_op *given, const qni_plugin *plugin,
                             const qn_opref **op) QNI_WARN_UNUSED;
void qni_registry_unstage(const qn_opref *op); /* NULL is fine */
/* NULL with QN_E_NOT_FOUND and the nearest known name as hint, or ambiguous. */
const qn_opref *qni_registry_find(const char *name);
int32_t qni_registry_op_count(void);
const qn_opref *qni_registry_op(int32_t i); /* sorted by name */
int32_t qni_registry_plugin_count(void);
const qni_plugin *qni_registry_plugin(int32_t i); /* 0 is the core */

#endif
