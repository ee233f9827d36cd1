/*
** The hstu plugin's ops against numbers worked out by hand or by finite differences: the
** acceptance tests of the method that speak of single ops. SPDX-License-Identifier: MIT
*/
#include "hstu_help.h"

/* ---- The tiny layer ---- */

enum { N = 3 };
static const float X[] = {1, 0, 2, .5f, -1, 0, -.25f, 2, 1};
static const float W[] = {.1f, .2f, .3f,  -.1f, .5f, 0,    .4f, .1f, -.2f, .1f, 0,   .6f,
                          .1f, .3f, -.3f, .2f,  0,   -.4f, .2f, .1f, -.6f, .2f, .3f, .5f};
static const float W_O[] = {1, .5f, -.5f, 1, .25f, -.75f}, B_O[] = {.01f, -.02f, .03f};
static const float BP[] = {-.3f, -.2f, -.1f, 0, .1f, .2f, .3f};

static qn_tensor *tiny_buckets(void) {
  qn_tensor *times = jagged(i64((int64_t[]){100, 160, 400}, N), 1, (int64_t[]){N});
  qn_tensor *query = jagged(i64((int64_t[]){160, 400, 1000}, N), 1, (int64_t[]){N});
  qn_tensor *b = RUN("time_bucket", tensor(NULL, times), tensor(NULL, query), gc_int("width", 4),
                     gc_bool("causal", false));
  FREE(times, query);
  return b;
}

static qn_tensor *tiny_bt(void) {
  float bt[129];
  for (int i = 0; i < 129; i++) bt[i] = 0.001f * (float)i;
  return f32(bt, 1, 129, 0, 0);
}

/* silu(LN(X) W), jagged. */
static qn_tensor *tiny_projection(void) {
  float rows[8 * 3]; /* W transposed: linear takes [out, in] */
  for (int o = 0; o < 8; o++)
    for (int i = 0; i < 3; i++) rows[o * 3 + i] = W[i * 8 + o];
  qn_tensor *x = f32(X, 2, N, 3, 0), *w = f32(rows, 2, 8, 3, 0);
  qn_tensor *norm = RUN("layer_norm", tensor(NULL, x), gc_num("eps", 1e-6));
  qn_tensor *m = RUN("linear", tensor(NULL, norm), tensor(NULL, w), gc_str("act", "silu"));
  FREE(x, w, norm);
  return jagged(m, 1, (int64_t[]){N});
}

static void tiny_layer_equals_the_worked_example(void **state) {
  (void)state;
  static const double expected[] = {.781204, -.156850, 2.148675, .720538, -1.110069,
                                    .071994, -.130930, 1.827406, 1.125909};
  qn_tensor *m = tiny_projection(), *bp = f32(BP, 1, 7, 0, 0), *bt = tiny_bt(), *b = tiny_buckets();
  qn_tensor *z =
      RUN("hstu_mixer", tensor(NULL, m), tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b),
          gc_int("heads", 1), gc_int("dqk", 2), gc_int("dv", 2), gc_int("n", 4));
  qn_tensor *w = f32(W_O, 2, 3, 2, 0), *bias = f32(B_O, 1, 3, 0, 0), *x = f32(X, 2, N, 3, 0);
  qn_tensor *out = RUN("linear", tensor(NULL, z), tensor(NULL, w), tensor(NULL, bias));
  qn_tensor *y = RUN("add", tensor(NULL, x), tensor(NULL, out));
  assert_close(y, expected, 9, 2e-6);
  FREE(m, bp, bt, b, z, w, bias, x, out, y);
}

/* Columns first..first+1 of the projection as [N,1,2]. */
static qn_tensor *tiny_columns(const qn_tensor *m, int first) {
  float part[N * 2];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < 2; j++) part[i * 2 + j] = floats(m)[i * 8 + first + j];
  return jagged(f32(part, 3, N, 1, 2), 1, (int64_t[]){N});
}

static void tiny_attention_and_its_weights_equal_the_worked_example(void **state) {
  (void)state;
  static const double scores[] = {-.014795, 0,        0,        -.005659, .014105,
                                  0,        -.025711, -.023929, .011919};
  static const double values[] = {-.002033, .003185, .002349, -.002424, -.010609, .018727};
  static const float unit[] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  qn_tensor *m = tiny_projection(), *bp = f32(BP, 1, 7, 0, 0), *bt = tiny_bt(), *b = tiny_buckets();
  qn_tensor *v = tiny_columns(m, 2), *q = tiny_columns(m, 4), *k = tiny_columns(m, 6);
  qn_tensor *y = RUN("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, v),
                     tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b), gc_int("n", 4));
  assert_close(y, values, 6, 2e-6);
  qn_tensor *one =
      jagged(f32(unit, 3, N, 1, N), 1, (int64_t[]){N}); /* values e_j show the weights */
  qn_tensor *p = RUN("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, one),
                     tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b), gc_int("n", 4));
  assert_close(p, scores, 9, 2e-6);
  FREE(m, bp, bt, b, v, q, k, y, one, p);
}

static void buckets_of_the_tiny_layer(void **state) {
  (void)state;
  static const uint8_t expected[] = {13, 0, 18, 0, 18, 18, 0, 0, 22, 22, 21, 0};
  qn_tensor *b = tiny_buckets();
  assert_memory_equal(qn_tensor_view(b)->data, expected, sizeof expected);
  FREE(b);
}

/* One query at time 0 and one key at -gap. */
static int bucket_of(int64_t gap) {
  qn_tensor *times = jagged(i64((int64_t[]){-gap}, 1), 1, (int64_t[]){1});
  qn_tensor *query = jagged(i64((int64_t[]){0}, 1), 1, (int64_t[]){1});
  qn_tensor *b = RUN("time_bucket", tensor(NULL, times), tensor(NULL, query), gc_int("width", 1));
  int bucket = *(uint8_t *)qn_tensor_view(b)->data;
  FREE(times, query, b);
  return bucket;
}

