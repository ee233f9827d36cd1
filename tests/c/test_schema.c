/* The schema language: parsing, printing, unification, outputs. SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "registry/schema.h"

static qni_schema *parse(const char *text) {
  qni_schema *s;
  qni_error_reset();
  if (qni_schema_parse(text, &s))
    print_message("%s\n%s\n%s\n", text, qn_error_last()->what, qn_error_last()->detail);
  assert_non_null(s);
  return s;
}

/* ---- Canonical form ---- */

static const char *const CANONICAL[] = {
    "linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, *, act: enum{none|relu} = none) -> y: f[...,O]",
    "hstu_attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], *, scale: num = 1) -> o: f[T@B,H,E]",
    "add(a: f[~...], b: f[~...]) -> y: f[...]",
    "concat(xs: t[?]*, *, dim: int = 1) -> y: t[?]",
    "relu_(x!: f[...]) -> x",
    "reshape(x: t[?] strided, *, shape: [int]) -> y&x: t[?]",
    "unfold(x: f[N,C,L], *, k: int{1..}) -> y: f[N,C,k,L-k+1] where L >= k",
    "nll(x: f[N,C], y: i64[N]{0..C-1}) -> l: f[]",
    "topk(x: f[...,N], *, k: int{1..}) -> v: like x with N=k, i: i64[...,k]",
    "conv(x: f[N,C,L], w: f[O,C,K], *, s: int{1..} = 1, p: int{0..} = 0) -> y: "
    "f[N,O,(L+2*p-K)/s+1] where L+2*p >= K, s > 0",
    "many(x~: f[N,...,3] strided, m: bool[N]{..1}, *, a: num{-1.5..1e-08} = -0.25, b: bool = true, "
    "c: str = \"a \\\"q\\\" \\\\\", "
    "d: [int{1..}] = [1,2], e: [num] = [], f: int? = nil, g: num = inf) -> y: any[N], z&x: f[?] "
    "where N-(N-1) == 1",
    NULL};

static void printing_gives_the_same_schema_again(void **state) {
  (void)state;
  const char *skip = CANONICAL[10]; /* `any` needs a parameter dtype: see outputs below */
  for (int i = 0; CANONICAL[i]; i++) {
    if (CANONICAL[i] == skip) continue;
    qni_schema *s = parse(CANONICAL[i]);
    assert_string_equal(s->canonical, CANONICAL[i]);
    qni_schema *again = parse(s->canonical);
    assert_string_equal(again->canonical, s->canonical);
    assert_true(again->hash == s->hash && s->hash != 0);
    qni_schema_free(again);
    qni_schema_free(s);
  }
}

static void spacing_and_shorthand_have_one_canonical_form(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {" f ( x:f[ A , B ]? , * , k : int { .. 5 } )->y : f32[A*(B+k)]\n where A<B , k==1",
       "f(x: f[A,B]? = nil, *, k: int{..5}) -> y: f32[A*(B+k)] where A < B, k == 1"},
      {"f(*, k: int{10..2000}, p: num{-1e2..1e20} = 1000.0) -> y: f[]",
       "f(*, k: int{10..2000}, p: num{-100..1e+20} = 1000) -> y: f[]"},
      {"f(q: f[A], k: like q, v: like k) -> y: like v",
       "f(q: f[A], k: like q, v: like q) -> y: like q"},
      {"f(x: f[A], *, p: num = 0.10) -> y: f[((A)+1)-(2)]",
       "f(x: f[A], *, p: num = 0.1) -> y: f[A+1-2]"},
      {"f(x: f[N,...]*) -> y: f[...]", "f(x: f[N,...]*) -> y: f[...]"}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    qni_schema *s = parse(pairs[i][0]), *t = parse(pairs[i][1]);
    assert_string_equal(s->canonical, pairs[i][1]);
    assert_true(s->hash == t->hash);
    qni_schema_free(s);
    qni_schema_free(t);
  }
}

