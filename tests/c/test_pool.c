/*
** The pool: every item once, chunks by the problem alone, the lowest failure wins,
** nesting, cancelling, resizing, denormals.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "exec/cpu.h"
#include "exec/pool.h"

static const int32_t workers[] = {1, 2, 3, 7};

struct marks {
  int64_t n, grain;
  unsigned char hits[1000];
  atomic_int wrong_cut;
};

static qn_status mark(void *ctx, int64_t begin, int64_t end) {
  struct marks *m = ctx;
  int64_t full = begin + m->grain;
  if (begin % m->grain || end != (full < m->n ? full : m->n)) atomic_store(&m->wrong_cut, 1);
  for (int64_t i = begin; i < end; i++) m->hits[i]++;
  return QN_OK;
}

static void every_item_once_in_fixed_chunks(void **state) {
  (void)state;
  qni_pool_shake(true);
  for (int w = 0; w < 4; w++) {
    assert_ok(qni_pool_resize(workers[w]));
    assert_int_equal(qni_pool_threads(), workers[w]);
    for (int64_t n = 0; n < 60; n += 7)
      for (int64_t grain = 1; grain < 20; grain += 6) {
        struct marks m = {.n = n, .grain = grain};
        assert_ok(qni_pool_run(n, grain, mark, &m));
        assert_int_equal(atomic_load(&m.wrong_cut), 0);
        for (int64_t i = 0; i < 1000; i++) assert_int_equal(m.hits[i], i < n);
      }
  }
  qni_pool_shake(false);
}

static qn_status fail_some(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  (void)end;
  if (begin % 10 == 3) return qni_fail(QN_E_NUMERIC, "item %d is bad", (int)begin);
  return QN_OK;
}

static void lowest_failure_is_reported(void **state) {
  (void)state;
  qni_pool_shake(true);
  for (int w = 0; w < 4; w++) {
    assert_ok(qni_pool_resize(workers[w]));
    for (int round = 0; round < 20; round++)
      assert_fails(qni_pool_run(100, 1, fail_some, NULL), QN_E_NUMERIC, "item 3 is bad");
  }
  qni_pool_shake(false);
  qni_error_reset();
}

static qn_status fail_silently(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  (void)end;
  return begin == 5 ? QN_E_STATE : QN_OK;
}

static void failure_without_text_gets_one(void **state) {
  (void)state;
  for (int w = 0; w < 2; w++) {
    assert_ok(qni_pool_resize(workers[w]));
    assert_fails(qni_pool_run(20, 1, fail_silently, NULL), QN_E_STATE, "parallel loop");
  }
  qni_error_reset();
}

static qn_status nest(void *ctx, int64_t begin, int64_t end) {
  (void)end;
  struct marks *m = ctx;
  if (!qni_pool_inside()) return QN_E_INTERNAL;
  int32_t me = qni_pool_worker();
  qn_status status = qni_pool_run(m[begin].n, m[begin].grain, mark, &m[begin]);
  return me == qni_pool_worker() && qni_pool_inside() ? status : QN_E_INTERNAL;
}

static void nested_loops_run_inline(void **state) {
  (void)state;
  static struct marks m[9];
  assert_ok(qni_pool_resize(3));
  for (int i = 0; i < 9; i++) m[i] = (struct marks){.n = 100, .grain = 8};
  assert_ok(qni_pool_run(9, 1, nest, m));
  assert_false(qni_pool_inside());
  for (int i = 0; i < 9; i++) {
    assert_int_equal(atomic_load(&m[i].wrong_cut), 0);
    for (int j = 0; j < 100; j++) assert_int_equal(m[i].hits[j], 1);
  }
}

static qn_status cancel_here(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  (void)end;
  if (begin == 10) qni_pool_cancel(true);
  return QN_OK;
}

static void cancelling_stops_loops(void **state) {
  (void)state;
  for (int w = 0; w < 4; w++) {
    assert_ok(qni_pool_resize(workers[w]));
    assert_fails(qni_pool_run(100000, 1, cancel_here, NULL), QN_E_CANCELLED, "stopped");
    qni_pool_cancel(false);
    assert_ok(qni_pool_run(5, 1, cancel_here, NULL));
  }
}

/* The smallest normal number halved is 0 when denormals are flushed. */
static qn_status halve(void *ctx, int64_t begin, int64_t end) {
  volatile float tiny = 1.17549435e-38f;
  atomic_int *kept = ctx;
  for (int64_t i = begin; i < end; i++)
    if (tiny * 0.5f != 0.0f) atomic_fetch_add(kept, 1);
  return QN_OK;
}

