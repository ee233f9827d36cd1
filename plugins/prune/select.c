/*
** topk_select: which k scores of a line are the largest, as truth values.
**
** A radix search on order-preserving bits, O(N) and without sorting: each pass counts the
** next 11 bits of the keys that agree with what is known of the k-th largest key, and walks
** the counts from the top. Floats take 3 passes, doubles 6, and one more writes.
** Of equal scores at the border those with the lowest index are dropped.
** SPDX-License-Identifier: MIT
*/
#include "prune.h"

enum { DIGIT = 11, BINS = 1 << DIGIT, PART = 1 << 18, MOST_PARTS = 64 };

struct line { /* one row of scores */
  const void *scores;
  const uint8_t *alive; /* or NULL */
  uint8_t *keep;
  int64_t n;
  bool wide; /* double */
};

/* What is known of the k-th largest key. */
struct border {
  uint64_t prefix; /* its upper bits */
  int32_t shift;   /* of the digit that comes next */
  int64_t want;    /* of the keys with this prefix, how many are kept */
};

/* Unsigned integers in the order of the numbers; -0 counts as 0. */
static inline uint64_t key_of(const struct line *l, int64_t i) {
  if (l->wide) {
    double x = ((const double *)l->scores)[i] + 0.0;
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u >> 63 ? ~u : u | 1ull << 63;
  }
  float x = ((const float *)l->scores)[i] + 0.0f;
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u >> 31 ? ~u : u | 1u << 31;
}

static inline bool is_nan(const struct line *l, int64_t i) {
  return l->wide ? isnan(((const double *)l->scores)[i]) : isnan(((const float *)l->scores)[i]);
}

static inline int32_t key_bits(const struct line *l) { return l->wide ? 64 : 32; }

/* Upper bits of a key, all that lie above the digit that comes next. */
static inline uint64_t above(uint64_t key, int32_t shift) {
  return shift + DIGIT >= 64 ? 0 : key >> (shift + DIGIT);
}

static void count_digits(const struct line *l, const struct border *b, int64_t begin, int64_t end,
                         int64_t *bins) {
  const uint64_t prefix = above(b->prefix, b->shift);
  for (int64_t i = begin; i < end; i++) {
    if (l->alive && !l->alive[i]) continue;
    const uint64_t key = key_of(l, i);
    if (above(key, b->shift) == prefix) bins[key >> b->shift & (BINS - 1)]++;
  }
}

/* Walks the counts from the top to the digit of the k-th largest. */
static void next_digit(struct border *b, const int64_t *bins) {
  uint64_t digit = BINS - 1;
  while (bins[digit] < b->want) b->want -= bins[digit--];
  b->prefix |= digit << b->shift;
}

/* The shift of the first digit, so that the last one ends at bit 0; and of the next. */
static int32_t first_shift(const struct line *l) { return (key_bits(l) - 1) / DIGIT * DIGIT; }

/* Writes begin..end-1; the first `drop` keys equal to the border are dropped. */
static void write_keep(const struct line *l, uint64_t border, bool any, int64_t drop, int64_t begin,
                       int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    bool keep = false;
    if (any && (!l->alive || l->alive[i])) {
      const uint64_t key = key_of(l, i);
      keep = key > border || (key == border && drop-- <= 0);
    }
    l->keep[i] = keep;
  }
}

/* Alive scores, and the first that is NaN (or n). */
static int64_t count_alive(const struct line *l, int64_t begin, int64_t end, int64_t *first_nan) {
  int64_t alive = 0;
  for (int64_t i = begin; i < end; i++) {
    if (l->alive && !l->alive[i]) continue;
    alive++;
    if (is_nan(l, i) && i < *first_nan) *first_nan = i;
  }
  return alive;
}

static qn_status refuse(const qn_host *h, qn_call *c, int64_t row, int64_t alive, int64_t nan,
                        int64_t k, int64_t n) {
  if (nan < n)
    return h->fail(c, QN_E_NUMERIC, "score %lld of line %lld is NaN", (long long)nan + 1,
                   (long long)row + 1);
  if (k > alive)
    return h->fail(c, QN_E_ARG, "k is %lld, but line %lld has %lld scores that are alive",
                   (long long)k, (long long)row + 1, (long long)alive);
  return QN_OK;
}

/* ---- One long line, cut into parts ---- */

struct job {
  const qn_host *h;
  qn_call *c;
  struct line l;
  struct border border;
  int64_t parts, each;
  int64_t *bins; /* [parts][BINS] */
  int64_t alive[MOST_PARTS], nan[MOST_PARTS], drop[MOST_PARTS];
  int64_t k;
};

static int64_t part_begin(const struct job *j, int64_t part) { return part * j->each; }
static int64_t part_end(const struct job *j, int64_t part) {
  return least(j->l.n, (part + 1) * j->each);
}

static qn_status alive_parts(void *ctx, int64_t begin, int64_t end) {
  struct job *j = ctx;
  for (int64_t p = begin; p < end; p++) {
    j->nan[p] = j->l.n;
    j->alive[p] = count_alive(&j->l, part_begin(j, p), part_end(j, p), &j->nan[p]);
  }
  return QN_OK;
}

