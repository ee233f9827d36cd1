/*
** Fuzz target: any text is refused with a status or parses to a schema whose canonical
** form parses to itself, and from which calls can be drawn that unify.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "registry/schema.h"

/* libFuzzer takes an abort for a finding. */
static void must(int holds) {
  if (!holds) abort();
}

static void draw_calls(const qni_schema *s) {
  for (uint64_t seed = 0; seed < 3; seed++) {
    const qni_sample_options o = {
        .seed = seed, .layout = (int32_t)seed, .max_size = 7, .allow_empty = true, .values = 1};
    qni_sample sample;
    qni_error_reset();
    if (!qni_schema_sample(s, &o, &sample)) qni_sample_free(&sample);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char text[QNI_SCHEMA_TEXT + 64];
  qni_schema *s, *again;
  if (size >= sizeof text) return 0;
  memcpy(text, data, size);
  text[size] = 0;
  qni_error_reset();
  if (qni_schema_parse(text, &s)) {
    must(qn_error_last()->status != QN_OK && qn_error_last()->what[0]);
    return 0;
  }
  must(!qni_schema_parse(s->canonical, &again));
  must(!strcmp(s->canonical, again->canonical) && s->hash == again->hash);
  draw_calls(s);
  qni_schema_free(again);
  qni_schema_free(s);
  return 0;
}
