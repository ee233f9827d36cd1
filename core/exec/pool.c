/*
** The thread pool.
**
** One job at a time. `gate` holds, in one word, the job's number (high half), whether
** workers may enter, and how many are inside. The caller opens it, works along, closes
** it when no chunk is left and waits only for those who entered: a worker that sleeps
** through a short job costs nothing. Chunks come from a counter that only grows, so when
** chunk i fails all lower ones have been started: the lowest failure is well defined.
** SPDX-License-Identifier: MIT
*/
#include "exec/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "exec/cpu.h"

enum { SPINS = 4000, SPINS_CROWDED = 50, MAX_THREADS = 1024 };
static const uint64_t OPEN = (uint64_t)1 << 31, INSIDE = ((uint64_t)1 << 31) - 1;

static struct {
  int64_t n, grain, chunks;
  qn_range_fn fn;
  void *ctx;
  atomic_llong next, failed; /* next chunk to take; lowest that failed */
  pthread_mutex_t error_lock;
  qn_status status;
  qni_error_copy error;
} job = {.error_lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
  int32_t threads; /* with the caller; 0: not started */
  int spins;
  pthread_t *workers;
  _Atomic uint64_t gate;
  atomic_int sleeping, caller_waits, stopping;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  pthread_mutex_t owner; /* held by the thread whose job runs */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .owner = PTHREAD_MUTEX_INITIALIZER};

enum { RUNNING, CANCELLED, COUNTING };
static atomic_int cancelled, shaking;
static atomic_llong chunks_left; /* when COUNTING */
static _Thread_local int32_t worker_index;
static _Thread_local bool inside;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void shake(void) {
  static _Thread_local uint32_t state;
  state = (state ? state : (uint32_t)(worker_index + 1) * 2654435761u) * 1664525u + 1013904223u;
  struct timespec pause = {.tv_nsec = (long)(state >> 16) % 50000};
  if (state & 0x800000u) nanosleep(&pause, NULL);
}

/* ---- Chunks ---- */

/* Whether this chunk must not run. */
static bool stopped(void) {
  int state = atomic_load_explicit(&cancelled, memory_order_relaxed);
  if (state == RUNNING) return false;
  if (state == COUNTING && atomic_fetch_sub(&chunks_left, 1) > 1) return false;
  atomic_store(&cancelled, CANCELLED);
  return true;
}

static qn_status run_chunk(qn_range_fn fn, void *ctx, int64_t n, int64_t grain, int64_t chunk) {
  if (stopped()) return qni_fail(QN_E_CANCELLED, "stopped on request");
  if (atomic_load_explicit(&shaking, memory_order_relaxed)) shake();
  int64_t begin = chunk * grain, rest = n - begin;
  return fn(ctx, begin, begin + (rest < grain ? rest : grain));
}

static void note_failure(int64_t chunk, qn_status status) {
  if (qn_error_last()->status == QN_OK) qni_fail(status, "a range of a parallel loop failed");
  pthread_mutex_lock(&job.error_lock);
  if (chunk < atomic_load(&job.failed)) {
    atomic_store(&job.failed, chunk);
    job.status = status;
    qni_error_take(&job.error);
  }
  pthread_mutex_unlock(&job.error_lock);
  qni_error_reset();
}

static void take_chunks(void) {
  inside = true;
  for (;;) {
    int64_t chunk = atomic_fetch_add_explicit(&job.next, 1, memory_order_relaxed);
    if (chunk >= job.chunks || chunk > atomic_load_explicit(&job.failed, memory_order_relaxed))
      break;
    qn_status status = run_chunk(job.fn, job.ctx, job.n, job.grain, chunk);
    if (status) note_failure(chunk, status);
  }
  inside = false;
}

/* ---- Workers ---- */

static bool enter(uint64_t seen, uint64_t *now) {
  *now = atomic_load_explicit(&pool.gate, memory_order_acquire);
  while ((*now >> 32) != (seen >> 32) && (*now & OPEN))
    if (atomic_compare_exchange_weak(&pool.gate, now, *now + 1)) return true;
  return false;
}

