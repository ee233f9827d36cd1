/* What the binding's data files share. SPDX-License-Identifier: MIT */
#ifndef QNI_BIND_DATA_H
#define QNI_BIND_DATA_H

#include <lua.h>

#include "io/ahead.h"
#include "io/interactions.h"

/* The interactions at `index`; raises for anything else. */
const qni_interactions *qni_bind_interactions(lua_State *L, int index);

/* What the methods batches, tell and seek of a loader return, with the arguments on the stack. */
int qni_bind_batches(lua_State *L, const qni_ahead *loader);
int qni_bind_tell(lua_State *L, const qni_ahead *loader);
int qni_bind_seek(lua_State *L, qni_ahead *loader);

#endif