static int bucket_by_formula(int64_t gap) {
  float d = (float)(gap < 0 ? -gap : gap), ln = (float)log(d < 1 ? 1 : (double)d),
        b = truncf(ln / 0.301f);
  return b > 128 ? 128 : (int)b;
}

static void bucket_table_is_exact(void **state) {
  (void)state;
  static const int64_t known[][2] = {{0, 0},         {1, 0},          {2, 2},      {10, 7},
                                     {60, 13},       {3600, 27},      {86400, 37}, {604800, 44},
                                     {31536000, 57}, {2147483647, 71}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    assert_int_equal(bucket_of(known[i][0]), known[i][1]);
  assert_int_equal(bucket_of(-60), 13);
  for (int64_t gap = 0; gap < 3000; gap++) assert_int_equal(bucket_of(gap), bucket_by_formula(gap));
  for (int octave = 12; octave < 63; octave++)
    for (int64_t near = -3; near <= 3; near++) {
      int64_t gap = ((int64_t)1 << octave) + near * ((int64_t)1 << (octave - 4));
      assert_int_equal(bucket_of(gap), bucket_by_formula(gap));
    }
}

/* Whole vectors of keys and a part of one, gaps of all sizes on both sides of the query. */
static void buckets_of_a_row_are_those_of_its_keys(void **state) {
  (void)state;
  enum { KEYS = 61 };
  const int64_t n = KEYS;
  int64_t key[KEYS], query[KEYS];
  for (int k = 0; k < KEYS; k++) {
    key[k] = k % 2 ? ((int64_t)1 << k) + k : -((int64_t)1 << k) / 3;
    query[k] = k % 3 * 1000;
  }
  qn_tensor *times = jagged(i64(key, n), 1, &n), *queries = jagged(i64(query, n), 1, &n);
  qn_tensor *b = RUN("time_bucket", tensor(NULL, times), tensor(NULL, queries),
                     gc_int("width", KEYS), gc_bool("causal", false));
  const uint8_t *bucket = qn_tensor_view(b)->data;
  for (int i = 0; i < KEYS; i++)
    for (int j = 0; j < KEYS; j++)
      assert_int_equal(bucket[i * KEYS + j], bucket_by_formula(query[i] - key[j]));
  FREE(times, queries, b);
}

/* Zero queries leave the bias alone; softmax of log p shows it through unit values. */
static void position_bias_lies_at_n_minus_1_plus_j_minus_i(void **state) {
  (void)state;
  enum { L = 4 };
  double zero[L] = {0}, unit[L * L] = {0};
  for (int i = 0; i < L; i++) unit[i * L + i] = 1;
  double wide[7];
  for (int i = 0; i < 7; i++) wide[i] = (double)BP[i];
  qn_tensor *q = jagged(gradcheck_f64(zero, 3, (int64_t[]){L, 1, 1}), 1, (int64_t[]){L});
  qn_tensor *v = jagged(gradcheck_f64(unit, 3, (int64_t[]){L, 1, L}), 1, (int64_t[]){L});
  qn_tensor *bp = gradcheck_f64(wide, 1, (int64_t[]){7});
  qn_tensor *y =
      RUN("hstu_attention", tensor(NULL, q), tensor(NULL, q), tensor(NULL, v), tensor(NULL, bp),
          gc_int("n", 4), gc_bool("causal", false), gc_num("scale", 1));
  double expected[L * L];
  for (int i = 0; i < L; i++)
    for (int j = 0; j < L; j++) {
      double s = wide[3 + j - i];
      expected[i * L + j] = s / (1 + exp(-s));
    }
  assert_close(y, expected, L * L, 1e-12);
  assert_true(wide[3] == 0 && wide[0] == (double)-.3f && wide[6] == (double).3f);
  FREE(q, v, bp, y);
}

/* ---- Losses ---- */

static void sampled_softmax_equals_the_worked_example(void **state) {
  (void)state;
  static const float o[] = {.6f, .8f}, e[] = {0, 0, 3, 4, 1, 0, 0, -2};
  static const char *const samplers[] = {"full", "shared", "uniform"};
  qn_tensor *ot = f32(o, 2, 1, 2, 0), *et = f32(e, 2, 4, 2, 0), *pos = i64((int64_t[]){1}, 1);
  double expected = 3.3540637e-4; /* logits 20, 12, -16; another positive among them adds nothing */
  qn_tensor *l = RUN("sampled_softmax_l2", tensor(NULL, ot), tensor(NULL, pos), tensor(NULL, et),
                     gc_str("sampler", samplers[0]));
  assert_close(l, &expected, 1, 1e-9);
  FREE(l);
  /* with only the positive to draw, every negative is masked and nothing is lost */
  qn_tensor *only = i64((int64_t[]){1}, 1);
  for (int i = 1; i < 3; i++) {
    l = RUN("sampled_softmax_l2", tensor(NULL, ot), tensor(NULL, pos), tensor(NULL, et),
            tensor("items", only), gc_str("sampler", samplers[i]), gc_int("negatives", 5));
    assert_true(floats(l)[0] == 0);
    FREE(l);
  }
  /* drawn from item 2 alone: five times logit 12 */
  qn_tensor *two = i64((int64_t[]){2}, 1);
  expected = log1p(5 * exp(-8));
  for (int i = 1; i < 3; i++) {
    l = RUN("sampled_softmax_l2", tensor(NULL, ot), tensor(NULL, pos), tensor(NULL, et),
            tensor("items", two), gc_str("sampler", samplers[i]), gc_int("negatives", 5));
    assert_close(l, &expected, 1, 1e-8);
    FREE(l);
  }
  FREE(ot, et, pos, only, two);
}

static double seeded(const char *op, int32_t n, const qn_arg *args) {
  qn_tensor *out = NULL;
  qn_random_seed(5);
  assert_ok(call(op, n, args, &out, 1));
  double x = doubles(out)[0];
  qn_tensor_free(out);
  return x;
}

/* Differences against backward with the same draws each time. args[0] is o, args[2] e, args[3] w. */
static void check_seeded(const char *op, int32_t n, const qn_arg *args) {
  qn_tensor *in[] = {args[0].v.tensor, args[2].v.tensor, args[3].v.tensor}, *grad[3], *out = NULL;
  for (int k = 0; k < 3; k++) assert_ok(qn_tensor_require_grad(in[k], 1));
  qn_random_seed(5);
  assert_ok(call(op, n, args, &out, 1));
  assert_ok(qn_grad(out, NULL, in, 3, 0, grad));
  for (int k = 0; k < 3; k++) {
    const qn_view *v = qn_tensor_view(in[k]);
    for (int64_t i = 0; i < gc_count(v); i++) {
      double *at = gc_at(v, i), old = *at, step = 1e-6;
      *at = old + step;
      double up = seeded(op, n, args);
      *at = old - step;
      double down = seeded(op, n, args), slope = (up - down) / (2 * step);
      *at = old;
      double exact = *gc_at(qn_tensor_view(grad[k]), i);
      if (fabs(slope - exact) > 1e-6 * fmax(1, fabs(slope)))
        fail_msg("%s: input %d, element %d: %.12g against %.12g", op, k, (int)i, exact, slope);
    }
    qn_tensor_free(grad[k]);
  }
  qn_tensor_free(out);
}

static void gradients_of_the_losses(void **state) {
  (void)state;
  static const char *const samplers[] = {"uniform", "shared", "in_batch", "full"};
  static const double weights[] = {1, .5, .125, 2, 1, 1, .25};
  int64_t pos[] = {1, 4, 3, 9, 4, 2, 7};
  qn_tensor *o = noise(1, 1, 2, 7, 3, 0), *e = noise(2, 1, 2, 10, 3, 0), *p = i64(pos, 7);
  qn_tensor *w = gradcheck_f64(weights, 1, (int64_t[]){7});
  for (int s = 0; s < 4; s++) {
    qn_arg args[] = {tensor(NULL, o),
                     tensor(NULL, p),
                     tensor(NULL, e),
                     tensor(NULL, w),
                     gc_str("sampler", samplers[s]),
                     gc_int("negatives", 6),
                     gc_num("temperature", .3)};
    check_seeded("sampled_softmax_l2", 7, args);
  }
  for (int l2 = 0; l2 < 2; l2++) {
    qn_arg args[] = {tensor(NULL, o),           tensor(NULL, p),
                     tensor(NULL, e),           tensor(NULL, w),
                     gc_bool("l2", l2),         gc_int("negatives", 2),
                     gc_num("temperature", .7), gc_num("beta", l2 ? .3 : 1)};
    check_seeded("sampled_bce", 8, args);
  }
  FREE(o, e, p, w);
}

/* A row shorter than 1e-6 is divided by 1e-6: its gradient has no Jacobian correction. */
static void clamped_lengths_have_a_plain_gradient(void **state) {
  (void)state;
  double o[] = {.6, .8}, e[] = {0, 0, 3, 4, 2e-7, 1e-7, 1, -2};
  qn_tensor *ot = gradcheck_f64(o, 2, (int64_t[]){1, 2}),
            *et = gradcheck_f64(e, 2, (int64_t[]){4, 2});
  qn_tensor *pos = i64((int64_t[]){1}, 1), *grad, *l;
  assert_ok(qn_tensor_require_grad(et, 1));
  l = RUN("sampled_softmax_l2", tensor(NULL, ot), tensor(NULL, pos), tensor(NULL, et),
          gc_str("sampler", "full"), gc_num("temperature", 1));
  assert_ok(qn_grad(l, NULL, &et, 1, 0, &grad));
  double s[3] = {1, .6 * .2 + .8 * .1, (.6 - 1.6) / sqrt(5)},
         sum = exp(s[0]) + exp(s[1]) + exp(s[2]);
  double expected[2] = {exp(s[1]) / sum * .6 * 1e6, exp(s[1]) / sum * .8 * 1e6};
  for (int i = 0; i < 2; i++)
    assert_true(fabs(doubles(grad)[4 + i] - expected[i]) < 1e-6 * expected[i]);
  FREE(ot, et, pos, grad, l);
}

static void gradients_by_rows_equal_dense_ones(void **state) {
  (void)state;
  int64_t pos[] = {3, 1, 3, 40};
  qn_tensor *o = noise(1, 1, 2, 4, 5, 0), *p = i64(pos, 4), *grads[2], *ids, *rows;
  for (int sparse = 0; sparse < 2; sparse++) {
    qn_tensor *e = noise(2, 1, 2, 50, 5, 0);
    assert_ok(qn_tensor_require_grad(e, 1));
    qn_random_seed(5);
    qn_tensor *l = RUN("sampled_softmax_l2", tensor(NULL, o), tensor(NULL, p), tensor(NULL, e),
                       gc_int("negatives", 3), gc_bool("sparse", sparse));
    assert_ok(qn_backward(l, NULL, 0));
    qn_tensor_free(l);
    grads[sparse] = e;
  }
  assert_int_equal(qn_tensor_grad_rows(grads[1], &ids, &rows), 1);
  const double *dense = doubles(qn_tensor_grad(grads[0]));
  int64_t n = qn_tensor_view(ids)->shape[0], at = 0;
  assert_true(n <= 15);
  for (int64_t v = 0; v < 50; v++) {
    bool listed = at < n && ((const int64_t *)qn_tensor_view(ids)->data)[at] == v;
    for (int d = 0; d < 5; d++)
      assert_true(dense[v * 5 + d] == (listed ? doubles(rows)[at * 5 + d] : 0));
    at += listed;
  }
  assert_int_equal(at, n);
  FREE(o, p, grads[0], grads[1]);
}

/* Rows that l2_normalize has scaled give the loss and the gradient of those the loss scales itself. */
static void unit_rows_may_be_given(void **state) {
  (void)state;
  int64_t pos[] = {3, 1, 3, 40};
  const char *samplers[] = {"uniform", "shared", "full"};
  qn_tensor *o = noise(1, 1, 2, 4, 37, 0), *p = i64(pos, 4);
  for (int k = 0; k < 3; k++) {
    qn_tensor *e[2], *loss[2];
    for (int given = 0; given < 2; given++) {
      e[given] = noise(2, 1, 2, 50, 37, 0);
      assert_ok(qn_tensor_require_grad(e[given], 1));
      qn_tensor *rows = given ? RUN("l2_normalize", tensor(NULL, e[1])) : qn_tensor_retain(e[0]);
      qn_random_seed(5);
      loss[given] =
          RUN("sampled_softmax_l2", tensor(NULL, o), tensor(NULL, p), tensor(NULL, rows),
              gc_int("negatives", 20), gc_str("sampler", samplers[k]), gc_bool("unit", given));
      assert_ok(qn_backward(loss[given], NULL, 0));
      qn_tensor_free(rows);
    }
    assert_close(loss[1], doubles(loss[0]), 1, 1e-12);
    assert_close(qn_tensor_grad(e[1]), doubles(qn_tensor_grad(e[0])), 50 * 37, 1e-12);
    FREE(e[0], e[1], loss[0], loss[1]);
  }
  FREE(o, p);
}

/* ---- Attention ---- */

static const int64_t LENGTHS[] = {1, 2, 7};
enum { TOKENS = 10, HEADS = 2 };

static qn_tensor *some_buckets(void) {
  int64_t time[TOKENS], query[TOKENS];
  for (int i = 0; i < TOKENS; i++) {
    time[i] = (int64_t)(1e6 * (1 + gc_noise(77, i)));
    query[i] = time[i] + i * i * 1000;
  }
  qn_tensor *t = jagged(i64(time, TOKENS), 3, LENGTHS), *q = jagged(i64(query, TOKENS), 3, LENGTHS);
  qn_tensor *b = RUN("time_bucket", tensor(NULL, t), tensor(NULL, q), gc_int("width", 9));
  FREE(t, q);
  return b;
}

static void gradients_of_attention(void **state) {
  (void)state;
  static const char *const score[] = {"silu", "softmax"};
  qn_tensor *q = jagged(noise(1, 1, 3, TOKENS, HEADS, 3), 3, LENGTHS),
            *k = jagged(noise(2, 1, 3, TOKENS, HEADS, 3), 3, LENGTHS);
  qn_tensor *v = jagged(noise(3, 1, 3, TOKENS, HEADS, 5), 3, LENGTHS), *b = some_buckets();
  qn_tensor *bp = noise(4, 1, 1, 17, 0, 0), *bt = noise(5, 1, 1, 129, 0, 0);
  for (int s = 0; s < 2; s++) {
    CHECK("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, v), gc_int("n", 9),
          gc_str("score", score[s]));
    CHECK("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, v), tensor(NULL, bp),
          tensor(NULL, bt), tensor(NULL, b), gc_int("n", 9), gc_str("score", score[s]),
          gc_num("alpha", .7), gc_num("scale", 2));
    CHECK("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, v), tensor(NULL, bp),
          gc_int("n", 9), gc_str("score", score[s]), gc_bool("causal", false));
  }
  FREE(q, k, v, b, bp, bt);
}

static void gradients_of_the_gate_and_the_mixer(void **state) {
  (void)state;
  qn_tensor *u = noise(1, 1, 2, 4, 6, 0), *y = noise(2, 1e-3, 2, 4, 6, 0);
  CHECK("norm_gate", tensor(NULL, u), tensor(NULL, y), gc_num("eps", 1e-6));
  CHECK("norm_gate", tensor(NULL, u), tensor(NULL, y), gc_int("parts", 3), gc_num("eps", 1e-6));
  qn_tensor *m = jagged(noise(3, 1, 2, TOKENS, 32, 0), 3, LENGTHS), *b = some_buckets();
  qn_tensor *bp = noise(4, 1, 1, 17, 0, 0), *bt = noise(5, 1, 1, 129, 0, 0);
  for (int gate = 0; gate < 3; gate++)
    for (int softmax = 0; softmax < 2; softmax++)
      CHECK("hstu_mixer", tensor(NULL, m), tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b),
            gc_int("heads", 2), gc_int("dqk", 3), gc_int("dv", 5), gc_int("n", 9),
            gc_bool("gate", gate > 0), gc_int("parts", gate == 2 ? 3 : 1),
            gc_str("score", softmax ? "softmax" : "silu"));
  FREE(u, y, m, b, bp, bt);
}

