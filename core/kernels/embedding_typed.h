/* The kernels of embedding.h for one type. Included with REAL, FN(name). SPDX-License-Identifier: MIT */

/* The first lines of a row that is wanted soon; the processor goes on with the others by itself. */
static void FN(fetch)(const REAL *row, int64_t width) {
  const int64_t bytes = width * (int64_t)sizeof(REAL);
  for (int64_t at = 0; at < bytes && at < 256; at += 64) __builtin_prefetch((const char *)row + at);
}

static qn_status FN(gather)(void *ctx, int64_t begin, int64_t end) {
  const qni_gather_job *j = ctx;
  for (int64_t r = begin; r < end; r++) {
    const int64_t id = j->ids64 ? j->ids64[r] : j->ids32[r], soon = r + AHEAD;
    if (soon < end) FN(fetch)
    ((const REAL *)j->table + (j->ids64 ? j->ids64[soon] : j->ids32[soon]) * j->width, j->width);
    const REAL *restrict from = (const REAL *)j->table + id * j->width;
    REAL *restrict to = (REAL *)j->out + r * j->width;
    for (int64_t c = 0; c < j->width; c++) to[c] = from[c];
  }
  return QN_OK;
}

static qn_status FN(group_sum)(void *ctx, int64_t begin, int64_t end) {
  const qni_group_job *j = ctx;
  const REAL *rows = j->rows, *coef = j->coef;
  const int64_t last = j->first[end];
  for (int64_t g = begin; g < end; g++) {
    REAL *restrict sum = (REAL *)j->out + (j->row_of ? j->row_of[g] : g) * j->width;
    for (int64_t c = 0; c < j->width && !j->add; c++) sum[c] = 0;
    for (int64_t i = j->first[g]; i < j->first[g + 1]; i++) {
      const int64_t p = j->order[i];
      if (i + AHEAD < last) FN(fetch)(rows + j->order[i + AHEAD] / j->per * j->width, j->width);
      const REAL a = coef ? coef[p] : 1, *restrict row = rows + p / j->per * j->width;
      for (int64_t c = 0; c < j->width; c++) sum[c] += a * row[c];
    }
  }
  return QN_OK;
}
