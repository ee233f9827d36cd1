/* NPY: round trips, NumPy's own layouts, and refusals. SPDX-License-Identifier: MIT */
#include "io_help.h"

#include "io/npy.h"

/* A file of a version, dict and data; freed by the caller. */
static uint8_t *compose(int version, const char *dict, const void *data, size_t n_data, size_t *n) {
  size_t length = strlen(dict), width = version == 1 ? 2 : 4;
  uint8_t *file = qni_mem_alloc(8 + width + length + n_data);
  memcpy(file, "\x93NUMPY\0\0", 8);
  file[6] = (uint8_t)version;
  for (size_t i = 0; i < width; i++) file[8 + i] = (uint8_t)(length >> (8 * i));
  memcpy(file + 8 + width, dict, length);
  if (n_data) memcpy(file + 8 + width + length, data, n_data);
  *n = 8 + width + length + n_data;
  return file;
}

static qn_status parse(int version, const char *dict, const void *data, size_t n_data,
                       qn_tensor **t) {
  size_t n;
  uint8_t *file = compose(version, dict, data, n_data, &n);
  qn_status st = qni_npy_parse(file, n, "x.npy", t);
  qni_mem_free(file);
  return st;
}

static void every_type_comes_back(void **state) {
  (void)state;
  static const int32_t types[] = {QN_F32, QN_F64, QN_I32, QN_I64, QN_U8, QN_BOOL};
  const char *path = help_path("a.npy");
  for (size_t i = 0; i < 6; i++)
    for (int32_t ndim = 0; ndim <= 3; ndim++) {
      static const int64_t shape[] = {2, 3, 2};
      qn_tensor *t, *back;
      assert_int_equal(qn_tensor_new(types[i], ndim, shape, &t), QN_OK);
      size_t size = qni_dtype_size(types[i]), count = (size_t)qni_tensor_count(t);
      for (size_t k = 0; k < count; k++)
        qni_dtype_store(types[i], (char *)t->view.data + k * size, (double)(k % 2));
      assert_int_equal(qni_npy_write(path, t), QN_OK);
      assert_int_equal(qni_npy_read(path, &back), QN_OK);
      assert_int_equal(back->view.dtype, types[i]);
      assert_int_equal(back->view.ndim, ndim);
      assert_memory_equal(back->view.shape, t->view.shape, sizeof t->view.shape);
      assert_memory_equal(back->view.data, t->view.data, count * size);
      qn_tensor_free(back);
      qn_tensor_free(t);
    }
}

static void fortran_order_is_turned(void **state) {
  (void)state;
  static const int32_t columns[] = {1, 4, 2, 5, 3, 6}, wanted[] = {1, 2, 3, 4, 5, 6};
  qn_tensor *t;
  assert_int_equal(
      parse(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }", columns, 24, &t),
      QN_OK);
  assert_memory_equal(t->view.data, wanted, 24);
  qn_tensor_free(t);
}

static void all_versions_and_spellings_are_read(void **state) {
  (void)state;
  static const float x[] = {1, 2};
  static const char *const dicts[] = {
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n",
      "{\"shape\":(2,),\"descr\":\"<f4\",\"fortran_order\":False}",
      "{'shape': (2, 1), 'fortran_order': True, 'descr': '<f4'}\n"};
  for (int version = 1; version <= 3; version++)
    for (int i = 0; i < 3; i++) {
      qn_tensor *t;
      assert_int_equal(parse(version, dicts[i], x, 8, &t), QN_OK);
      assert_memory_equal(t->view.data, x, 8);
      qn_tensor_free(t);
    }
}

static void refuse(const char *dict, size_t n_data, qn_status status, const char *why) {
  static const uint8_t zeros[64];
  qn_tensor *t;
  help_expect(parse(1, dict, zeros, n_data, &t), status, why);
  assert_null(t);
}

static void bad_files_are_refused(void **state) {
  (void)state;
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7, QN_E_FORMAT,
         "ends before");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9, QN_E_FORMAT,
         "behind its data");
  refuse("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8, QN_E_UNSUPPORTED, ">f4");
  refuse("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 8, QN_E_UNSUPPORTED, "|O");
  refuse("{'descr': [('a','<f4')], 'fortran_order': False, 'shape': (2,), }", 8, QN_E_FORMAT,
         "plain type");
  refuse("{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", 8, QN_E_FORMAT, "boolean");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': 2, }", 8, QN_E_FORMAT, "tuple");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", 8, QN_E_FORMAT, "tuple");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", 8, QN_E_FORMAT,
         "whole number");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,", 8, QN_E_FORMAT, "whole number");
  refuse("{'descr': '<f4', 'fortran_order': False, }", 8, QN_E_FORMAT, "lacks");
  refuse("{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }", 8, QN_E_FORMAT, "repeated");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", 8, QN_E_FORMAT,
         "unknown");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", 8, QN_E_FORMAT,
         "behind its header");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }", 8,
         QN_E_FORMAT, "beyond");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 8,
         QN_E_FORMAT, "whole number");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 4, QN_E_FORMAT,
         "more than 8");
  refuse("", 8, QN_E_FORMAT, "dict");
  static const uint8_t two = 2;
  qn_tensor *t;
  help_expect(parse(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", &two, 1, &t),
              QN_E_FORMAT, "boolean");
  help_expect(parse(4, "{}", NULL, 0, &t), QN_E_FORMAT, "version");
}

static void every_cut_is_refused(void **state) {
  (void)state;
  static const float x[] = {1, 2};
  size_t n;
  uint8_t *file =
      compose(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", x, 8, &n);
  for (size_t cut = 0; cut < n; cut++) {
    uint8_t *exact = qni_mem_alloc(cut);
    memcpy(exact, file, cut);
    qn_tensor *t;
    assert_int_equal(qni_npy_parse(exact, cut, "cut", &t), QN_E_FORMAT);
    qni_error_reset();
    qni_mem_free(exact);
  }
  qni_mem_free(file);
}

static void what_npy_lacks_is_said(void **state) {
  (void)state;
  qn_tensor *t;
  assert_int_equal(qn_tensor_new(QN_BF16, 1, (int64_t[]){1}, &t), QN_OK);
  help_expect(qni_npy_write(help_path("a.npy"), t), QN_E_UNSUPPORTED, "bf16");
  qn_tensor_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      FOLDER_TEST(every_type_comes_back),
      cmocka_unit_test(fortran_order_is_turned),
      cmocka_unit_test(all_versions_and_spellings_are_read),
      cmocka_unit_test(bad_files_are_refused),
      cmocka_unit_test(every_cut_is_refused),
      FOLDER_TEST(what_npy_lacks_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
