/* What the binding's data files share. SPDX-License-Identifier: MIT */
#ifndef QNI_BIND_DATA_H
#define QNI_BIND_DATA_H

#include <lua.h>

#include "io/interactions.h"

/* The interactions at `index`; raises for anything else. */
const qni_interactions *qni_bind_interactions(lua_State *L, int index);

#endif