static qn_status digit_parts(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  for (int64_t p = begin; p < end; p++) {
    memset(j->bins + p * BINS, 0, BINS * sizeof *j->bins);
    count_digits(&j->l, &j->border, part_begin(j, p), part_end(j, p), j->bins + p * BINS);
  }
  return QN_OK;
}

static qn_status write_parts(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  for (int64_t p = begin; p < end; p++)
    write_keep(&j->l, j->border.prefix, j->k > 0, j->drop[p], part_begin(j, p), part_end(j, p));
  return QN_OK;
}

/* After the last digit, bins of a part at the border's digit count its equal keys. */
static void share_drops(struct job *j) {
  const uint64_t digit = j->border.prefix & (BINS - 1);
  int64_t equal = 0;
  for (int64_t p = 0; p < j->parts; p++) equal += j->bins[p * BINS + (int64_t)digit];
  int64_t drop = equal - j->border.want;
  for (int64_t p = 0; p < j->parts; p++) {
    j->drop[p] = least(drop, j->bins[p * BINS + (int64_t)digit]);
    drop -= j->drop[p];
  }
}

static qn_status find_border(struct job *j) {
  j->border = (struct border){.want = j->k};
  for (j->border.shift = first_shift(&j->l); j->border.shift >= 0; j->border.shift -= DIGIT) {
    int64_t sum[BINS] = {0};
    qn_status st = j->h->parallel(j->c, j->parts, 1, digit_parts, j);
    if (st) return st;
    for (int64_t p = 0; p < j->parts; p++)
      for (int64_t d = 0; d < BINS; d++) sum[d] += j->bins[p * BINS + d];
    next_digit(&j->border, sum);
  }
  share_drops(j);
  return QN_OK;
}

static qn_status select_line(struct job *j) {
  const qn_host *h = j->h;
  void *memory;
  j->parts = (j->l.n + PART - 1) / PART;
  if (j->parts > MOST_PARTS) j->parts = MOST_PARTS;
  j->each = (j->l.n + j->parts - 1) / j->parts;
  qn_status st = h->scratch(j->c, j->parts * BINS * (int64_t)sizeof(int64_t), &memory);
  j->bins = memory;
  if (!st) st = h->parallel(j->c, j->parts, 1, alive_parts, j);
  int64_t alive = 0, nan = j->l.n;
  for (int64_t p = 0; p < j->parts && !st; p++) {
    alive += j->alive[p];
    nan = least(nan, j->nan[p]);
  }
  if (!st) st = refuse(h, j->c, 0, alive, nan, j->k, j->l.n);
  if (!st && j->k > 0) st = find_border(j);
  return st ? st : h->parallel(j->c, j->parts, 1, write_parts, j);
}

/* ---- Many lines ---- */

static struct line line_at(const struct job *j, int64_t row) {
  struct line l = j->l;
  l.scores = (const char *)l.scores + row * l.n * (l.wide ? 8 : 4);
  if (l.alive) l.alive += row * l.n;
  l.keep += row * l.n;
  return l;
}

static qn_status select_lines(void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  for (int64_t row = begin; row < end; row++) {
    const struct line l = line_at(j, row);
    int64_t nan = l.n, bins[BINS], drop = 0;
    qn_status st = refuse(j->h, j->c, row, count_alive(&l, 0, l.n, &nan), nan, j->k, l.n);
    struct border b = {.want = j->k};
    if (st) return st;
    for (b.shift = first_shift(&l); b.shift >= 0 && j->k > 0; b.shift -= DIGIT) {
      memset(bins, 0, sizeof bins);
      count_digits(&l, &b, 0, l.n, bins);
      next_digit(&b, bins);
      drop = bins[b.prefix >> b.shift & (BINS - 1)] - b.want;
    }
    write_keep(&l, b.prefix, j->k > 0, drop, 0, l.n);
  }
  return QN_OK;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *x = h->in(c, 0), *alive = h->in(c, 1);
  struct job j = {.h = h, .c = c, .k = h->arg_int(c, "k")};
  j.l = (struct line){.scores = x->data,
                      .alive = alive ? alive->data : NULL,
                      .keep = h->out(c, 0)->data,
                      .n = x->shape[x->ndim - 1],
                      .wide = x->dtype == QN_F64};
  const int64_t total = count_of(x);
  if (total == 0) return QN_OK;
  if (total == j.l.n) return select_line(&j);
  return h->parallel(c, total / j.l.n, 1 + 16384 / j.l.n, select_lines, &j);
}

const qn_op prune_topk_select_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS,
    .schema = "topk_select(scores: f[...,N], alive: bool[...,N]? = nil, *, k: int{0..}) -> keep: "
              "bool[...,N] where k <= N",
    .summary = "Which k scores of each line are the largest, as truth values.",
    .doc = "Exactly k of each line are true, never one that is not alive. Of equal scores at the "
           "border those with the lowest index are dropped. O(N): a radix search, no sorting.\n"
           "An alive score that is NaN, or fewer alive scores than k, is an error.",
    .example = "print(quern.topk_select(quern.tensor{3, 1, 2}, {k = 2}))",
    .forward = forward,
};
