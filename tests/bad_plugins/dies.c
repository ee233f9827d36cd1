/* Broken on purpose: its constructor reads through a null pointer. SPDX-License-Identifier: MIT */
#include "bad.h"

static const double *volatile nowhere;
static volatile double seen;

static __attribute__((constructor)) void die(void) { seen = *nowhere; }

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("dies", .reserved = 0);
