/*
** Memory: every allocation of the host goes through here, is counted, and can be
** made to fail on purpose. mem.c is the only file that names malloc, but for bind/lua_memory.c,
** whose blocks are Lua's own.
**
** Small blocks: qni_mem_alloc. Tensor bytes: qni_mem_buffer, 64-byte aligned and
** cached by size class for reuse; large ones sit in 2 MiB-aligned huge pages.
** All functions may be called from any thread. Failure returns NULL with
** QN_E_NOMEM recorded.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_MEM_H
#define QNI_MEM_H

#include <stdbool.h>

#include "base/status.h"

void *qni_mem_alloc(size_t bytes);                /* never zero-sized: 0 counts as 1 */
void *qni_mem_zalloc(size_t count, size_t size);  /* zeroed; count * size checked */
void *qni_mem_realloc(void *block, size_t bytes); /* on failure `block` stays valid */
void qni_mem_free(void *block);
char *qni_mem_strdup(const char *text);

void *qni_mem_buffer(size_t bytes);                   /* not zeroed */
void qni_mem_buffer_free(void *buffer, size_t bytes); /* the same bytes as asked */
void qni_mem_trim(void);                              /* gives cached buffers back to the system */

/* Fails the n-th allocation from now (1 = next), once or, with `onward`, all later ones too; 0: off. */
void qni_mem_fail_after(int64_t n, int onward);
int64_t qni_mem_count(void); /* allocations so far */
/*
** Test aid: buffers that end just before an unreadable page, or begin just after one.
** The bytes between the asked size and the aligned end are watched for writes.
*/
enum qni_guard { QNI_GUARD_OFF, QNI_GUARD_END, QNI_GUARD_BEGIN };
void qni_mem_guard(int mode); /* of buffers made from now on */
bool qni_mem_guarding(void);
int64_t qni_mem_guard_damage(void); /* buffers found overwritten since the last call */
/* Refuses buffers beyond this many live bytes; 0: no limit. */
void qni_mem_limit(int64_t bytes);
void qni_mem_huge_pages(int on); /* of large buffers mapped from now on; 1 at start */

/* a * b + c without overflow; returns 0 on overflow. */
int qni_size_mul_add(size_t a, size_t b, size_t c, size_t *result);

/* ---- Arena: memory that dies together; one thread at a time ---- */

typedef struct qni_arena {
  struct qni_arena_block *first, *current;
  size_t used; /* in the current block */
} qni_arena;

/* 64-byte aligned; NULL with QN_E_NOMEM. An arena of zero bytes is ready for use. */
void *qni_arena_alloc(qni_arena *arena, size_t bytes);
void qni_arena_reset(qni_arena *arena); /* keeps the blocks for reuse */
void qni_arena_free(qni_arena *arena);
int64_t qni_arena_room(const qni_arena *arena); /* bytes that it holds */
/* A first block of so many bytes, if there is none yet; QN_E_NOMEM. */
qn_status qni_arena_begin(qni_arena *arena, int64_t bytes) QNI_WARN_UNUSED;

#endif
