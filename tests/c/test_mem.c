/* Memory: counting, caching, fault points, arenas. SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/mem.h"

static int64_t live(void) {
  qn_memory m;
  qn_memory_stats(&m);
  return m.live;
}

static void buffers_are_aligned_counted_and_reused(void **state) {
  (void)state;
  int64_t before = live();
  for (size_t bytes = 0; bytes < ((size_t)9 << 20); bytes = bytes * 3 / 2 + 1) {
    char *a = qni_mem_buffer(bytes);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % 64, 0);
    memset(a, 1, bytes);
    assert_true(live() - before >= (int64_t)bytes);
    qni_mem_buffer_free(a, bytes);
    void *b = qni_mem_buffer(bytes);
    assert_ptr_equal(a, b);
    qni_mem_buffer_free(b, bytes);
  }
  assert_int_equal(live(), before);
  qni_mem_trim();
}

/* VmFlags of the mapping that an address lies in; false: the kernel does not say. */
static bool flags_of(const void *address, char *flags, size_t size) {
  FILE *f = fopen("/proc/self/smaps", "r");
  char line[512];
  bool inside = false, found = false;
  while (f && !found && fgets(line, sizeof line, f)) {
    unsigned long long begin, end;
    if (sscanf(line, "%llx-%llx ", &begin, &end) == 2)
      inside = (uintptr_t)address >= begin && (uintptr_t)address < end;
    else if (inside && !strncmp(line, "VmFlags:", 8))
      found = snprintf(flags, size, "%s", line + 8) > 0;
  }
  if (f) fclose(f);
  return found;
}

/*
** Tables, moments and arenas are such buffers: large pages are asked for, from a large page's begin,
** unless they are switched off.
*/
static void large_buffers_ask_for_huge_pages(void **state) {
  (void)state;
  char flags[512];
  if (access("/sys/kernel/mm/transparent_hugepage", F_OK)) {
    print_message("skipped: this kernel has no transparent huge pages\n");
    skip();
  }
  if (getenv("QUERN_EMULATED")) {
    print_message("skipped: an emulator does not hand flags of memory on\n");
    skip();
  }
  char *large = qni_mem_buffer(16 << 20), *small = qni_mem_buffer(1 << 16);
  assert_non_null(large), assert_non_null(small);
  assert_int_equal((uintptr_t)large % (2 << 20), 0);
  assert_true(flags_of(large + (8 << 20), flags, sizeof flags));
  assert_non_null(strstr(flags, " hg"));
  if (flags_of(small, flags, sizeof flags)) assert_null(strstr(flags, " hg"));
  qni_mem_buffer_free(large, 16 << 20), qni_mem_buffer_free(small, 1 << 16);
  qni_mem_trim();
  qni_mem_huge_pages(0);
  large = qni_mem_buffer(16 << 20);
  qni_mem_huge_pages(1);
  assert_non_null(large);
  assert_true(flags_of(large + (8 << 20), flags, sizeof flags));
  assert_non_null(strstr(flags, " nh"));
  qni_mem_buffer_free(large, 16 << 20);
  qni_mem_trim();
}

static void the_chosen_allocation_fails_and_only_it(void **state) {
  (void)state;
  qni_error_reset();
  qni_mem_fail_after(2, 0);
  void *a = qni_mem_alloc(8), *b = qni_mem_alloc(8), *c = qni_mem_buffer(8);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  assert_int_equal(qn_error_last()->status, QN_E_NOMEM);
  qni_mem_fail_after(0, 0);
  qni_mem_free(a);
  qni_mem_buffer_free(c, 8);
}

static void from_the_chosen_allocation_on_all_fail(void **state) {
  (void)state;
  qni_mem_fail_after(1, 1);
  assert_null(qni_mem_alloc(1));
  assert_null(qni_mem_buffer(1));
  qni_mem_fail_after(0, 0);
  void *a = qni_mem_alloc(1);
  assert_non_null(a);
  qni_mem_free(a);
}

static void the_limit_refuses_and_leaves_the_count(void **state) {
  (void)state;
  int64_t before = live();
  qni_error_reset();
  qni_mem_limit(before + 1000);
  assert_null(qni_mem_buffer(1 << 20));
  assert_int_equal(live(), before);
  qni_mem_limit(0);
}

static void impossible_sizes_are_errors(void **state) {
  (void)state;
  qni_error_reset();
  assert_null(qni_mem_buffer(SIZE_MAX - 10));
  assert_null(qni_mem_zalloc(SIZE_MAX / 2, 3));
  size_t r;
  assert_false(qni_size_mul_add(SIZE_MAX, 2, 0, &r));
  assert_false(qni_size_mul_add(SIZE_MAX, 1, 1, &r));
  assert_true(qni_size_mul_add(3, 4, 5, &r));
  assert_int_equal(r, 17);
}

static void an_arena_gives_aligned_memory_and_dies_whole(void **state) {
  (void)state;
  int64_t before = live();
  qni_arena arena = {0};
  for (int round = 0; round < 3; round++) {
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 2 + 7) {
      char *p = qni_arena_alloc(&arena, bytes);
      assert_non_null(p);
      assert_int_equal((uintptr_t)p % 64, 0);
      memset(p, round, bytes);
    }
    int64_t held = live();
    qni_arena_reset(&arena);
    assert_int_equal(live(), held);
  }
  qni_arena_free(&arena);
  assert_int_equal(live(), before);
}

static void guarded_buffers_notice_writes_around_them(void **state) {
  (void)state;
  const int64_t before = live();
  for (int mode = QNI_GUARD_END; mode <= QNI_GUARD_BEGIN; mode++) {
    qni_mem_guard(mode);
    char *clean = qni_mem_buffer(10), *overrun = qni_mem_buffer(10);
    qni_mem_guard(QNI_GUARD_OFF);
    assert_non_null(clean);
    assert_non_null(overrun);
    memset(clean, 1, 10);
    memset(overrun, 1, 10);
    assert_int_equal(qni_mem_guard_damage(), 0);
    overrun[10] = 1; /* one byte too many, before the aligned end */
    assert_int_equal(qni_mem_guard_damage(), 1);
    overrun[10] = 1;
    qni_mem_buffer_free(clean, 10);
    qni_mem_buffer_free(overrun, 10);
    assert_int_equal(qni_mem_guard_damage(), 1);
    assert_int_equal(qni_mem_guard_damage(), 0);
  }
  assert_int_equal(live(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(buffers_are_aligned_counted_and_reused),
      cmocka_unit_test(large_buffers_ask_for_huge_pages),
      cmocka_unit_test(the_chosen_allocation_fails_and_only_it),
      cmocka_unit_test(from_the_chosen_allocation_on_all_fail),
      cmocka_unit_test(the_limit_refuses_and_leaves_the_count),
      cmocka_unit_test(impossible_sizes_are_errors),
      cmocka_unit_test(guarded_buffers_notice_writes_around_them),
      cmocka_unit_test(an_arena_gives_aligned_memory_and_dies_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
