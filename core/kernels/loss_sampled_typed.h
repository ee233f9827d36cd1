/*
** Sampled softmax for one type: dot products with the rows that were drawn and their weighted sum,
** row after row, and the table's gradient from pairs sorted by item. Included by loss_typed.h.
** SPDX-License-Identifier: MIT
*/

typedef REAL FN(vr) __attribute__((vector_size(VF_BYTES), aligned(sizeof(REAL)), may_alias));
enum { FN(VN) = VF_BYTES / sizeof(REAL) };

/* A pair as the table's gradient wants it: the row's place in its block, and its coefficient. */
struct FN(entry) {
  int32_t place;
  REAL share;
};

/* ---- Weighted sums of rows ---- */

/* Coefficients and rows of a matrix: lists of ids, or one of entries. */
struct FN(terms) {
  int64_t n, width;
  const REAL *rows, *coef;
  const int64_t *ids; /* NULL: entries */
  const struct FN(entry) * entries;
};

VF_INLINE const REAL *FN(term_row)(const struct FN(terms) * t, int64_t j) {
  return t->rows + (t->ids ? t->ids[j] : t->entries[j].place) * t->width;
}
VF_INLINE REAL FN(term_share)(const struct FN(terms) * t, int64_t j) {
  return t->ids ? t->coef[j] : t->entries[j].share;
}

/* Columns from..: `vecs` vectors of them, up to four. */
VF_INLINE void FN(add_vectors)(const struct FN(terms) * t, int vecs, int64_t from, int anew,
                               REAL *to) {
  FN(vr) sum[4];
  for (int v = 0; v < vecs; v++)
    sum[v] = anew ? (FN(vr)){0} : *(const FN(vr) *)(to + from + v * FN(VN));
  for (int64_t j = 0; j < t->n; j++) {
    const REAL share = FN(term_share)(t, j), *row = FN(term_row)(t, j) + from;
    for (int v = 0; v < vecs; v++) sum[v] += share * *(const FN(vr) *)(row + v * FN(VN));
  }
  for (int v = 0; v < vecs; v++) *(FN(vr) *)(to + from + v * FN(VN)) = sum[v];
}

/* The same of single columns, up to four. */
VF_INLINE void FN(add_singles)(const struct FN(terms) * t, int n, int64_t from, int anew,
                               REAL *to) {
  REAL sum[4];
  for (int k = 0; k < n; k++) sum[k] = anew ? 0 : to[from + k];
  for (int64_t j = 0; j < t->n; j++) {
    const REAL share = FN(term_share)(t, j), *row = FN(term_row)(t, j) + from;
    for (int k = 0; k < n; k++) sum[k] += share * row[k];
  }
  for (int k = 0; k < n; k++) to[from + k] = sum[k];
}

/* to = or += sum_j share_j row_j */
VF_INLINE void FN(add_terms)(const struct FN(terms) * t, int anew, REAL *to) {
  int64_t d = 0;
  for (; d + 4 * FN(VN) <= t->width; d += 4 * FN(VN)) FN(add_vectors)(t, 4, d, anew, to);
  switch ((t->width - d) / FN(VN)) {
  case 3: FN(add_vectors)(t, 3, d, anew, to); break;
  case 2: FN(add_vectors)(t, 2, d, anew, to); break;
  case 1: FN(add_vectors)(t, 1, d, anew, to); break;
  default: break;
  }
  d = t->width / FN(VN) * FN(VN);
  for (; d + 4 <= t->width; d += 4) FN(add_singles)(t, 4, d, anew, to);
  switch (t->width - d) {
  case 3: FN(add_singles)(t, 3, d, anew, to); break;
  case 2: FN(add_singles)(t, 2, d, anew, to); break;
  case 1: FN(add_singles)(t, 1, d, anew, to); break;
  default: break;
  }
}

/* ---- Scores ---- */

