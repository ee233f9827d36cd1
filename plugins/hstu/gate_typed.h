/*
** One row of the gate for REAL; see gate.c. Passes over the row read y again instead of
** keeping hat: a store of single elements that is read back as a vector stalls.
** SPDX-License-Identifier: MIT
*/

typedef uint8_t FN(bytes) __attribute__((vector_size(FN(LANES)), aligned(1), may_alias));

struct FN(row) {                   /* what all passes need */
  const struct hstu_gate *g;
  const REAL *u, *y, *dz;
  const uint8_t *keep;
  REAL mean, rstd, grow;           /* grow: 1 / (1 - dropout) */
};

/* Mean and 1 / sqrt(var + eps), in two passes. */
static void FN(open_row)(struct FN(row) *r) {
  const struct hstu_gate *g = r->g;
  static const REAL ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  r->mean = FN(row_sum)(g->D, r->y) / (REAL)g->D;
  FN(vec) sum = {0};
  for (int64_t i = 0; i < g->D; i += FN(LANES)) {
    int64_t n = least(FN(LANES), g->D - i);
    FN(vec) d = (FN(load_part)(r->y + i, n) - r->mean) * FN(load_part)(ones, n);
    sum += d * d;
  }
  r->rstd = (REAL)(1 / sqrt((double)(FN(across)(sum) / (REAL)g->D) + g->eps));
  r->grow = (REAL)(1 / (1 - g->dropout));
}

/* v with the dropped elements gone; keep rows are padded. */
ALWAYS_INLINE FN(vec) FN(drop)(const struct FN(row) *r, int64_t i, FN(vec) v) {
  if (!r->keep) return v;
  return v * (__builtin_convertvector(*(const FN(bytes) *)(r->keep + i), FN(vec)) * r->grow);
}

ALWAYS_INLINE FN(vec) FN(hat)(const struct FN(row) *r, int64_t i, int64_t n) {
  return (FN(load_part)(r->y + i, n) - r->mean) * r->rstd;
}

void FN(hstu_gate_forward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                           const uint8_t *keep, REAL *z) {
  struct FN(row) r = {.g = g, .u = u, .y = y, .keep = keep};
  int64_t D = g->D;
  FN(open_row)(&r);
  for (int64_t i = 0; i < D; i += FN(LANES)) {
    int64_t n = least(FN(LANES), D - i);
    FN(vec) hat = FN(hat)(&r, i, n), gated = hat;
    if (u) gated *= FN(load_part)(u + i, n);
    if (g->parts == 1) {
      FN(store_part)(z + i, n, FN(drop)(&r, i, gated));
    } else {
      FN(store_part)(z + i, n, FN(drop)(&r, i, FN(load_part)(u + i, n)));
      FN(store_part)(z + D + i, n, FN(drop)(&r, D + i, hat));
      FN(store_part)(z + 2 * D + i, n, FN(drop)(&r, 2 * D + i, gated));
    }
  }
}

/* The gradient of hat, and that of u if du is not NULL; 0 in lanes beyond n. */
ALWAYS_INLINE FN(vec) FN(spread)(const struct FN(row) *r, int64_t i, int64_t n, FN(vec) hat,
                                 REAL *du) {
  int64_t D = r->g->D, last = (r->g->parts - 1) * D;
  FN(vec) dgated = FN(drop)(r, last + i, FN(load_part)(r->dz + last + i, n));
  FN(vec) dhat = dgated, dgate = {0};
  if (r->u) {
    dhat *= FN(load_part)(r->u + i, n);
    dgate = dgated * hat;
  }
  if (last) {
    dgate += FN(drop)(r, i, FN(load_part)(r->dz + i, n));
    dhat += FN(drop)(r, D + i, FN(load_part)(r->dz + D + i, n));
  }
  if (du) FN(store_part)(du + i, n, dgate);
  return dhat;
}

/* dy = rstd (dh - mean(dh) - hat mean(dh hat)), dh being the gradient of hat. */
void FN(hstu_gate_backward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                            const uint8_t *keep, const REAL *dz, REAL *du, REAL *dy) {
  struct FN(row) r = {.g = g, .u = u, .y = y, .dz = dz, .keep = keep};
  FN(vec) sum = {0}, along = {0};
  FN(open_row)(&r);
  for (int64_t i = 0; i < g->D; i += FN(LANES)) {
    int64_t n = least(FN(LANES), g->D - i);
    FN(vec) hat = FN(hat)(&r, i, n), dh = FN(spread)(&r, i, n, hat, du);
    sum += dh;
    along += dh * hat;
  }
  if (!dy) return;
  REAL mean = FN(across)(sum) / (REAL)g->D, slope = FN(across)(along) / (REAL)g->D;
  for (int64_t i = 0; i < g->D; i += FN(LANES)) {
    int64_t n = least(FN(LANES), g->D - i);
    FN(vec) hat = FN(hat)(&r, i, n), dh = FN(spread)(&r, i, n, hat, NULL);
    FN(store_part)(dy + i, n, (dh - mean - hat * slope) * r.rstd);
  }
}
