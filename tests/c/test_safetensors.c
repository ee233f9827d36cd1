/*
** safetensors: what is written comes back, and hostile files are refused, each for its reason.
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include "io/safetensors.h"

/* A file of this header and n data bytes; length < 0: the header's own. */
static size_t compose(uint8_t *file, const char *header, int64_t length, size_t n_data) {
  size_t n = strlen(header);
  uint64_t said = length < 0 ? n : (uint64_t)length;
  for (int i = 0; i < 8; i++) file[i] = (uint8_t)(said >> (8 * i));
  memcpy(file + 8, header, n);
  for (size_t i = 0; i < n_data; i++) file[8 + n + i] = (uint8_t)i;
  return 8 + n + n_data;
}

static void refuse(const char *header, size_t n_data, const char *why) {
  uint8_t *file =
      qni_mem_alloc(8 + strlen(header) + n_data); /* exact, so that a sanitizer sees overreads */
  qni_safetensors *f;
  size_t n = compose(file, header, -1, n_data);
  help_expect(qni_safetensors_parse(file, n, "bad.st", &f), QN_E_FORMAT, why);
  assert_null(f);
  qni_mem_free(file);
}

static void accept(const char *header, size_t n_data, int32_t count) {
  uint8_t *file = qni_mem_alloc(8 + strlen(header) + n_data);
  qni_safetensors *f;
  size_t n = compose(file, header, -1, n_data);
  assert_int_equal(qni_safetensors_parse(file, n, "good.st", &f), QN_OK);
  assert_int_equal(qni_safetensors_count(f), count);
  qni_safetensors_close(f);
  qni_mem_free(file);
}

#define A(dtype, shape, span)                                                                      \
  "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" span "}}"
#define AB(a, b)                                                                                   \
  "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a                                     \
  "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"

static void hostile_headers_are_refused(void **state) {
  (void)state;
  refuse(A("F32", "[2]", "[0,8]"), 7, "outside the file");
  refuse(A("F32", "[2]", "[0,8]"), 9, "data behind the last");
  refuse(A("F32", "[2]", "[1,9]"), 9, "gap");
  refuse(A("F32", "[2]", "[8,0]"), 8, "outside");
  refuse(A("F32", "[2]", "[-8,0]"), 8, "outside");
  refuse(A("F32", "[3]", "[0,8]"), 8, "as many bytes");
  refuse(A("F32", "[2]", "[0,8.0]"), 8, "data_offsets");
  refuse(A("F32", "[2]", "[0]"), 8, "data_offsets");
  refuse(A("F32", "[-2]", "[0,8]"), 8, "whole number");
  refuse(A("F32", "[2.0]", "[0,8]"), 8, "whole number");
  refuse(A("F32", "2", "[0,8]"), 8, "shape");
  refuse(A("F32", "[4611686018427387904,4]", "[0,0]"), 0, "beyond any memory");
  refuse(A("F32", "[4294967296,4294967296,0]", "[0,0]"), 0, "beyond any memory");
  refuse(A("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 8");
  refuse(A("F32", "[99999999999999999999]", "[0,4]"), 4, "not valid JSON");
  refuse(A("F33", "[2]", "[0,8]"), 8, "dtype nobody knows");
  refuse(A("f32", "[2]", "[0,8]"), 8, "dtype nobody knows");
  refuse(AB("[0,4]", "[0,4]"), 4, "overlaps");
  refuse(AB("[0,4]", "[3,7]"), 7, "overlaps");
  refuse(AB("[0,4]", "[5,9]"), 9, "gap");
  refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
         0, "duplicate");
  refuse("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "empty name");
  refuse("{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
         "control character");
  refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0,
         "fields nobody");
  refuse("{\"a\":[]}", 0, "no dtype");
  refuse("{\"__metadata__\":{\"k\":1}}", 0, "other than strings");
  refuse("{\"__metadata__\":[]}", 0, "not an object");
  refuse("[]", 0, "not a JSON object");
  refuse("{", 0, "not valid JSON");
  refuse("{}", 3, "data behind");
}

