/* Broken on purpose: reads through a null pointer. SPDX-License-Identifier: MIT */
#include "bad.h"

static const double *volatile nowhere;

static qn_status forward(const qn_host *h, qn_call *c) { return bad_scale(h, c, h->in(c, 0), h->out(c, 0), *nowhere); }

BAD_OP(.schema = BAD_SCHEMA, .forward = forward, .backward = bad_backward);
BAD_PLUGIN("crash", .reserved = 0);
