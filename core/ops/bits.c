/*
** Truth values as bits, eight in a byte: how masks lie in files. Element i is bit i % 8
** of byte i / 8, low bit first; bits past the last element are 0.
** SPDX-License-Identifier: MIT
*/
#include "elementwise_map.h"
#include "elementwise_table.h"

enum { GRAIN = 8192 }; /* bytes of bits in a chunk */

struct bits {
  const uint8_t *from;
  uint8_t *to;
  int64_t n; /* truth values */
};

static qn_status pack_range(void *ctx, int64_t begin, int64_t end) {
  const struct bits *b = ctx;
  for (int64_t at = begin; at < end; at++) {
    const int64_t left = b->n - 8 * at, count = left < 8 ? left : 8;
    unsigned byte = 0;
    for (int64_t i = 0; i < count; i++) byte |= (unsigned)(b->from[8 * at + i] != 0) << i;
    b->to[at] = (uint8_t)byte;
  }
  return QN_OK;
}

static qn_status unpack_range(void *ctx, int64_t begin, int64_t end) {
  const struct bits *b = ctx;
  for (int64_t at = begin; at < end; at++) {
    const int64_t left = b->n - 8 * at, count = left < 8 ? left : 8;
    for (int64_t i = 0; i < count; i++) b->to[8 * at + i] = b->from[at] >> i & 1;
  }
  return QN_OK;
}

static qn_status pack_infer(const qn_host *h, qn_call *c) {
  qn_view *y = h->out(c, 0);
  y->ndim = 1;
  y->shape[0] = (qni_map_count(h->in(c, 0)) + 7) / 8;
  return QN_OK;
}

static qn_status pack_forward(const qn_host *h, qn_call *c) {
  struct bits b = {h->in(c, 0)->data, h->out(c, 0)->data, qni_map_count(h->in(c, 0))};
  return h->parallel(c, (b.n + 7) / 8, GRAIN, pack_range, &b);
}

/* The shape must be of as many elements as the bytes hold, and no byte more. */
static qn_status unpack_infer(const qn_host *h, qn_call *c) {
  const int64_t bytes = h->in(c, 0)->shape[0];
  int32_t ndim;
  const int64_t *shape = h->arg_ints(c, "shape", &ndim);
  qn_view *y = h->out(c, 0);
  int64_t n = 1;
  if (ndim > QN_MAX_DIMS)
    return h->fail(c, QN_E_SHAPE, "shape has %d dimensions, at most %d are possible", ndim,
                   QN_MAX_DIMS);
  y->ndim = ndim;
  for (int32_t i = 0; i < ndim; i++) {
    y->shape[i] = shape[i];
    if (__builtin_mul_overflow(n, shape[i], &n))
      return h->fail(c, QN_E_SHAPE, "shape has more elements than can be counted");
  }
  if (n / 8 + (n % 8 != 0) != bytes)
    return h->fail(c, QN_E_SHAPE, "shape has %lld elements, which are %lld bytes of bits, not %lld",
                   (long long)n, (long long)(n / 8 + (n % 8 != 0)), (long long)bytes);
  return QN_OK;
}

static qn_status unpack_forward(const qn_host *h, qn_call *c) {
  struct bits b = {h->in(c, 0)->data, h->out(c, 0)->data, qni_map_count(h->out(c, 0))};
  return h->parallel(c, (b.n + 7) / 8, GRAIN, unpack_range, &b);
}

QNI_OP(pack_op, QN_BATCH_COUPLED, "pack_bits(x: bool[?]) -> bits: u8[?]",
       "Truth values as bits, eight in a byte.",
       "Element i becomes bit i % 8 of byte i / 8, low bit first. Undone by unpack_bits.",
       "print(quern.pack_bits(quern.gt(quern.tensor{1,0,1}, 0)))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .infer = pack_infer, .forward = pack_forward);
QNI_OP(unpack_op, QN_BATCH_COUPLED, "unpack_bits(bits: u8[M], shape: [int{0..}]) -> x: bool[?]",
       "Truth values from bits that pack_bits made.",
       "shape has at most 8 M elements and more than 8 (M - 1).",
       "print(quern.unpack_bits(quern.tensor({5}, 'u8'), {3}))",
       .flags = QN_OP_NO_GRAD | QN_OP_NAN_STOPS, .infer = unpack_infer, .forward = unpack_forward);

const qn_op *const qni_ops_bits[] = {&pack_op, &unpack_op, NULL};
