/*
** Fetch: a file from the net, whole, checked, and only then under its name.
**
** One attempt asks for the bytes behind those of PATH.part; a server that sends all of
** them makes it start over. A resumed file with the wrong hash is fetched once more from
** its beginning, in case the parts were of two versions.
** SPDX-License-Identifier: MIT
*/
#include "io/fetch.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/sha256.h"

enum { MAX_REDIRECTS = 10 };

struct transfer {
  const char *url, *path;
  const qni_fetch_options *o;
  qni_file_writer *w;
  CURL *curl;
  int64_t have, limit; /* bytes of an earlier attempt; most bytes in all */
  bool answered;       /* the first byte of the body has come */
  bool too_large, cancelled, write_failed;
};

static CURLcode start_code;
static void start_curl(void) { start_code = curl_global_init(CURL_GLOBAL_DEFAULT); }

/* ---- While bytes arrive ---- */

/* The body begins: 206 continues what is there, anything else starts over. */
static qn_status first_bytes(struct transfer *t) {
  long code = 0;
  t->answered = true;
  curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
  if (code == 206 || t->have == 0) return QN_OK;
  t->have = 0;
  return qni_file_writer_restart(t->w);
}

static size_t on_bytes(char *data, size_t size, size_t n, void *ctx) {
  struct transfer *t = ctx;
  size_t n_bytes = size * n;
  if (!t->answered && first_bytes(t)) return t->write_failed = true, (size_t)0;
  if (qni_file_writer_size(t->w) + (int64_t)n_bytes > t->limit)
    return t->too_large = true, (size_t)0;
  if (qni_file_writer_write(t->w, data, n_bytes)) return t->write_failed = true, (size_t)0;
  return n_bytes;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now) {
  struct transfer *t = ctx;
  (void)up_total, (void)up_now;
  if (!t->o->progress) return 0;
  int64_t base = t->answered || t->have ? t->have : 0;
  t->cancelled = t->o->progress(t->o->ctx, base + now, total > 0 ? base + total : 0);
  return t->cancelled;
}

/* ---- One attempt ---- */

static qn_status explain(const struct transfer *t, CURLcode code, const char *text) {
  long http = 0;
  curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
  if (t->write_failed) return QN_E_IO; /* the file's error is there already */
  if (t->cancelled) return qni_fail(QN_E_CANCELLED, "the download of %s was stopped", t->url);
  if (t->too_large) {
    qni_fail(QN_E_FORMAT, "%s is larger than it should be", t->url);
    qni_error_detail("at most %" PRId64 " bytes were expected", t->limit);
    return QN_E_FORMAT;
  }
  if (code == CURLE_HTTP_RETURNED_ERROR) {
    qn_status st = http == 404 || http == 410 ? QN_E_NOT_FOUND : QN_E_IO;
    qni_fail(st, "cannot download %s: the server answered %ld", t->url, http);
    qni_error_hint("the address may have changed; get the file by other means and import it");
    return st;
  }
  qni_fail(QN_E_IO, "cannot download %s: %s", t->url, *text ? text : curl_easy_strerror(code));
  qni_error_hint(
      code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
              code == CURLE_OPERATION_TIMEDOUT
          ? "check the network connection (or https_proxy); a file already on disk can be "
            "imported instead"
          : "try again; what has arrived is kept where it can be continued");
  return QN_E_IO;
}

static void set_options(struct transfer *t, char *error) {
  CURL *c = t->curl;
  const qni_fetch_options *o = t->o;
  const char *protocols = o->sha256 ? "http,https" : "https";
  curl_easy_setopt(c, CURLOPT_URL, t->url);
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(c, CURLOPT_USERAGENT, "quern");
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)(o->connect_seconds ? o->connect_seconds : 20));
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)(o->stall_seconds ? o->stall_seconds : 60));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
  if (t->have) curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->have);
}

/* 416 to a request for the rest: there is none, the part is complete or of another file. */
static bool nothing_left(const struct transfer *t, CURLcode code) {
  long http = 0;
  curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
  return code == CURLE_HTTP_RETURNED_ERROR && http == 416 && t->have > 0;
}

