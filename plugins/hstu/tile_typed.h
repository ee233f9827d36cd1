/*
** Products of small matrices that lie in cache, for REAL:
**
**   C[m,n] (+)= A[m,k] x B[k,n]
**
** A has any strides; rows of B and C are padded to a whole number of vectors, so
** nothing has to be masked. Register tile: TILE_ROWS rows by up to TILE_VECS
** vectors, of which the last may be a half one. Every element of C is one chain of additions over k from 0
** upwards, whatever tile it falls into, so equal operands give equal bits.
** SPDX-License-Identifier: MIT
*/

#include "vec_typed.h"

/*
** rows, vecs and narrow are constants at every call, so the loops over them vanish. narrow: one
** more column of half vectors.
*/
ALWAYS_INLINE void FN(tile)(int rows, int vecs, bool narrow, int64_t k, const REAL *a,
                            int64_t a_row, int64_t a_col, const REAL *b, int64_t b_row, REAL *c,
                            int64_t c_row, bool add) {
  FN(vec) sum[TILE_ROWS][TILE_VECS];
  FN(half) more[TILE_ROWS];
  UNROLL
  for (int i = 0; i < rows; i++) UNROLL
  for (int v = 0; v < vecs; v++)
    sum[i][v] = add ? *(const FN(vec) *)(c + i * c_row + v * FN(LANES)) : (FN(vec)){0};
  UNROLL
  for (int i = 0; narrow && i < rows; i++)
    more[i] = add ? *(const FN(half) *)(c + i * c_row + vecs * FN(LANES)) : (FN(half)){0};
  for (int64_t p = 0; p < k; p++, a += a_col, b += b_row) {
    FN(vec) line[TILE_VECS];
    FN(half) end = {0};
    UNROLL
    for (int v = 0; v < vecs; v++) line[v] = *(const FN(vec) *)(b + v * FN(LANES));
    if (narrow) end = *(const FN(half) *)(b + vecs * FN(LANES));
    UNROLL
    for (int i = 0; i < rows; i++) {
      UNROLL
      for (int v = 0; v < vecs; v++) sum[i][v] += a[i * a_row] * line[v];
      if (narrow) more[i] += a[i * a_row] * end;
    }
  }
  UNROLL
  for (int i = 0; i < rows; i++) UNROLL
  for (int v = 0; v < vecs; v++) *(FN(vec) *)(c + i * c_row + v * FN(LANES)) = sum[i][v];
  UNROLL
  for (int i = 0; narrow && i < rows; i++)
    *(FN(half) *)(c + i * c_row + vecs * FN(LANES)) = more[i];
}

ALWAYS_INLINE void FN(panel)(int vecs, bool narrow, int64_t m, int64_t k, const REAL *a,
                             int64_t a_row, int64_t a_col, const REAL *b, int64_t b_row, REAL *c,
                             int64_t c_row, bool add) {
  int64_t i = 0;
  for (; i + TILE_ROWS <= m; i += TILE_ROWS) FN(tile)
  (TILE_ROWS, vecs, narrow, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i + 2 <= m; i += 2) FN(tile)
  (2, vecs, narrow, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  if (i < m) FN(tile)
  (1, vecs, narrow, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
}

/* Rows of B and C reach to the end of n's last vector; C is not defined beyond n there. */
static inline void FN(product)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row,
                               int64_t a_col, const REAL *b, int64_t b_row, REAL *c, int64_t c_row,
                               bool add) {
  for (int64_t j = 0; j < n;) {
    const int64_t left = n - j, whole = left / FN(LANES), rest = left % FN(LANES);
    const bool narrow = whole < TILE_VECS && rest > 0 && rest <= FN(HALF);
    const int64_t vecs = least(whole + (rest > 0 && !narrow), TILE_VECS);
#define PANEL_OF(v, more) FN(panel)(v, more, m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add)
    switch (2 * vecs + narrow) {
#if defined(__AVX512F__)
    case 8: PANEL_OF(4, false); break;
    case 7: PANEL_OF(3, true); break;
    case 6: PANEL_OF(3, false); break;
    case 5: PANEL_OF(2, true); break;
#endif
    case 4: PANEL_OF(2, false); break;
    case 3: PANEL_OF(1, true); break;
    case 2: PANEL_OF(1, false); break;
    default: PANEL_OF(0, true); break;
    }
#undef PANEL_OF
    j += vecs * FN(LANES) + (narrow ? rest : 0);
  }
}

/*
** Columns of C that are better made one by one: those beyond the last half vector, if they are
** one or two. FN(dot_columns) and, where C is transposed, FN(product) make them.
*/
static inline int64_t FN(odd_columns)(int64_t n) {
  const int64_t odd = n % FN(HALF);
  return odd <= 2 && odd < n ? odd : 0;
}

/* C[m,n] = A[m,k] x B[n,k]' for few columns; all rows of A and B are whole vectors long. */
static inline void FN(dot_columns)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row,
                                   const REAL *b, int64_t b_row, REAL *c, int64_t c_row) {
  for (int64_t x = 0; x < n; x++, b += b_row, c++)
    for (int64_t i = 0; i < m; i++) {
      FN(vec) sum = {0};
      for (int64_t p = 0; p < k; p += FN(LANES))
        sum += *(const FN(vec) *)(a + i * a_row + p) * *(const FN(vec) *)(b + p);
      c[i * c_row] = FN(across)(sum);
    }
}

