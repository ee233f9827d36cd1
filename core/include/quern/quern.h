/* Embedding Quern: guards and linkage around quern_decls.h. SPDX-License-Identifier: MIT */
#ifndef QUERN_QUERN_H
#define QUERN_QUERN_H

#include "abi.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)
#include "quern_decls.h"
#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
