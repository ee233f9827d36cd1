/* One row of the gate for REAL; see gate.c. SPDX-License-Identifier: MIT */

/* hat = (y - mean) / sqrt(var + eps), in two passes; returns 1 / sqrt(var + eps). */
static REAL FN(normalize)(const struct hstu_gate *g, const REAL *y, REAL *hat) {
  REAL mean = FN(row_sum)(g->D, y) / (REAL)g->D;
  for (int64_t i = 0; i < g->D; i++) hat[i] = y[i] - mean;
  REAL var = FN(row_dot)(g->D, hat, hat) / (REAL)g->D;
  REAL rstd = (REAL)(1 / sqrt((double)var + g->eps));
  for (int64_t i = 0; i < g->D; i++) hat[i] *= rstd;
  return rstd;
}

static void FN(drop)(const struct hstu_gate *g, int64_t n, const uint8_t *keep, const REAL *from,
                     REAL *to) {
  const REAL grow = (REAL)(1 / (1 - g->dropout));
  for (int64_t i = 0; i < n; i++) to[i] = from[i] * (keep[i] ? grow : 0);
}

void FN(hstu_gate_forward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                           const uint8_t *keep, REAL *z) {
  int64_t D = g->D;
  REAL *hat = g->parts == 3 ? z + D : z;
  FN(normalize)(g, y, hat);
  if (g->parts == 3) {
    memcpy(z, u, (size_t)D * sizeof(REAL));
    for (int64_t i = 0; i < D; i++) z[2 * D + i] = u[i] * hat[i];
  } else if (u) {
    for (int64_t i = 0; i < D; i++) z[i] *= u[i];
  }
  if (keep) FN(drop)(g, g->parts * D, keep, z, z);
}

/* dy = rstd (dh - mean(dh) - hat mean(dh hat)), dh being the gradient of hat. */
static void FN(norm_back)(int64_t D, REAL rstd, const REAL *hat, const REAL *dh, REAL *dy) {
  REAL mean = FN(row_sum)(D, dh) / (REAL)D, along = FN(row_dot)(D, dh, hat) / (REAL)D;
  for (int64_t i = 0; i < D; i++) dy[i] = rstd * (dh[i] - mean - hat[i] * along);
}

/* room: hat, dh [D], then dz with the dropped entries gone [parts D]. */
void FN(hstu_gate_backward)(const struct hstu_gate *g, const REAL *u, const REAL *y,
                            const uint8_t *keep, const REAL *dz, REAL *du, REAL *dy, REAL *room) {
  int64_t D = g->D;
  REAL *hat = room, *dh = room + D, *kept = room + 2 * D;
  REAL rstd = FN(normalize)(g, y, hat);
  if (keep) {
    FN(drop)(g, g->parts * D, keep, dz, kept);
    dz = kept;
  }
  if (g->parts == 3) {
    for (int64_t i = 0; i < D; i++) dh[i] = dz[D + i] + dz[2 * D + i] * u[i];
    for (int64_t i = 0; du && i < D; i++) du[i] = dz[i] + dz[2 * D + i] * hat[i];
  } else if (u) {
    for (int64_t i = 0; i < D; i++) dh[i] = dz[i] * u[i];
    for (int64_t i = 0; du && i < D; i++) du[i] = dz[i] * hat[i];
  } else {
    memcpy(dh, dz, (size_t)D * sizeof(REAL));
    if (du) memset(du, 0, (size_t)D * sizeof(REAL));
  }
  if (dy) FN(norm_back)(D, rstd, hat, dh, dy);
}
