/* Shared by tests of files and data: folders, files, real data. SPDX-License-Identifier: MIT */
#ifndef IO_HELP_H
#define IO_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"

static char help_folder[64];

static inline int help_start(void **state) {
  (void)state;
  strcpy(help_folder, "/tmp/quern_test_XXXXXX");
  return mkdtemp(help_folder) ? 0 : -1;
}

static inline int help_end(void **state) {
  (void)state;
  return qni_folder_remove(help_folder) ? -1 : 0;
}

/* A path in the test's folder; good for four calls. */
static inline const char *help_path(const char *name) {
  static char paths[4][160];
  static int next;
  char *p = paths[next++ % 4];
  snprintf(p, sizeof paths[0], "%s/%s", help_folder, name);
  return p;
}

static inline const char *help_write(const char *name, const void *data, size_t n) {
  const char *path = help_path(name);
  assert_int_equal(qni_file_write(path, data, n), QN_OK);
  return path;
}

/* The status, and a part of the error's first sentence. */
static inline void help_expect(qn_status got, qn_status wanted, const char *part) {
  if (got != wanted || !strstr(qn_error_last()->what, part))
    fail_msg("status %d, wanted %d; \"%s\" should hold \"%s\"", (int)got, (int)wanted,
             qn_error_last()->what, part);
  qni_error_reset();
}

/* A file of the real data, or NULL with a line that says so. */
static inline const char *help_real(const char *name) {
  static char path[512];
  const char *folder = getenv("QUERN_DATA");
  snprintf(path, sizeof path, "%s/%s", folder && *folder ? folder : "../shared/data", name);
  if (qni_file_exists(path)) return path;
  printf("  skipped: %s is not here (set QUERN_DATA)\n", path);
  return NULL;
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, help_start, help_end)

#endif