static void long_schema_with_every_kind_round_trips(void **state) {
  (void)state;
  char text[700];
  snprintf(text, sizeof text, "%s", CANONICAL[10]);
  char *any = strstr(text, "any[N]");
  memcpy(any, "f32[N]", 6);
  qni_schema *s = parse(text);
  assert_string_equal(s->canonical, text);
  const qni_param *c = &s->param[qni_schema_param(s, "c")],
                  *d = &s->param[qni_schema_param(s, "d")];
  assert_string_equal(c->value.v.s, "a \"q\" \\");
  assert_int_equal(d->value.count, 2);
  assert_int_equal(d->value.v.ints[1], 2);
  assert_true(s->param[0].reusable && s->param[0].tensor.strided &&
              s->param[0].tensor.lead_at == 1);
  assert_int_equal(qni_schema_param(s, "nothing"), -1);
  qni_schema_free(s);
}

/* ---- Refusals ---- */

static void refused(const char *text, int column, const char *what) {
  qni_schema *s;
  qni_error_reset();
  assert_int_equal(qni_schema_parse(text, &s), QN_E_FORMAT);
  assert_null(s);
  if (!strstr(qn_error_last()->what, what))
    fail_msg("%s: said \"%s\"", text, qn_error_last()->what);
  const char *caret = strrchr(qn_error_last()->detail, '\n') + 1;
  if ((int)strspn(caret, " ") != column)
    fail_msg("%s: caret at %d\n%s", text, (int)strspn(caret, " "), qn_error_last()->detail);
}

static void errors_point_at_the_column(void **state) {
  (void)state;
  refused("f(x f[A]) -> y: f[A]", 4, "expected ':', found 'f'");
  refused("f(x: q[A]) -> y: f[A]", 5, "expected a type");
  refused("f(x: f[A) -> y: f[A]", 8, "expected ',' or ']', found ')'");
  refused("f(x: f[A]) y: f[A]", 11, "expected '->'");
  refused("f(x: f[A]) -> y: f[A] else", 22, "expected ',', 'where' or the end, found 'else'");
  refused("f(x: f[A]) ->", 13, "found the end");
  refused("f(x: f[A], x: f[B]) -> y: f[A]", 11, "x is declared twice");
  refused("f(x: f[A]) -> y: f[A], y: f[A]", 23, "output y is declared twice");
  refused("f(x: f[A]) -> x: f[A]", 14, "x is a parameter already");
  refused("f(x: f[A]) -> x", 14, "must be marked x!");
  refused("f(x: f[A]) -> y: f[A+Q]", 21, "no input gives Q a value");
  refused("f(x: f[A]) -> y: f[A] where Q > 1", 28, "no input gives Q a value");
  refused("f(x: f[A], y: like z) -> o: f[A]", 19, "no tensor parameter z comes before");
  refused("f(x: f[A]*, y: f[A]) -> o: f[A]", 12, "no tensor can follow the variadic x");
  refused("f(x: f[A], n: int = 1, m: int) -> o: f[A]", 23, "m needs a default");
  refused("f(x: f[A], n: int = nil) -> o: f[A]", 18, "needs '?'");
  refused("f(x: f[A], n: int? = 3) -> o: f[A]", 19, "no default but nil");
  refused("f(x: f[A], n: int{1..} = 0) -> o: f[A]", 23, "outside the range");
  refused("f(x: f[A], n: int{3..1}) -> o: f[A]", 17, "range is empty");
  refused("f(x: f[A], n: num{..inf}) -> o: f[A]", 20, "leave an infinite bound out");
  refused("f(x: f[A], n: int{0.5..}) -> o: f[A]", 18, "expected an integer");
  refused("f(x: f[A], n: int{..}) -> o: f[A]", 20, "expected a bound");
  refused("f(x: f[A], n: enum{a|b} = c) -> o: f[A]", 26, "one of the enum's words");
  refused("f(x: f[A], n: num) -> o: f[n]", 27, "n is a parameter, but not an int");
  refused("f(x: f[A], n!: num) -> o: f[A]", 11, "are for tensors");
  refused("f(x: f[B,A@B]) -> o: f[A]", 9, "'@' belongs to the first dimension");
  refused("f(x: f[A]) -> o: f[...]", 14, "in no input");
  refused("f(x: f[A]) -> o: f[A@B]", 14, "needs an input with the same T@B");
  refused("f(x: f[A]) -> o: any[A]", 14, "nothing gives output o its type");
  refused("f(x: f[...,A,...]) -> o: f[A]", 13, "one '...' at most");
  refused("f(x: f[A], n: int = 99999999999999999999) -> o: f[A]", 20, "too large");
  refused("f(x: f[A], n: str = \"abc) -> o: f[A]", 20, "the string has no end");
  refused("f(x: f[A]) -> o: like x with Q=1", 29, "x has no dimension Q");
  refused("f(x: f[A] $) -> o: f[A]", 10, "found '$'");
  refused("f(x: f[A] strided strided) -> o: f[A]", 18, "written twice");
  refused("f(x: f[A],\n  y: f[) -> o: f[A]", 7, "found ')'");
}

