/* Tensors: types, sizes, views that share memory, copies, jagged form. SPDX-License-Identifier: MIT */
#include "check.h"

#include <math.h>

#include "tensor/tensor.h"

static qn_tensor *iota(int32_t ndim, const int64_t *shape) {
  qn_tensor *t;
  assert_ok(qni_tensor_empty(QN_F32, ndim, shape, &t));
  for (int64_t i = 0; i < qni_tensor_count(t); i++) ((float *)t->view.data)[i] = (float)i;
  return t;
}

static double at(const qn_view *v, const int64_t *index) {
  int64_t offset = 0;
  for (int32_t d = 0; d < v->ndim; d++) offset += index[d] * v->stride[d];
  return qni_dtype_load(v->dtype, (char *)v->data + offset * (int64_t)qni_dtype_size(v->dtype));
}

static void memory_is_aligned_and_given_back(void **state) {
  (void)state;
  qn_memory before, after;
  qn_memory_stats(&before);
  qn_tensor *t = iota(2, (int64_t[]){3, 5});
  assert_int_equal((uintptr_t)t->view.data % 64, 0);
  qn_tensor_free(t);
  qn_memory_stats(&after);
  assert_int_equal(before.live, after.live);
}

static void sizes_are_checked_before_anything_is_allocated(void **state) {
  (void)state;
  qn_tensor *t;
  const int64_t big[] = {INT64_MAX / 2, 4}, negative[] = {2, -3};
  const int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  assert_fails(qn_tensor_new(QN_F32, 2, big, &t), QN_E_SHAPE, "more bytes");
  assert_fails(qn_tensor_new(QN_F32, 2, negative, &t), QN_E_SHAPE, "negative");
  assert_fails(qn_tensor_new(QN_F32, 9, nine, &t), QN_E_SHAPE, "9 dimensions");
  assert_fails(qn_tensor_new(99, 0, NULL, &t), QN_E_DTYPE, "99");
  assert_null(t);
  const int64_t empty[] = {INT64_MAX, 0, INT64_MAX};
  assert_ok(qn_tensor_new(QN_F64, 3, empty, &t));
  assert_int_equal(qni_tensor_count(t), 0);
  qn_tensor_free(t);
}

static void views_share_memory_and_keep_it_alive(void **state) {
  (void)state;
  qn_tensor *t = iota(3, (int64_t[]){2, 3, 4}), *alias;
  qn_view v;
  assert_ok(qni_view_transpose(&t->view, 0, 2, &v));
  assert_ok(qni_tensor_alias(t, &v, &alias));
  qn_tensor_free(t);
  assert_true(at(&alias->view, (int64_t[]){3, 1, 1}) == 12 + 4 + 3);
  qn_tensor_free(alias);
}

static void narrow_select_permute_expand_point_where_they_say(void **state) {
  (void)state;
  qn_tensor *t = iota(3, (int64_t[]){2, 3, 4});
  qn_view v, w;
  assert_ok(qni_view_narrow(&t->view, 1, 1, 2, &v));
  assert_true(at(&v, (int64_t[]){1, 1, 3}) == 23);
  assert_ok(qni_view_select(&v, 0, 1, &w));
  assert_int_equal(w.ndim, 2);
  assert_true(at(&w, (int64_t[]){0, 2}) == 18);
  assert_ok(qni_view_permute(&t->view, (int32_t[]){2, 0, 1}, &v));
  assert_true(at(&v, (int64_t[]){3, 1, 2}) == 23);
  assert_ok(qni_view_select(&t->view, 1, 0, &w));
  assert_ok(qni_view_reshape(&w, 3, (int64_t[]){2, 1, 4}, &v));
  assert_ok(qni_view_expand(&v, 4, (int64_t[]){5, -1, 3, 4}, &w));
  assert_true(at(&w, (int64_t[]){4, 1, 2, 3}) == 15);
  assert_fails(qni_view_narrow(&t->view, 1, 2, 2, &v), QN_E_ARG, "positions 3 to 4");
  assert_fails(qni_view_select(&t->view, 0, 2, &v), QN_E_ARG, "position 3");
  assert_fails(qni_view_permute(&t->view, (int32_t[]){0, 0, 1}, &v), QN_E_ARG, "twice");
  assert_fails(qni_view_expand(&t->view, 3, (int64_t[]){2, 5, 4}, &v), QN_E_SHAPE,
               "cannot expand f32[2,3,4] to [2,5,4]");
  qn_tensor_free(t);
}

static void reshape_without_a_copy_where_strides_allow_it(void **state) {
  (void)state;
  qn_tensor *t = iota(3, (int64_t[]){4, 6, 2});
  qn_view half, v;
  assert_ok(qni_view_reshape(&t->view, 2, (int64_t[]){8, -1}, &v));
  assert_int_equal(v.shape[1], 6);
  assert_ok(qni_view_narrow(&t->view, 0, 1, 2, &half));
  assert_ok(qni_view_narrow(&half, 2, 0, 1, &half));
  assert_ok(qni_view_reshape(&half, 3, (int64_t[]){2, 3, 2}, &v));
  for (int64_t i = 0; i < 2; i++)
    for (int64_t j = 0; j < 6; j++) {
      int64_t old[] = {i, j, 0}, new[] = {i, j / 2, j % 2};
      assert_true(at(&half, old) == at(&v, new));
    }
  assert_fails(qni_view_reshape(&t->view, 1, (int64_t[]){47}, &v), QN_E_SHAPE, "elements: 48");
  assert_ok(qni_view_transpose(&t->view, 0, 1, &half));
  assert_fails(qni_view_reshape(&half, 1, (int64_t[]){48}, &v), QN_E_SHAPE, "contiguous()");
  qn_tensor_free(t);
}

