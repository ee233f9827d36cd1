/* SHA-256: the standard's vectors, in one piece and in many. SPDX-License-Identifier: MIT */
#include "io_help.h"

#include "base/sha256.h"

static void expect_hex(const void *data, size_t n, const char *wanted) {
  uint8_t digest[32];
  char hex[65];
  qni_sha256_of(data, n, digest);
  assert_string_equal(qni_sha256_hex(digest, hex), wanted);
}

static void the_published_vectors_come_out(void **state) {
  (void)state;
  expect_hex("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect_hex("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  char *a = qni_mem_alloc(1000000);
  memset(a, 'a', 1000000);
  expect_hex(a, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  qni_mem_free(a);
}

static void pieces_give_the_same_as_the_whole(void **state) {
  (void)state;
  uint8_t data[300], whole[32], pieces[32];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
  for (size_t n = 0; n <= sizeof data; n += 13)
    for (size_t step = 1; step < 130; step += 9) {
      qni_sha256 s;
      qni_sha256_start(&s);
      for (size_t at = 0; at < n; at += step)
        qni_sha256_add(&s, data + at, n - at < step ? n - at : step);
      qni_sha256_end(&s, pieces);
      qni_sha256_of(data, n, whole);
      assert_memory_equal(pieces, whole, 32);
    }
}

static void a_file_has_the_hash_of_its_bytes(void **state) {
  (void)state;
  uint8_t digest[32];
  char hex[65];
  assert_int_equal(qni_sha256_file(help_write("a", "abc", 3), digest), QN_OK);
  assert_string_equal(qni_sha256_hex(digest, hex),
                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  help_expect(qni_sha256_file(help_path("none"), digest), QN_E_NOT_FOUND, "none");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_published_vectors_come_out),
      cmocka_unit_test(pieces_give_the_same_as_the_whole),
      FOLDER_TEST(a_file_has_the_hash_of_its_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
