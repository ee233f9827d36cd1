/* Broken on purpose: leaves a file open when it is loaded. Fails the check load. SPDX-License-Identifier: MIT */
#include <fcntl.h>

#include "bad.h"

static int file;
static __attribute__((constructor)) void open_it(void) { file = open("/dev/null", O_RDONLY); }

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("load", .reserved = 0);
