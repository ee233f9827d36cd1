/* Broken on purpose: its example prints 3.0, not 4.0. Fails the check docs. SPDX-License-Identifier: MIT */
#include "bad.h"

#undef BAD_DOCS
#define BAD_DOCS .doc = "y = 2 x", .example = "print(quern.tensor{1.5}:mul(2):item()) --> 4.0"
BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("docs", .reserved = 0);