/* CURLE_RANGE_ERROR: the server cannot continue; curl then wants the whole afresh. */
static qn_status perform(struct transfer *t) {
  char error[CURL_ERROR_SIZE] = "";
  set_options(t, error);
  CURLcode code = curl_easy_perform(t->curl);
  if (code == CURLE_RANGE_ERROR) {
    qn_status st = qni_file_writer_restart(t->w);
    if (st) return st;
    t->have = 0;
    curl_easy_setopt(t->curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)0);
    code = curl_easy_perform(t->curl);
  }
  if (code == CURLE_OK || nothing_left(t, code)) return qni_file_writer_flush(t->w);
  return explain(t, code, error);
}

/* ---- Checking what came ---- */

static qn_status wrong_content(const struct transfer *t, const char *what, const char *found,
                               const char *expected) {
  qni_fail(QN_E_FORMAT, "%s has the wrong %s", t->url, what);
  qni_error_detail("found:    %s", found);
  qni_error_detail("expected: %s", expected);
  qni_error_hint(
      "the file was changed at its source, or the way to it alters it; nothing was kept");
  return QN_E_FORMAT;
}

static qn_status check(const struct transfer *t, const char *part) {
  uint8_t digest[32];
  char hex[65], a[24], b[24];
  if (t->o->expect_bytes && qni_file_writer_size(t->w) != t->o->expect_bytes) {
    snprintf(a, sizeof a, "%" PRId64, qni_file_writer_size(t->w));
    snprintf(b, sizeof b, "%" PRId64, t->o->expect_bytes);
    return wrong_content(t, "size", a, b);
  }
  if (!t->o->sha256) return QN_OK;
  qn_status st = qni_sha256_file(part, digest);
  if (st) return st;
  if (!strcasecmp(qni_sha256_hex(digest, hex), t->o->sha256)) return QN_OK;
  return wrong_content(t, "SHA-256", hex, t->o->sha256);
}

/* Ends with the file in place, or with the part kept where it can be continued. */
static qn_status attempt(const char *url, const char *path, const char *part,
                         const qni_fetch_options *o, bool *resumed) {
  struct transfer t = {.url = url, .path = path, .o = o};
  t.limit = o->expect_bytes ? o->expect_bytes : o->max_bytes ? o->max_bytes : (int64_t)16 << 30;
  qn_status st = qni_file_writer_resume(path, part, &t.have, &t.w);
  if (st) return st;
  if (t.have && (!o->sha256 || t.have > t.limit)) {
    t.have = 0;
    st = qni_file_writer_restart(t.w);
  }
  *resumed = t.have > 0;
  if (!st && !(t.curl = curl_easy_init())) st = qni_fail(QN_E_NOMEM, "libcurl cannot start");
  bool arrived = false;
  if (!st) arrived = !(st = perform(&t));
  if (arrived) st = check(&t, part);
  curl_easy_cleanup(t.curl);
  if (!st) return qni_file_writer_commit(t.w);
  if (arrived || t.too_large || !o->sha256)
    qni_file_writer_abort(t.w);
  else
    qni_file_writer_leave(t.w);
  return st;
}

static qn_status check_request(const char *url, const qni_fetch_options *o) {
  bool secure = !strncasecmp(url, "https://", 8), plain = !strncasecmp(url, "http://", 7);
  if (o->sha256 && (strlen(o->sha256) != 64 || strspn(o->sha256, "0123456789abcdefABCDEF") != 64))
    return qni_fail(QN_E_ARG, "a SHA-256 has 64 hexadecimal digits, not \"%s\"", o->sha256);
  if (secure || (plain && o->sha256)) return QN_OK;
  qni_fail(QN_E_ARG, "cannot download %s: only https, or http with a known SHA-256", url);
  return QN_E_ARG;
}

qn_status qni_fetch(const char *url, const char *path, const qni_fetch_options *options) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static const qni_fetch_options defaults;
  const qni_fetch_options *o = options ? options : &defaults;
  qn_status st = check_request(url, o);
  if (st) return st;
  pthread_once(&once, start_curl);
  if (start_code)
    return qni_fail(QN_E_IO, "libcurl cannot start: %s", curl_easy_strerror(start_code));
  char *part = qni_path_format("%s.part", path);
  if (!part) return QN_E_NOMEM;
  bool resumed = false;
  st = attempt(url, path, part, o, &resumed);
  if (st == QN_E_FORMAT && resumed) {
    qni_error_reset();
    st = attempt(url, path, part, o, &resumed);
  }
  qni_mem_free(part);
  return st;
}
