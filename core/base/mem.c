/*
** Memory: counted allocation with fault points, cached tensor buffers, arenas.
**
** Buffers come in size classes (powers of two below 1 MiB with three steps in
** between, multiples of 1 MiB above) and return to a free list of their class.
** Classes of 4 MiB and more lie on 2 MiB boundaries and ask for huge pages, since
** faulting small pages costs more than most passes over them.
** SPDX-License-Identifier: MIT
*/
#include "base/mem.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/guard.h"

enum { N_CLASSES = 512, ALIGN = 64 };
static const size_t HUGE_PAGE = (size_t)2 << 20, MIB = (size_t)1 << 20;
/* Freed buffers kept for reuse: a quarter of the machine's memory. A step that frees more would touch fresh pages. */
static size_t cache_limit(void) {
  static _Atomic size_t limit;
  size_t bytes = atomic_load_explicit(&limit, memory_order_relaxed);
  if (bytes) return bytes;
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page / 4 : (size_t)1 << 30;
  atomic_store_explicit(&limit, bytes, memory_order_relaxed);
  return bytes;
}

/* ---- Fault injection and counting ---- */

static atomic_llong n_allocations, fail_at;
static atomic_int fail_onward;
static int64_t n_buffers; /* made while no failure was asked for; under the lock of the buffers */

static bool failing(void) { return atomic_load_explicit(&fail_at, memory_order_relaxed) != 0; }

static bool refused(void) {
  long long n = atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed) + 1;
  long long at = atomic_load_explicit(&fail_at, memory_order_relaxed);
  return at && (n == at || (n > at && atomic_load(&fail_onward)));
}

void qni_mem_fail_after(int64_t n, int onward) {
  atomic_store(&fail_onward, onward);
  atomic_store(&fail_at, n ? atomic_load(&n_allocations) + n : 0);
}

static void *no_memory(size_t bytes) {
  qni_fail(QN_E_NOMEM, "out of memory: %zu bytes could not be had", bytes);
  qni_error_hint(
      "use a smaller batch or model, free tensors you no longer need, or raise the memory limit");
  return NULL;
}

/* ---- Small blocks ---- */

void *qni_mem_alloc(size_t bytes) {
  void *block = refused() ? NULL : malloc(bytes ? bytes : 1);
  return block ? block : no_memory(bytes);
}

