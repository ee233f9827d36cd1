/* Random calls made from schemas are valid, varied and repeatable. SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry/schema.h"

static const char *const SCHEMAS[] = {
    "linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, *, act: enum{none|relu} = none) -> y: f[...,O]",
    "attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], len: i64[B], *, scale: num = 1) -> o: "
    "f[T@B,H,E]",
    "add(a: f[~...], b: f[~...]) -> y: f[...]",
    "add_(a!: f[...], b: f[~...]) -> a",
    "concat(xs: t[?]*, *, dim: int = 1) -> y: t[?]",
    "reshape(x: t[?] strided, *, shape: [int{1..}]) -> y&x: t[?]",
    "unfold(x: f[N,C,L], *, k: int{1..}) -> y: f[N,C,k,L-k+1] where L >= k",
    "conv(x: f[N,C,L], w: f[O,C,K], b: f[O]?, *, s: int{1..} = 1, p: int{0..} = 0) -> y: "
    "f[N,O,(L+2*p-K)/s+1] where L+2*p >= K, K > 0",
    "nll(x: f[N,C], y: i64[N]{0..C-1}, m: bool[N]? = nil) -> l: f[]",
    "topk(x: f[...,N], *, k: int{1..}) -> v: like x with N=k, i: i64[...,k] where k <= N",
    "pos(x: f[T,D], w: f[2*T-1,D], u: any[?], p: f[T]{0..1}, *, d: [num{0..1}]) -> y: f[T,D] where "
    "T > 0",
    "rows(x: t[N,...], i: i[M]{0..N-1}) -> y: t[M,...]"};
enum { N_SCHEMAS = sizeof SCHEMAS / sizeof SCHEMAS[0], SEEDS = 150 };

static qni_schema *parse(const char *text) {
  qni_schema *s;
  assert_int_equal(qni_schema_parse(text, &s), QN_OK);
  return s;
}

static void draw(const qni_schema *s, uint64_t seed, int32_t layout, qni_sample *sample) {
  const qni_sample_options o = {.seed = seed,
                                .layout = layout,
                                .max_size = 33,
                                .allow_empty = true,
                                .values = (int32_t)(seed % 2)};
  qni_error_reset();
  if (qni_schema_sample(s, &o, sample))
    fail_msg("%s\n%s", qn_error_last()->what, qn_error_last()->detail);
}

/* Binds a sample as a call would, and unifies. */
static void must_unify(const qni_schema *s, const qni_sample *sample, qni_binding *b) {
  const qn_view *views[QN_MAX_TENSORS];
  int16_t owner[QN_MAX_TENSORS];
  int64_t n_seq[QN_MAX_TENSORS];
  qni_value attrs[QN_MAX_PARAMS];
  int32_t n = 0;
  for (int32_t p = 0; p < s->n_params; p++) {
    const qn_arg *a = NULL;
    for (int32_t i = 0; i < sample->n_args; i++)
      if (!strcmp(sample->arg[i].name, s->param[p].name)) a = &sample->arg[i];
    attrs[p] = s->param[p].value;
    if (!a) {
      assert_true(s->param[p].has_default);
      continue;
    }
    if (s->param[p].kind != QNI_TENSOR) {
      attrs[p] = (qni_value){.kind = a->kind, .count = a->count};
      memcpy(&attrs[p].v, &a->v, sizeof a->v);
      assert_int_equal(qni_schema_check_attr(s, p, &attrs[p]), QN_OK);
      continue;
    }
    for (int32_t k = 0; k < a->count; k++, n++) {
      const qn_tensor *t = a->kind == QN_ARG_TENSORS ? a->v.tensors[k] : a->v.tensor;
      views[n] = &t->view;
      owner[n] = (int16_t)p;
      n_seq[n] = t->offsets ? t->offsets->view.shape[0] - 1 : -1;
    }
  }
  if (qni_schema_unify(s, n, views, owner, n_seq, attrs, b))
    fail_msg("%s\n%s", qn_error_last()->what, qn_error_last()->detail);
  for (int32_t o = 0; o < s->n_outputs; o++) {
    qn_view out;
    bool decided;
    if (qni_schema_output(s, o, b, views, owner, n, attrs, &out, &decided))
      fail_msg("%s", qn_error_last()->what);
  }
}

