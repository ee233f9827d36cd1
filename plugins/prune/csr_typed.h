/* The tile kernels of csr.h for one type. SPDX-License-Identifier: MIT */

enum { FN(LANES) = PRUNE_VEC_BYTES / sizeof(REAL), FN(VECS) = FN(CSR_TILE) / FN(LANES) };

typedef REAL FN(vec)
    __attribute__((vector_size(PRUNE_VEC_BYTES), aligned(sizeof(REAL)), may_alias));

#define VEC(p) (*(FN(vec) *)(p))
#define CVEC(p) (*(const FN(vec) *)(p))

static inline void FN(square)(FN(vec) * v) {
#if PRUNE_VEC_BYTES == 64 && REAL_IS_FLOAT
  SQUARE_16(v)
#elif PRUNE_VEC_BYTES == 64 || (PRUNE_VEC_BYTES == 32 && REAL_IS_FLOAT)
  SQUARE_8(v)
#elif PRUNE_VEC_BYTES == 32 || REAL_IS_FLOAT
  SQUARE_4(v)
#else
  SQUARE_2(v)
#endif
}

/* ---- Turning ---- */

/* Tokens that the products read: one vector, or the whole tile. */
static inline int64_t FN(filled)(int64_t n) { return n <= FN(LANES) ? FN(LANES) : FN(CSR_TILE); }

/* One square of xt: columns c.. of tokens t.., of which `rows` are there. */
static inline void FN(turn_square)(int64_t t, int64_t rows, int64_t c, const REAL *x, int64_t x_row,
                                   REAL *xt) {
  FN(vec) v[FN(LANES)];
  for (int64_t r = 0; r < FN(LANES); r++)
    v[r] = r < rows ? CVEC(x + (t + r) * x_row + c) : (FN(vec)){0};
  FN(square)(v);
  for (int64_t r = 0; r < FN(LANES); r++) VEC(xt + (c + r) * FN(CSR_TILE) + t) = v[r];
}

/* Squares of LANES tokens by LANES columns; the last one may overlap the one before. */
void FN(csr_turn)(int64_t n, int64_t I, const REAL *x, int64_t x_row, REAL *xt) {
  const int64_t L = FN(LANES);
  for (int64_t t = 0; t < FN(filled)(n); t += L) {
    const int64_t rows = most(0, least(L, n - t));
    if (I >= L)
      for (int64_t c = 0; c < I; c += L) FN(turn_square)(t, rows, least(c, I - L), x, x_row, xt);
    else
      for (int64_t c = 0; c < I; c++)
        for (int64_t r = 0; r < L; r++)
          xt[c * FN(CSR_TILE) + t + r] = r < rows ? x[(t + r) * x_row + c] : 0;
  }
}

/* One square of y: the tokens t.. of which `tokens` are wanted, the outputs r.. of room. */
static inline void FN(square_back)(int64_t t, int64_t tokens, int64_t r, const REAL *room, REAL *y,
                                   int64_t y_row) {
  FN(vec) v[FN(LANES)];
  for (int64_t l = 0; l < FN(LANES); l++) v[l] = CVEC(room + (r + l) * FN(CSR_TILE) + t);
  FN(square)(v);
  for (int64_t l = 0; l < tokens; l++) VEC(y + (t + l) * y_row + r) = v[l];
}

/* room [BLOCK,TILE], of which `rows` rows hold outputs, into y [n,rows]: as csr_turn, backwards. */
static inline void FN(turn_back)(int64_t n, int64_t rows, const REAL *room, REAL *y,
                                 int64_t y_row) {
  const int64_t L = FN(LANES);
  for (int64_t t = 0; t < n; t += L) {
    const int64_t tokens = least(L, n - t);
    if (rows >= L)
      for (int64_t r = 0; r < rows; r += L)
        FN(square_back)(t, tokens, least(r, rows - L), room, y, y_row);
    else
      for (int64_t k = t; k < t + tokens; k++)
        for (int64_t r = 0; r < rows; r++) y[k * y_row + r] = room[r * FN(CSR_TILE) + k];
  }
}

/* ---- Products ---- */