void *qni_mem_zalloc(size_t count, size_t size) {
  size_t bytes;
  if (!qni_size_mul_add(count, size, 0, &bytes)) return no_memory(SIZE_MAX);
  void *block = qni_mem_alloc(bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

void *qni_mem_realloc(void *block, size_t bytes) {
  void *grown = refused() ? NULL : realloc(block, bytes ? bytes : 1);
  return grown ? grown : no_memory(bytes);
}

void qni_mem_free(void *block) { free(block); }

char *qni_mem_strdup(const char *text) {
  size_t bytes = strlen(text) + 1;
  char *copy = qni_mem_alloc(bytes);
  return copy ? memcpy(copy, text, bytes) : NULL;
}

int qni_size_mul_add(size_t a, size_t b, size_t c, size_t *result) {
  size_t product;
  if (__builtin_mul_overflow(a, b, &product)) return 0;
  return !__builtin_add_overflow(product, c, result);
}

/* ---- Buffers ---- */

struct free_buffer {
  struct free_buffer *next;
};

/* Held for a few loads and stores, twice for each buffer: a small op takes it a dozen times. */
static atomic_flag cache_held = ATOMIC_FLAG_INIT;

static void lock_cache(void) {
  for (int tries = 0; atomic_flag_test_and_set_explicit(&cache_held, memory_order_acquire); tries++)
    if (tries > 100) sched_yield();
}

static void unlock_cache(void) { atomic_flag_clear_explicit(&cache_held, memory_order_release); }

static struct free_buffer *cache[N_CLASSES];
static int64_t live_bytes, peak_bytes, cached_bytes, limit_bytes;

/* Class index and its size; index -1: too large to be cached. */
static int size_class(size_t bytes, size_t *class_bytes) {
  if (bytes <= 64) return *class_bytes = 64, 0;
  if (bytes > MIB) {
    size_t mib = (bytes + MIB - 1) / MIB;
    *class_bytes = mib * MIB;
    return mib + 64 < N_CLASSES ? (int)mib + 64 : -1;
  }
  int log2 = 63 - __builtin_clzll((unsigned long long)bytes - 1); /* 2^log2 < bytes <= 2^(log2+1) */
  size_t quarter = (size_t)1 << (log2 >= 8 ? log2 - 2 : log2);
  size_t steps = (bytes - 1 - ((size_t)1 << log2)) / quarter + 1;
  *class_bytes = ((size_t)1 << log2) + steps * quarter;
  return (log2 - 6) * 4 + (int)steps;
}

static atomic_int guard_mode, any_guarded;

void qni_mem_guard(int mode) {
  atomic_store(&guard_mode, mode);
  if (mode) atomic_store(&any_guarded, 1);
}

bool qni_mem_guarding(void) { return atomic_load_explicit(&guard_mode, memory_order_relaxed) != 0; }

int64_t qni_mem_guard_damage(void) { return qni_guard_damage(); }

static atomic_int huge_pages = 1;

void qni_mem_huge_pages(int on) { atomic_store(&huge_pages, on); }

static void *map_buffer(size_t bytes) {
  int large = bytes >= 2 * HUGE_PAGE;
  void *buffer = NULL;
  if (posix_memalign(&buffer, large ? HUGE_PAGE : ALIGN, bytes)) return NULL;
  if (large) madvise(buffer, bytes, atomic_load(&huge_pages) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return buffer;
}

static void *cached_buffer(int class, size_t bytes) {
  if (class < 0 || !cache[class]) return NULL;
  struct free_buffer *b = cache[class];
  cache[class] = b->next;
  cached_bytes -= (int64_t)bytes;
  return b;
}

int64_t qni_mem_count(void) {
  lock_cache();
  int64_t n = n_buffers;
  unlock_cache();
  return n + atomic_load(&n_allocations);
}

void *qni_mem_buffer(size_t bytes) {
  size_t rounded;
  const bool counted = failing();
  if (bytes > SIZE_MAX / 4 || (counted && refused())) return no_memory(bytes);
  int class = size_class(bytes, &rounded),
      guarded = atomic_load_explicit(&guard_mode, memory_order_relaxed);
  lock_cache();
  n_buffers += !counted;
  void *buffer = NULL;
  if (!limit_bytes || live_bytes + (int64_t)rounded <= limit_bytes) {
    buffer = guarded ? NULL : cached_buffer(class, rounded);
    live_bytes += (int64_t)rounded;
    if (live_bytes > peak_bytes) peak_bytes = live_bytes;
    unlock_cache();
    if (!buffer) buffer = guarded ? qni_guard_buffer(guarded, bytes) : map_buffer(rounded);
    if (!buffer && !guarded) {
      qni_mem_trim();
      buffer = map_buffer(rounded);
    }
    if (buffer) return buffer;
    lock_cache();
    live_bytes -= (int64_t)rounded;
  }
  unlock_cache();
  return no_memory(bytes);
}

void qni_mem_buffer_free(void *buffer, size_t bytes) {
  if (!buffer) return;
  size_t rounded;
  int class = size_class(bytes, &rounded);
  lock_cache();
  live_bytes -= (int64_t)rounded;
  int guarded = atomic_load_explicit(&any_guarded, memory_order_relaxed) && qni_guard_free(buffer);
  int keep = !guarded && class >= 0 && (size_t)cached_bytes + rounded <= cache_limit();
  if (keep) {
    struct free_buffer *b = buffer;
    b->next = cache[class];
    cache[class] = b;
    cached_bytes += (int64_t)rounded;
  }
  unlock_cache();
  if (!keep && !guarded) free(buffer);
}

void qni_mem_trim(void) {
  lock_cache();
  for (int i = 0; i < N_CLASSES; i++)
    while (cache[i]) {
      struct free_buffer *b = cache[i];
      cache[i] = b->next;
      free(b);
    }
  cached_bytes = 0;
  unlock_cache();
}

void qni_mem_limit(int64_t bytes) {
  lock_cache();
  limit_bytes = bytes;
  unlock_cache();
}

void qn_memory_stats(qn_memory *m) {
  lock_cache();
  *m = (qn_memory){live_bytes, peak_bytes, cached_bytes, limit_bytes};
  unlock_cache();
}

void qn_memory_reset_peak(void) {
  lock_cache();
  peak_bytes = live_bytes;
  unlock_cache();
}

/* ---- Arena ---- */

struct qni_arena_block {
  struct qni_arena_block *next;
  size_t bytes; /* of data */
  _Alignas(ALIGN) unsigned char data[];
};

enum { ARENA_FIRST = 1024 - (int)sizeof(struct qni_arena_block) };

static struct qni_arena_block *arena_block(size_t bytes) {
  size_t total;
  if (!qni_size_mul_add(bytes, 1, sizeof(struct qni_arena_block), &total)) return no_memory(bytes);
  struct qni_arena_block *b = qni_mem_buffer(total);
  if (b) *b = (struct qni_arena_block){.bytes = bytes};
  return b;
}

void *qni_arena_alloc(qni_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX / 2) return no_memory(bytes);
  bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  while (arena->current && arena->used + bytes > arena->current->bytes && arena->current->next) {
    arena->current = arena->current->next;
    arena->used = 0;
  }
  if (!arena->current || arena->used + bytes > arena->current->bytes) {
    size_t last = arena->current ? arena->current->bytes * 2 : (size_t)ARENA_FIRST;
    struct qni_arena_block *b = arena_block(bytes > last ? bytes : last);
    if (!b) return NULL;
    if (arena->current)
      arena->current->next = b;
    else
      arena->first = b;
    arena->current = b;
    arena->used = 0;
  }
  void *block = arena->current->data + arena->used;
  arena->used += bytes;
  return block;
}

int64_t qni_arena_room(const qni_arena *arena) {
  size_t sum = 0;
  for (const struct qni_arena_block *b = arena->first; b; b = b->next) sum += b->bytes;
  return (int64_t)sum;
}

qn_status qni_arena_begin(qni_arena *arena, int64_t bytes) {
  if (arena->first || bytes <= 0) return QN_OK;
  arena->first = arena->current = arena_block((size_t)bytes);
  arena->used = 0;
  return arena->first ? QN_OK : QN_E_NOMEM;
}

void qni_arena_reset(qni_arena *arena) {
  arena->current = arena->first;
  arena->used = 0;
}

void qni_arena_free(qni_arena *arena) {
  for (struct qni_arena_block *b = arena->first; b;) {
    struct qni_arena_block *next = b->next;
    qni_mem_buffer_free(b, b->bytes + sizeof *b);
    b = next;
  }
  *arena = (qni_arena){0};
}