#if !IS64 && defined(__AVX512F__)
/* s[i] = scale <h, row of ids[i]> for sixteen ids. */
static void dots_of_16(int64_t D, const float *h, const float *w, const int64_t *ids, float scale,
                       float *s) {
  const int64_t whole = D / VF_N * VF_N;
  const int rest = (int)(D - whole);
  vf quarter[4];
  for (int q = 0; q < 4; q++, ids += 4) {
    vf sum[4] = {{0}, {0}, {0}, {0}};
    for (int64_t d = 0; d < whole; d += VF_N)
      for (int k = 0; k < 4; k++) sum[k] += vf_load(h + d) * vf_load(w + ids[k] * D + d);
    for (int k = 0; rest && k < 4; k++)
      sum[k] += vf_load_part(h + whole, rest) * vf_load_part(w + ids[k] * D + whole, rest);
    quarter[q] = vf_sums_of_4(sum);
  }
  vf_store(s, scale * vf_sums_of_16(quarter));
}
#endif

static void FN(drawn_scores)(const qni_sampled_job *j, const REAL *h, const int64_t *ids, REAL *s) {
  int64_t i = 0;
#if !IS64 && defined(__AVX512F__)
  for (; i + 16 <= j->negatives; i += 16)
    dots_of_16(j->width, h, j->w, ids + i, (float)j->scale, s + i);
#endif
  for (; i < j->negatives; i++)
    s[i] = (REAL)j->scale * FN(dot)(j->width, h, (const REAL *)j->w + ids[i] * j->width);
}

static void FN(sampled_scores)(const qni_sampled_job *j, int64_t r, const int64_t *ids, REAL *s) {
  const REAL *h = (const REAL *)j->h + r * j->width;
  const int64_t own = j->target[r];
  s[0] = (REAL)j->scale * FN(dot)(j->width, h, (const REAL *)j->w + own * j->width);
  if (!j->by_products) FN(drawn_scores)(j, h, ids, s + 1);
  for (int64_t i = 0; j->drop && i < j->negatives; i++)
    s[i + 1] = ids[i] == own ? (REAL)-INFINITY : s[i + 1];
}

/* ---- Rows ---- */

static const int64_t *FN(drawn)(const qni_sampled_job *j, int64_t r) {
  return j->shared ? j->ids : j->ids + r * j->negatives;
}

/* to = sum of shares times rows of the target and, but for products, of the negatives. */
static void FN(sampled_pull)(const qni_sampled_job *j, int64_t r, const REAL *share, REAL *to) {
  struct FN(terms) t = {1, j->width, j->w, share, j->target + r, NULL};
  FN(add_terms)(&t, 1, to);
  if (j->by_products) return;
  t.n = j->negatives;
  t.coef = share + 1;
  t.ids = FN(drawn)(j, r);
  FN(add_terms)(&t, 0, to);
}

static qn_status FN(sampled_forward)(void *ctx, int64_t begin, int64_t end) {
  const qni_sampled_job *j = ctx;
  const int64_t n = j->negatives + 1;
  for (int64_t r = begin; r < end; r++) {
    REAL *s = (REAL *)j->slope + r * n;
    FN(sampled_scores)(j, r, FN(drawn)(j, r), s);
    const REAL own = s[0], top = FN(max)(n, s);
    for (int64_t i = 0; i < n; i++) s[i] -= top;
    EXP(j->math, n, s, s);
    const REAL sum = FN(sum)(n, s);
    ((REAL *)j->loss)[r] = top + LOG1(sum) - own;
    FN(scale)(n, (REAL)j->scale / sum, s);
    s[0] -= (REAL)j->scale;
    if (j->pull) FN(sampled_pull)(j, r, s, (REAL *)j->pull + r * j->width);
  }
  return QN_OK;
}

static qn_status FN(sampled_backward)(void *ctx, int64_t begin, int64_t end) {
  const qni_sampled_job *j = ctx;
  const int64_t n = j->negatives + 1, D = j->width;
  const REAL *coef = j->coef;
  for (int64_t r = begin; r < end; r++) {
    const REAL *slope = (const REAL *)j->slope + r * n;
    REAL *restrict to = (REAL *)j->scaled + r * n;
    for (int64_t i = 0; j->scaled && i < n; i++) to[i] = slope[i] * coef[r];
    if (!j->dh) continue;
    REAL *dh = (REAL *)j->dh + r * D;
    if (j->pull)
      memcpy(dh, (const REAL *)j->pull + r * D, (size_t)D * sizeof *dh);
    else
      FN(sampled_pull)(j, r, slope, dh);
    FN(scale)(D, coef[r], dh);
  }
  return QN_OK;
}

