/*
** The hstu plugin's ops for serving, side information and Stochastic Length: kept keys against
** whole sequences, pools and samples against counting. SPDX-License-Identifier: MIT
*/
#include "hstu_help.h"

enum { H = 2, D = 5, E = 3, HISTORY = 70, NEW = 60, TOTAL = HISTORY + NEW, REACH = 140 };

static void assert_near(double x, double expected, double tolerance) {
  if (!(fabs(x - expected) <= tolerance)) fail_msg("%.9g, not %.9g", x, expected);
}

/* ---- hstu_extend_attention ---- */

/* Rows from..from+n-1 of a [T,H,W] tensor. */
static qn_tensor *rows(qn_tensor *t, int64_t from, int64_t n) {
  return RUN("narrow", tensor(NULL, t), gc_int("dim", 1), gc_int("start", from + 1),
             gc_int("length", n));
}

struct attended { /* a random sequence of TOTAL tokens with both biases */
  qn_tensor *q, *k, *v, *bp, *bt;
  int64_t time[TOTAL], query[TOTAL];
};

static struct attended make(bool wide) {
  struct attended a = {.q = noise(1, 1, 3, TOTAL, H, D),
                       .k = noise(2, 1, 3, TOTAL, H, D),
                       .v = noise(3, 1, 3, TOTAL, H, E),
                       .bp = noise(4, 1, 1, 2 * REACH - 1, 0, 0),
                       .bt = noise(5, 1, 1, 129, 0, 0)};
  for (int i = 0; i < TOTAL; i++) a.time[i] = 37 * (int64_t)i * i;
  for (int i = 0; i < TOTAL; i++) a.query[i] = 37 * (int64_t)(i + 1) * (i + 1);
  if (wide) return a;
  qn_tensor **each[] = {&a.q, &a.k, &a.v, &a.bp, &a.bt};
  for (int i = 0; i < 5; i++) {
    qn_tensor *f = to_f32(*each[i]);
    qn_tensor_free(*each[i]);
    *each[i] = f;
  }
  return a;
}

static void drop(struct attended *a) { FREE(a->q, a->k, a->v, a->bp, a->bt); }

/* Outputs of the whole sequence of n tokens by hstu_attention, the last one's key moved to row `from`. */
static qn_tensor *whole(const struct attended *a, const char *score, const int64_t *pick,
                        int64_t n) {
  int64_t time[TOTAL], query[TOTAL], length[1] = {n};
  for (int64_t i = 0; i < n; i++) time[i] = a->time[pick[i]], query[i] = a->query[pick[i]];
  qn_tensor *ids = i64(pick, n), *part[3];
  qn_tensor *from[] = {a->q, a->k, a->v};
  for (int i = 0; i < 3; i++)
    part[i] = jagged(
        RUN("index_select", tensor(NULL, from[i]), tensor(NULL, ids), gc_int("dim", 1)), 1, length);
  qn_tensor *t = jagged(i64(time, n), 1, length), *u = jagged(i64(query, n), 1, length);
  qn_tensor *b = RUN("time_bucket", tensor(NULL, t), tensor(NULL, u), gc_int("width", n));
  qn_tensor *y = RUN("hstu_attention", tensor(NULL, part[0]), tensor(NULL, part[1]),
                     tensor(NULL, part[2]), tensor(NULL, a->bp), tensor(NULL, a->bt),
                     tensor(NULL, b), gc_int("n", REACH), gc_str("score", score));
  FREE(ids, part[0], part[1], part[2], t, u, b);
  return y;
}

static qn_tensor *extend(const struct attended *a, const char *score, int64_t kept, int64_t first,
                         int64_t n, bool candidates) {
  qn_tensor *t[] = {rows(a->q, first, n),    rows(a->k, first, n),    rows(a->v, first, n),
                    rows(a->k, 0, kept),     rows(a->v, 0, kept),     i64(a->time, kept),
                    i64(a->time + first, n), i64(a->query + first, n)};
  qn_tensor *y =
      RUN("hstu_extend_attention", tensor(NULL, t[0]), tensor(NULL, t[1]), tensor(NULL, t[2]),
          tensor(NULL, t[3]), tensor(NULL, t[4]), tensor(NULL, a->bp), tensor(NULL, a->bt),
          tensor(NULL, t[5]), tensor(NULL, t[6]), tensor(NULL, t[7]), gc_int("n", REACH),
          gc_str("score", score), gc_bool("candidates", candidates));
  free_all(8, t);
  return y;
}