static void deep_and_long_texts_are_refused_not_fatal(void **state) {
  (void)state;
  static char text[QNI_SCHEMA_TEXT + 10];
  qni_schema *s;
  memset(text, '(', sizeof text - 1);
  qni_error_reset();
  assert_int_equal(qni_schema_parse(text, &s), QN_E_FORMAT);
  text[QNI_SCHEMA_TEXT - 1] = 0;
  memcpy(text, "f(x:f[", 6);
  qni_error_reset();
  assert_int_equal(qni_schema_parse(text, &s), QN_E_FORMAT);
  assert_non_null(strstr(qn_error_last()->what, "deeper"));
  for (int i = 0, n = 6; n < QNI_SCHEMA_TEXT - 10; i++) n += snprintf(text + n, 10, "a%d,", i);
  qni_error_reset();
  assert_int_equal(qni_schema_parse(text, &s), QN_E_FORMAT);
}

static void every_failed_allocation_is_an_ordinary_error(void **state) {
  (void)state;
  for (int n = 1;; n++) {
    qni_schema *s;
    qni_error_reset();
    qni_mem_fail_after(n, 0);
    qn_status st =
        qni_schema_parse("f(x: f[A], *, e: enum{a|b} = a, l: [int] = [1]) -> y: like x", &s);
    qni_mem_fail_after(0, 0);
    if (!st) {
      qni_schema_free(s);
      assert_true(n > 2);
      return;
    }
    assert_int_equal(st, QN_E_NOMEM);
    assert_null(s);
  }
}

/* ---- Unification ---- */

struct tried {
  qn_view in[6];
  const qn_view *ptr[6];
  int16_t owner[6];
  int64_t n_seq[6];
  qni_value attrs[QN_MAX_PARAMS];
  int32_t n;
  qni_binding b;
  qn_view out;
  bool decided;
};

static struct tried call;

static void start(const qni_schema *s) {
  memset(&call, 0, sizeof call);
  for (int i = 0; i < s->n_params; i++) call.attrs[i] = s->param[i].value;
}

static void give(int param, int dtype, const char *shape, int64_t n_seq) {
  int64_t size[8];
  int32_t ndim = 0;
  for (const char *at = shape; *at; at += strcspn(at, ","), at += *at == ',')
    size[ndim++] = strtoll(at, NULL, 10);
  qni_view_dense(&call.in[call.n], NULL, dtype, ndim, size);
  call.ptr[call.n] = &call.in[call.n];
  call.owner[call.n] = (int16_t)param;
  call.n_seq[call.n++] = n_seq;
}

static void absent(int param) {
  call.owner[call.n] = (int16_t)param;
  call.n_seq[call.n] = -1;
  call.ptr[call.n++] = NULL;
}

static qn_status unify(const qni_schema *s) {
  qni_error_reset();
  return qni_schema_unify(s, call.n, call.ptr, call.owner, call.n_seq, call.attrs, &call.b);
}

static const char *output(const qni_schema *s, int32_t o) {
  static char text[160];
  qni_error_reset();
  qn_status st = qni_schema_output(s, o, &call.b, call.ptr, call.owner, call.n, call.attrs,
                                   &call.out, &call.decided);
  if (st) return qn_error_last()->what;
  return qni_shape_text(text, sizeof text, call.out.dtype, call.out.ndim, call.out.shape);
}

static void says(const qni_schema *s, qn_status status, const char *text) {
  assert_int_equal(unify(s), status);
  if (!strstr(qn_error_last()->what, text))
    fail_msg("said \"%s\", not \"%s\"", qn_error_last()->what, text);
}

