/* Helpers of several ops: dropout draws, equal-cost chunks, checks, sorting. SPDX-License-Identifier: MIT */
#include "hstu.h"

enum { DRAWS = 64 };

/* Two 16-bit draws from each 32-bit number, low half first. */
void hstu_keep(const qn_host *h, qn_call *c, uint32_t stream, int64_t row, int64_t col, int64_t n,
               uint32_t below, uint8_t *keep) {
  union {
    uint32_t words[DRAWS];
    uint16_t halves[2 * DRAWS];
  } bits;
  for (int64_t done = 0; done < n; done += 2 * DRAWS) {
    int64_t some = least(n - done, 2 * DRAWS);
    h->random(c, stream, row, (col + done) / 2, (some + 1) / 2, bits.words);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (int64_t i = 0; i < some; i++) keep[done + i] = bits.halves[i] >= below;
#else
    for (int64_t i = 0; i < some; i++) keep[done + i] = bits.halves[i ^ 1] >= below;
#endif
  }
}

/* Cost of a unit: its products grow with length^2, packing with length. */
static double unit_cost(int64_t length) { return (double)length * (double)(length + 64); }

void hstu_cut_units(const int64_t *offsets, int64_t n_seq, int64_t heads, struct hstu_cut *cut) {
  double total = 0, done = 0;
  for (int64_t b = 0; b < n_seq; b++) total += unit_cost(offsets[b + 1] - offsets[b]);
  int64_t units = n_seq * heads;
  cut->n_chunks = least(units, MAX_CHUNKS);
  cut->first[0] = 0;
  int64_t unit = 0;
  for (int64_t i = 1; i < cut->n_chunks; i++) {
    double goal = total * (double)heads * (double)i / (double)cut->n_chunks;
    int64_t last = units - (cut->n_chunks - i); /* leaves one for each later chunk */
    do {
      int64_t b = unit / heads;
      done += unit_cost(offsets[b + 1] - offsets[b]);
      unit++;
    } while (unit < last && done < goal);
    cut->first[i] = unit;
  }
  cut->first[cut->n_chunks] = units;
}

qn_status hstu_offsets(const qn_host *h, qn_call *c, int64_t rows, const int64_t **offsets,
                       int64_t *n_seq) {
  const int64_t *o = h->offsets(c, 0, n_seq);
  if (!o) return h->fail(c, QN_E_SHAPE, "the first argument is not jagged: it has no offsets");
  if (o[0] != 0)
    return h->fail(c, QN_E_SHAPE, "offsets must start at 0, not %lld", (long long)o[0]);
  for (int64_t b = 0; b < *n_seq; b++) {
    if (o[b + 1] < o[b])
      return h->fail(c, QN_E_SHAPE, "offsets must rise: entry %lld is %lld after %lld",
                     (long long)(b + 2), (long long)o[b + 1], (long long)o[b]);
    if (o[b + 1] == o[b])
      return h->fail(c, QN_E_SHAPE, "sequence %lld is empty; drop empty sequences from the batch",
                     (long long)(b + 1));
  }
  if (o[*n_seq] != rows)
    return h->fail(c, QN_E_SHAPE, "offsets end at %lld, but there are %lld rows",
                   (long long)o[*n_seq], (long long)rows);
  *offsets = o;
  return QN_OK;
}

qn_status hstu_real_dtype(const qn_host *h, qn_call *c, int32_t dtype) {
  if (dtype == QN_F32 || dtype == QN_F64) return QN_OK;
  return h->fail(c, QN_E_DTYPE, "works on f32 and f64 only; convert first");
}

qn_status hstu_check_dropout(const qn_host *h, qn_call *c, double p) {
  if (p >= 0 && p < 1) return QN_OK;
  return h->fail(c, QN_E_ARG, "dropout is a probability in [0, 1), not %g", p);
}

/* ---- Heap sort ---- */

static void sift(int64_t *x, int64_t root, int64_t n) {
  for (int64_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && x[child + 1] > x[child]) child++;
    if (x[root] >= x[child]) return;
    int64_t t = x[root];
    x[root] = x[child];
    x[child] = t;
  }
}

void hstu_sort(int64_t *x, int64_t n) {
  for (int64_t i = n / 2; i-- > 0;) sift(x, i, n);
  for (int64_t end = n - 1; end > 0; end--) {
    int64_t t = x[0];
    x[0] = x[end];
    x[end] = t;
    sift(x, 0, end);
  }
}