/* ---- Gradient of the table ---- */

enum { FN(ENTRIES_AHEAD) = 16, FN(ITEMS) = 256 };

static int64_t FN(block_end)(const qni_sampled_job *j, int64_t block) {
  const int64_t end = (block + 1) * j->block_rows;
  return end < j->n_rows ? end : j->n_rows;
}

/* Where each item's entries begin in the block: a count of its pairs, summed up. */
static void FN(count_pairs)(const qni_sampled_job *j, int64_t block, int32_t *start) {
  memset(start, 0, (size_t)(j->items + 1) * sizeof *start);
  for (int64_t r = block * j->block_rows; r < FN(block_end)(j, block); r++) {
    const int64_t *ids = FN(drawn)(j, r);
    start[j->target[r] + 1]++;
    for (int64_t i = 0; i < j->negatives; i++) start[ids[i] + 1]++;
  }
  for (int64_t v = 0; v < j->items; v++) start[v + 1] += start[v];
}

/* Entries of row r; where they go, far apart, is fetched ahead. */
static void FN(enter)(const qni_sampled_job *j, int64_t r, int32_t *start,
                      struct FN(entry) * entries) {
  const int64_t n = j->negatives, *ids = FN(drawn)(j, r), far = n - FN(ENTRIES_AHEAD);
  const REAL *slope = (const REAL *)j->slope + r * (n + 1), by = ((const REAL *)j->coef)[r];
  const int32_t place = (int32_t)(r % j->block_rows);
  entries[start[j->target[r]]++] = (struct FN(entry)){place, by * slope[0]};
  for (int64_t i = 0; i < n; i++) {
    if (i < far) __builtin_prefetch(entries + start[ids[i + FN(ENTRIES_AHEAD)]], 1);
    entries[start[ids[i]]++] = (struct FN(entry)){place, by * slope[i + 1]};
  }
}

static qn_status FN(sampled_sort)(void *ctx, int64_t first, int64_t last) {
  const qni_sampled_job *j = ctx;
  for (int64_t block = first; block < last; block++) {
    const int64_t begin = block * j->block_rows;
    int32_t *start = j->start + block * (j->items + 1);
    struct FN(entry) *entries = (struct FN(entry) *)j->entries + begin * (j->negatives + 1);
    FN(count_pairs)(j, block, start);
    for (int64_t r = begin; r < FN(block_end)(j, block); r++) FN(enter)(j, r, start, entries);
    memmove(start + 1, start, (size_t)j->items * sizeof *start);
    start[0] = 0;
  }
  return QN_OK;
}

/* Gradients of items first.. from the entries of one block. */
static void FN(add_block)(const qni_sampled_job *j, int64_t block, int64_t first, int64_t last) {
  const int64_t begin = block * j->block_rows;
  const int32_t *start = j->start + block * (j->items + 1);
  const struct FN(entry) *entries =
      (const struct FN(entry) *)j->entries + begin * (j->negatives + 1);
  const REAL *rows = (const REAL *)j->h + begin * j->width;
  for (int64_t v = first; v < last; v++) {
    const int64_t n = start[v + 1] - start[v];
    const struct FN(terms) t = {n, j->width, rows, NULL, NULL, entries + start[v]};
    FN(add_terms)(&t, block == 0 && !j->add, (REAL *)j->dw + v * j->width);
  }
}

static qn_status FN(sampled_table)(void *ctx, int64_t begin, int64_t end) {
  const qni_sampled_job *j = ctx;
  for (int64_t first = begin; first < end; first += FN(ITEMS)) {
    const int64_t last = first + FN(ITEMS) < end ? first + FN(ITEMS) : end;
    for (int64_t block = 0; block * j->block_rows < j->n_rows; block++)
      FN(add_block)(j, block, first, last);
  }
  return QN_OK;
}
