/* What C tests share: cmocka with its headers, and where the real data lie. SPDX-License-Identifier: MIT */
#ifndef QNI_TEST_CHECK_H
#define QNI_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"
#include "quern/quern.h"

#define assert_ok(call)                                                                            \
  do {                                                                                             \
    qni_error_reset();                                                                             \
    qn_status st_ = (call);                                                                        \
    if (st_)                                                                                       \
      print_error("%s\n%s\n%s\n", qn_error_last()->what, qn_error_last()->detail,                  \
                  qn_error_last()->hint);                                                          \
    assert_int_equal(st_, QN_OK);                                                                  \
  } while (0)
/* The call fails with this status, and its text (what + detail + hint) has the words. */
#define assert_fails(call, status_, words)                                                         \
  do {                                                                                             \
    qni_error_reset();                                                                             \
    assert_int_equal((call), (status_));                                                           \
    char text_[4096];                                                                              \
    const qn_error *e_ = qn_error_last();                                                          \
    snprintf(text_, sizeof text_, "%s | %s | %s", e_->what, e_->detail, e_->hint);                 \
    if (!strstr(text_, (words))) fail_msg("'%s' is not in: %s", (words), text_);                   \
  } while (0)

/* The path of a file of the real data, or skips the test with the reason. */
static inline const char *test_data(const char *name) {
  static char path[1024];
  const char *root = getenv("QUERN_DATA");
  snprintf(path, sizeof path, "%s/%s", root && *root ? root : "../shared/data", name);
  if (access(path, R_OK)) {
    printf("skipped: %s is not there\n", name);
    skip();
  }
  return path;
}

/* Loads a plugin, which stands beside the tests; -1 with the reason printed if it cannot. */
static inline int test_plugin(const char *name) {
  char path[1024];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
  if (n < 0) return -1;
  path[n] = 0;
  snprintf(strrchr(path, '/'), 64, "/../plugins/%s", name);
  if (!qn_plugin_load(path)) return 0;
  print_error("%s\n%s\n", qn_error_last()->what, qn_error_last()->detail);
  return -1;
}

#endif
