/* attention (jagged) and attention_dense. SPDX-License-Identifier: MIT */
#include "network_help.h"

static const int64_t lengths[] = {0, 1, 2, 7};

/* One query against S keys that it may see, plain. */
static void reference_row(const double *s, const int *sees, int64_t S, const double *v,
                          int64_t v_step, int64_t E, double *o) {
  double sum = 0;
  for (int64_t e = 0; e < E; e++) o[e] = 0;
  for (int64_t c = 0; c < S; c++)
    if (sees[c]) sum += exp(s[c]);
  for (int64_t c = 0; c < S; c++)
    for (int64_t e = 0; sees[c] && e < E; e++) o[e] += exp(s[c]) / sum * v[c * v_step + e];
}

static void jagged_rows_follow_the_formula(void **state) {
  (void)state;
  enum { H = 2, D = 3, E = 5, L = 8 };
  qn_tensor *q = jagged(noise(1, SHAPE(10, H, D)), 4, lengths),
            *k = jagged(noise(2, SHAPE(10, H, D)), 4, lengths);
  qn_tensor *v = jagged(noise(3, SHAPE(10, H, E)), 4, lengths), *bias = noise(4, SHAPE(H, L, L));
  for (int causal = 0; causal < 2; causal++) {
    qn_tensor *o = call("attention", ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(bias),
                                          gc_bool("causal", causal), gc_num("scale", 0.7)));
    for (int b = 0, first = 0; b < 4; first += (int)lengths[b++])
      for (int h = 0; h < H; h++)
        for (int i = 0; i < lengths[b]; i++) {
          double s[8], row[E];
          int sees[8];
          for (int c = 0; c < lengths[b]; c++) {
            s[c] = value(bias, (h * L + i) * L + c);
            sees[c] = !causal || c <= i;
            for (int d = 0; d < D; d++)
              s[c] += 0.7 * value(q, ((first + i) * H + h) * D + d) *
                      value(k, ((first + c) * H + h) * D + d);
          }
          reference_row(s, sees, lengths[b],
                        (double *)qn_tensor_view(v)->data + (first * H + h) * E, H * E, E, row);
          for (int e = 0; e < E; e++)
            assert_near(value(o, ((first + i) * H + h) * E + e), row[e], 1e-13);
        }
    qn_tensor_free(o);
  }
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(bias);
}

static void jagged_form_is_sound(void **state) {
  (void)state;
  qn_tensor *q = jagged(noise(1, SHAPE(10, 2, 3)), 4, lengths),
            *k = jagged(noise(2, SHAPE(10, 2, 3)), 4, lengths),
            *v = jagged(noise(3, SHAPE(10, 2, 5)), 4, lengths);
  qn_tensor *own = noise(4, SHAPE(2, 8, 8)), *shared = noise(5, SHAPE(7, 7));
  for (int causal = 0; causal < 2; causal++) {
    assert_sound("attention", GRADCHECK_FIRST,
                 ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_bool("causal", causal)));
    assert_sound(
        "attention", GRADCHECK_FIRST,
        ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(own), gc_bool("causal", causal)));
    assert_sound("attention", GRADCHECK_FIRST,
                 ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(shared),
                      gc_bool("causal", causal)));
  }
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(own),
      qn_tensor_free(shared);
}

static void several_tiles_and_lanes(void **state) {
  (void)state;
  const int64_t many[] = {100, 31, 33, 0, 64, 1, 90, 17, 5, 40, 70, 3};
  qn_tensor *q = jagged(noise(1, SHAPE(454, 2, 25)), 12, many),
            *k = jagged(noise(2, SHAPE(454, 2, 25)), 12, many),
            *v = jagged(noise(3, SHAPE(454, 2, 32)), 12, many),
            *bias = noise(4, SHAPE(2, 100, 100));
  qn_tensor *q32 = as_f32(q), *k32 = as_f32(k), *v32 = as_f32(v), *bias32 = as_f32(bias);
  for (int causal = 0; causal < 2; causal++) {
    assert_f32_near(
        "attention",
        ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(bias), gc_bool("causal", causal)),
        3e-5);
    assert_same_bits("attention", ARGS(gc_tensor(q32), gc_tensor(k32), gc_tensor(v32),
                                       gc_tensor(bias32), gc_bool("causal", causal)));
    assert_same_bits("attention", ARGS(gc_tensor(q32), gc_tensor(k32), gc_tensor(v32),
                                       gc_bool("causal", causal)));
  }
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(bias);
  qn_tensor_free(q32), qn_tensor_free(k32), qn_tensor_free(v32), qn_tensor_free(bias32);
}

static void dense_rows_follow_the_formula(void **state) {
  (void)state;
  enum { B = 2, H = 2, T = 3, S = 5, D = 4, E = 3 };
  qn_tensor *q = noise(1, SHAPE(B, H, T, D)), *k = noise(2, SHAPE(B, H, S, D)),
            *v = noise(3, SHAPE(B, H, S, E)), *bias = noise(4, SHAPE(H, 1, S));
  uint8_t keep[B * S] = {1, 1, 0, 1, 1, 0, 0, 0, 1, 1};
  qn_tensor *mask = gc_new(QN_BOOL, keep, SHAPE(B, 1, 1, S));
  for (int causal = 0; causal < 2; causal++) {
    qn_tensor *o =
        call("attention_dense", ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(mask),
                                     gc_tensor(bias), gc_bool("causal", causal)));
    for (int u = 0; u < B * H; u++)
      for (int i = 0; i < T; i++) {
        double s[S], row[E];
        int sees[S], any = 0;
        for (int c = 0; c < S; c++) {
          s[c] = value(bias, u % H * S + c);
          for (int d = 0; d < D; d++)
            s[c] += 0.5 * value(q, (u * T + i) * D + d) * value(k, (u * S + c) * D + d);
          sees[c] = keep[u / H * S + c] && (!causal || c <= i + S - T);
          any += sees[c];
        }
        reference_row(s, sees, S, (double *)qn_tensor_view(v)->data + u * S * E, E, E, row);
        for (int e = 0; e < E; e++)
          assert_near(value(o, (u * T + i) * E + e), any ? row[e] : 0, 1e-13);
      }
    qn_tensor_free(o);
  }
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(bias),
      qn_tensor_free(mask);
}