static void gradients_of_the_embedding(void **state) {
  (void)state;
  int64_t ids[TOKENS] = {3, 1, 1, 5, 3, 2, 4, 4, 4, 1};
  qn_tensor *i = jagged(i64(ids, TOKENS), 3, LENGTHS), *e = noise(1, 1, 2, 6, 3, 0),
            *p = noise(2, 1, 2, 8, 3, 0);
  CHECK("sequence_embedding", tensor(NULL, i), tensor(NULL, e), tensor(NULL, p),
        gc_num("scale", 1.7));
  FREE(i, e, p);
}

/* u, v, q, k of a projection as parts; the mixer is the other ops in one. */
static void mixer_is_attention_then_gate(void **state) {
  (void)state;
  enum { E = 5, D = 3, M = 2 * HEADS * (E + D) };
  qn_tensor *m = jagged(noise(3, 1, 2, TOKENS, M, 0), 3, LENGTHS), *b = some_buckets();
  qn_tensor *bp = noise(4, 1, 1, 17, 0, 0), *bt = noise(5, 1, 1, 129, 0, 0), *part[4];
  int at = 0, width[] = {HEADS * E, HEADS * E, HEADS * D, HEADS * D};
  for (int i = 0; i < 4; at += width[i++]) {
    part[i] = i ? gc_new(QN_F64, NULL, 3, (int64_t[]){TOKENS, HEADS, width[i] / HEADS})
                : gc_new(QN_F64, NULL, 2, (int64_t[]){TOKENS, width[i]});
    for (int t = 0; t < TOKENS; t++)
      memcpy((double *)qn_tensor_view(part[i])->data + t * width[i], doubles(m) + t * M + at,
             (size_t)width[i] * 8);
    if (i) part[i] = jagged(part[i], 3, LENGTHS);
  }
  qn_tensor *y =
      RUN("hstu_attention", tensor(NULL, part[2]), tensor(NULL, part[3]), tensor(NULL, part[1]),
          tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b), gc_int("n", 9));
  qn_tensor *flat =
      RUN("reshape", tensor(NULL, y), gc_ints("shape", 2, (int64_t[]){TOKENS, HEADS * E}));
  qn_tensor *z = RUN("norm_gate", tensor(NULL, part[0]), tensor(NULL, flat));
  qn_tensor *whole =
      RUN("hstu_mixer", tensor(NULL, m), tensor(NULL, bp), tensor(NULL, bt), tensor(NULL, b),
          gc_int("heads", HEADS), gc_int("dqk", D), gc_int("dv", E), gc_int("n", 9));
  assert_memory_equal(doubles(whole), doubles(z), TOKENS * HEADS * E * 8);
  FREE(m, b, bp, bt, part[0], part[1], part[2], part[3], y, flat, z, whole);
}

