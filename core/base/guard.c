/*
** Guarded buffers: pages of their own, with an unreadable page behind or before.
**
** END: the buffer's 64-byte-rounded end touches the guard page; the bytes between
** the asked size and that end hold a pattern. BEGIN: the buffer starts right after
** the guard page, and the pattern fills the rest of the last page.
** SPDX-License-Identifier: MIT
*/
#include "base/guard.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"

enum { PATTERN = 0xA7 };

struct guarded {
  struct guarded *next;
  unsigned char *pages, *begin, *end; /* the mapping, the asked bytes, where the pattern ends */
  size_t mapped, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct guarded *all;
static int64_t damaged;

void *qni_guard_buffer(int mode, size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), rounded = (bytes + 63) & ~(size_t)63;
  size_t body = (rounded + page - 1) / page * page;
  struct guarded *g = qni_mem_alloc(sizeof *g);
  if (!g) return NULL;
  unsigned char *p =
      mmap(NULL, body + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) ||
      mprotect(p + page + body, page, PROT_NONE)) {
    if (p != MAP_FAILED) munmap(p, body + 2 * page);
    qni_mem_free(g);
    return NULL;
  }
  unsigned char *begin = p + page + (mode == QNI_GUARD_END ? body - rounded : 0);
  *g = (struct guarded){.pages = p,
                        .mapped = body + 2 * page,
                        .begin = begin,
                        .bytes = bytes,
                        .end = p + page + body};
  memset(begin + bytes, PATTERN, (size_t)(g->end - begin) - bytes);
  pthread_mutex_lock(&lock);
  g->next = all;
  all = g;
  pthread_mutex_unlock(&lock);
  return begin;
}

static bool intact(const struct guarded *g) {
  for (const unsigned char *p = g->begin + g->bytes; p < g->end; p++)
    if (*p != PATTERN) return false;
  return true;
}

bool qni_guard_free(void *buffer) {
  pthread_mutex_lock(&lock);
  struct guarded **at = &all;
  while (*at && (*at)->begin != buffer) at = &(*at)->next;
  struct guarded *g = *at;
  if (g) {
    *at = g->next;
    if (!intact(g)) damaged++;
  }
  pthread_mutex_unlock(&lock);
  if (!g) return false;
  munmap(g->pages, g->mapped);
  qni_mem_free(g);
  return true;
}

int64_t qni_guard_damage(void) {
  pthread_mutex_lock(&lock);
  for (struct guarded *g = all; g; g = g->next)
    if (!intact(g)) {
      damaged++;
      memset(g->begin + g->bytes, PATTERN, (size_t)(g->end - g->begin) - g->bytes);
    }
  int64_t n = damaged;
  damaged = 0;
  pthread_mutex_unlock(&lock);
  return n;
}
