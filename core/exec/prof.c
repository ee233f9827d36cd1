/*
** The profiler: sums by (name, direction) in a small hash table, and the spans
** themselves when a trace was asked for. All of it lies behind one lock.
** SPDX-License-Identifier: MIT
*/
#include "exec/prof.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "exec/pool.h"

enum { MAX_ROWS = 1024, MAX_SPANS = 4 << 20 }; /* rows: a power of two */

struct span {
  const char *name;
  int64_t begin, end, bytes, flops;
  int32_t worker;
  bool backward;
};

bool qni_prof_on;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static qni_prof_row rows[MAX_ROWS]; /* open addressing; name NULL: free */
static int32_t n_rows;
static bool tracing;
static struct span *spans;
static int64_t n_spans, span_room, n_dropped, origin;

int64_t qni_prof_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

qn_status qni_prof_start(bool trace) {
  qni_prof_reset();
  tracing = trace;
  qni_prof_on = true;
  return QN_OK;
}

void qni_prof_stop(void) { qni_prof_on = false; }

void qni_prof_reset(void) {
  pthread_mutex_lock(&lock);
  memset(rows, 0, sizeof rows);
  qni_mem_free(spans);
  spans = NULL;
  n_rows = 0;
  n_spans = span_room = n_dropped = 0;
  origin = qni_prof_now();
  pthread_mutex_unlock(&lock);
}

/* The row of a name; NULL when the table is nearly full. */
static qni_prof_row *find_row(const char *name, bool backward) {
  uint32_t hash = 2166136261u + backward;
  for (const char *c = name; *c; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
  for (uint32_t i = hash % MAX_ROWS;; i = (i + 1) % MAX_ROWS) {
    if (rows[i].name && (rows[i].backward != backward || strcmp(rows[i].name, name))) continue;
    if (rows[i].name) return &rows[i];
    if (n_rows >= MAX_ROWS * 3 / 4) return NULL;
    n_rows++;
    rows[i] = (qni_prof_row){.name = name, .backward = backward};
    return &rows[i];
  }
}

/* Makes room for one span; a trace that cannot grow drops what follows and says so. */
static bool room_for_span(void) {
  if (n_spans < span_room) return true;
  int64_t wanted = span_room ? span_room * 2 : 4096;
  struct span *grown = NULL;
  if (wanted <= MAX_SPANS) grown = qni_mem_realloc(spans, (size_t)wanted * sizeof *spans);
  if (!grown) return false;
  spans = grown;
  span_room = wanted;
  return true;
}

void qni_prof_add(const char *name, bool backward, int64_t begin, int64_t end, int64_t bytes,
                  int64_t flops) {
  if (!qni_prof_on) return;
  pthread_mutex_lock(&lock);
  qni_prof_row *row = find_row(name, backward);
  if (row) {
    row->calls++;
    row->nanoseconds += end - begin;
    row->bytes += bytes;
    row->flops += flops;
  }
  if (tracing && !n_dropped && room_for_span())
    spans[n_spans++] = (struct span){name, begin, end, bytes, flops, qni_pool_worker(), backward};
  else if (tracing)
    n_dropped++;
  pthread_mutex_unlock(&lock);
}

static int by_time(const void *a, const void *b) {
  const qni_prof_row *x = a, *y = b;
  if (x->nanoseconds != y->nanoseconds) return x->nanoseconds < y->nanoseconds ? 1 : -1;
  int order = strcmp(x->name, y->name);
  return order ? order : (int)x->backward - (int)y->backward;
}

int32_t qni_prof_rows(qni_prof_row *out, int32_t max) {
  static qni_prof_row sorted[MAX_ROWS];
  pthread_mutex_lock(&lock);
  int32_t count = 0;
  for (int i = 0; i < MAX_ROWS; i++)
    if (rows[i].name) sorted[count++] = rows[i];
  qsort(sorted, (size_t)count, sizeof *sorted, by_time);
  for (int32_t i = 0; i < count && i < max; i++) out[i] = sorted[i];
  pthread_mutex_unlock(&lock);
  return count;
}

/* ---- Chrome trace ---- */

static void put_string(FILE *f, const char *text) {
  fputc('"', f);
  for (const unsigned char *c = (const unsigned char *)text; *c; c++)
    if (*c == '"' || *c == '\\')
      fprintf(f, "\\%c", *c);
    else if (*c < 32)
      fprintf(f, "\\u%04x", *c);
    else
      fputc(*c, f);
  fputc('"', f);
}

/* Times in microseconds from the start. */
static void put_span(FILE *f, const struct span *s) {
  fputs("{\"name\":", f);
  put_string(f, s->name);
  fprintf(f,
          ",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,"
          "\"args\":{\"bytes\":%" PRId64 ",\"flops\":%" PRId64 "}}",
          s->backward ? "backward" : "forward", s->worker, (double)(s->begin - origin) / 1e3,
          (double)(s->end - s->begin) / 1e3, s->bytes, s->flops);
}

static qn_status cannot_write(const char *path) {
  qni_fail(QN_E_IO, "the trace \"%s\" could not be written: %s", path, strerror(errno));
  qni_error_hint("choose a folder that exists and may be written to");
  return QN_E_IO;
}

qn_status qni_prof_trace(const char *path) {
  FILE *f = fopen(path, "w");
  if (!f) return cannot_write(path);
  pthread_mutex_lock(&lock);
  fputs("{\"traceEvents\":[", f);
  for (int64_t i = 0; i < n_spans; i++) {
    fputs(i ? ",\n" : "\n", f);
    put_span(f, &spans[i]);
  }
  fprintf(f, "\n],\"displayTimeUnit\":\"ms\",\"otherData\":{\"dropped\":%" PRId64 "}}\n",
          n_dropped);
  pthread_mutex_unlock(&lock);
  bool bad = ferror(f) != 0;
  if (fclose(f) || bad) return cannot_write(path);
  return QN_OK;
}