static double value(const qn_tensor *t, int64_t i) {
  return qn_tensor_view(t)->dtype == QN_F32 ? (double)floats(t)[i] : doubles(t)[i];
}

static void assert_rows(const qn_tensor *y, int64_t row, const qn_tensor *expected, int64_t at,
                        double tolerance) {
  for (int64_t i = 0; i < H * E; i++)
    if (fabs(value(y, row * H * E + i) - value(expected, at * H * E + i)) > tolerance)
      fail_msg("row %d: %.9g, not %.9g", (int)row, value(y, row * H * E + i),
               value(expected, at * H * E + i));
}

static void a_continuation_equals_the_whole_sequence(void **state) {
  (void)state;
  static const char *const score[] = {"silu", "softmax"};
  int64_t all[TOTAL];
  for (int i = 0; i < TOTAL; i++) all[i] = i;
  for (int wide = 0; wide < 2; wide++)
    for (int s = 0; s < 2; s++) {
      struct attended a = make(wide);
      qn_tensor *expected = whole(&a, score[s], all, TOTAL);
      static const int64_t kept[] = {HISTORY, 0, 1, TOTAL - 1};
      for (int c = 0; c < 4; c++) {
        qn_tensor *y = extend(&a, score[s], kept[c], kept[c], TOTAL - kept[c], false);
        for (int64_t i = 0; i < TOTAL - kept[c]; i++)
          assert_rows(y, i, expected, kept[c] + i, wide ? 1e-12 : 2e-6);
        FREE(y);
      }
      FREE(expected);
      drop(&a);
    }
}

static void a_candidate_sees_the_history_and_itself(void **state) {
  (void)state;
  static const char *const score[] = {"silu", "softmax"};
  for (int s = 0; s < 2; s++) {
    struct attended a = make(true);
    qn_tensor *y = extend(&a, score[s], HISTORY, HISTORY, NEW, true);
    for (int64_t i = 0; i < NEW; i += 7) {
      int64_t pick[HISTORY + 1];
      for (int j = 0; j < HISTORY; j++) pick[j] = j;
      pick[HISTORY] = HISTORY + i;
      qn_tensor *one = whole(&a, score[s], pick, HISTORY + 1);
      assert_rows(y, i, one, HISTORY, 1e-12);
      FREE(one);
    }
    qn_tensor *few = extend(&a, score[s], HISTORY, HISTORY + 20, 3, true);
    for (int64_t i = 0; i < 3; i++) assert_rows(few, i, y, 20 + i, 0);
    FREE(y, few);
    drop(&a);
  }
}

static void kept_keys_give_equal_bits_for_any_number_of_workers(void **state) {
  (void)state;
  static const int32_t workers[] = {1, 2, 3, 7};
  struct attended a = make(false);
  qn_tensor *first = NULL;
  for (int w = 0; w < 4; w++) {
    assert_ok(qn_threads_set(workers[w]));
    qn_tensor *y = extend(&a, "softmax", HISTORY, HISTORY, NEW, true);
    if (first)
      assert_memory_equal(floats(first), floats(y), NEW * H * E * sizeof(float));
    else
      first = qn_tensor_retain(y);
    FREE(y);
  }
  FREE(first);
  drop(&a);
  assert_ok(qn_threads_set(2));
}

/* ---- pooled_embedding ---- */