static void leave(void) {
  uint64_t before = atomic_fetch_sub(&pool.gate, 1);
  if ((before & INSIDE) != 1 || !atomic_load(&pool.caller_waits)) return;
  pthread_mutex_lock(&pool.lock);
  pthread_cond_signal(&pool.done);
  pthread_mutex_unlock(&pool.lock);
}

/* Nothing new in the gate: sleeps until there is, or until the end. */
static void sleep_until_work(uint64_t seen) {
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.sleeping, 1);
  while ((atomic_load(&pool.gate) >> 32) == (seen >> 32) && !atomic_load(&pool.stopping))
    pthread_cond_wait(&pool.wake, &pool.lock);
  atomic_fetch_sub(&pool.sleeping, 1);
  pthread_mutex_unlock(&pool.lock);
}

static void *worker(void *argument) {
  worker_index = (int32_t)(intptr_t)argument;
  (void)qni_cpu_flush_denormals(true);
  uint64_t seen = 0, now;
  int idle = 0;
  while (!atomic_load_explicit(&pool.stopping, memory_order_relaxed)) {
    if (enter(seen, &now)) {
      take_chunks();
      leave();
      idle = 0;
      seen = now;
    } else if ((now >> 32) != (seen >> 32)) {
      seen = now; /* it came and went */
    } else if (++idle > pool.spins) {
      sleep_until_work(seen);
      idle = 0;
    } else {
      relax();
    }
  }
  return NULL;
}

static void open_gate(void) {
  uint64_t number = (atomic_load(&pool.gate) >> 32) + 1;
  if ((uint32_t)number == 0) number = 1;
  atomic_store(&pool.gate, (number << 32) | OPEN);
  if (!atomic_load(&pool.sleeping)) return;
  pthread_mutex_lock(&pool.lock);
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
}

static void close_gate(void) {
  atomic_fetch_and(&pool.gate, ~OPEN);
  for (int i = 0; i < pool.spins; i++) {
    if (!(atomic_load_explicit(&pool.gate, memory_order_acquire) & INSIDE)) return;
    relax();
  }
  pthread_mutex_lock(&pool.lock);
  atomic_store(&pool.caller_waits, 1);
  while (atomic_load(&pool.gate) & INSIDE) pthread_cond_wait(&pool.done, &pool.lock);
  atomic_store(&pool.caller_waits, 0);
  pthread_mutex_unlock(&pool.lock);
}

/* ---- Running ---- */

static qn_status run_inline(int64_t n, int64_t grain, qn_range_fn fn, void *ctx) {
  bool outer = inside;
  qn_status status = QN_OK;
  inside = true;
  for (int64_t chunk = 0; chunk * grain < n && !status; chunk++)
    status = run_chunk(fn, ctx, n, grain, chunk);
  inside = outer;
  if (status && qn_error_last()->status == QN_OK)
    qni_fail(status, "a range of a parallel loop failed");
  return status;
}

static qn_status run_shared(int64_t n, int64_t grain, qn_range_fn fn, void *ctx) {
  job.n = n;
  job.grain = grain;
  job.chunks = (n - 1) / grain + 1;
  job.fn = fn;
  job.ctx = ctx;
  job.status = QN_OK;
  atomic_store_explicit(&job.next, 0, memory_order_relaxed);
  atomic_store_explicit(&job.failed, INT64_MAX, memory_order_relaxed);
  open_gate();
  take_chunks();
  close_gate();
  if (job.status) qni_error_give(&job.error);
  return job.status;
}

qn_status qni_pool_run(int64_t n, int64_t grain, qn_range_fn fn, void *ctx) {
  if (n <= 0) return QN_OK;
  if (grain < 1) grain = 1;
  if (inside) return run_inline(n, grain, fn, ctx);
  uint32_t control = qni_cpu_flush_denormals(true);
  qn_status status;
  if (pool.threads > 1 && n > grain && !pthread_mutex_trylock(&pool.owner)) {
    status = run_shared(n, grain, fn, ctx);
    pthread_mutex_unlock(&pool.owner);
  } else {
    status = run_inline(n, grain, fn, ctx);
  }
  qni_cpu_fp_restore(control);
  return status;
}

/* ---- Memory of a thread ---- */

struct local_memory {
  void *data[QNI_LOCAL_COUNT];
  size_t bytes[QNI_LOCAL_COUNT];
};