/* f32 has kernels of other widths; long sequences cross all their blocks. */
static void f32_agrees_with_f64_over_block_edges(void **state) {
  (void)state;
  static const int64_t lengths[] = {1, 130, 23, 49};
  enum { T = 203, M = 2 * 2 * (19 + 13) };
  qn_tensor *wide = noise(3, 1, 2, T, M, 0), *narrow = to_f32(wide),
            *bp = noise(4, 1, 1, 599, 0, 0), *bp32 = to_f32(bp);
  qn_tensor *in[2] = {jagged(wide, 4, lengths), jagged(narrow, 4, lengths)}, *bias[2] = {bp, bp32},
            *z[2], *g[2], *gb[2];
  qn_tensor *seed = noise(6, 1, 2, T, 26, 0), *seeds[2] = {seed, to_f32(seed)};
  for (int i = 0; i < 2; i++) {
    assert_ok(qn_tensor_require_grad(in[i], 1));
    assert_ok(qn_tensor_require_grad(bias[i], 1));
    z[i] = RUN("hstu_mixer", tensor(NULL, in[i]), tensor(NULL, bias[i]), gc_int("heads", 2),
               gc_int("dqk", 19), gc_int("dv", 13), gc_int("n", 300));
    assert_ok(qn_backward(z[i], seeds[i], 0));
    g[i] = qn_tensor_grad(in[i]);
    gb[i] = qn_tensor_grad(bias[i]);
  }
  double largest = 0, worst[3] = {0};
  for (int64_t i = 0; i < T * M; i++) largest = fmax(largest, fabs(doubles(g[0])[i]));
  for (int64_t i = 0; i < T * M; i++)
    worst[0] = fmax(worst[0], fabs(doubles(g[0])[i] - (double)floats(g[1])[i]) / largest);
  for (int64_t i = 0; i < T * 26; i++)
    worst[1] = fmax(worst[1], fabs(doubles(z[0])[i] - (double)floats(z[1])[i]));
  largest = 0;
  for (int64_t i = 0; i < 599; i++) largest = fmax(largest, fabs(doubles(gb[0])[i]));
  for (int64_t i = 0; i < 599; i++)
    worst[2] = fmax(worst[2], fabs(doubles(gb[0])[i] - (double)floats(gb[1])[i]) / largest);
  for (int i = 0; i < 3; i++) assert_true(worst[i] < 2e-5);
  FREE(in[0], in[1], bp, bp32, z[0], z[1], seeds[0], seeds[1]);
}