static void pools_are_means_and_have_the_right_gradient(void **state) {
  (void)state;
  qn_tensor *w = noise(1, 1, 2, 6, 4, 0);
  qn_tensor *ids = i64((int64_t[]){1, 3, 1, 2, 0}, 5);
  qn_tensor *lists = jagged(i64((int64_t[]){2, 5, 0, 2, 2, 4}, 6), 4, (int64_t[]){0, 2, 1, 3});
  qn_tensor *y = RUN("pooled_embedding", tensor(NULL, w), tensor(NULL, ids), tensor(NULL, lists));
  const double *m = doubles(w), *got = doubles(y);
  for (int d = 0; d < 4; d++) {
    assert_near(got[d], (m[2 * 4 + d] + m[5 * 4 + d]) / 2, 1e-15);
    assert_near(got[4 + d], (2 * m[2 * 4 + d] + m[4 * 4 + d]) / 3, 1e-15);
    assert_near(got[3 * 4 + d], m[d], 1e-15);
    assert_true(got[4 * 4 + d] == 0);
  }
  CHECK("pooled_embedding", tensor(NULL, w), tensor(NULL, ids), tensor(NULL, lists));
  qn_tensor *out[2], *high = i64((int64_t[]){4}, 1),
                     *low = jagged(i64((int64_t[]){6}, 1), 1, (int64_t[]){1});
  assert_fails(
      STATUS("pooled_embedding", out, tensor(NULL, w), tensor(NULL, high), tensor(NULL, lists)),
      QN_E_ARG, "lists 0..3");
  qn_tensor *zero = i64((int64_t[]){0}, 1);
  assert_fails(
      STATUS("pooled_embedding", out, tensor(NULL, w), tensor(NULL, zero), tensor(NULL, low)),
      QN_E_ARG, "rows are 0..5");
  FREE(w, ids, lists, y, high, low, zero);
}

static void pooled_gradients_have_equal_bits_for_any_number_of_workers(void **state) {
  (void)state;
  enum { TOKENS = 900, LISTS = 40, ROWS = 64 };
  static const int32_t workers[] = {1, 2, 3, 7};
  int64_t ids[TOKENS], list[LISTS * 3], lengths[LISTS];
  for (int i = 0; i < TOKENS; i++) ids[i] = (i * 37) % LISTS;
  for (int i = 0; i < LISTS * 3; i++) list[i] = (i * 29) % ROWS;
  for (int i = 0; i < LISTS; i++) lengths[i] = 3;
  qn_tensor *first = NULL;
  for (int w = 0; w < 4; w++) {
    assert_ok(qn_threads_set(workers[w]));
    qn_tensor *wide = noise(1, 1, 2, ROWS, 8, 0), *e = to_f32(wide), *t = i64(ids, TOKENS);
    qn_tensor *lists = jagged(i64(list, LISTS * 3), LISTS, lengths);
    assert_ok(qn_tensor_require_grad(e, 1));
    qn_tensor *y = RUN("pooled_embedding", tensor(NULL, e), tensor(NULL, t), tensor(NULL, lists));
    qn_tensor *square = RUN("mul", tensor(NULL, y), tensor(NULL, y)),
              *l = RUN("sum", tensor(NULL, square));
    assert_ok(qn_backward(l, NULL, 0));
    qn_tensor *g = qn_tensor_grad(e);
    if (first)
      assert_memory_equal(floats(first), floats(g), ROWS * 8 * sizeof(float));
    else
      first = qn_tensor_retain(g);
    FREE(wide, e, t, lists, y, square, l);
  }
  FREE(first);
  assert_ok(qn_threads_set(2));
}

/* ---- stochastic_length ---- */

enum { LONG = 4096, LIMIT = 4096, KEPT = 776 };

/* How many of a sequence's events are kept; `at` gets their places if not NULL. */
static int64_t kept_of(int64_t n, double alpha, const char *select, int64_t step, int64_t *at) {
  static int64_t time[LONG];
  for (int64_t i = 0; i < n; i++) time[i] = 60 * i;
  qn_random_step((uint64_t)step);
  qn_tensor *t = jagged(i64(time, n), 1, &n);
  qn_tensor *keep = RUN("stochastic_length", tensor(NULL, t), gc_int("limit", LIMIT),
                        gc_num("alpha", alpha), gc_str("select", select));
  const uint8_t *flag = qn_tensor_view(keep)->data;
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++)
    if (flag[i]) {
      if (at) at[count] = i;
      count++;
    }
  FREE(t, keep);
  return count;
}

static void long_sequences_keep_776_of_4096_events(void **state) {
  (void)state;
  static const char *const select[] = {"greedy", "random", "weighted"};
  static int64_t at[LONG];
  for (int s = 0; s < 3; s++) {
    int64_t step = 1, n;
    while ((n = kept_of(LONG, 1.6, select[s], step, at)) == LONG) step++;
    assert_int_equal(n, KEPT);
    assert_true(s > 0 || (at[0] == LONG - KEPT && at[KEPT - 1] == LONG - 1));
    assert_true(s == 0 || at[0] < LONG / 4); /* old ones are among the sampled */
    assert_int_equal(kept_of(700, 1.6, select[s], 1, NULL), 700);
    assert_int_equal(kept_of(LONG, 2, select[s], 1, NULL), LONG);
  }
}

