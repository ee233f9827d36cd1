/* Broken on purpose: exports a second symbol. Fails the check symbols. SPDX-License-Identifier: MIT */
#include "bad.h"

QN_EXPORT int32_t bad_helper(int32_t n);
int32_t bad_helper(int32_t n) { return n + 1; }

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("symbols", .reserved = 0);
