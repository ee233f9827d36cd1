/*
** Ids: from what a file calls users and items to dense numbers, and back.
** SPDX-License-Identifier: MIT
*/
#include "io/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- Lookup ---- */

/* Where x stands in rising numbers, or -1. */
static int64_t rank_of(const int64_t *numbers, int64_t n, int64_t x) {
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    if (numbers[mid] < x)
      low = mid + 1;
    else
      high = mid;
  }
  return low < n && numbers[low] == x ? low : -1;
}

static qni_span name_of(const qni_ids *ids, int64_t dense) {
  int64_t at = ids->name_at[dense - 1];
  return (qni_span){ids->names + at, (size_t)(ids->name_at[dense] - at)};
}

static int64_t find_name(const qni_ids *ids, qni_span text) {
  int64_t low = 0, high = ids->n;
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    qni_span name = name_of(ids, ids->sorted[mid]);
    int order = memcmp(name.at, text.at, name.n < text.n ? name.n : text.n);
    if (!order && name.n == text.n) return ids->sorted[mid];
    if (order < 0 || (!order && name.n < text.n))
      low = mid + 1;
    else
      high = mid;
  }
  return 0;
}

int64_t qni_ids_find(const qni_ids *ids, qni_span text) {
  int64_t x;
  if (ids->kind == QNI_IDS_NAMES) return text.n || ids->n ? find_name(ids, text) : 0;
  if (qni_span_int(text, &x) != QNI_NUMBER_OK) return 0;
  if (ids->kind == QNI_IDS_NUMBERS) return rank_of(ids->numbers, ids->n, x) + 1;
  return x >= 1 && x <= ids->n ? x : 0;
}

qni_span qni_ids_name(const qni_ids *ids, int64_t dense, char buf[24]) {
  if (dense < 1 || dense > ids->n) return (qni_span){"", 0};
  if (ids->kind == QNI_IDS_NAMES) return name_of(ids, dense);
  int64_t x = ids->kind == QNI_IDS_NUMBERS ? ids->numbers[dense - 1] : dense;
  return (qni_span){buf, (size_t)snprintf(buf, 24, "%" PRId64, x)};
}

void qni_ids_free(qni_ids *ids) {
  qni_mem_free((void *)(uintptr_t)ids->numbers);
  qni_mem_free((void *)(uintptr_t)ids->name_at);
  qni_mem_free((void *)(uintptr_t)ids->names);
  qni_mem_free((void *)(uintptr_t)ids->sorted);
  *ids = (qni_ids){0};
}

/* ---- Numbering ---- */

static int rising(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* The distinct values, rising; by a table of marks where they are dense enough, else by sorting. */
static qn_status distinct(const int64_t *values, int64_t n, int64_t largest, int64_t **out,
                          int64_t *n_out) {
  int64_t count = 0;
  if (largest / 8 <= n + 1024) {
    uint8_t *marks = qni_mem_zalloc((size_t)largest + 1, 1);
    if (!marks) return QN_E_NOMEM;
    for (int64_t i = 0; i < n; i++) count += !marks[values[i]], marks[values[i]] = 1;
    int64_t *list = qni_mem_alloc((size_t)count * sizeof *list), k = 0;
    for (int64_t x = 0; list && x <= largest; x++)
      if (marks[x]) list[k++] = x;
    qni_mem_free(marks);
    *out = list, *n_out = count;
    return list ? QN_OK : QN_E_NOMEM;
  }
  int64_t *list = qni_mem_alloc((size_t)n * sizeof *list);
  if (!list) return QN_E_NOMEM;
  memcpy(list, values, (size_t)n * sizeof *list);
  qsort(list, (size_t)n, sizeof *list, rising);
  for (int64_t i = 0; i < n; i++)
    if (!count || list[count - 1] != list[i]) list[count++] = list[i];
  *out = list, *n_out = count;
  return QN_OK;
}

static qn_status refuse_keep(int64_t smallest, int64_t largest) {
  qni_fail(QN_E_FORMAT, "these item ids cannot be kept as they are");
  qni_error_detail("they run from %" PRId64 " to %" PRId64 "; 1 to 2147483647 can", smallest,
                   largest);
  qni_error_hint("let them be numbered densely instead");
  return QN_E_FORMAT;
}

qn_status qni_ids_number(int64_t *values, int64_t n, int32_t rule, qni_ids *ids) {
  int64_t largest = 0, smallest = n ? values[0] : 1, count, *list;
  for (int64_t i = 0; i < n; i++) {
    if (values[i] > largest) largest = values[i];
    if (values[i] < smallest) smallest = values[i];
  }
  if (rule == QNI_ID_KEEP && (smallest < 1 || largest > INT32_MAX))
    return refuse_keep(smallest, largest);
  qn_status st = distinct(values, n, largest, &list, &count);
  if (st) return st;
  if (rule == QNI_ID_KEEP ||
      (rule == QNI_ID_AUTO && smallest >= 1 && largest <= 8 * count + 1024)) {
    qni_mem_free(list);
    *ids = (qni_ids){.kind = QNI_IDS_KEPT, .n = largest, .seen = count};
    return QN_OK;
  }
  *ids = (qni_ids){.kind = QNI_IDS_NUMBERS, .n = count, .seen = count, .numbers = list};
  bool identity = count == 0 || (list[0] == 1 && list[count - 1] == count);
  for (int64_t i = 0; i < n && !identity; i++) values[i] = rank_of(list, count, values[i]) + 1;
  return QN_OK;
}