/* n tokens per draw would be slow: a limit of 64 has the same rule on short sequences. */
static void whole_sequences_are_as_frequent_as_the_rule_says(void **state) {
  (void)state;
  enum { DRAWS = 100000, N = 64 };
  static int64_t time[DRAWS * N], offsets[DRAWS + 1];
  for (int64_t i = 0; i < DRAWS * N; i++) time[i] = i % N;
  for (int64_t b = 0; b <= DRAWS; b++) offsets[b] = b * N;
  qn_random_step(1);
  qn_tensor *values = i64(time, DRAWS * N), *o = i64(offsets, DRAWS + 1), *t;
  assert_ok(qn_tensor_jagged(values, o, &t));
  qn_tensor *keep = RUN("stochastic_length", tensor(NULL, t), gc_int("limit", N));
  const uint8_t *flag = qn_tensor_view(keep)->data;
  int64_t all = 0, short_of = (int64_t)floor(pow(N, .8));
  for (int64_t b = 0; b < DRAWS; b++) {
    int64_t n = 0;
    for (int64_t i = 0; i < N; i++) n += flag[b * N + i];
    assert_true(n == N || n == short_of);
    all += n == N;
  }
  double p = pow(N, 1.6) / ((double)N * N);
  assert_near((double)all / DRAWS, p, 4 * sqrt(p * (1 - p) / DRAWS));
  assert_near(pow(LIMIT, 1.6) / ((double)LIMIT * LIMIT), .0359, 5e-5);
  FREE(values, o, t, keep);
}

/* With weights 1 - age / sum of ages, an old event among few is dropped more often than a new one. */
static void weighted_samples_prefer_recent_events(void **state) {
  (void)state;
  enum { DRAWS = 4000, N = 8 };
  static int64_t time[DRAWS * N], offsets[DRAWS + 1];
  int64_t kept[N] = {0};
  for (int64_t i = 0; i < DRAWS * N; i++) time[i] = i % N * (i % N);
  for (int64_t b = 0; b <= DRAWS; b++) offsets[b] = b * N;
  qn_random_step(1);
  qn_tensor *values = i64(time, DRAWS * N), *o = i64(offsets, DRAWS + 1), *t;
  assert_ok(qn_tensor_jagged(values, o, &t));
  qn_tensor *keep =
      RUN("stochastic_length", tensor(NULL, t), gc_int("limit", 4), gc_num("alpha", 1.2));
  const uint8_t *flag = qn_tensor_view(keep)->data;
  for (int64_t b = 0; b < DRAWS; b++) {
    int64_t n = 0;
    for (int64_t i = 0; i < N; i++) n += flag[b * N + i];
    for (int64_t i = 0; i < N && n < N; i++) kept[i] += flag[b * N + i];
  }
  assert_true(kept[N - 1] > kept[0] + DRAWS / 50);
  FREE(values, o, t, keep);
}

/* ---- Places, ages, gBCE ---- */

static void places_and_ages_count_from_the_sequences_ends(void **state) {
  (void)state;
  qn_tensor *t = jagged(i64((int64_t[]){0, 60, 3600, 100}, 4), 2, (int64_t[]){3, 1});
  qn_tensor *query = jagged(i64((int64_t[]){60, 3600, 3600 + 9 * 60, 50}, 4), 2, (int64_t[]){3, 1});
  qn_tensor *start = RUN("sequence_places", tensor(NULL, t)),
            *end = RUN("sequence_places", tensor(NULL, t), gc_bool("from_end", true),
                       gc_int("most", 2)),
            *age = RUN("age_bucket", tensor(NULL, t), tensor(NULL, query), gc_int("buckets", 8));
  const int64_t *s = qn_tensor_view(start)->data, *e = qn_tensor_view(end)->data,
                *a = qn_tensor_view(age)->data;
  assert_memory_equal(s, ((int64_t[]){0, 1, 2, 0}), 4 * sizeof *s);
  assert_memory_equal(e, ((int64_t[]){1, 1, 0, 0}), 4 * sizeof *e);
  assert_memory_equal(a, ((int64_t[]){7, 7, 3, 0}),
                      4 * sizeof *a); /* sqrt(69) stops at 7; sqrt(9) */
  FREE(t, query, start, end, age);
}

