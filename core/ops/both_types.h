/*
** Includes the file named by QNI_TYPED for f32 and for f64, with REAL the element type and
** FN(name) the function's name.
** SPDX-License-Identifier: MIT
*/
#define REAL float
#define FN(name) name##_f32
#include QNI_TYPED
#undef REAL
#undef FN
#define REAL double
#define FN(name) name##_f64
#include QNI_TYPED
#undef REAL
#undef FN
#undef QNI_TYPED
