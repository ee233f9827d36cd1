/*
** Lua's memory: small blocks from free lists by size, the rest from the system.
**
** An op called from Lua makes a userdata or two and the collector frees them in bursts,
** which malloc's caches are too short for. Lists are the state's own, so there is no lock;
** their blocks go back to the system when the state is closed.
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "bind/bind.h"

enum { STEP = 16, CHUNK = 64 << 10 };
#ifdef __SANITIZE_ADDRESS__
enum { MOST = 0 }; /* all from the system, which watches each block */
#else
enum { MOST = 256 };
#endif

struct link {
  struct link *next;
};

struct pool {
  struct link *list[MOST / STEP + 1]; /* of blocks of so many steps */
  char *at, *end;                     /* what is left of the newest chunk */
  struct link *chunks;
};

static size_t steps_of(size_t size) { return (size + STEP - 1) / STEP; }

static bool new_chunk(struct pool *p) {
  struct link *chunk = malloc(CHUNK);
  if (!chunk) return false;
  chunk->next = p->chunks;
  p->chunks = chunk;
  p->at = (char *)chunk + STEP;
  p->end = (char *)chunk + CHUNK;
  return true;
}

static void *take(struct pool *p, size_t size) {
  if (size > MOST) return malloc(size);
  const size_t steps = steps_of(size);
  struct link *block = p->list[steps];
  if (block) {
    p->list[steps] = block->next;
    return block;
  }
  if ((size_t)(p->end - p->at) < steps * STEP && !new_chunk(p)) return NULL;
  void *fresh = p->at;
  p->at += steps * STEP;
  return fresh;
}

static void give(struct pool *p, void *block, size_t size) {
  if (size > MOST) {
    free(block);
  } else if (block) {
    struct link *l = block;
    l->next = p->list[steps_of(size)];
    p->list[steps_of(size)] = l;
  }
}

/* lua_Alloc. */
static void *alloc(void *ud, void *block, size_t old, size_t size) {
  if (!block) return size ? take(ud, size) : NULL; /* old is a type then */
  if (!size) return give(ud, block, old), NULL;
  if (old > MOST && size > MOST) return realloc(block, size);
  if (old <= MOST && size <= MOST && steps_of(old) == steps_of(size)) return block;
  void *moved = take(ud, size);
  if (!moved) return size < old ? block : NULL; /* Lua relies on shrinking */
  memcpy(moved, block, old < size ? old : size);
  give(ud, block, old);
  return moved;
}

lua_State *qni_bind_new_state(void) {
  struct pool *p = calloc(1, sizeof *p);
  lua_State *L = p ? lua_newstate(alloc, p) : NULL;
  if (!L) free(p);
  return L;
}

void qni_bind_close_state(lua_State *L) {
  void *ud;
  lua_getallocf(L, &ud);
  lua_close(L);
  struct pool *p = ud;
  while (p->chunks) {
    struct link *next = p->chunks->next;
    free(p->chunks);
    p->chunks = next;
  }
  free(p);
}
