/*
** Transposing a square of vectors in registers: N rows of N numbers, log2 N stages. Stage b
** exchanges, between rows r and r + b, the lanes whose bit b says that they belong to the
** other one. SPDX-License-Identifier: MIT
*/
#ifndef PRUNE_SQUARE_H
#define PRUNE_SQUARE_H

/* Lanes of (x, y) that the lower and the upper row get. */
#define LOW_2_1 0, 2
#define HIGH_2_1 1, 3
#define LOW_4_1 0, 4, 2, 6
#define HIGH_4_1 1, 5, 3, 7
#define LOW_4_2 0, 1, 4, 5
#define HIGH_4_2 2, 3, 6, 7
#define LOW_8_1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_8_1 1, 9, 3, 11, 5, 13, 7, 15
#define LOW_8_2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_8_2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW_8_4 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH_8_4 4, 5, 6, 7, 12, 13, 14, 15
#define LOW_16_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HIGH_16_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define LOW_16_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_16_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW_16_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH_16_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW_16_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH_16_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31

/* One stage over the N vectors of v; N and b are numbers written out. */
#define SQUARE_STAGE(v, N, b)                                                                      \
  for (int r = 0; r < (N); r++)                                                                    \
    if (!(r & (b))) {                                                                              \
      __typeof__((v)[0]) low = __builtin_shufflevector((v)[r], (v)[r + (b)], LOW_##N##_##b);       \
      (v)[r + (b)] = __builtin_shufflevector((v)[r], (v)[r + (b)], HIGH_##N##_##b);                \
      (v)[r] = low;                                                                                \
    }

#if defined(__clang__)
#define SQUARE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SQUARE_UNROLL _Pragma("GCC unroll 16")
#endif

#define SQUARE_2(v) SQUARE_UNROLL SQUARE_STAGE(v, 2, 1)
#define SQUARE_4(v) SQUARE_UNROLL SQUARE_STAGE(v, 4, 2) SQUARE_UNROLL SQUARE_STAGE(v, 4, 1)
#define SQUARE_8(v)                                                                                \
  SQUARE_UNROLL SQUARE_STAGE(v, 8, 4) SQUARE_UNROLL SQUARE_STAGE(v, 8, 2) SQUARE_UNROLL            \
  SQUARE_STAGE(v, 8, 1)
#define SQUARE_16(v)                                                                               \
  SQUARE_UNROLL SQUARE_STAGE(v, 16, 8) SQUARE_UNROLL SQUARE_STAGE(v, 16, 4) SQUARE_UNROLL          \
  SQUARE_STAGE(v, 16, 2) SQUARE_UNROLL                                                             \
  SQUARE_STAGE(v, 16, 1)

#endif
