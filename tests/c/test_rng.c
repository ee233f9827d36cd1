/*
** Philox against the published known answers, and numbers as a function of position.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

#include "exec/cpu.h"
#include "exec/rng.h"

static const char *const levels[] = {"plain", "avx2", "avx512"};

/* philox4x32-10 from the known-answer file of Random123. */
static void known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
      {{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
       {0xffffffffu, 0xffffffffu},
       {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
      {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
       {0xa4093822u, 0x299f31d0u},
       {0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u}},
  };
  for (int l = 0; l < 3; l++) {
    if (qni_cpu_start(levels[l])) continue;
    for (int i = 0; i < 3; i++) {
      uint32_t out[4];
      qni_rng_block(known[i].counter, known[i].key, out);
      assert_memory_equal(out, known[i].out, sizeof out);
    }
  }
}

static void any_cut_gives_the_same_numbers(void **state) {
  (void)state;
  const qni_rng_key key = {.seed = 42, .step = 7, .instance = 3, .stream = 1};
  uint32_t whole[300], part[300];
  assert_ok(qni_cpu_start("plain"));
  qni_rng_fill(&key, 5, 0, 300, whole);
  for (int l = 0; l < 3; l++) {
    if (qni_cpu_start(levels[l])) continue;
    for (int begin = 0; begin < 40; begin++)
      for (int n = 0; n < 90; n += 7) {
        memset(part, 0, sizeof part);
        qni_rng_fill(&key, 5, begin, n, part);
        assert_memory_equal(part, whole + begin, (size_t)n * sizeof *part);
        assert_int_equal(part[n], 0);
      }
  }
}

static void every_part_of_the_key_matters(void **state) {
  (void)state;
  const qni_rng_key keys[] = {{1, 0, 0, 0},
                              {2, 0, 0, 0},
                              {1, 1, 0, 0},
                              {1, 0, 1, 0},
                              {1, 0, 0, 1},
                              {1, UINT64_C(1) << 40, 0, 0},
                              {UINT64_C(1) << 40, 0, 0, 0}};
  static const int64_t rows[] = {0, 1, INT64_C(1) << 32, INT64_C(5) << 33};
  uint32_t seen[7 * 4][4];
  int n = 0;
  for (int k = 0; k < 7; k++)
    for (int r = 0; r < 4; r++) {
      qni_rng_fill(&keys[k], rows[r], 0, 4, seen[n]);
      for (int i = 0; i < n; i++) assert_memory_not_equal(seen[i], seen[n], sizeof seen[n]);
      n++;
    }
}

static void bits_are_balanced(void **state) {
  (void)state;
  enum { N = 1 << 16 };
  static uint32_t x[N];
  const qni_rng_key key = {.seed = 9};
  qni_rng_fill(&key, 0, 0, N, x);
  for (int bit = 0; bit < 32; bit++) {
    int ones = 0;
    for (int i = 0; i < N; i++) ones += (int)(x[i] >> bit & 1);
    assert_in_range(ones, N / 2 - 800, N / 2 + 800); /* six standard deviations */
  }
}

static void position_of_the_run(void **state) {
  (void)state;
  qni_rng_seed(11);
  assert_int_equal(qni_rng_current_seed(), 11);
  assert_int_equal(qni_rng_instance(), 0);
  assert_int_equal(qni_rng_instance(), 1);
  assert_int_equal(qni_rng_peek(), 2);
  qni_rng_rewind(1);
  assert_int_equal(qni_rng_instance(), 1);
  qni_rng_step(4);
  assert_int_equal(qni_rng_current_step(), 4);
  assert_int_equal(qni_rng_peek(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(any_cut_gives_the_same_numbers),
      cmocka_unit_test(every_part_of_the_key_matters),
      cmocka_unit_test(bits_are_balanced),
      cmocka_unit_test(position_of_the_run),
  };
  return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
