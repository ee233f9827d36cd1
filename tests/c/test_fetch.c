/*
** Fetch: against a server of this machine only. Skipped where there is no python3.
** SPDX-License-Identifier: MIT
*/
#include "io_help.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/sha256.h"
#include "io/fetch.h"

enum { SIZE = 300000 };

/* A server with ranges (python's own has none); it says on stdout which port it got. */
static const char *const SERVER =
    "import http.server, os, sys\n"
    "os.chdir(sys.argv[1])\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "  def log_message(self, *a): pass\n"
    "  def do_GET(self):\n"
    "    if self.path == '/moved': self.send_response(302); self.send_header('Location', '/f'); "
    "self.end_headers(); return\n"
    "    name = self.path.strip('/').split('-')[0]\n"
    "    if not os.path.exists(name): self.send_error(404); return\n"
    "    data = open(name, 'rb').read(); n = len(data); r = self.headers.get('Range'); at = 0\n"
    "    with open('requests', 'a') as log: log.write(self.path + ' ' + str(r) + '\\n')\n"
    "    if r and not self.path.endswith('-whole'):\n"
    "      at = int(r[6:].split('-')[0])\n"
    "      if at >= n: self.send_error(416); return\n"
    "      self.send_response(206); self.send_header('Content-Range', f'bytes {at}-{n-1}/{n}')\n"
    "    else: self.send_response(200)\n"
    "    self.send_header('Content-Length', str(n - at)); self.end_headers()\n"
    "    body = data[at:]\n"
    "    if self.path.endswith('-broken'): body = body[:100000]\n"
    "    self.wfile.write(body)\n"
    "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
    "print(s.server_address[1], flush=True)\n"
    "s.serve_forever()\n";

static pid_t server;
static int port;
static char hash[65];
static uint8_t content[SIZE];

static char *url(const char *name) {
  static char urls[2][96];
  static int next;
  char *u = urls[next++ % 2];
  snprintf(u, sizeof urls[0], "http://127.0.0.1:%d/%s", port, name);
  return u;
}

static int start_server(void **state) {
  int fd[2];
  uint8_t digest[32];
  if (help_start(state) || pipe(fd)) return -1;
  for (size_t i = 0; i < SIZE; i++) content[i] = (uint8_t)(i * 31 >> 3);
  help_write("f", content, SIZE);
  qni_sha256_of(content, SIZE, digest);
  qni_sha256_hex(digest, hash);
  const char *script = help_write("server.py", SERVER, strlen(SERVER));
  if (!(server = fork())) {
    dup2(fd[1], 1);
    close(fd[0]);
    execlp("python3", "python3", script, help_folder, (char *)NULL);
    _exit(127);
  }
  close(fd[1]);
  FILE *out = fdopen(fd[0], "r");
  port = 0;
  if (!out || fscanf(out, "%d", &port) != 1) port = 0;
  if (out) fclose(out);
  if (!port) printf("  skipped: no python3 here to serve files\n");
  return 0;
}

static int stop_server(void **state) {
  kill(server, SIGTERM);
  waitpid(server, NULL, 0);
  return help_end(state);
}

static void expect_content(const char *path) {
  char *data;
  size_t n;
  assert_int_equal(qni_file_read(path, SIZE + 1, &data, &n), QN_OK);
  assert_int_equal(n, SIZE);
  assert_memory_equal(data, content, SIZE);
  qni_mem_free(data);
  char part[200];
  snprintf(part, sizeof part, "%s.part", path);
  assert_false(qni_file_exists(part));
}

static bool requested(const char *line) {
  char *text;
  size_t n;
  assert_int_equal(qni_file_read(help_path("requests"), 1 << 16, &text, &n), QN_OK);
  bool found = strstr(text, line) != NULL;
  qni_mem_free(text);
  return found;
}

static int64_t last_done, last_total;
static int watch(void *ctx, int64_t done, int64_t total) {
  last_done = done, last_total = total;
  return ctx && done > 0;
}

static void a_file_arrives_whole_and_checked(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_path("got");
  assert_int_equal(
      qni_fetch(url("f"), path,
                &(qni_fetch_options){.sha256 = hash, .expect_bytes = SIZE, .progress = watch}),
      QN_OK);
  expect_content(path);
  assert_int_equal(last_done, SIZE);
  assert_int_equal(last_total, SIZE);
  assert_int_equal(qni_fetch(url("moved"), path, &(qni_fetch_options){.sha256 = hash}), QN_OK);
  expect_content(path);
}

