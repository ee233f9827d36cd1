/*
** block_entropy: Shannon entropy and zlib's ratio of consecutive blocks of ids, averaged.
**
**   shannon = mean over blocks of -sum_v (c_v/n) log2(c_v/n)       in bits
**   zlib    = mean over blocks of compressed / raw bytes, each id as 4 bytes, big end first
** Ids of all users lie one after the other; what does not fill a block at the end is left
** out. Without a whole block there is no value: NaN, and blocks = 0.
** SPDX-License-Identifier: MIT
*/
#include <zlib.h>

#include "perflaw.h"

/* ---- zlib on the call's memory ---- */

enum { DEFLATE_ROOM = 1 << 19 }; /* deflate asks for 268 KB at the default level */

struct bump {
  unsigned char *at;
  size_t left;
};

static voidpf bump_take(voidpf ctx, uInt items, uInt size) {
  struct bump *b = ctx;
  size_t bytes = ((size_t)items * size + 63) / 64 * 64;
  if (bytes > b->left) return Z_NULL;
  void *memory = b->at;
  b->at += bytes;
  b->left -= bytes;
  return memory;
}

static void bump_give(voidpf ctx, voidpf memory) {
  (void)ctx;
  (void)memory;
}

/* Bytes that zlib makes of raw at its default level; 0 if it fails. */
static int64_t compressed(unsigned char *raw, int64_t bytes, unsigned char *room, int64_t n_room) {
  struct bump b = {room, DEFLATE_ROOM};
  z_stream z = {.zalloc = bump_take,
                .zfree = bump_give,
                .opaque = &b,
                .next_in = raw,
                .avail_in = (uInt)bytes,
                .next_out = room + DEFLATE_ROOM,
                .avail_out = (uInt)n_room};
  if (deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK) return 0;
  return deflate(&z, Z_FINISH) == Z_STREAM_END ? (int64_t)z.total_out : 0;
}

/* ---- One block ---- */

static double shannon_bits(const int64_t *u, int64_t n, void *memory) {
  struct gram_counter g;
  double sum = 0;
  perflaw_gram_open(&g, n, memory);
  for (int64_t i = 0; i < n; i++) perflaw_gram_add(&g, u, i, 1);
  for (int64_t i = 0; i < n; i++) sum -= log2((double)g.count[g.first[i]] / (double)n);
  return sum / (double)n;
}

struct blocks { /* one call */
  const qn_host *h;
  qn_call *c;
  const int64_t *items;
  int64_t size;
  double *shannon, *ratio; /* [blocks] */
};

static qn_status write_raw(const struct blocks *s, int64_t block, unsigned char *raw) {
  for (int64_t i = 0; i < s->size; i++) {
    int64_t id = s->items[block * s->size + i];
    if (id < 0 || id > UINT32_MAX)
      return s->h->fail(s->c, QN_E_ARG, "id %lld does not fit into 4 bytes", (long long)id);
    for (int k = 0; k < 4; k++) raw[4 * i + k] = (unsigned char)(id >> (24 - 8 * k));
  }
  return QN_OK;
}

static qn_status measure_blocks(void *ctx, int64_t begin, int64_t end) {
  const struct blocks *s = ctx;
  int64_t raw = 4 * s->size, packed = (int64_t)compressBound((uLong)raw);
  int64_t room = perflaw_gram_room(s->size);
  void *memory;
  qn_status st = s->h->local(s->c, room + DEFLATE_ROOM + packed + raw, &memory);
  if (st) return st;
  unsigned char *deflate_room = (unsigned char *)memory + room;
  unsigned char *bytes = deflate_room + DEFLATE_ROOM + packed;
  for (int64_t b = begin; !st && b < end; b++) {
    s->shannon[b] = shannon_bits(s->items + b * s->size, s->size, memory);
    st = write_raw(s, b, bytes);
    int64_t n = st ? 1 : compressed(bytes, raw, deflate_room, packed);
    if (!n) st = s->h->fail(s->c, QN_E_INTERNAL, "zlib could not compress a block");
    s->ratio[b] = (double)n / (double)raw;
  }
  return st;
}

static double mean(const double *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return n ? sum / (double)n : (double)NAN;
}

static qn_status forward(const qn_host *h, qn_call *c) {
  const qn_view *items = h->in(c, 0);
  struct blocks s = {.h = h, .c = c, .items = items->data, .size = h->arg_int(c, "block")};
  int64_t n = items->shape[0] / s.size;
  void *memory;
  qn_status st = h->scratch(c, 2 * n * (int64_t)sizeof(double), &memory);
  if (st) return st;
  s.shannon = memory;
  s.ratio = s.shannon + n;
  st = h->parallel(c, n, 1, measure_blocks, &s);
  *(double *)h->out(c, 0)->data = mean(s.shannon, n);
  *(double *)h->out(c, 1)->data = mean(s.ratio, n);
  *(int64_t *)h->out(c, 2)->data = n;
  return st;
}

const qn_op perflaw_block_entropy_op = {
    .struct_size = sizeof(qn_op),
    .det = QN_DET_BITWISE,
    .batch = QN_BATCH_COUPLED,
    .flags = QN_OP_NO_GRAD | QN_OP_DOMAIN,
    .schema = "block_entropy(items: i64[T]{0..}, *, block: int{1..16777216} = 10000) -> "
              "shannon: f64[], zlib: f64[], blocks: i64[]",
    .summary = "Shannon entropy in bits and zlib's ratio of blocks of ids, averaged.",
    .doc = "Blocks follow one another; a last one that is not full is left out. Ids go to zlib as "
           "4 bytes, big end first, at the default level. Without a whole block the values are "
           "NaN and blocks is 0.",
    .cite = "Shen et al. 2024 (arXiv 2412.00430), appendix code",
    .example = "print(quern.block_entropy(quern.i64{1,1,1,2}, {block=2}))",
    .forward = forward,
};
