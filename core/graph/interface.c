/*
** Interfaces that plugins ask for by id. The host's own come first, then those
** that loaded plugins offer.
** SPDX-License-Identifier: MIT
*/
#include <string.h>

#include "kernels/math.h"
#include "graph/call.h"

const void *qni_interface(const char *id) {
  if (!strcmp(id, "qn.math/1")) return qni_math();
  for (int32_t i = 0; i < qni_registry_plugin_count(); i++) {
    const qn_plugin *entry = qni_registry_plugin(i)->entry;
    const void *found = entry && QN_HAS(entry, query) && entry->query ? entry->query(id) : NULL;
    if (found) return found;
  }
  return NULL;
}
