/*
** One row of the gate for REAL; see gate.c. Rows are short and stay in L1 between the
** passes. SPDX-License-Identifier: MIT
*/

/* Of the row y: its mean and 1 / sqrt(var + eps), in two passes. */
struct FN(moments) {
  REAL mean, rstd;
};

static struct FN(moments) FN(moments_of)(const struct hstu_gate *g, const REAL *y) {
  const int64_t D = g->D, whole = D / FN(LANES) * FN(LANES);
  struct FN(moments) m = {.mean = FN(row_sum)(D, y) / (REAL)D};
  FN(vec) sum = {0};
  for (int64_t i = 0; i < whole; i += FN(LANES)) {
    const FN(vec) off = *(const FN(vec) *)(y + i) - m.mean;
    sum += off * off;
  }
  if (whole < D) {
    const FN(vec) off = FN(first_lanes)(FN(load_part)(y + whole, D - whole) - m.mean, D - whole);
    sum += off * off;
  }
  m.rstd = (REAL)(1 / sqrt((double)(FN(across)(sum) / (REAL)D) + g->eps));
  return m;
}

/* Dropout of elements at .. at+n-1. */
ALWAYS_INLINE FN(vec)
    FN(dropped)(const uint8_t *keep, int64_t at, int64_t n, REAL grow, FN(vec) v) {
  if (keep) v *= FN(kept)(keep + at, n, grow);
  return v;
}

void FN(hstu_gate_forward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                           const uint8_t *keep, REAL *z) {
  const int64_t D = g->D;
  const REAL grow = (REAL)(1 / (1 - g->dropout));
  const struct FN(moments) m = FN(moments_of)(g, y);
  for (int64_t i = 0; i < D; i += FN(LANES)) {
    const int64_t n = D - i;
    const FN(vec) hat = (FN(load_some)(y + i, n) - m.mean) * m.rstd;
    FN(vec) both = hat;
    if (u) both *= FN(load_some)(u + i, n);
    if (g->parts == 3) {
      FN(store_some)(z + i, FN(dropped)(keep, i, n, grow, FN(load_some)(u + i, n)), n);
      FN(store_some)(z + D + i, FN(dropped)(keep, D + i, n, grow, hat), n);
      FN(store_some)(z + 2 * D + i, FN(dropped)(keep, 2 * D + i, n, grow, both), n);
    } else {
      FN(store_some)(z + i, FN(dropped)(keep, i, n, grow, both), n);
    }
  }
}

/* dz with the dropped entries gone. */
ALWAYS_INLINE FN(vec)
    FN(dz_at)(const REAL *dz, const uint8_t *keep, int64_t at, int64_t n, REAL grow) {
  return FN(dropped)(keep, at, n, grow, FN(load_some)(dz + at, n));
}

/*
** dy = rstd (dh - mean(dh) - hat mean(dh hat)), dh being the gradient of hat.
** room: hat, dh [D] each.
*/
void FN(hstu_gate_backward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                            const uint8_t *keep, const REAL *dz, REAL *du, REAL *dy, REAL *room) {
  const int64_t D = g->D;
  const REAL grow = (REAL)(1 / (1 - g->dropout));
  const struct FN(moments) m = FN(moments_of)(g, y);
  REAL *hats = room, *dhs = room + D;
  FN(vec) sum = {0}, along = {0};
  for (int64_t i = 0; i < D; i += FN(LANES)) {
    const int64_t n = D - i;
    const FN(vec) hat = (FN(load_some)(y + i, n) - m.mean) * m.rstd;
    FN(vec) gate = {0}, dh, dg = {0};
    if (u) gate = FN(load_some)(u + i, n);
    if (g->parts == 3) {
      const FN(vec) both = FN(dz_at)(dz, keep, 2 * D + i, n, grow);
      dh = FN(dz_at)(dz, keep, D + i, n, grow) + both * gate;
      dg = FN(dz_at)(dz, keep, i, n, grow) + both * hat;
    } else {
      dh = FN(dz_at)(dz, keep, i, n, grow);
      if (u) dg = dh * hat, dh *= gate;
    }
    if (du) FN(store_some)(du + i, dg, n);
    FN(store_some)(hats + i, hat, n);
    FN(store_some)(dhs + i, dh, n);
    sum += dh; /* beyond the row dz is 0, and so is dh */
    along += dh * hat;
  }
  if (!dy) return;
  const REAL mean = FN(across)(sum) / (REAL)D, by = FN(across)(along) / (REAL)D;
  for (int64_t i = 0; i < D; i += FN(LANES)) {
    const FN(vec) hat = FN(load_some)(hats + i, D - i), dh = FN(load_some)(dhs + i, D - i);
    FN(store_some)(dy + i, m.rstd * (dh - mean - hat * by), D - i);
  }
}