/* ---- Causality, padding, the constant n ---- */

static qn_tensor *mix(const double *m, int64_t n, const int64_t *lengths, int32_t n_seq,
                      int64_t width_n, double bp_shift) {
  double bp[2 * 64];
  for (int64_t i = 0; i < 2 * width_n - 1; i++)
    bp[i] = gc_noise(4, i - (width_n - 1) + 1000) + bp_shift;
  qn_tensor *t = jagged(gradcheck_f64(m, 2, (int64_t[]){n, 16}), n_seq, lengths),
            *b = gradcheck_f64(bp, 1, (int64_t[]){2 * width_n - 1});
  qn_tensor *t32 = jagged(to_f32(t), n_seq, lengths), *b32 = to_f32(b);
  qn_tensor *z = RUN("hstu_mixer", tensor(NULL, t32), tensor(NULL, b32), gc_int("heads", 2),
                     gc_int("dqk", 2), gc_int("dv", 2), gc_int("n", width_n));
  FREE(t, b, t32, b32);
  return z;
}

static void later_tokens_do_not_move_earlier_outputs(void **state) {
  (void)state;
  enum { L = 60 };
  double m[L * 16];
  for (int i = 0; i < L * 16; i++) m[i] = gc_noise(9, i);
  int64_t length = L;
  qn_tensor *before = mix(m, L, &length, 1, 64, 0);
  for (int k = 0; k < L; k += 7) {
    double old = m[k * 16 + 9];
    m[k * 16 + 9] = 3;
    m[k * 16 + 13] += 1;
    m[k * 16 + 5] -= 2;
    qn_tensor *after = mix(m, L, &length, 1, 64, 0);
    assert_memory_equal(floats(before), floats(after), (size_t)k * 4 * sizeof(float));
    assert_memory_not_equal(floats(before) + k * 4, floats(after) + k * 4, 4 * sizeof(float));
    m[k * 16 + 9] = old;
    m[k * 16 + 13] -= 1;
    m[k * 16 + 5] += 2;
    FREE(after);
  }
  FREE(before);
}

