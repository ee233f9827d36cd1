/* The plugin contract: guards and linkage around abi_decls.h. SPDX-License-Identifier: MIT */
#ifndef QUERN_ABI_H
#define QUERN_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "abi_decls.h"
#ifdef __cplusplus
}
#endif

#define QN_ABI_MAJOR 1
#define QN_ABI_MINOR 0
#define QN_MAGIC "QUERNPL"

/* Does this table, as the other side filled it, reach as far as the field? */
#define QN_HAS(table, field)                                                                       \
  ((table)->struct_size >= offsetof(__typeof__(*(table)), field) + sizeof((table)->field))

/* Bytes of a table up to and with a field: what a release had that ended there. */
#define QN_SIZE_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* Marks the one exported symbol of a plugin. */
#define QN_EXPORT __attribute__((visibility("default")))

#if defined(__clang__)
#define QN_BUILD "clang " __clang_version__
#elif defined(__GNUC__)
#define QN_BUILD "gcc " __VERSION__
#else
#define QN_BUILD "unknown compiler"
#endif

#endif
