/* Fuzz target: any bytes as JSON; its canonical form is stable. SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  json_t *value, *again;
  qni_error_reset();
  if (qni_json_parse((const char *)data, n, "fuzz", &value)) return 0;
  char *text = qni_json_dump(value);
  if (!text || qni_json_parse(text, strlen(text), "again", &again)) abort();
  char *second = qni_json_dump(again);
  if (!second || strcmp(text, second)) abort();
  qni_mem_free(text);
  qni_mem_free(second);
  json_decref(value);
  json_decref(again);
  return 0;
}
