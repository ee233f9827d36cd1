/* Sets REAL and FN for the element type named by HSTU_REAL_BITS. SPDX-License-Identifier: MIT */
#undef REAL
#undef FN
#undef REAL_IS_FLOAT
#if HSTU_REAL_BITS == 32
#define REAL float
#define FN(name) name##_f32
#define REAL_IS_FLOAT 1
#else
#define REAL double
#define FN(name) name##_f64
#define REAL_IS_FLOAT 0
#endif
