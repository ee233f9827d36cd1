/*
** Includes PRUNE_FILE for float, then for double, with REAL, FN(name), LANES_N (numbers in
** a vector) and SQUARE (what transposes a LANES_N x LANES_N block). SPDX-License-Identifier: MIT
*/
#if defined(__AVX512F__)
#define PRUNE_VEC_BYTES 64
#elif defined(__AVX2__)
#define PRUNE_VEC_BYTES 32
#else
#define PRUNE_VEC_BYTES 16
#endif

#define REAL float
#define REAL_IS_FLOAT 1
#define FN(name) name##_f32
#include PRUNE_FILE
#undef REAL
#undef REAL_IS_FLOAT
#undef FN

#define REAL double
#define REAL_IS_FLOAT 0
#define FN(name) name##_f64
#include PRUNE_FILE
#undef REAL
#undef REAL_IS_FLOAT
#undef FN