static void a_broken_download_is_continued(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_path("got");
  qni_fetch_options o = {.sha256 = hash};
  assert_int_equal(qni_fetch(url("f-broken"), path, &o), QN_E_IO);
  qni_error_reset();
  assert_false(qni_file_exists(path));
  qni_file_info info;
  assert_int_equal(qni_file_stat(help_path("got.part"), &info), QN_OK);
  assert_int_equal(info.size, 100000);
  assert_int_equal(qni_fetch(url("f"), path, &o), QN_OK);
  expect_content(path);
  assert_true(requested("/f bytes=100000-"));
}

static void a_server_without_ranges_starts_over(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_path("got");
  help_write("got.part", content, 5000);
  assert_int_equal(qni_fetch(url("f-whole"), path, &(qni_fetch_options){.sha256 = hash}), QN_OK);
  expect_content(path);
}

static void a_part_of_something_else_is_dropped(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_path("got");
  help_write("got.part", "something else", 14);
  assert_int_equal(qni_fetch(url("f"), path, &(qni_fetch_options){.sha256 = hash}), QN_OK);
  expect_content(path);
}

static void a_complete_part_is_only_checked(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_path("got");
  help_write("got.part", content, SIZE);
  assert_int_equal(qni_fetch(url("f"), path, &(qni_fetch_options){.sha256 = hash}), QN_OK);
  expect_content(path);
}

static void wrong_content_is_refused_and_the_old_file_stays(void **state) {
  (void)state;
  if (!port) skip();
  const char *path = help_write("got", "old", 3),
             zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
  help_expect(qni_fetch(url("f"), path, &(qni_fetch_options){.sha256 = zeros}), QN_E_FORMAT,
              "wrong SHA-256");
  help_expect(
      qni_fetch(url("f"), path, &(qni_fetch_options){.sha256 = hash, .expect_bytes = SIZE + 1}),
      QN_E_FORMAT, "wrong size");
  help_expect(
      qni_fetch(url("f"), path, &(qni_fetch_options){.sha256 = hash, .max_bytes = SIZE - 1}),
      QN_E_FORMAT, "larger");
  assert_false(qni_file_exists(help_path("got.part")));
  qni_file_info info;
  assert_int_equal(qni_file_stat(path, &info), QN_OK);
  assert_int_equal(info.size, 3);
}

static void a_stopped_download_says_so(void **state) {
  (void)state;
  if (!port) skip();
  help_expect(qni_fetch(url("f"), help_path("got"),
                        &(qni_fetch_options){.sha256 = hash, .progress = watch, .ctx = &port}),
              QN_E_CANCELLED, "stopped");
}

static void refusals_name_the_address(void **state) {
  (void)state;
  help_expect(qni_fetch("http://127.0.0.1/x", help_path("got"), NULL), QN_E_ARG, "only https");
  help_expect(qni_fetch("file:///etc/passwd", help_path("got"), NULL), QN_E_ARG, "only https");
  help_expect(qni_fetch("https://x/", help_path("got"), &(qni_fetch_options){.sha256 = "12"}),
              QN_E_ARG, "64 hex");
  help_expect(
      qni_fetch("http://127.0.0.1:1/x", help_path("got"), &(qni_fetch_options){.sha256 = hash}),
      QN_E_IO, "cannot download http://127.0.0.1:1/x");
  if (!port) skip();
  help_expect(qni_fetch(url("none"), help_path("got"), &(qni_fetch_options){.sha256 = hash}),
              QN_E_NOT_FOUND, "answered 404");
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, start_server, stop_server)

int main(void) {
  unsetenv("http_proxy");
  const struct CMUnitTest tests[] = {
      SERVER_TEST(a_file_arrives_whole_and_checked),
      SERVER_TEST(a_broken_download_is_continued),
      SERVER_TEST(a_server_without_ranges_starts_over),
      SERVER_TEST(a_part_of_something_else_is_dropped),
      SERVER_TEST(a_complete_part_is_only_checked),
      SERVER_TEST(wrong_content_is_refused_and_the_old_file_stays),
      SERVER_TEST(a_stopped_download_says_so),
      SERVER_TEST(refusals_name_the_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
