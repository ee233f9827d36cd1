/* Broken on purpose: turns on flush-to-zero as -Ofast does; elsewhere another rounding. SPDX-License-Identifier: MIT */
#include "bad.h"

#if defined(__x86_64__)
static __attribute__((constructor)) void change(void) { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); }
#else
#include <fenv.h>
static __attribute__((constructor)) void change(void) { fesetround(FE_TOWARDZERO); }
#endif

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("flush", .reserved = 0);
