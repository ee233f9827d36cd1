/*
** Products of small matrices that lie in cache, for REAL:
**
**   C[m,n] (+)= A[m,k] x B[k,n]
**
** A has any strides; rows of B and C are padded so that n is a whole number of
** vectors and nothing has to be masked. Register tile: TILE_ROWS rows by up to
** TILE_VECS vectors. Every element of C is one chain of additions over k from 0
** upwards, whatever tile it falls into, so equal operands give equal bits.
** SPDX-License-Identifier: MIT
*/

/* Registers differ by instruction level; the arithmetic does not. */
#ifndef HSTU_TILE
#define HSTU_TILE
#if defined(__AVX512F__)
#include <immintrin.h>
enum { VEC_BYTES = 64, TILE_ROWS = 6, TILE_VECS = 4 };
#elif defined(__AVX2__)
enum { VEC_BYTES = 32, TILE_ROWS = 6, TILE_VECS = 2 };
#else
enum { VEC_BYTES = 16, TILE_ROWS = 6, TILE_VECS = 2 };
#endif
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#endif

typedef REAL FN(vec) __attribute__((vector_size(VEC_BYTES), aligned(sizeof(REAL)), may_alias));

enum { FN(LANES) = VEC_BYTES / sizeof(REAL) };

/* 16 bytes, anywhere */
typedef REAL FN(four) __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));

/* Sum of the lanes of a vector. */
ALWAYS_INLINE REAL FN(across)(FN(vec) v) {
  FN(four) s = *(const FN(four) *)&v;
  for (int k = 1; k < VEC_BYTES / 16; k++) s += ((const FN(four) *)&v)[k];
#if REAL_IS_FLOAT
  return (s[0] + s[1]) + (s[2] + s[3]);
#else
  return s[0] + s[1];
#endif
}

/* The first n lanes from memory, the others 0. */
ALWAYS_INLINE FN(vec) FN(load_part)(const REAL *x, int64_t n) {
#if defined(__AVX512F__) && REAL_IS_FLOAT
  return (FN(vec))_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
#elif defined(__AVX512F__)
  return (FN(vec))_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), x);
#else
  REAL lane[FN(LANES)] __attribute__((aligned(VEC_BYTES))) = {0};
  for (int64_t i = 0; i < n; i++) lane[i] = x[i];
  return *(const FN(vec) *)lane;
#endif
}

/* Sums over rows of any length, in vector lanes. */
static inline REAL FN(row_sum)(int64_t n, const REAL *x) {
  FN(vec) sum = {0};
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES)) sum += *(const FN(vec) *)(x + i);
  if (i < n) sum += FN(load_part)(x + i, n - i);
  return FN(across)(sum);
}

static inline REAL FN(row_dot)(int64_t n, const REAL *x, const REAL *y) {
  FN(vec) sum = {0};
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES))
    sum += *(const FN(vec) *)(x + i) * *(const FN(vec) *)(y + i);
  if (i < n) sum += FN(load_part)(x + i, n - i) * FN(load_part)(y + i, n - i);
  return FN(across)(sum);
}

/* A copy without a call: rows are short. */
static inline void FN(copy_row)(int64_t n, const REAL *from, REAL *to) {
  int64_t i = 0;
  for (; i + FN(LANES) <= n; i += FN(LANES)) *(FN(vec) *)(to + i) = *(const FN(vec) *)(from + i);
  for (; i < n; i++) to[i] = from[i];
}

/* rows and vecs are constants at every call, so the loops over them vanish. */
ALWAYS_INLINE void FN(tile)(int rows, int vecs, int64_t k, const REAL *a, int64_t a_row,
                            int64_t a_col, const REAL *b, int64_t b_row, REAL *c, int64_t c_row,
                            bool add) {
  FN(vec) sum[TILE_ROWS][TILE_VECS];
  UNROLL
  for (int i = 0; i < rows; i++) UNROLL
  for (int v = 0; v < vecs; v++)
    sum[i][v] = add ? *(const FN(vec) *)(c + i * c_row + v * FN(LANES)) : (FN(vec)){0};
  for (int64_t p = 0; p < k; p++, a += a_col, b += b_row) {
    FN(vec) line[TILE_VECS];
    UNROLL
    for (int v = 0; v < vecs; v++) line[v] = *(const FN(vec) *)(b + v * FN(LANES));
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int v = 0; v < vecs; v++) sum[i][v] += a[i * a_row] * line[v];
  }
  UNROLL
  for (int i = 0; i < rows; i++) UNROLL
  for (int v = 0; v < vecs; v++) *(FN(vec) *)(c + i * c_row + v * FN(LANES)) = sum[i][v];
}

ALWAYS_INLINE void FN(panel)(int vecs, int64_t m, int64_t k, const REAL *a, int64_t a_row,
                             int64_t a_col, const REAL *b, int64_t b_row, REAL *c, int64_t c_row,
                             bool add) {
  int64_t i = 0;
  for (; i + TILE_ROWS <= m; i += TILE_ROWS)
    FN(tile)(TILE_ROWS, vecs, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i + 2 <= m; i += 2)
    FN(tile)(2, vecs, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  if (i < m) FN(tile)(1, vecs, k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
}

/* n must be a multiple of LANES; B and C rows reach that far. */
static inline void FN(product)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row,
                               int64_t a_col, const REAL *b, int64_t b_row, REAL *c, int64_t c_row,
                               bool add) {
  for (int64_t j = 0; j < n;) {
    int64_t vecs = least((n - j) / FN(LANES), TILE_VECS);
    switch (vecs) {
#if defined(__AVX512F__)
    case 4: FN(panel)(4, m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add); break;
    case 3: FN(panel)(3, m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add); break;
#endif
    case 2: FN(panel)(2, m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add); break;
    default: FN(panel)(1, m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add); break;
    }
    j += vecs * FN(LANES);
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

/* to[c][r] = from[r][c] for r < rows, c < cols; rows of `to` are filled with 0 up to to_row. */
static inline void FN(transpose)(int64_t rows, int64_t cols, const REAL *from, int64_t from_row,
                                 int64_t from_col, REAL *to, int64_t to_row) {
  int64_t R = from_col == 1 ? rows / FN(BLOCK) * FN(BLOCK) : 0, C = cols / FN(BLOCK) * FN(BLOCK);
  for (int64_t r = 0; r < R; r += FN(BLOCK)) {
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
    if (from_col == 1)
      FN(copy_row)(cols, from, to);
    else
      for (int64_t c = 0; c < cols; c++) to[c] = from[c * from_col];
    for (int64_t c = cols; c < to_row; c++) to[c] = 0;
  }
}

static inline void FN(unpack_rows)(int64_t rows, int64_t cols, const REAL *from, int64_t from_row,
                                   REAL *to, int64_t to_row) {
  for (int64_t r = 0; r < rows; r++) FN(copy_row)(cols, from + r * from_row, to + r * to_row);
}