static void mismatch_names_dimension_and_both_inputs(void **state) {
  (void)state;
  qni_schema *s = parse("a(q: f[T,D], k: f[T,D], m: i64[2]? = nil) -> y: f[T]");
  start(s), give(0, QN_F32, "128,8", -1), give(1, QN_F32, "64,8", -1);
  says(s, QN_E_SHAPE, "a: dim T is 128 in q and 64 in k");
  start(s), give(0, QN_F32, "128,8", -1), give(1, QN_F64, "128,8", -1);
  says(s, QN_E_DTYPE, "q is f32 and k is f64");
  start(s), give(0, QN_I64, "128,8", -1);
  says(s, QN_E_DTYPE, "q must hold floating-point numbers");
  assert_string_equal(qn_error_last()->detail, "q is i64[128,8], expected f[T,D]");
  start(s), give(0, QN_F32, "128", -1);
  says(s, QN_E_SHAPE, "q has too few dimensions");
  start(s), give(0, QN_F32, "4,8", -1), give(1, QN_F32, "4,8", -1), give(2, QN_I64, "3", -1);
  says(s, QN_E_SHAPE, "m has the wrong size");
  start(s), give(0, QN_F32, "4,8", -1), give(1, QN_F32, "4,8", -1), absent(2);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[4]");
  qni_schema_free(s);
  s = parse("sq(x: f[N,N]) -> y: f[N]");
  start(s), give(0, QN_F32, "3,4", -1);
  says(s, QN_E_SHAPE, "dim N is both 3 and 4 in x");
  qni_schema_free(s);
}

