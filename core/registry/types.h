/*
** Types of things beside ops (abi_decls.h, "Things beside ops"): what plugins and the core
** offer as "qn.object/1" and so on, read once and checked when the plugin is loaded.
**
** Found by kind and name as ops are: "name", or "plugin.name" where two plugins share one;
** a bare name that the core has is the core's.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_TYPES_H
#define QNI_TYPES_H

#include "registry/registry.h"

enum qni_thing_kind {
  QNI_OBJECT,
  QNI_HOOK,
  QNI_DATASET,
  QNI_METRIC,
  QNI_CODEC,
  QNI_SCORER,
  QNI_THING_KINDS
};

typedef struct qni_type {
  int32_t kind; /* enum qni_thing_kind */
  const char *name;
  const qn_thing *head; /* begins the plugin's own descriptor */
  const qni_plugin *plugin;
  const qn_opref *settings; /* an op that is never run: its schema binds the settings */
  const qn_opref *method;   /* step, read or add; NULL for the other kinds */
} qni_type;

/* Words of a kind: "object" and "qn.object/1"; NULL beyond the last. */
const char *qni_kind_name(int32_t kind);
const char *qni_kind_id(int32_t kind);
/* The kind of that word or id, or -1. */
int32_t qni_kind_find(const char *word);

typedef const void *(*qni_query_fn)(const char *interface_id);

/* A plugin's types, read through its query and checked, not published yet. */
typedef struct qni_type_batch {
  qni_type **type;
  int32_t n;
} qni_type_batch;
qn_status qni_types_stage(const qni_plugin *plugin, qni_query_fn query,
                          qni_type_batch *batch) QNI_WARN_UNUSED;
/* Makes them found. Leaves all as it was on failure; takes the batch over on success. */
qn_status qni_types_publish(qni_type_batch *batch) QNI_WARN_UNUSED;
void qni_types_drop(qni_type_batch *batch);
void qni_types_stop(void);

int32_t qni_type_count(void);
const qni_type *qni_type_at(int32_t i); /* by kind, name, plugin */
/* NULL with QN_E_NOT_FOUND and the nearest name, or ambiguous. */
const qni_type *qni_type_find(int32_t kind, const char *name);

#endif
