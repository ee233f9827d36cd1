/* Broken on purpose: its schema does not parse. Fails the check schema. SPDX-License-Identifier: MIT */
#include "bad.h"

BAD_OP(.schema = "twice(x: f[...) -> y: f[...]", .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("schema", .reserved = 0);