static _Thread_local struct local_memory local;
static pthread_once_t local_once = PTHREAD_ONCE_INIT;
static pthread_key_t local_key;
static bool local_key_made;

static void free_local(void *memory) {
  struct local_memory *m = memory;
  for (int i = 0; i < QNI_LOCAL_COUNT; i++) qni_mem_buffer_free(m->data[i], m->bytes[i]);
  *m = (struct local_memory){0};
}

static void make_local_key(void) { local_key_made = !pthread_key_create(&local_key, free_local); }

void *qni_pool_slot(enum qni_local slot, size_t bytes) {
  if (local.data[slot] && local.bytes[slot] >= bytes) return local.data[slot];
  pthread_once(&local_once, make_local_key);
  size_t grown = bytes + bytes / 4;
  void *fresh = qni_mem_buffer(grown);
  if (!fresh) return NULL;
  qni_mem_buffer_free(local.data[slot], local.bytes[slot]);
  local.data[slot] = fresh;
  local.bytes[slot] = grown;
  if (local_key_made) pthread_setspecific(local_key, &local);
  return fresh;
}

void *qni_pool_local(size_t bytes) { return qni_pool_slot(QNI_LOCAL_OP, bytes); }

/* ---- Start and stop ---- */

static qn_status start_workers(int32_t count) {
  sigset_t all, former;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &former); /* signals go to the main thread */
  int refused = 0;
  for (int32_t i = 1; i < count && !refused; i++) {
    refused = pthread_create(&pool.workers[i], NULL, worker, (void *)(intptr_t)i);
    if (!refused) pool.threads = i + 1;
  }
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  if (!refused) return QN_OK;
  qni_fail(QN_E_NOMEM, "could not start %d worker threads: %s", count - 1, strerror(refused));
  qni_error_hint("ask for fewer threads (QUERN_THREADS)");
  return QN_E_NOMEM;
}

qn_status qni_pool_start(int32_t threads) {
  if (threads < 0 || threads > MAX_THREADS)
    return qni_fail(QN_E_ARG, "%d threads: expected 1 to %d, or 0 for one per core", threads,
                    MAX_THREADS);
  if (!threads) threads = qni_cpu_cores();
  if (pool.threads) return qni_pool_resize(threads);
  pool.workers = qni_mem_zalloc((size_t)threads, sizeof *pool.workers);
  if (!pool.workers) return QN_E_NOMEM;
  pool.spins = threads <= qni_cpu_cores() ? SPINS : SPINS_CROWDED;
  pool.threads = 1;
  atomic_store(&pool.stopping, 0);
  atomic_store(&pool.gate, 0);
  qn_status status = start_workers(threads);
  if (status) qni_pool_stop();
  return status;
}

void qni_pool_stop(void) {
  if (!pool.threads) return;
  pthread_mutex_lock(&pool.lock);
  atomic_store(&pool.stopping, 1);
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  for (int32_t i = 1; i < pool.threads; i++) pthread_join(pool.workers[i], NULL);
  qni_mem_free(pool.workers);
  pool.workers = NULL;
  pool.threads = 0;
  free_local(&local);
}

qn_status qni_pool_resize(int32_t threads) {
  if (inside) return qni_fail(QN_E_STATE, "the pool cannot be resized from inside a parallel loop");
  if (threads && threads == pool.threads) return QN_OK;
  if (threads < 0 || threads > MAX_THREADS) return qni_pool_start(threads);
  qni_pool_stop();
  return qni_pool_start(threads);
}

int32_t qni_pool_threads(void) { return pool.threads ? pool.threads : 1; }
int32_t qni_pool_worker(void) { return worker_index; }
bool qni_pool_inside(void) { return inside; }
void qni_pool_cancel(bool on) { atomic_store(&cancelled, on ? CANCELLED : RUNNING); }

void qni_pool_cancel_after(int64_t n) {
  atomic_store(&chunks_left, n);
  atomic_store(&cancelled, COUNTING);
}

bool qni_pool_cancelled(void) { return atomic_load(&cancelled) == CANCELLED; }
void qni_pool_shake(bool on) { atomic_store(&shaking, on); }