static void samples_are_valid_calls(void **state) {
  (void)state;
  for (int i = 0; i < N_SCHEMAS; i++) {
    qni_schema *s = parse(SCHEMAS[i]);
    for (uint64_t seed = 0; seed < SEEDS; seed++)
      for (int32_t layout = 0; layout <= QNI_LAYOUT_BROADCAST; layout++) {
        qni_sample sample;
        qni_binding b;
        draw(s, seed, layout, &sample);
        must_unify(s, &sample, &b);
        qni_sample_free(&sample);
      }
    qni_schema_free(s);
  }
}

static int64_t element(const qn_view *v, int64_t i) {
  return ((int64_t *)v->data)[i * v->stride[0]];
}

static void integers_keep_to_their_range_and_sizes_vary(void **state) {
  (void)state;
  qni_schema *s = parse(SCHEMAS[8]);
  bool empty = false, large = false, masked = false, unmasked = false;
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    qni_sample sample;
    draw(s, seed, (int32_t)(seed % 5), &sample);
    const qn_view *x = &sample.arg[0].v.tensor->view, *y = &sample.arg[1].v.tensor->view;
    for (int64_t i = 0; i < y->shape[0]; i++) assert_in_range(element(y, i), 0, x->shape[1] - 1);
    empty = empty || x->shape[0] == 0;
    large = large || x->shape[0] == 33;
    masked = masked || sample.n_args == 3;
    unmasked = unmasked || sample.n_args == 2;
    qni_sample_free(&sample);
  }
  assert_true(empty && large && masked && unmasked);
  qni_schema_free(s);
}

static void layouts_are_as_named(void **state) {
  (void)state;
  qni_schema *s = parse("f(x: f32[N,C], w!: f32[N,C]) -> w where N > 1, C > 1");
  for (uint64_t seed = 0; seed < 20; seed++)
    for (int32_t layout = 0; layout <= QNI_LAYOUT_BROADCAST; layout++) {
      qni_sample sample;
      draw(s, seed, layout, &sample);
      const qn_view *x = &sample.arg[0].v.tensor->view, *w = &sample.arg[1].v.tensor->view;
      assert_int_equal(qni_view_contiguous(x),
                       layout == QNI_LAYOUT_CONTIGUOUS || layout == QNI_LAYOUT_OFFSET);
      assert_int_equal((uintptr_t)x->data % 64 != 0, layout == QNI_LAYOUT_OFFSET);
      assert_int_equal(x->stride[0] == 0 || x->stride[1] == 0, layout == QNI_LAYOUT_BROADCAST);
      assert_true(w->stride[0] && w->stride[1]);
      qni_sample_free(&sample);
    }
  qni_schema_free(s);
}

static void enums_visit_every_word_and_jagged_has_empty_rows(void **state) {
  (void)state;
  qni_schema *s =
      parse("f(x: f[T@B], y: t[T@B], *, e: enum{a|b|c}, g: enum{p|q}? = nil) -> z: f[T@B]");
  int seen[3][3] = {{0}};
  bool empty_row = false;
  for (uint64_t seed = 0; seed < 9 * 5; seed++) {
    qni_sample sample;
    draw(s, seed, 0, &sample);
    int e = -1, g = 2;
    for (int32_t i = 0; i < sample.n_args; i++) {
      if (!strcmp(sample.arg[i].name, "e")) e = sample.arg[i].v.s[0] - 'a';
      if (!strcmp(sample.arg[i].name, "g")) g = sample.arg[i].v.s[0] - 'p';
    }
    seen[e][g]++;
    const qn_view *x = &sample.arg[0].v.tensor->offsets->view,
                  *y = &sample.arg[1].v.tensor->offsets->view;
    assert_int_equal(x->shape[0], y->shape[0]);
    assert_memory_equal(x->data, y->data, (size_t)x->shape[0] * 8);
    for (int64_t b = 1; b < x->shape[0]; b++)
      empty_row = empty_row || element(x, b) == element(x, b - 1);
    qni_sample_free(&sample);
  }
  for (int e = 0; e < 3; e++)
    for (int g = 0; g < 3; g++) assert_int_equal(seen[e][g], 5);
  assert_true(empty_row);
  qni_schema_free(s);
}