/* A square of BLOCK x BLOCK, transposed in registers. */
#if REAL_IS_FLOAT
enum { BLOCK_f32 = 4 };
ALWAYS_INLINE void block_f32(const float *from, int64_t from_row, float *to, int64_t to_row) {
  four_f32 a = *(const four_f32 *)from, b = *(const four_f32 *)(from + from_row);
  four_f32 c = *(const four_f32 *)(from + 2 * from_row),
           d = *(const four_f32 *)(from + 3 * from_row);
  four_f32 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
           AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  four_f32 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
           CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *(four_f32 *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  *(four_f32 *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  *(four_f32 *)(to + 2 * to_row) = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
  *(four_f32 *)(to + 3 * to_row) = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
}
#else
enum { BLOCK_f64 = 2 };
ALWAYS_INLINE void block_f64(const double *from, int64_t from_row, double *to, int64_t to_row) {
  four_f64 a = *(const four_f64 *)from, b = *(const four_f64 *)(from + from_row);
  *(four_f64 *)to = __builtin_shufflevector(a, b, 0, 2);
  *(four_f64 *)(to + to_row) = __builtin_shufflevector(a, b, 1, 3);
}
#endif

/* Rows of a wide matrix lie too far apart for the hardware to see them coming. */
enum { FN(ROWS_AHEAD) = 8 };
ALWAYS_INLINE void FN(fetch)(int64_t cols, const REAL *row) {
  for (int64_t c = 0; c < cols; c += 64 / (int64_t)sizeof(REAL)) __builtin_prefetch(row + c);
}

/* to[c][r] = from[r][c] for r < rows, c < cols; rows of `to` are filled with 0 up to to_row. */
static inline void FN(transpose)(int64_t rows, int64_t cols, const REAL *from, int64_t from_row,
                                 int64_t from_col, REAL *to, int64_t to_row) {
  int64_t R = from_col == 1 ? rows / FN(BLOCK) * FN(BLOCK) : 0, C = cols / FN(BLOCK) * FN(BLOCK);
  for (int64_t r = 0; r < R; r += FN(BLOCK)) {
    for (int64_t k = r + FN(ROWS_AHEAD); k < least(rows, r + FN(ROWS_AHEAD) + FN(BLOCK)); k++)
      FN(fetch)(cols, from + k * from_row);
    for (int64_t c = 0; c < C; c += FN(BLOCK))
      FN(block)(from + r * from_row + c, from_row, to + c * to_row + r, to_row);
    for (int64_t c = C; c < cols; c++)
      for (int64_t i = r; i < r + FN(BLOCK); i++) to[c * to_row + i] = from[i * from_row + c];
  }
  for (int64_t r = R; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) to[c * to_row + r] = from[r * from_row + c * from_col];
  for (int64_t c = 0; c < cols; c++)
    for (int64_t r = rows; r < to_row; r++) to[c * to_row + r] = 0;
}

/* Copies rows into rows of width to_row, the rest 0. */
static inline void FN(pack_rows)(int64_t rows, int64_t cols, const REAL *from, int64_t from_row,
                                 int64_t from_col, REAL *to, int64_t to_row) {
  for (int64_t r = 0; r < rows; r++, from += from_row, to += to_row) {
    if (r + FN(ROWS_AHEAD) < rows) FN(fetch)(cols, from + FN(ROWS_AHEAD) * from_row);
    if (from_col == 1 && to_row % FN(LANES) == 0) {
      int64_t c = 0;
      for (; c + FN(LANES) <= cols; c += FN(LANES))
        *(FN(vec) *)(to + c) = *(const FN(vec) *)(from + c);
      if (c < cols) *(FN(vec) *)(to + c) = FN(load_part)(from + c, cols - c), c += FN(LANES);
      for (; c < to_row; c += FN(LANES)) *(FN(vec) *)(to + c) = (FN(vec)){0};
      continue;
    }
    for (int64_t c = 0; c < cols; c++) to[c] = from[c * from_col];
    for (int64_t c = cols; c < to_row; c++) to[c] = 0;
  }
}

/* Copies the first columns of rows of whole vectors, multiplied. */
static inline void FN(unpack_rows)(int64_t rows, int64_t cols, REAL by, const REAL *from,
                                   int64_t from_row, REAL *to, int64_t to_row) {
  for (int64_t r = 0; r < rows; r++, from += from_row, to += to_row) {
    if (r + FN(ROWS_AHEAD) < rows) FN(fetch)(cols, to + FN(ROWS_AHEAD) * to_row);
    for (int64_t c = 0; c < cols; c += FN(LANES))
      FN(store_some)(to + c, *(const FN(vec) *)(from + c) * by, cols - c);
  }
}