/* The time of event k is a query time of k-1 only, and a key time of k and later. */
static void a_moved_time_reaches_one_output_before_it(void **state) {
  (void)state;
  enum { L = 6, K = 3 };
  double m[L * 16];
  for (int i = 0; i < L * 16; i++) m[i] = gc_noise(9, i);
  qn_tensor *z[2], *x = jagged(gradcheck_f64(m, 2, (int64_t[]){L, 16}), 1, (int64_t[]){L}),
                   *bt = noise(5, 1, 1, 129, 0, 0);
  for (int moved = 0; moved < 2; moved++) {
    int64_t time[L + 1] = {0, 50, 700, 9000, 90000, 100000, 1000000};
    if (moved) time[K] = 80000;
    qn_tensor *t = jagged(i64(time, L), 1, (int64_t[]){L}),
              *q = jagged(i64(time + 1, L), 1, (int64_t[]){L});
    qn_tensor *b = RUN("time_bucket", tensor(NULL, t), tensor(NULL, q), gc_int("width", L));
    z[moved] = RUN("hstu_mixer", tensor(NULL, x), tensor("bt", bt), tensor("buckets", b),
                   gc_int("heads", 2), gc_int("dqk", 2), gc_int("dv", 2), gc_int("n", 8));
    FREE(t, q, b);
  }
  assert_memory_equal(doubles(z[0]), doubles(z[1]), (K - 1) * 4 * sizeof(double));
  assert_memory_not_equal(doubles(z[0]) + (K - 1) * 4, doubles(z[1]) + (K - 1) * 4,
                          4 * sizeof(double));
  FREE(z[0], z[1], x, bt);
}

static void a_sequence_alone_equals_it_in_a_batch(void **state) {
  (void)state;
  enum { T = 98 };
  double m[T * 16];
  for (int i = 0; i < T * 16; i++) m[i] = gc_noise(9, i);
  static const int64_t lengths[] = {7, 1, 60, 30};
  qn_tensor *all = mix(m, T, lengths, 4, 64, 0);
  int64_t at = 0;
  for (int b = 0; b < 4; b++) {
    qn_tensor *one = mix(m + at * 16, lengths[b], &lengths[b], 1, 64, 0);
    assert_memory_equal(floats(one), floats(all) + at * 4, (size_t)lengths[b] * 4 * sizeof(float));
    FREE(one);
    at += lengths[b];
  }
  FREE(all);
}

/* Doubling n halves the attention result exactly; the bias is centred anew. */
static void n_is_a_constant_divisor(void **state) {
  (void)state;
  qn_tensor *q = jagged(noise(1, 1, 3, TOKENS, HEADS, 3), 3, LENGTHS), *y[2];
  for (int i = 0; i < 2; i++) {
    int64_t n = i ? 16 : 8;
    double bp[31];
    for (int64_t j = 0; j < 2 * n - 1; j++) bp[j] = gc_noise(4, j - (n - 1) + 1000);
    qn_tensor *b = gradcheck_f64(bp, 1, (int64_t[]){2 * n - 1});
    y[i] = RUN("hstu_attention", tensor(NULL, q), tensor(NULL, q), tensor(NULL, q), tensor(NULL, b),
               gc_int("n", n));
    FREE(b);
  }
  for (int i = 0; i < TOKENS * HEADS * 3; i++)
    assert_true(doubles(y[0])[i] == 2 * doubles(y[1])[i]);
  FREE(q, y[0], y[1]);
}

static void one_event_is_a_whole_sequence(void **state) {
  (void)state;
  double m[16], s = 0;
  for (int i = 0; i < 16; i++) m[i] = gc_noise(3, i);
  qn_tensor *x = jagged(gradcheck_f64(m, 2, (int64_t[]){1, 16}), 1, (int64_t[]){1}), *z;
  qn_tensor *q = jagged(gradcheck_f64(m + 8, 3, (int64_t[]){1, 2, 2}), 1, (int64_t[]){1});
  qn_tensor *k = jagged(gradcheck_f64(m + 12, 3, (int64_t[]){1, 2, 2}), 1, (int64_t[]){1});
  qn_tensor *v = jagged(gradcheck_f64(m + 4, 3, (int64_t[]){1, 2, 2}), 1, (int64_t[]){1});
  qn_tensor *y =
      RUN("hstu_attention", tensor(NULL, q), tensor(NULL, k), tensor(NULL, v), gc_int("n", 9));
  for (int h = 0; h < 2; h++) {
    s = m[8 + 2 * h] * m[12 + 2 * h] + m[9 + 2 * h] * m[13 + 2 * h];
    for (int d = 0; d < 2; d++)
      assert_true(fabs(doubles(y)[h * 2 + d] - s / (1 + exp(-s)) / 9 * m[4 + 2 * h + d]) < 1e-15);
  }
  z = RUN("hstu_mixer", tensor(NULL, x), gc_int("heads", 2), gc_int("dqk", 2), gc_int("dv", 2),
          gc_int("n", 9));
  for (int i = 0; i < 4; i++) assert_true(isfinite(doubles(z)[i]));
  double *values = (double *)qn_tensor_view(x)->data + 4;
  memset(values, 0, 4 * sizeof(double));
  qn_tensor *none = RUN("hstu_mixer", tensor(NULL, x), gc_int("heads", 2), gc_int("dqk", 2),
                        gc_int("dv", 2), gc_int("n", 9));
  for (int i = 0; i < 4; i++) assert_true(doubles(none)[i] == 0);
  FREE(x, q, k, v, y, z, none);
}

/* ---- Ranks ---- */

