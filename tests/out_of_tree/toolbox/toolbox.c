/* The plugin toolbox: one thing of each kind. SPDX-License-Identifier: MIT */
#include "toolbox.h"

#include <string.h>

static const void *query(const char *id) {
  static const qn_object *const objects[] = {&toolbox_alias, NULL};
  static const qn_hook *const hooks[] = {&toolbox_clamp, NULL};
  static const qn_dataset *const datasets[] = {&toolbox_spirals, NULL};
  static const qn_metric *const metrics[] = {&toolbox_rmse, NULL};
  static const qn_codec *const codecs[] = {&toolbox_pgm, NULL};
  static const qn_scorer *const scorers[] = {&toolbox_fan, NULL};
  if (!strcmp(id, "qn.object/1")) return objects;
  if (!strcmp(id, "qn.hook/1")) return hooks;
  if (!strcmp(id, "qn.dataset/1")) return datasets;
  if (!strcmp(id, "qn.metric/1")) return metrics;
  if (!strcmp(id, "qn.codec/1")) return codecs;
  if (!strcmp(id, "qn.scorer/1")) return scorers;
  return NULL;
}

QN_EXPORT const qn_plugin qn_plugin_entry = {
    .magic = QN_MAGIC,
    .struct_size = sizeof(qn_plugin),
    .abi_major = QN_ABI_MAJOR,
    .abi_minor = QN_ABI_MINOR,
    .build = QN_BUILD,
    .id = "example.toolbox",
    .name = "toolbox",
    .version = "1.0.0",
    .requires_ids = (const char *const[]){"qn.store/1", NULL},
    .query = query,
};