static void leading_parts_are_shared_or_broadcast(void **state) {
  (void)state;
  qni_schema *s = parse("l(x: f[...,I], w: f[O,I], g: f[...]? = nil) -> y: f[...,O]");
  start(s), give(0, QN_F64, "2,3,4", -1), give(1, QN_F64, "5,4", -1), give(2, QN_F64, "2,3", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f64[2,3,5]");
  start(s), give(0, QN_F32, "2,3,4", -1), give(1, QN_F32, "5,4", -1), give(2, QN_F32, "3", -1);
  says(s, QN_E_SHAPE, "the shared leading part is [2,3] in x and [3] in g");
  qni_schema_free(s);
  s = parse("add(a: f[~...], b: f[~...]) -> y: f[...]");
  start(s), give(0, QN_F32, "3,1", -1), give(1, QN_F32, "2,1,4", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[2,3,4]");
  start(s), give(0, QN_F32, "0,1", -1), give(1, QN_F32, "4", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[0,4]");
  start(s), give(0, QN_F32, "3", -1), give(1, QN_F32, "4", -1);
  says(s, QN_E_SHAPE, "[3] in the inputs before it and [4] in b");
  qni_schema_free(s);
  s = parse("add_(a!: f[...], b: f[~...]) -> a");
  start(s), give(0, QN_F32, "2,3", -1), give(1, QN_F32, "3", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[2,3]");
  start(s), give(0, QN_F32, "1,3", -1), give(1, QN_F32, "2,3", -1);
  says(s, QN_E_SHAPE, "[1,3] in a and [2,3] in b");
  qni_schema_free(s);
  s = parse("rows(x: t[N,...], i: i[M]) -> y: t[M,...]");
  start(s), give(0, QN_U8, "9,2,3", -1), give(1, QN_I32, "4", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "u8[4,2,3]");
  qni_schema_free(s);
}

static void jagged_inputs_count_rows_and_sequences(void **state) {
  (void)state;
  qni_schema *s = parse("att(q: f[T@B,D], k: like q, len: i64[B]? = nil, p: f[N,D]? = nil) -> y: "
                        "f[T@B,D], s: f[B,D]");
  start(s), give(0, QN_F32, "10,4", 3), give(1, QN_F32, "10,4", 3);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[10,4]");
  assert_string_equal(output(s, 1), "f32[3,4]");
  start(s), give(0, QN_F32, "10,4", 3), give(1, QN_F32, "10,4", 2);
  says(s, QN_E_SHAPE, "dim B is 3 in q and 2 in k");
  start(s), give(0, QN_F32, "10,4", 3), give(1, QN_F32, "10,4", 3), give(2, QN_I64, "4", -1);
  says(s, QN_E_SHAPE, "dim B is 3 in q and 4 in len");
  start(s), give(0, QN_F32, "10,4", -1);
  says(s, QN_E_SHAPE, "q must be jagged");
  start(s), give(0, QN_F32, "10,4", 3), give(1, QN_F32, "10,4", 3), absent(2),
      give(3, QN_F32, "7,4", 2);
  assert_int_equal(unify(s), QN_OK); /* a jagged tensor serves as its values */
  qni_schema_free(s);
}

static void arithmetic_decides_outputs_and_conditions(void **state) {
  (void)state;
  qni_schema *s = parse("u(x: f[N,L], w: f[2*L-1]? = nil, *, k: int{1..}, s: int = 2) -> y: "
                        "f[N,(L-k)/s+1,-1+k] where L >= k");
  start(s), give(0, QN_F32, "2,10", -1);
  call.attrs[2] = (qni_value){.kind = QN_ARG_INT, .v.i = 3};
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[2,4,2]");
  give(1, QN_F32, "19", -1);
  assert_int_equal(unify(s), QN_OK);
  call.in[1].shape[0] = 18;
  says(s, QN_E_SHAPE, "2*L-1 is 19, but dimension 1 of w is 18");
  call.n = 1;
  call.attrs[2].v.i = 11;
  says(s, QN_E_SHAPE, "L >= k does not hold: L is 10, k is 11");
  call.attrs[2].v.i = 3;
  call.attrs[3].v.i = 0;
  assert_int_equal(unify(s), QN_OK);
  assert_non_null(strstr(output(s, 0), "divides by zero"));
  call.attrs[3].v.i = -1;
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "u: size (L-k)/s+1 of output y would be -6");
  call.attrs[3].v.i = 2;
  call.attrs[2].v.i = -6; /* floor: (10+6)/2 */
  assert_int_equal(unify(s), QN_OK);
  assert_non_null(strstr(output(s, 0), "-1+k of output y would be -7"));
  qni_schema_free(s);
  s = parse("m(*, a: int, b: int) -> y: f32[a*b] where a < b");
  start(s);
  call.attrs[0] = call.attrs[1] = (qni_value){.kind = QN_ARG_INT, .v.i = INT64_MAX};
  says(s, QN_E_ARG, "a < b does not hold");
  assert_non_null(strstr(output(s, 0), "is too large"));
  call.attrs[0].v.i = -7, call.attrs[1].v.i = 2;
  qni_schema_free(s);
  s = parse("d(*, a: int, b: int) -> y: f32[9+a/b]");
  start(s);
  call.attrs[0] = (qni_value){.kind = QN_ARG_INT, .v.i = -7};
  call.attrs[1] = (qni_value){.kind = QN_ARG_INT, .v.i = 2};
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "f32[5]");
  qni_schema_free(s);
}

static void outputs_take_type_and_shape_from_inputs(void **state) {
  (void)state;
  qni_schema *s = parse("topk(x: f[...,N], m: bool[...]? = nil, *, k: int, dtype: enum{f64|i32}? = "
                        "nil) -> v: like x with N=k, i: i64[...,k], u: f[?], q: any[M,3]");
  start(s), give(0, QN_BF16, "2,5", -1), give(1, QN_U8, "2", -1);
  call.attrs[2] = (qni_value){.kind = QN_ARG_INT, .v.i = 3};
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "bf16[2,3]");
  assert_true(call.decided);
  assert_string_equal(output(s, 1), "i64[2,3]");
  assert_string_equal(output(s, 2), "bf16[]");
  assert_false(call.decided);
  assert_string_equal(output(s, 3), "f32[-1,3]");
  assert_false(call.decided);
  assert_true(!qni_schema_open(s, 0) && !qni_schema_open(s, 1) && qni_schema_open(s, 2) &&
              qni_schema_open(s, 3));
  call.attrs[3] = (qni_value){.kind = QN_ARG_STR, .v.s = "i32"};
  assert_string_equal(output(s, 3), "i32[-1,3]");
  qni_schema_free(s);
  s = parse("sum(x: f[N], y: any[?]) -> z: any[N]");
  start(s), give(0, QN_F32, "4", -1), give(1, QN_U8, "2", -1);
  assert_int_equal(unify(s), QN_OK);
  assert_string_equal(output(s, 0), "u8[4]");
  qni_schema_free(s);
}

static void variadic_inputs_are_counted_in_errors(void **state) {
  (void)state;
  qni_schema *s = parse("cat(xs: t[N,...]*) -> y: t[?]");
  start(s), give(0, QN_F32, "3,2", -1), give(0, QN_F32, "3,2", -1), give(0, QN_F32, "4,2", -1);
  says(s, QN_E_SHAPE, "dim N is 3 in xs[1] and 4 in xs[3]");
  start(s), give(0, QN_F32, "3,2", -1), give(0, QN_I64, "3,2", -1);
  says(s, QN_E_DTYPE, "xs[1] is f32 and xs[2] is i64");
  qni_schema_free(s);
}

static void attribute_checks_name_value_and_suggest(void **state) {
  (void)state;
  qni_schema *s = parse("f(*, n: int{1..9}, p: num{0..1} = 0, e: enum{relu|gelu} = relu, l: "
                        "[int{1..}] = [1], o: str? = nil) -> y: f32[]");
  const int64_t bad[] = {3, 0};
  qni_error_reset();
  assert_int_equal(qni_schema_check_attr(s, 0, &(qni_value){.kind = QN_ARG_INT, .v.i = 9}), QN_OK);
  assert_int_equal(qni_schema_check_attr(s, 1, &(qni_value){.kind = QN_ARG_INT, .v.i = 1}), QN_OK);
  assert_int_equal(qni_schema_check_attr(s, 4, &(qni_value){.kind = QN_ARG_NIL}), QN_OK);
  assert_int_equal(qni_schema_check_attr(s, 1, &(qni_value){.kind = QN_ARG_NUM, .v.f = 1.5}),
                   QN_E_ARG);
  assert_string_equal(qn_error_last()->what, "argument 'p' of f is 1.5");
  assert_string_equal(qn_error_last()->detail, "expected num{0..1}");
  qni_error_reset();
  assert_int_equal(qni_schema_check_attr(s, 2, &(qni_value){.kind = QN_ARG_STR, .v.s = "rleu"}),
                   QN_E_ARG);
  assert_string_equal(qn_error_last()->hint, "did you mean 'relu'?");
  qni_error_reset();
  assert_int_equal(
      qni_schema_check_attr(s, 3, &(qni_value){.kind = QN_ARG_INTS, .count = 2, .v.ints = bad}),
      QN_E_ARG);
  assert_string_equal(qn_error_last()->what, "argument 'l' of f is {3,0}");
  qni_error_reset();
  assert_int_equal(qni_schema_check_attr(s, 0, &(qni_value){.kind = QN_ARG_NIL}), QN_E_ARG);
  qni_schema_free(s);
}

static void unification_of_two_inputs_is_fast(void **state) {
  (void)state;
  qni_schema *s = parse("linear(x: f[...,I], w: f[O,I]) -> y: f[...,O]");
  start(s), give(0, QN_F32, "128,50", -1), give(1, QN_F32, "50,50", -1);
  enum { TIMES = 200000 };
  struct timespec a, b;
  double best = 1e9;
  for (int r = 0; r < 5; r++) {
    clock_gettime(CLOCK_MONOTONIC, &a);
    int64_t allocations = qni_mem_count();
    for (int i = 0; i < TIMES / 5; i++)
      assert_int_equal(
          qni_schema_unify(s, call.n, call.ptr, call.owner, call.n_seq, call.attrs, &call.b),
          QN_OK);
    assert_int_equal(qni_mem_count(), allocations);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double ns =
        ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (TIMES / 5);
    if (ns < best) best = ns;
  }
  print_message("unification: %.0f ns\n", best);
  qni_schema_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(printing_gives_the_same_schema_again),
      cmocka_unit_test(spacing_and_shorthand_have_one_canonical_form),
      cmocka_unit_test(long_schema_with_every_kind_round_trips),
      cmocka_unit_test(errors_point_at_the_column),
      cmocka_unit_test(deep_and_long_texts_are_refused_not_fatal),
      cmocka_unit_test(every_failed_allocation_is_an_ordinary_error),
      cmocka_unit_test(mismatch_names_dimension_and_both_inputs),
      cmocka_unit_test(leading_parts_are_shared_or_broadcast),
      cmocka_unit_test(jagged_inputs_count_rows_and_sequences),
      cmocka_unit_test(arithmetic_decides_outputs_and_conditions),
      cmocka_unit_test(outputs_take_type_and_shape_from_inputs),
      cmocka_unit_test(variadic_inputs_are_counted_in_errors),
      cmocka_unit_test(attribute_checks_name_value_and_suggest),
      cmocka_unit_test(unification_of_two_inputs_is_fast),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
