/*
** Interfaces that plugins ask for by id. The host's own come first, then those
** that loaded plugins offer.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "kernels/math.h"
#include "graph/thing.h"
#include "registry/types.h"
#include "things/things.h"

const void *qni_interface(const char *id) {
  if (!strcmp(id, "qn.math/1")) return qni_math();
  if (!strcmp(id, "qn.store/1")) return &qni_store;
  if (qni_kind_find(id) >= 0) return qni_things_query(id);
  for (int32_t i = 0; i < qni_registry_plugin_count(); i++) {
    const qn_plugin *entry = qni_registry_plugin(i)->entry;
    const void *found = entry && QN_HAS(entry, query) && entry->query ? entry->query(id) : NULL;
    if (found) return found;
  }
  return NULL;
}