static void dense_form_is_sound(void **state) {
  (void)state;
  qn_tensor *q = noise(1, SHAPE(2, 2, 3, 4)), *k = noise(2, SHAPE(2, 2, 5, 4)),
            *v = noise(3, SHAPE(2, 2, 5, 3));
  qn_tensor *mask = gc_new(QN_BOOL, (uint8_t[]){1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0},
                           SHAPE(3, 5)); /* query 2 sees nothing */
  qn_tensor *bias[] = {noise(4, SHAPE(5)),          noise(5, SHAPE(3, 1)),
                       noise(6, SHAPE(2, 1, 1, 5)), noise(7, SHAPE(2, 2, 3, 5)),
                       noise(8, SHAPE(2, 3, 5)),    noise(9, SHAPE(1))};
  for (int causal = 0; causal < 2; causal++) {
    assert_sound("attention_dense", GRADCHECK_FIRST,
                 ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_bool("causal", causal)));
    for (int b = 0; b < 6; b++)
      assert_sound("attention_dense", GRADCHECK_FIRST,
                   ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_tensor(mask),
                        gc_tensor(bias[b]), gc_bool("causal", causal)));
  }
  for (int b = 0; b < 6; b++) qn_tensor_free(bias[b]);
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(mask);
}

/* More queries than keys: the first queries see nothing, and give zeros with zero gradients. */
static void queries_before_all_keys_give_zeros(void **state) {
  (void)state;
  qn_tensor *q = noise(1, SHAPE(1, 1, 40, 4)), *k = noise(2, SHAPE(1, 1, 2, 4)),
            *v = noise(3, SHAPE(1, 1, 2, 3));
  pass p = run_pass("attention_dense",
                    ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_bool("causal", 1)));
  for (int i = 0; i < 38 * 3; i++) assert_true(value(p.t[0], i) == 0);
  for (int i = 0; i < 38 * 4; i++) assert_true(value(p.t[1], i) == 0);
  assert_true(value(p.t[0], 38 * 3) == value(v, 0));
  free_pass(&p);
  assert_sound("attention_dense", GRADCHECK_FIRST,
               ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v), gc_bool("causal", 1)));
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v);
}

/* F.scaled_dot_product_attention of q = [[1,0],[0,1]], k = q, v = [[1,2],[3,4]], causal */
static void numbers_are_those_of_pytorch(void **state) {
  (void)state;
  const int64_t two[] = {2};
  qn_tensor *q = jagged(gc_new(QN_F32, (float[]){1, 0, 0, 1}, SHAPE(2, 1, 2)), 1, two),
            *v = jagged(gc_new(QN_F32, (float[]){1, 2, 3, 4}, SHAPE(2, 1, 2)), 1, two);
  qn_tensor *o = call("attention", ARGS(gc_tensor(q), gc_tensor(q), gc_tensor(v)));
  assert_true(value(o, 0) == 1 && value(o, 1) == 2);
  assert_near(value(o, 2), 2.3395231, 1e-6);
  assert_near(value(o, 3), 3.3395231, 1e-6);
  qn_tensor_free(q), qn_tensor_free(v), qn_tensor_free(o);
}

static void misfits_are_named(void **state) {
  (void)state;
  qn_tensor *q = noise(1, SHAPE(2, 2, 3, 4)), *k = noise(2, SHAPE(2, 2, 5, 4)),
            *v = noise(3, SHAPE(2, 2, 4, 3)), *bias = noise(3, SHAPE(4, 5));
  assert_fails(try_call("attention_dense", ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(v))),
               QN_E_SHAPE, "S");
  assert_fails(
      try_call("attention_dense", ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(k), gc_tensor(bias))),
      QN_E_DTYPE, "bool or u8");
  assert_fails(try_call("attention_dense", ARGS(gc_tensor(q), gc_tensor(k), gc_tensor(k),
                                                {.kind = QN_ARG_NIL}, gc_tensor(bias))),
               QN_E_SHAPE, "[4,5], but must fit [2,2,3,5]");
  const int64_t seven[] = {7};
  qn_tensor *x = jagged(noise(1, SHAPE(7, 1, 2)), 1, seven), *small = noise(1, SHAPE(6, 6));
  assert_fails(
      try_call("attention", ARGS(gc_tensor(x), gc_tensor(x), gc_tensor(x), gc_tensor(small))),
      QN_E_SHAPE, "longest sequence");
  qn_tensor_free(q), qn_tensor_free(k), qn_tensor_free(v), qn_tensor_free(bias), qn_tensor_free(x),
      qn_tensor_free(small);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(jagged_rows_follow_the_formula),
      cmocka_unit_test(jagged_form_is_sound),
      cmocka_unit_test(several_tiles_and_lanes),
      cmocka_unit_test(dense_rows_follow_the_formula),
      cmocka_unit_test(dense_form_is_sound),
      cmocka_unit_test(queries_before_all_keys_give_zeros),
      cmocka_unit_test(numbers_are_those_of_pytorch),
      cmocka_unit_test(misfits_are_named),
  };
  return RUN(tests);
}