static void a_contiguous_copy_has_the_same_values(void **state) {
  (void)state;
  qn_tensor *t = iota(2, (int64_t[]){3, 4}), *turned, *copy, *same;
  qn_view v;
  assert_ok(qni_view_transpose(&t->view, 0, 1, &v));
  assert_ok(qni_tensor_alias(t, &v, &turned));
  assert_ok(qni_tensor_contiguous(turned, &copy));
  assert_true(qni_view_contiguous(&copy->view));
  for (int64_t i = 0; i < 4; i++)
    for (int64_t j = 0; j < 3; j++)
      assert_true(at(&copy->view, (int64_t[]){i, j}) == (double)(j * 4 + i));
  assert_ok(qni_tensor_contiguous(copy, &same));
  assert_ptr_equal(copy, same);
  qn_tensor_free(same), qn_tensor_free(copy), qn_tensor_free(turned), qn_tensor_free(t);
}

static void conversions_round_saturate_and_keep_integers(void **state) {
  (void)state;
  assert_int_equal(qni_bf16_from_f32(1.00390625f), 0x3f80); /* a tie goes to even */
  assert_int_equal(qni_bf16_from_f32(1.01171875f), 0x3f82);
  assert_true(isnan(qni_bf16_to_f32(qni_bf16_from_f32(NAN))));
  assert_true(isinf(qni_bf16_to_f32(qni_bf16_from_f32(3.4e38f))));
  const double values[] = {-1e30, -1.9, NAN, 300, 1e30};
  int32_t i32[5];
  uint8_t u8[5];
  qni_dtype_convert(5, QN_F64, values, QN_I32, i32);
  qni_dtype_convert(5, QN_F64, values, QN_U8, u8);
  assert_int_equal(i32[0], INT32_MIN), assert_int_equal(i32[1], -1), assert_int_equal(i32[2], 0);
  assert_int_equal(i32[4], INT32_MAX), assert_int_equal(u8[0], 0), assert_int_equal(u8[3], 255);
  const int64_t big = (1ll << 62) + 1;
  int64_t back;
  qni_dtype_convert(1, QN_I64, &big, QN_I64, &back);
  assert_true(back == big);
}

static void jagged_to_padded_and_back_is_the_identity(void **state) {
  (void)state;
  qn_tensor *values = iota(2, (int64_t[]){5, 2}), *offsets, *lengths, *t, *padded, *back;
  assert_ok(qni_tensor_empty(QN_I64, 1, (int64_t[]){4}, &offsets));
  memcpy(offsets->view.data, (int64_t[]){0, 2, 2, 5}, 32);
  assert_ok(qni_tensor_empty(QN_I64, 1, (int64_t[]){3}, &lengths));
  memcpy(lengths->view.data, (int64_t[]){2, 0, 3}, 24);
  assert_ok(qn_tensor_jagged(values, offsets, &t));
  assert_ok(qni_tensor_to_padded(t, 0, -1, &padded));
  assert_int_equal(padded->view.shape[1], 3);
  assert_true(at(&padded->view, (int64_t[]){0, 2, 0}) == -1);
  assert_true(at(&padded->view, (int64_t[]){2, 1, 1}) == 7);
  assert_ok(qni_tensor_from_padded(padded, lengths, &back));
  assert_memory_equal(back->view.data, values->view.data, 40);
  assert_memory_equal(back->offsets->view.data, offsets->view.data, 32);
  qn_tensor_free(values), qn_tensor_free(offsets), qn_tensor_free(lengths);
  qn_tensor_free(t), qn_tensor_free(padded), qn_tensor_free(back);
}

static void offsets_that_do_not_fit_are_refused(void **state) {
  (void)state;
  qn_tensor *values = iota(1, (int64_t[]){4}), *offsets, *t;
  assert_ok(qni_tensor_empty(QN_I64, 1, (int64_t[]){3}, &offsets));
  memcpy(offsets->view.data, (int64_t[]){0, 3, 2}, 24);
  assert_fails(qn_tensor_jagged(values, offsets, &t), QN_E_SHAPE, "fall from 3 to 2 at sequence 2");
  memcpy(offsets->view.data, (int64_t[]){0, 2, 5}, 24);
  assert_fails(qn_tensor_jagged(values, offsets, &t), QN_E_SHAPE, "0 to 5");
  assert_fails(qn_tensor_jagged(values, values, &t), QN_E_SHAPE, "i64[B+1]");
  qn_tensor_free(values), qn_tensor_free(offsets);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_is_aligned_and_given_back),
      cmocka_unit_test(sizes_are_checked_before_anything_is_allocated),
      cmocka_unit_test(views_share_memory_and_keep_it_alive),
      cmocka_unit_test(narrow_select_permute_expand_point_where_they_say),
      cmocka_unit_test(reshape_without_a_copy_where_strides_allow_it),
      cmocka_unit_test(a_contiguous_copy_has_the_same_values),
      cmocka_unit_test(conversions_round_saturate_and_keep_integers),
      cmocka_unit_test(jagged_to_padded_and_back_is_the_identity),
      cmocka_unit_test(offsets_that_do_not_fit_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
