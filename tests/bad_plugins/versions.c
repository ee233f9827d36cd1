/* Broken on purpose: needs a newer header than it was built with. Fails the check versions. SPDX-License-Identifier: MIT */
#include "bad.h"

BAD_OP(.schema = BAD_SCHEMA, .forward = bad_forward, .backward = bad_backward);
BAD_PLUGIN("versions", .abi_minor_least = QN_ABI_MINOR + 1);
