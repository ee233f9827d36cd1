/* Fuzz target: the first byte picks the format; then the file. SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "io/atomic.h"
#include "io/interactions.h"
#include "io/sequences.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const qni_interactions *x) {
  qni_interactions_stats s;
  qni_split *split;
  qni_batch *batch;
  char buf[24];
  qni_interactions_measure(x, &s);
  for (int64_t i = 0; i < x->n_rows; i++)
    if (x->item[i] < 1 || x->item[i] > x->items.n) abort();
  for (int64_t u = 1; u <= x->n_users; u++)
    if (qni_ids_find(&x->users, qni_ids_name(&x->users, u, buf)) != u) abort();
  if (qni_split_new(x, NULL, &split)) return;
  if (!qni_batch_new(split, QNI_PHASE_TEST, (int64_t[]){0}, 1, &batch)) qni_batch_free(batch);
  qni_split_free(split);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const char *const formats[] = {NULL,      "ml-100k",   "ml-1m",         "ml-20m",
                                        "recbole", "csv",       "tsv",           "amazon",
                                        "pairs",   "sequences", "user-sequences"};
  qni_interactions *x;
  qni_atomic *table;
  if (n == 0) return 0;
  qni_interactions_options o = {.format = formats[data[0] % 11],
                                .id_rule = data[0] / 11 % 3,
                                .text_ids = data[0] / 33 % 3 - 1};
  qni_error_reset();
  if (!qni_interactions_parse(data + 1, n - 1, "fuzz", &o, &x)) {
    check(x);
    qni_interactions_free(x);
  }
  qni_error_reset();
  if (!qni_atomic_parse(data + 1, n - 1, "fuzz", &table)) qni_atomic_free(table);
  return 0;
}