static void a_constant_scorer_gets_the_middle_rank(void **state) {
  (void)state;
  static const struct {
    const char *ties;
    double rank;
  } rule[] = {{"optimistic", 1}, {"average", 5}, {"pessimistic", 9}};
  qn_tensor *scores = f32(NULL, 2, 1, 11, 0), *target = i64((int64_t[]){4}, 1);
  qn_tensor *seen = jagged(i64((int64_t[]){2, 2, 4}, 3), 1, (int64_t[]){3}), *out[2];
  for (int i = 0; i < 3; i++) { /* ten items, less item 2, less the target: eight tie */
    assert_ok(STATUS("rank_scores", out, tensor(NULL, scores), tensor(NULL, target),
                     tensor(NULL, seen), gc_str("ties", rule[i].ties)));
    assert_true(doubles(out[0])[0] == rule[i].rank);
    assert_int_equal(((const int64_t *)qn_tensor_view(out[1])->data)[0], 8);
    FREE(out[0], out[1]);
  }
  FREE(scores, target, seen);
}

static void ranks_by_product_equal_ranks_by_counting(void **state) {
  (void)state;
  enum { U = 70, V = 201, D = 9 };
  qn_tensor *ow = noise(1, 1, 2, U, D, 0), *ew = noise(2, 1, 2, V, D, 0), *o = to_f32(ow),
            *e = to_f32(ew), *out[2];
  float *rows = qn_tensor_view(e)->data;
  memcpy(rows + 50 * D, rows + 60 * D, D * sizeof(float)); /* equal rows tie exactly */
  int64_t target[U], seen[U * 2], lengths[1 + U];
  for (int u = 0; u < U; u++) {
    target[u] = u == 3 ? 50 : 1 + u * 2;
    seen[2 * u] = 1 + (u * 7) % (V - 1);
    seen[2 * u + 1] = 1 + (u * 13) % (V - 1);
  }
  int64_t offsets[U + 1];
  for (int u = 0; u <= U; u++) offsets[u] = 2 * u;
  (void)lengths;
  qn_tensor *t = i64(target, U), *values = i64(seen, 2 * U), *off = i64(offsets, U + 1), *list;
  assert_ok(qn_tensor_jagged(values, off, &list));
  assert_ok(STATUS("rank_targets", out, tensor(NULL, o), tensor(NULL, e), tensor(NULL, t),
                   tensor(NULL, list)));
  for (int u = 0; u < U; u++) {
    double rank = 1, own = 0;
    for (int d = 0; d < D; d++)
      own += (double)floats(o)[u * D + d] * (double)rows[target[u] * D + d];
    for (int v = 1; v < V; v++) {
      double s = 0;
      bool same = memcmp(rows + v * D, rows + target[u] * D, D * sizeof(float)) == 0;
      for (int d = 0; d < D; d++) s += (double)floats(o)[u * D + d] * (double)rows[v * D + d];
      if (v == target[u] || v == seen[2 * u] || v == seen[2 * u + 1]) continue;
      rank += same ? .5 : s > own;
    }
    assert_true(doubles(out[0])[u] == rank);
  }
  FREE(ow, ew, o, e, t, values, off, list, out[0], out[1]);
}

/* ---- Equal bits for any number of workers ---- */

static void bits_do_not_depend_on_workers(void **state) {
  (void)state;
  static const int32_t workers[] = {1, 2, 3, 7};
  static const int64_t lengths[] = {40, 3, 17, 60, 1, 29, 55, 12, 33, 8};
  enum { T = 258 };
  qn_tensor *first[5] = {NULL};
  for (int w = 0; w < 4; w++) {
    assert_ok(qn_threads_set(workers[w]));
    qn_random_seed(3);
    int64_t ids[T];
    for (int i = 0; i < T; i++) ids[i] = 1 + (i * 37) % 299;
    qn_tensor *ew = noise(2, 1, 2, 300, 16, 0), *e = to_f32(ew), *pw = noise(3, 1, 2, 64, 16, 0),
              *p = to_f32(pw);
    qn_tensor *bw = noise(4, 1, 1, 127, 0, 0), *bp = to_f32(bw),
              *seq = jagged(i64(ids, T), 10, lengths), *pos = i64(ids, T);
    qn_tensor *leaf[] = {e, p, bp};
    for (int i = 0; i < 3; i++) assert_ok(qn_tensor_require_grad(leaf[i], 1));
    qn_tensor *x = RUN("sequence_embedding", tensor(NULL, seq), tensor(NULL, e), tensor(NULL, p),
                       gc_num("dropout", .2));
    qn_tensor *z = RUN("hstu_mixer", tensor(NULL, x), tensor(NULL, bp), gc_int("heads", 1),
                       gc_int("dqk", 4), gc_int("dv", 4), gc_int("n", 64), gc_num("dropout", .2),
                       gc_num("attn_dropout", .1), gc_int("parts", 3));
    qn_tensor *o = RUN("concat", gc_tensors((qn_tensor *[]){z, z}, 2), gc_int("dim", 2));
    qn_tensor *l, *o16 = RUN("narrow", tensor(NULL, o), gc_int("dim", 2), gc_int("start", 1),
                             gc_int("length", 16));
    l = RUN("sampled_softmax_l2", tensor(NULL, o16), tensor(NULL, pos), tensor(NULL, e),
            gc_int("negatives", 20));
    assert_ok(qn_backward(l, NULL, 0));
    qn_tensor *got[] = {z, l, qn_tensor_grad(e), qn_tensor_grad(p), qn_tensor_grad(bp)};
    for (int i = 0; i < 5; i++) {
      assert_non_null(got[i]);
      size_t bytes = (size_t)gc_count(qn_tensor_view(got[i])) * 4;
      if (w)
        assert_memory_equal(floats(first[i]), floats(got[i]), bytes);
      else
        first[i] = qn_tensor_retain(got[i]);
    }
    FREE(ew, e, pw, p, bw, bp, seq, pos, x, z, o, o16, l);
  }
  free_all(5, first);
  assert_ok(qn_threads_set(2));
}

/* ---- Bad input ---- */

