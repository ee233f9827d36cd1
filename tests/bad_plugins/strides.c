/* Broken on purpose: asks for views as they lie and ignores their strides. Fails the check strides. SPDX-License-Identifier: MIT */
#include "bad.h"

BAD_OP(.schema = "twice(x: f[...] strided) -> y: f[...]", .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("strides", .reserved = 0);
