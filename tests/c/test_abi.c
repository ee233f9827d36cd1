/*
** The ABI does not move: sizes and offsets of every public struct equal the
** recorded ones, and the headers can be read by C++ and LuaJIT.
** Run with --print to write the table.
** SPDX-License-Identifier: MIT
*/
#include "check.h"

struct entry {
  const char *name, *field;
  size_t offset, size;
};

static const struct entry entries[] = {
#define S(type) {#type, NULL, 0, sizeof(type)},
#define F(type, field) {#type, #field, offsetof(type, field), sizeof(((type *)0)->field)},
#include "../abi/fields.h"
#undef S
#undef F
};
enum { N_ENTRIES = sizeof entries / sizeof entries[0] };

static void entry_line(char *line, size_t room, const struct entry *e) {
  if (e->field)
    snprintf(line, room, "%s.%s %zu %zu", e->name, e->field, e->offset, e->size);
  else
    snprintf(line, room, "%s %zu", e->name, e->size);
}

static void every_field_lies_where_it_was_recorded(void **state) {
  (void)state;
  FILE *f = fopen("tests/abi/layout.txt", "r");
  if (!f) fail_msg("tests/abi/layout.txt is not there; run the tests from the project's folder");
  char recorded[256], now[256];
  for (size_t i = 0; i < N_ENTRIES; i++) {
    assert_non_null(fgets(recorded, sizeof recorded, f));
    recorded[strcspn(recorded, "\n")] = 0;
    entry_line(now, sizeof now, &entries[i]);
    assert_string_equal(now, recorded);
  }
  assert_null(fgets(recorded, sizeof recorded, f));
  fclose(f);
}

/* Runs a command; skips if its program is missing. */
static void run(const char *program, const char *command) {
  char probe[128];
  snprintf(probe, sizeof probe, "command -v %s >/dev/null 2>&1", program);
  if (system(probe)) {
    printf("skipped: %s is not installed\n", program);
    skip();
  }
  assert_int_equal(system(command), 0);
}

static void cxx_reads_the_headers(void **state) {
  (void)state;
  run("g++", "g++ -std=c++17 -pedantic -Wall -Wextra -Werror -Icore/include -fsyntax-only -x c++ "
             "-include quern/quern.h /dev/null");
}

static void luajit_reads_the_declarations_and_agrees_on_the_layout(void **state) {
  (void)state;
  run("luajit", "luajit tests/abi/layout.lua");
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "--print")) {
    char line[256];
    for (size_t i = 0; i < N_ENTRIES; i++) entry_line(line, sizeof line, &entries[i]), puts(line);
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_field_lies_where_it_was_recorded),
      cmocka_unit_test(cxx_reads_the_headers),
      cmocka_unit_test(luajit_reads_the_declarations_and_agrees_on_the_layout),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
