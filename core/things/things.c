/* The list of the core's things by interface. SPDX-License-Identifier: MIT */
#include "things/things.h"

#include <string.h>

const void *qni_things_query(const char *interface_id) {
  static const qn_object *const objects[] = {&qni_object_lion, NULL};
  static const qn_hook *const hooks[] = {&qni_hook_average, NULL};
  static const qn_dataset *const datasets[] = {&qni_dataset_stream, NULL};
  static const qn_metric *const metrics[] = {&qni_metric_calibration, NULL};
  static const qn_codec *const codecs[] = {&qni_codec_npy, NULL};
  static const qn_scorer *const scorers[] = {&qni_scorer_magnitude, &qni_scorer_taylor, NULL};
  const struct {
    const char *id;
    const void *list;
  } all[] = {{"qn.object/1", objects}, {"qn.hook/1", hooks},   {"qn.dataset/1", datasets},
             {"qn.metric/1", metrics}, {"qn.codec/1", codecs}, {"qn.scorer/1", scorers}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    if (!strcmp(all[i].id, interface_id)) return all[i].list;
  return NULL;
}