static void bad_input_is_refused_in_words(void **state) {
  (void)state;
  qn_tensor *o = f32(NULL, 2, 2, 4, 0), *e = f32(NULL, 2, 5, 4, 0),
            *zero = i64((int64_t[]){1, 0}, 2), *out[2];
  qn_tensor *high = i64((int64_t[]){1, 5}, 2), *good = i64((int64_t[]){1, 2}, 2),
            *none = i64(NULL, 0);
  assert_fails(
      STATUS("sampled_softmax_l2", out, tensor(NULL, o), tensor(NULL, zero), tensor(NULL, e)),
      QN_E_ARG, "pos[2] is 0");
  assert_fails(
      STATUS("sampled_softmax_l2", out, tensor(NULL, o), tensor(NULL, high), tensor(NULL, e)),
      QN_E_ARG, "1..4");
  assert_fails(STATUS("sampled_softmax_l2", out, tensor(NULL, o), tensor(NULL, good),
                      tensor(NULL, e), gc_num("temperature", -.05)),
               QN_E_ARG, "temperature");
  assert_fails(STATUS("sampled_softmax_l2", out, tensor(NULL, o), tensor(NULL, good),
                      tensor(NULL, e), tensor("items", none)),
               QN_E_ARG, "no item");
  assert_fails(STATUS("rank_targets", out, tensor(NULL, o), tensor(NULL, e), tensor(NULL, high)),
               QN_E_ARG, "not in the catalogue");
  qn_tensor *all = jagged(i64((int64_t[]){1, 2, 3, 4, 1}, 5), 2, (int64_t[]){4, 1});
  assert_fails(STATUS("rank_targets", out, tensor(NULL, o), tensor(NULL, e), tensor(NULL, good),
                      tensor(NULL, all)),
               QN_E_ARG, "all candidates are filtered out");
  qn_tensor *ids = jagged(i64((int64_t[]){1, 0}, 2), 1, (int64_t[]){2}),
            *empty = jagged(i64((int64_t[]){1, 2}, 2), 2, (int64_t[]){2, 0});
  assert_fails(STATUS("sequence_embedding", out, tensor(NULL, ids), tensor(NULL, e)), QN_E_ARG,
               "ids[2] is 0");
  assert_fails(STATUS("sequence_embedding", out, tensor(NULL, empty), tensor(NULL, e)), QN_E_SHAPE,
               "sequence 2 is empty");
  qn_tensor *m = jagged(f32(NULL, 2, 2, 8, 0), 1, (int64_t[]){2}), *bt = f32(NULL, 1, 129, 0, 0),
            *bp = f32(NULL, 1, 7, 0, 0);
  qn_arg shape[] = {gc_int("heads", 1), gc_int("dqk", 2), gc_int("dv", 2)};
  assert_fails(STATUS("hstu_mixer", out, tensor(NULL, m), tensor("bt", bt), shape[0], shape[1],
                      shape[2], gc_int("n", 4)),
               QN_E_ARG, "rab = \"pos\"");
  assert_fails(STATUS("hstu_mixer", out, tensor(NULL, m), tensor(NULL, bp), shape[0], shape[1],
                      shape[2], gc_int("n", 5)),
               QN_E_SHAPE, "2*n-1 is 9");
  assert_fails(STATUS("hstu_mixer", out, tensor(NULL, m), shape[0], shape[1], gc_int("dv", 3),
                      gc_int("n", 4)),
               QN_E_SHAPE, "2*heads*(dqk+dv) is 10");
  assert_fails(STATUS("hstu_mixer", out, tensor(NULL, m), shape[0], shape[1], shape[2],
                      gc_int("n", 4), gc_num("dropout", 1)),
               QN_E_ARG, "[0, 1)");
  qn_tensor *time = jagged(i64((int64_t[]){1, 2}, 2), 1, (int64_t[]){2});
  assert_fails(
      STATUS("time_bucket", out, tensor(NULL, time), tensor(NULL, time), gc_int("width", 1)),
      QN_E_SHAPE, "2 events");
  FREE(o, e, zero, high, good, none, all, ids, empty, m, bt, bp, time);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiny_layer_equals_the_worked_example),
      cmocka_unit_test(tiny_attention_and_its_weights_equal_the_worked_example),
      cmocka_unit_test(buckets_of_the_tiny_layer),
      cmocka_unit_test(bucket_table_is_exact),
      cmocka_unit_test(buckets_of_a_row_are_those_of_its_keys),
      cmocka_unit_test(position_bias_lies_at_n_minus_1_plus_j_minus_i),
      cmocka_unit_test(sampled_softmax_equals_the_worked_example),
      cmocka_unit_test(gradients_of_the_losses),
      cmocka_unit_test(clamped_lengths_have_a_plain_gradient),
      cmocka_unit_test(gradients_by_rows_equal_dense_ones),
      cmocka_unit_test(unit_rows_may_be_given),
      cmocka_unit_test(gradients_of_attention),
      cmocka_unit_test(gradients_of_the_gate_and_the_mixer),
      cmocka_unit_test(gradients_of_the_embedding),
      cmocka_unit_test(mixer_is_attention_then_gate),
      cmocka_unit_test(f32_agrees_with_f64_over_block_edges),
      cmocka_unit_test(later_tokens_do_not_move_earlier_outputs),
      cmocka_unit_test(a_moved_time_reaches_one_output_before_it),
      cmocka_unit_test(a_sequence_alone_equals_it_in_a_batch),
      cmocka_unit_test(n_is_a_constant_divisor),
      cmocka_unit_test(one_event_is_a_whole_sequence),
      cmocka_unit_test(a_constant_scorer_gets_the_middle_rank),
      cmocka_unit_test(ranks_by_product_equal_ranks_by_counting),
      cmocka_unit_test(bits_do_not_depend_on_workers),
      cmocka_unit_test(bad_input_is_refused_in_words),
  };
  return cmocka_run_group_tests(tests, hstu_start, NULL);
}