/*
** One row of the matrix with `vecs` vectors of tokens. vecs is a constant at every call, so
** that the accumulators are registers.
*/
#define CHAIN(vecs, column)                                                                        \
  for (int64_t p = w->rows[o]; p < w->rows[o + 1]; p++) {                                          \
    const REAL a = ((const REAL *)w->values)[p];                                                   \
    const REAL *x = xt + (int64_t)w->column[p] * FN(CSR_TILE);                                     \
    SQUARE_UNROLL                                                                                  \
    for (int v = 0; v < (vecs); v++) sum[v] += a * CVEC(x + v * FN(LANES));                        \
  }
#define ROW(vecs)                                                                                  \
  static inline void FN(row_##vecs)(const struct csr *w, int64_t o, const REAL *xt, REAL bias,     \
                                    REAL *out) {                                                   \
    FN(vec) sum[vecs];                                                                             \
    SQUARE_UNROLL                                                                                  \
    for (int v = 0; v < (vecs); v++) sum[v] = (FN(vec)){0} + bias;                                 \
    if (w->cols16)                                                                                 \
      CHAIN(vecs, cols16)                                                                          \
    else                                                                                           \
      CHAIN(vecs, cols)                                                                            \
    SQUARE_UNROLL                                                                                  \
    for (int v = 0; v < (vecs); v++) VEC(out + v * FN(LANES)) = sum[v];                            \
  }

ROW(1)
ROW(4)
#if PRUNE_VEC_BYTES < 64
ROW(8)
#endif

static inline void FN(activate)(const struct csr_after *after, int64_t n, REAL *z) {
#if REAL_IS_FLOAT
  prune_act_f32(after->math, after->act, n, z, z);
#else
  prune_act_f64(after->act, n, z, z);
#endif
}

/* As many vectors as hold n tokens, in the widest steps that there are. */
static inline void FN(row)(const struct csr *w, int64_t o, int64_t n, const REAL *xt, REAL bias,
                           REAL *out) {
  const int64_t L = FN(LANES);
  int64_t t = 0;
#if PRUNE_VEC_BYTES < 64
  for (; n - t > 4 * L; t += 8 * L) FN(row_8)(w, o, xt + t, bias, out + t);
#endif
  for (; n - t > L; t += 4 * L) FN(row_4)(w, o, xt + t, bias, out + t);
  if (n > t) FN(row_1)(w, o, xt + t, bias, out + t);
}

/* Token t's part of y, while the sums for it are made: rows of y lie far apart. */
static inline void FN(fetch)(int64_t t, int64_t n, int64_t rows, const REAL *y, int64_t y_row) {
  if (t < n)
    for (int64_t r = 0; r < rows; r += 64 / (int64_t)sizeof(REAL))
      __builtin_prefetch(y + t * y_row + r, 1, 2);
}

void FN(csr_tile)(const struct csr *w, int64_t n, const REAL *xt, const struct csr_after *after,
                  REAL *y, int64_t y_row, REAL *room) {
  const REAL *bias = after->bias;
  for (int64_t o = 0; o < w->O; o += FN(CSR_BLOCK)) {
    const int64_t rows = least(FN(CSR_BLOCK), w->O - o);
    for (int64_t r = 0; r < rows; r++) {
      FN(fetch)(r, n, rows, y + o, y_row);
      FN(row)(w, o + r, n, xt, bias ? bias[o + r] : 0, room + r * FN(CSR_TILE));
      if (after->act != ACT_NONE) FN(activate)(after, n, room + r * FN(CSR_TILE));
    }
    FN(turn_back)(n, rows, room, y + o, y_row);
  }
}

void FN(csr_pattern)(const struct csr *w, int64_t n, const REAL *gt, const REAL *xt, REAL *sum) {
  const int64_t T = FN(CSR_TILE), L = FN(LANES), stop = FN(filled)(n);
  for (int64_t o = 0; o < w->O; o++)
    for (int64_t p = w->rows[o]; p < w->rows[o + 1]; p++) {
      const REAL *g = gt + o * T,
                 *x = xt + (w->cols16 ? (int64_t)w->cols16[p] : (int64_t)w->cols[p]) * T;
      FN(vec) s = {0};
      for (int64_t t = 0; t < stop; t += L) s += CVEC(g + t) * CVEC(x + t);
      REAL total = 0;
      for (int64_t l = 0; l < L; l++) total += s[l];
      sum[p] += total;
    }
}

#undef ROW
#undef CHAIN
#undef VEC
#undef CVEC