static void the_last_rows_are_those_of_each_sequence(void **state) {
  (void)state;
  qn_tensor *x = jagged(noise(3, 1, 2, 6, 2, 0), 3, (int64_t[]){1, 3, 2});
  qn_tensor *y = RUN("sequence_last", tensor(NULL, x));
  const double *from = doubles(x), *to = doubles(y);
  for (int k = 0; k < 2; k++) {
    assert_true(to[k] == from[k]);
    assert_true(to[2 + k] == from[3 * 2 + k]);
    assert_true(to[4 + k] == from[5 * 2 + k]);
  }
  assert_true(gradcheck("sequence_last", 1, (qn_arg[]){tensor(NULL, x)}, GRADCHECK_FIRST));
  FREE(x, y);
}

static void the_weight_of_the_positive_enters_the_loss(void **state) {
  (void)state;
  qn_tensor *o = noise(1, 1, 2, 6, 4, 0), *e = noise(2, 1, 2, 9, 4, 0),
            *pos = i64((int64_t[]){1, 2, 3, 4, 5, 6}, 6);
  double loss[3];
  for (int i = 0; i < 3; i++) {
    qn_random_step(3);
    qn_tensor *l = RUN("sampled_bce", tensor(NULL, o), tensor(NULL, pos), tensor(NULL, e),
                       gc_int("negatives", 4), gc_num("beta", .5 * i));
    loss[i] = doubles(l)[0];
    FREE(l);
  }
  assert_near(loss[1] - loss[0], loss[2] - loss[1], 1e-12);
  assert_true(loss[1] > loss[0]);
  FREE(o, e, pos);
}

/* ---- Bad input ---- */

static void bad_input_is_refused_in_words(void **state) {
  (void)state;
  struct attended a = make(true);
  qn_tensor *out[2], *q = rows(a.q, 0, 3), *v = rows(a.v, 0, 3), *none = rows(a.k, 0, 0),
                     *nov = rows(a.v, 0, 0), *bp = f32(NULL, 1, 3, 0, 0), *q32 = to_f32(q),
                     *v32 = to_f32(v), *n32 = to_f32(none), *m32 = to_f32(nov);
  assert_fails(STATUS("hstu_extend_attention", out, tensor(NULL, q32), tensor(NULL, q32),
                      tensor(NULL, v32), tensor(NULL, n32), tensor(NULL, m32), tensor(NULL, bp),
                      gc_int("n", 2)),
               QN_E_SHAPE, "position 2");
  assert_fails(STATUS("hstu_extend_attention", out, tensor(NULL, q), tensor(NULL, q),
                      tensor(NULL, v), tensor(NULL, none), tensor(NULL, nov), tensor("bt", a.bt),
                      gc_int("n", 9)),
               QN_E_ARG, "bt needs times");
  qn_tensor *t = jagged(i64((int64_t[]){1, 2}, 2), 1, (int64_t[]){2});
  assert_fails(
      STATUS("stochastic_length", out, tensor(NULL, t), gc_int("limit", 4), gc_num("alpha", 1)),
      QN_E_ARG, "above 1");
  assert_fails(STATUS("age_bucket", out, tensor(NULL, t), tensor(NULL, t), gc_num("unit", 0)),
               QN_E_ARG, "unit");
  FREE(q, v, none, nov, bp, q32, v32, n32, m32, t);
  drop(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_continuation_equals_the_whole_sequence),
      cmocka_unit_test(a_candidate_sees_the_history_and_itself),
      cmocka_unit_test(kept_keys_give_equal_bits_for_any_number_of_workers),
      cmocka_unit_test(pools_are_means_and_have_the_right_gradient),
      cmocka_unit_test(pooled_gradients_have_equal_bits_for_any_number_of_workers),
      cmocka_unit_test(long_sequences_keep_776_of_4096_events),
      cmocka_unit_test(whole_sequences_are_as_frequent_as_the_rule_says),
      cmocka_unit_test(weighted_samples_prefer_recent_events),
      cmocka_unit_test(places_and_ages_count_from_the_sequences_ends),
      cmocka_unit_test(the_last_rows_are_those_of_each_sequence),
      cmocka_unit_test(the_weight_of_the_positive_enters_the_loss),
      cmocka_unit_test(bad_input_is_refused_in_words),
  };
  return cmocka_run_group_tests(tests, hstu_start, NULL);
}