static void sound_edge_cases_are_accepted(void **state) {
  (void)state;
  accept("{}", 0, 0);
  accept("{}      ", 0, 0);
  accept(A("F32", "[]", "[0,4]"), 4, 1);
  accept(A("F32", "[0,7]", "[0,0]"), 0, 1);
  accept(A("F8_E4M3", "[3]", "[0,3]"), 3, 1);
  accept(AB("[4,8]", "[0,4]"), 8, 2);
  accept("{\"__metadata__\":{}}", 0, 0);
}

static void wrong_header_lengths_are_refused(void **state) {
  (void)state;
  uint8_t file[64];
  qni_safetensors *f;
  for (size_t n = 0; n < 8; n++)
    help_expect(qni_safetensors_parse(file, n, "x", &f), QN_E_FORMAT, "shorter than 8");
  size_t n = compose(file, "{}", 3, 0);
  help_expect(qni_safetensors_parse(file, n, "x", &f), QN_E_FORMAT, "longer than the file");
  n = compose(file, "{}", 0, 0);
  help_expect(qni_safetensors_parse(file, n, "x", &f), QN_E_FORMAT, "not a JSON object");
  n = compose(file, "{}", INT64_MAX, 0);
  help_expect(qni_safetensors_parse(file, n, "x", &f), QN_E_FORMAT, "over 100 MB");
}

static qn_tensor *numbered(int32_t dtype, int32_t ndim, const int64_t *shape) {
  qn_tensor *t;
  assert_int_equal(qn_tensor_new(dtype, ndim, shape, &t), QN_OK);
  size_t size = qni_dtype_size(dtype);
  for (int64_t i = 0; i < qni_tensor_count(t); i++)
    qni_dtype_store(dtype, (char *)t->view.data + (size_t)i * size,
                    dtype == QN_BOOL ? (double)(i % 2) : (double)i - 1);
  return t;
}

static void every_type_and_shape_comes_back(void **state) {
  (void)state;
  static const char *const names[] = {"zero", "scalar", "f32", "f64", "bf16",
                                      "i64",  "i32",    "u8",  "bool"};
  static const int32_t types[] = {QN_F32, QN_F64, QN_F32, QN_F64, QN_BF16,
                                  QN_I64, QN_I32, QN_U8,  QN_BOOL};
  const char *path = help_path("a.safetensors");
  qn_tensor *t[9], *back;
  for (int i = 0; i < 9; i++)
    t[i] = numbered(types[i], i == 1 ? 0 : 2, (int64_t[]){i == 0 ? 0 : 3, i + 1});
  assert_int_equal(qn_save(path, names, t, 9, "{\"step\":\"7\",\"\xc3\xa4\":\"\"}"), QN_OK);
  qn_archive *a;
  assert_int_equal(qn_archive_open(path, &a), QN_OK);
  assert_int_equal(qn_archive_count(a), 9);
  assert_string_equal(qn_archive_name(a, 0), "bf16");
  assert_null(qn_archive_name(a, 9));
  assert_string_equal(qn_archive_meta(a), "{\"step\":\"7\",\"\xc3\xa4\":\"\"}");
  for (int i = 0; i < 9; i++) {
    assert_int_equal(qn_archive_read(a, names[i], &back), QN_OK);
    assert_int_equal(back->view.dtype, types[i]);
    assert_int_equal(back->view.ndim, t[i]->view.ndim);
    assert_memory_equal(back->view.shape, t[i]->view.shape, sizeof back->view.shape);
    size_t n = (size_t)qni_tensor_count(t[i]) * qni_dtype_size(types[i]);
    if (n) assert_memory_equal(back->view.data, t[i]->view.data, n);
    qn_tensor_free(back);
    qn_tensor_free(t[i]);
  }
  help_expect(qn_archive_read(a, "none", &back), QN_E_NOT_FOUND, "no array \"none\"");
  qn_archive_close(a);
}