static void denormals_are_flushed_inside_and_kept_outside(void **state) {
  (void)state;
#if defined(__x86_64__) || defined(__aarch64__)
  volatile float tiny = 1.17549435e-38f;
  for (int w = 0; w < 4; w++) {
    atomic_int kept = 0;
    assert_ok(qni_pool_resize(workers[w]));
    const uint32_t control = qni_cpu_fp_control();
    assert_ok(qni_pool_run(1000, 1, halve, &kept));
    assert_int_equal(kept, 0);
    assert_int_equal(control, qni_cpu_fp_control());
    assert_true(tiny * 0.5f != 0.0f);
  }
#else
  skip();
#endif
}

static qn_status use_local(void *ctx, int64_t begin, int64_t end) {
  (void)ctx;
  for (int64_t i = begin; i < end; i++) {
    size_t bytes = (size_t)(64 + i * 100);
    unsigned char *p = qni_pool_local(bytes), *q = qni_pool_slot(QNI_LOCAL_GEMM, bytes);
    if (!p || !q) return QN_E_NOMEM;
    if ((uintptr_t)p % 64 || (uintptr_t)q % 64) return QN_E_INTERNAL;
    memset(p, (int)i, bytes);
    memset(q, (int)~i, bytes);
    for (size_t j = 0; j < bytes; j++)
      if (p[j] != (unsigned char)i) return QN_E_INTERNAL;
  }
  return QN_OK;
}

static void local_memory_is_private_and_given_back(void **state) {
  (void)state;
  qni_pool_stop();
  qn_memory before, after;
  qn_memory_stats(&before);
  assert_ok(qni_pool_start(4));
  assert_ok(qni_pool_run(200, 1, use_local, NULL));
  qni_pool_stop();
  qn_memory_stats(&after);
  assert_int_equal(before.live, after.live);
}

static void *run_from_elsewhere(void *argument) {
  struct marks *m = argument;
  for (int i = 0; i < 200; i++)
    if (qni_pool_run(m->n, m->grain, mark, m)) return m;
  return NULL;
}

static void two_threads_may_ask_at_once(void **state) {
  (void)state;
  static struct marks mine = {.n = 1000, .grain = 10}, theirs = {.n = 1000, .grain = 10};
  assert_ok(qni_pool_resize(3));
  pthread_t other;
  assert_int_equal(pthread_create(&other, NULL, run_from_elsewhere, &theirs), 0);
  assert_null(run_from_elsewhere(&mine));
  void *result;
  pthread_join(other, &result);
  assert_null(result);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(mine.hits[i], 200);
    assert_int_equal(theirs.hits[i], 200);
  }
}

static void sleepers_wake_up(void **state) {
  (void)state;
  assert_ok(qni_pool_resize(3));
  for (int i = 0; i < 5; i++) {
    struct marks m = {.n = 1000, .grain = 1};
    usleep(3000);
    assert_ok(qni_pool_run(m.n, m.grain, mark, &m));
    for (int j = 0; j < 1000; j++) assert_int_equal(m.hits[j], 1);
  }
}

static void bad_sizes_are_refused(void **state) {
  (void)state;
  assert_fails(qni_pool_start(-1), QN_E_ARG, "-1 threads");
  assert_fails(qni_pool_resize(100000), QN_E_ARG, "threads");
  assert_ok(qni_pool_resize(0));
  assert_int_equal(qni_pool_threads(), qni_cpu_cores());
  qni_pool_stop();
  assert_int_equal(qni_pool_threads(), 1);
  struct marks m = {.n = 50, .grain = 7};
  assert_ok(qni_pool_run(m.n, m.grain, mark, &m)); /* works without workers too */
  for (int j = 0; j < 50; j++) assert_int_equal(m.hits[j], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_item_once_in_fixed_chunks),
      cmocka_unit_test(lowest_failure_is_reported),
      cmocka_unit_test(failure_without_text_gets_one),
      cmocka_unit_test(nested_loops_run_inline),
      cmocka_unit_test(cancelling_stops_loops),
      cmocka_unit_test(denormals_are_flushed_inside_and_kept_outside),
      cmocka_unit_test(local_memory_is_private_and_given_back),
      cmocka_unit_test(two_threads_may_ask_at_once),
      cmocka_unit_test(sleepers_wake_up),
      cmocka_unit_test(bad_sizes_are_refused),
  };
  return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