static void equal_seeds_give_equal_samples(void **state) {
  (void)state;
  qni_schema *s =
      parse("f(x: f64[N,C], y: i64[N], *, p: num{0..1}) -> z: f64[N] where N > 0, C > 0");
  for (uint64_t seed = 0; seed < 20; seed++) {
    qni_sample a, b;
    draw(s, seed, 0, &a);
    draw(s, seed, 0, &b);
    const qn_view *x = &a.arg[0].v.tensor->view, *y = &b.arg[0].v.tensor->view;
    assert_int_equal(x->shape[0], y->shape[0]);
    assert_memory_equal(x->data, y->data, (size_t)qni_view_count(x) * 8);
    assert_true(a.arg[2].v.f == b.arg[2].v.f);
    qni_sample_free(&a);
    qni_sample_free(&b);
  }
  qni_schema_free(s);
}

static void extremes_appear_only_when_asked_for(void **state) {
  (void)state;
  qni_schema *s = parse("f(x: f[N], u: f[N]{0..}) -> y: f[N] where N > 2");
  for (int32_t values = 0; values < 2; values++) {
    bool odd = false;
    for (uint64_t seed = 0; seed < 30; seed++) {
      qni_sample sample;
      const qni_sample_options o = {
          .seed = seed, .dtype = QN_F64, .max_size = 33, .values = values};
      assert_int_equal(qni_schema_sample(s, &o, &sample), QN_OK);
      const double *x = sample.arg[0].v.tensor->view.data, *u = sample.arg[1].v.tensor->view.data;
      for (int64_t i = 0; i < sample.arg[0].v.tensor->view.shape[0]; i++) {
        odd = odd || !isfinite(x[i]);
        assert_true(u[i] >= 0 && isfinite(u[i]));
      }
      qni_sample_free(&sample);
    }
    assert_int_equal(odd, values);
  }
  qni_schema_free(s);
}

static void impossible_conditions_are_reported(void **state) {
  (void)state;
  qni_schema *s = parse("f(x: f[N]) -> y: f[N] where N > 1000");
  qni_sample sample;
  qni_error_reset();
  assert_int_equal(qni_schema_sample(s, &(qni_sample_options){.max_size = 33}, &sample),
                   QN_E_UNSUPPORTED);
  qni_schema_free(s);
}

static void failed_allocations_leave_nothing_behind(void **state) {
  (void)state;
  qni_schema *s = parse(SCHEMAS[1]);
  qn_memory before, after;
  for (int n = 1;; n++) {
    qni_sample sample;
    qn_memory_stats(&before);
    qni_error_reset();
    qni_mem_fail_after(n, 0);
    qn_status st = qni_schema_sample(s, &(qni_sample_options){.seed = 3, .max_size = 7}, &sample);
    qni_mem_fail_after(0, 0);
    qni_sample_free(&sample);
    qn_memory_stats(&after);
    assert_int_equal(before.live, after.live);
    if (!st) break;
    assert_int_equal(st, QN_E_NOMEM);
  }
  qni_schema_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(samples_are_valid_calls),
      cmocka_unit_test(integers_keep_to_their_range_and_sizes_vary),
      cmocka_unit_test(layouts_are_as_named),
      cmocka_unit_test(enums_visit_every_word_and_jagged_has_empty_rows),
      cmocka_unit_test(equal_seeds_give_equal_samples),
      cmocka_unit_test(extremes_appear_only_when_asked_for),
      cmocka_unit_test(impossible_conditions_are_reported),
      cmocka_unit_test(failed_allocations_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