static void arrays_are_aligned_to_their_type(void **state) {
  (void)state;
  static const char *const names[] = {"a", "b", "c", "d"};
  qn_tensor *t[4] = {numbered(QN_U8, 1, (int64_t[]){3}), numbered(QN_F64, 1, (int64_t[]){1}),
                     numbered(QN_BF16, 1, (int64_t[]){5}), numbered(QN_F32, 1, (int64_t[]){1})};
  const char *path = help_path("a.safetensors");
  assert_int_equal(qn_save(path, names, t, 4, NULL), QN_OK);
  qni_safetensors *f;
  assert_int_equal(qni_safetensors_open(path, &f), QN_OK);
  for (int32_t i = 0; i < 4; i++) {
    const qni_safetensors_entry *e = qni_safetensors_at(f, i);
    assert_int_equal((uintptr_t)qni_safetensors_data(f, e) % qni_dtype_size(e->dtype), 0);
    qn_tensor_free(t[i]);
  }
  qni_safetensors_close(f);
}

static void strided_tensors_are_written_in_order(void **state) {
  (void)state;
  qn_tensor *t = numbered(QN_F32, 2, (int64_t[]){2, 3}), *turned, *back;
  qn_view v;
  assert_int_equal(qni_view_transpose(&t->view, 0, 1, &v), QN_OK);
  assert_int_equal(qni_tensor_alias(t, &v, &turned), QN_OK);
  const char *path = help_path("a.safetensors"), *name = "t";
  assert_int_equal(qn_save(path, &name, &turned, 1, NULL), QN_OK);
  qn_archive *a;
  assert_int_equal(qn_archive_open(path, &a), QN_OK);
  assert_string_equal(qn_archive_meta(a), "{}");
  assert_int_equal(qn_archive_read(a, "t", &back), QN_OK);
  assert_int_equal(back->view.shape[0], 3);
  static const float wanted[] = {-1, 2, 0, 3, 1, 4};
  assert_memory_equal(back->view.data, wanted, sizeof wanted);
  qn_tensor_free(back);
  qn_archive_close(a);
  qn_tensor_free(turned);
  qn_tensor_free(t);
}

static void the_writer_refuses_what_the_reader_would(void **state) {
  (void)state;
  qn_tensor *t = numbered(QN_U8, 1, (int64_t[]){1}), *two[2] = {t, t};
  static const char *const same[] = {"a", "a"}, *const empty[] = {""},
                           *const reserved[] = {"__metadata__"}, *const control[] = {"a\tb"},
                           *const fine[] = {"a"};
  const char *path = help_path("a.safetensors");
  help_expect(qn_save(path, same, two, 2, NULL), QN_E_ARG, "two arrays");
  help_expect(qn_save(path, empty, two, 1, NULL), QN_E_FORMAT, "empty name");
  help_expect(qn_save(path, reserved, two, 1, NULL), QN_E_FORMAT, "reserved");
  help_expect(qn_save(path, control, two, 1, NULL), QN_E_FORMAT, "control");
  help_expect(qn_save(path, fine, two, 1, "{\"a\":1}"), QN_E_ARG, "must be strings");
  help_expect(qn_save(path, fine, two, 1, "[]"), QN_E_ARG, "object of strings");
  help_expect(qn_save(path, fine, two, 1, "{"), QN_E_FORMAT, "metadata");
  help_expect(qn_save(path, (const char *const[]){"\xff"}, two, 1, NULL), QN_E_ARG, "UTF-8");
  assert_false(qni_file_exists(path));
  qn_tensor_free(t);
}

static void other_types_are_widened_without_loss(void **state) {
  (void)state;
  static const struct {
    const char *type;
    size_t size;
    uint32_t bits[2];
    int32_t dtype;
    double wanted[2];
  } cases[] = {{"F16", 2, {0x3c00, 0x8001}, QN_F32, {1, -0x1p-24}},
               {"F16", 2, {0x7bff, 0xc500}, QN_F32, {65504, -5}},
               {"I8", 1, {0x80, 0x7f}, QN_I32, {-128, 127}},
               {"I16", 2, {0x8000, 0x7fff}, QN_I32, {-32768, 32767}},
               {"U16", 2, {0xffff, 1}, QN_I32, {65535, 1}},
               {"U32", 4, {0xffffffff, 1}, QN_I64, {4294967295, 1}}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    char header[128];
    uint8_t file[256];
    qni_safetensors *f;
    qn_tensor *t;
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,%zu]}}", cases[c].type,
             2 * cases[c].size);
    size_t n = compose(file, header, -1, 2 * cases[c].size);
    for (int i = 0; i < 2; i++)
      for (size_t k = 0; k < cases[c].size; k++)
        file[n - (2 - (size_t)i) * cases[c].size + k] = (uint8_t)(cases[c].bits[i] >> (8 * k));
    assert_int_equal(qni_safetensors_parse(file, n, "x", &f), QN_OK);
    assert_int_equal(qni_safetensors_read(f, "a", &t), QN_OK);
    assert_int_equal(t->view.dtype, cases[c].dtype);
    for (size_t i = 0; i < 2; i++)
      assert_true(qni_dtype_load(cases[c].dtype,
                                 (char *)t->view.data + i * qni_dtype_size(cases[c].dtype)) ==
                  cases[c].wanted[i]);
    qn_tensor_free(t);
    qni_safetensors_close(f);
  }
}

