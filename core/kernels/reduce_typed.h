/*
** The kernels of reduce.h for one type. Included with
**   REAL, ACC  element and accumulator type     FN(name)  the function's name
**   WRAP       a op b that never traps
** SPDX-License-Identifier: MIT
*/

enum { FN(LANES) = 32, FN(BLOCK) = 1024, FN(TILE) = 256, FN(DEPTH) = 32 };

/* Sum of term over a block of n <= BLOCK elements, in lanes. */
#define SUM_ROWS(name, term)                                                                       \
  static void FN(name)(int64_t n, const void *data, void *acc, const double *center) {             \
    const REAL *xs = data;                                                                         \
    const REAL m = center ? (REAL)*center : 0;                                                     \
    ACC total = *(ACC *)acc;                                                                       \
    (void)m;                                                                                       \
    for (int64_t at = 0; at < n; at += FN(BLOCK)) {                                                \
      const int64_t end = n - at < FN(BLOCK) ? n : at + FN(BLOCK);                                 \
      REAL lane[FN(LANES)] = {0};                                                                  \
      int64_t i = at;                                                                              \
      for (; i + FN(LANES) <= end; i += FN(LANES))                                                 \
        for (int64_t j = 0; j < FN(LANES); j++) {                                                  \
          const REAL x = xs[i + j];                                                                \
          lane[j] = WRAP(lane[j], +, term);                                                        \
        }                                                                                          \
      for (; i < end; i++) {                                                                       \
        const REAL x = xs[i];                                                                      \
        lane[0] = WRAP(lane[0], +, term);                                                          \
      }                                                                                            \
      for (int64_t width = FN(LANES) / 2; width > 0; width /= 2)                                   \
        for (int64_t j = 0; j < width; j++) lane[j] = WRAP(lane[j], +, lane[j + width]);           \
      total = WRAP(total, +, lane[0]);                                                             \
    }                                                                                              \
    *(ACC *)acc = total;                                                                           \
  }

/* Columns in tiles; DEPTH rows are summed in REAL before they join the accumulator. */
#define SUM_COLS(name, term)                                                                       \
  static void FN(name)(int64_t rows, int64_t cols, const void *data, int64_t ld, void *acc,        \
                       const double *center) {                                                     \
    for (int64_t c0 = 0; c0 < cols; c0 += FN(TILE)) {                                              \
      const int64_t width = cols - c0 < FN(TILE) ? cols - c0 : FN(TILE);                           \
      REAL part[FN(TILE)], m[FN(TILE)];                                                            \
      ACC *total = (ACC *)acc + c0;                                                                \
      for (int64_t c = 0; c < width; c++) m[c] = center ? (REAL)center[c0 + c] : 0;                \
      (void)m;                                                                                     \
      for (int64_t r0 = 0; r0 < rows; r0 += FN(DEPTH)) {                                           \
        const int64_t end = rows - r0 < FN(DEPTH) ? rows : r0 + FN(DEPTH);                         \
        for (int64_t c = 0; c < width; c++) part[c] = 0;                                           \
        for (int64_t r = r0; r < end; r++) {                                                       \
          const REAL *xs = (const REAL *)data + r * ld + c0;                                       \
          for (int64_t c = 0; c < width; c++) {                                                    \
            const REAL x = xs[c];                                                                  \
            part[c] = WRAP(part[c], +, term);                                                      \
          }                                                                                        \
        }                                                                                          \
        for (int64_t c = 0; c < width; c++) total[c] = WRAP(total[c], +, part[c]);                 \
      }                                                                                            \
    }                                                                                              \
  }

/* Any other fold: acc = combine(acc, x), in the accumulator's type. */
#define FOLD_ROWS(name, combine)                                                                   \
  static void FN(name)(int64_t n, const void *data, void *acc, const double *center) {             \
    const REAL *xs = data;                                                                         \
    ACC a = *(ACC *)acc;                                                                           \
    (void)center;                                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                              \
      const ACC x = (ACC)xs[i];                                                                    \
      a = combine;                                                                                 \
    }                                                                                              \
    *(ACC *)acc = a;                                                                               \
  }

#define FOLD_COLS(name, combine)                                                                   \
  static void FN(name)(int64_t rows, int64_t cols, const void *data, int64_t ld, void *acc,        \
                       const double *center) {                                                     \
    ACC *total = acc;                                                                              \
    (void)center;                                                                                  \
    for (int64_t r = 0; r < rows; r++) {                                                           \
      const REAL *xs = (const REAL *)data + r * ld;                                                \
      for (int64_t c = 0; c < cols; c++) {                                                         \
        const ACC x = (ACC)xs[c], a = total[c];                                                    \
        total[c] = combine;                                                                        \
      }                                                                                            \
    }                                                                                              \
  }

/* Largest (smallest) element, in lanes; a NaN anywhere is found by x != x. */
#define EXTREME_ROWS(name, op)                                                                     \
  static void FN(name)(int64_t n, const void *data, void *acc, const double *center) {             \
    const REAL *xs = data;                                                                         \
    ACC best = *(ACC *)acc;                                                                        \
    int64_t i = 0;                                                                                 \
    (void)center;                                                                                  \
    if (n >= FN(LANES)) {                                                                          \
      REAL lane[FN(LANES)];                                                                        \
      int32_t bad[FN(LANES)] = {0};                                                                \
      for (int64_t j = 0; j < FN(LANES); j++) lane[j] = xs[j];                                     \
      for (; i + FN(LANES) <= n; i += FN(LANES))                                                   \
        for (int64_t j = 0; j < FN(LANES); j++) {                                                  \
          const REAL x = xs[i + j];                                                                \
          bad[j] |= x != x;                                                                        \
          lane[j] = x op lane[j] ? x : lane[j];                                                    \
        }                                                                                          \
      for (int64_t j = 0; j < FN(LANES); j++) {                                                    \
        const ACC x = bad[j] ? FN(not_a_number)() : (ACC)lane[j];                                  \
        best = (x op best || x != x) ? x : best;                                                   \
      }                                                                                            \
    }                                                                                              \
    for (; i < n; i++) {                                                                           \
      const ACC x = (ACC)xs[i];                                                                    \
      best = (x op best || x != x) ? x : best;                                                     \
    }                                                                                              \
    *(ACC *)acc = best;                                                                            \
  }

SUM_ROWS(sum_rows, x)
SUM_COLS(sum_cols, x)
SUM_ROWS(squares_rows, WRAP(WRAP(x, -, m), *, WRAP(x, -, m)))
SUM_COLS(squares_cols, WRAP(WRAP(x, -, m[c]), *, WRAP(x, -, m[c])))
FOLD_ROWS(prod_rows, WRAP(a, *, x))
FOLD_COLS(prod_cols, WRAP(a, *, x))
EXTREME_ROWS(max_rows, >)
EXTREME_ROWS(min_rows, <)
FOLD_COLS(max_cols, (x > a || x != x) ? x : a)
FOLD_COLS(min_cols, (x < a || x != x) ? x : a)

#undef SUM_ROWS
#undef SUM_COLS
#undef FOLD_ROWS
#undef FOLD_COLS
#undef EXTREME_ROWS