static void what_cannot_be_held_says_so(void **state) {
  (void)state;
  uint8_t file[200];
  qni_safetensors *f;
  qn_tensor *t;
  size_t n = compose(file, A("U64", "[1]", "[0,8]"), -1, 8);
  assert_int_equal(qni_safetensors_parse(file, n, "x", &f), QN_OK);
  help_expect(qni_safetensors_read(f, "a", &t), QN_E_UNSUPPORTED, "U64");
  qni_safetensors_close(f);
  n = compose(file, A("BOOL", "[3]", "[0,3]"), -1, 3);
  assert_int_equal(qni_safetensors_parse(file, n, "x", &f), QN_OK);
  help_expect(qni_safetensors_read(f, "a", &t), QN_E_FORMAT, "boolean");
  qni_safetensors_close(f);
}

static void every_cut_of_a_file_is_refused(void **state) {
  (void)state;
  qn_tensor *t = numbered(QN_F32, 1, (int64_t[]){5});
  const char *path = help_path("a.safetensors"), *name = "t";
  char *data;
  size_t n;
  assert_int_equal(qn_save(path, &name, &t, 1, "{\"k\":\"v\"}"), QN_OK);
  assert_int_equal(qni_file_read(path, 4096, &data, &n), QN_OK);
  for (size_t cut = 0; cut < n; cut++) {
    uint8_t *exact = qni_mem_alloc(cut);
    memcpy(exact, data, cut);
    qni_safetensors *f;
    assert_int_equal(qni_safetensors_parse(exact, cut, "cut", &f), QN_E_FORMAT);
    qni_error_reset();
    qni_mem_free(exact);
  }
  qni_mem_free(data);
  qn_tensor_free(t);
}

static void failed_allocations_keep_the_old_file(void **state) {
  (void)state;
  qn_tensor *t = numbered(QN_F32, 1, (int64_t[]){5}), *back;
  const char *path = help_path("a.safetensors"), *name = "t";
  assert_int_equal(qn_save(path, &name, &t, 1, NULL), QN_OK);
  for (int n = 1;; n++) {
    qn_archive *a = NULL;
    qni_mem_fail_after(n, 0);
    qn_status st = qn_save(path, &name, &t, 1, "{\"k\":\"v\"}");
    if (!st) st = qn_archive_open(path, &a);
    if (!st) st = qn_archive_read(a, "t", &back);
    qni_mem_fail_after(0, 0);
    qn_archive_close(a);
    if (!st) break;
    help_expect(st, QN_E_NOMEM, "out of memory");
    qni_error_reset();
    assert_int_equal(qn_archive_open(path, &a), QN_OK);
    qn_archive_close(a);
    assert_true(n < 500);
  }
  qn_tensor_free(back);
  qn_tensor_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hostile_headers_are_refused),
      cmocka_unit_test(sound_edge_cases_are_accepted),
      cmocka_unit_test(wrong_header_lengths_are_refused),
      FOLDER_TEST(every_type_and_shape_comes_back),
      FOLDER_TEST(arrays_are_aligned_to_their_type),
      FOLDER_TEST(strided_tensors_are_written_in_order),
      FOLDER_TEST(the_writer_refuses_what_the_reader_would),
      cmocka_unit_test(other_types_are_widened_without_loss),
      cmocka_unit_test(what_cannot_be_held_says_so),
      FOLDER_TEST(every_cut_of_a_file_is_refused),
      FOLDER_TEST(failed_allocations_keep_the_old_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
