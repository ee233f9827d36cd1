/*
** Interactions: rows of a file become users in order, each with events in order of time.
**
** Ids are made dense, rows are counted into their users (a stable counting sort), and
** each user's rows are sorted by time, equal times staying in the file's order.
** SPDX-License-Identifier: MIT
*/
#include "io/interactions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/inter.h"

struct owned {
  qni_interactions x; /* first: an interactions object is the block that owns it */
  int64_t *offsets, *time;
  int32_t *item, *behaviour;
  float *rating;
};

void qni_interactions_free(qni_interactions *x) {
  if (!x) return;
  struct owned *o = x->memory;
  qni_ids_free(&x->users);
  qni_ids_free(&x->items);
  qni_mem_free(o->offsets);
  qni_mem_free(o->time);
  qni_mem_free(o->item);
  qni_mem_free(o->behaviour);
  qni_mem_free(o->rating);
  qni_mem_free(o);
}

/* ---- From rows ---- */

static qn_status number_users_and_items(qni_inter_rows *r, int32_t rule, qni_interactions *x) {
  qn_status st = r->text[QNI_INTER_USER] ? qni_intern_finish(&r->names[QNI_INTER_USER], &x->users)
                                         : qni_ids_number(r->user, r->n, QNI_ID_DENSE, &x->users);
  if (st) return st;
  if (r->text[QNI_INTER_ITEM] && rule == QNI_ID_KEEP) {
    qni_fail(QN_E_FORMAT, "item ids that are text cannot be kept as numbers");
    qni_error_hint("let them be numbered densely instead");
    return QN_E_FORMAT;
  }
  return r->text[QNI_INTER_ITEM] ? qni_intern_finish(&r->names[QNI_INTER_ITEM], &x->items)
                                 : qni_ids_number(r->item, r->n, rule, &x->items);
}

struct event {
  int64_t time, row;
};

static int by_time(const void *a, const void *b) {
  const struct event *x = a, *y = b;
  if (x->time != y->time) return x->time < y->time ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

/* Rows of each user together, in the file's order; offsets must be zeroed [n_users + 2]. */
static void group_by_user(const qni_inter_rows *r, int64_t n_users, int64_t *offsets,
                          struct event *events) {
  for (int64_t i = 0; i < r->n; i++) offsets[r->user[i] + 1]++;
  for (int64_t u = 0; u < n_users; u++) offsets[u + 2] += offsets[u + 1];
  for (int64_t i = 0; i < r->n; i++)
    events[offsets[r->user[i]]++] = (struct event){r->time ? r->time[i] : 0, i};
}

static int64_t sort_by_time(const int64_t *offsets, int64_t n_users, struct event *events) {
  int64_t reordered = 0;
  for (int64_t u = 0; u < n_users; u++) {
    struct event *e = events + offsets[u];
    int64_t n = offsets[u + 1] - offsets[u], i = 1;
    while (i < n && e[i - 1].time <= e[i].time) i++;
    if (i >= n) continue;
    qsort(e, (size_t)n, sizeof *e, by_time);
    reordered++;
  }
  return reordered;
}

static qn_status allocate(const qni_inter_rows *r, struct owned *o) {
  size_t n = (size_t)r->n;
  o->item = qni_mem_alloc(n * sizeof *o->item);
  if (r->time) o->time = qni_mem_alloc(n * sizeof *o->time);
  if (r->rating) o->rating = qni_mem_alloc(n * sizeof *o->rating);
  if (r->behaviour) o->behaviour = qni_mem_alloc(n * sizeof *o->behaviour);
  return o->item && (o->time || !r->time) && (o->rating || !r->rating) &&
                 (o->behaviour || !r->behaviour)
             ? QN_OK
             : QN_E_NOMEM;
}

static void copy_rows(const qni_inter_rows *r, const struct event *events, struct owned *o) {
  for (int64_t i = 0; i < r->n; i++) {
    int64_t row = events[i].row;
    o->item[i] = (int32_t)r->item[row];
    if (o->time) o->time[i] = events[i].time;
    if (o->rating) o->rating[i] = r->rating[row];
    if (o->behaviour) o->behaviour[i] = r->behaviour[row];
  }
}

static int rising(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* Events that another of the same user, item and time precedes. */
static qn_status count_duplicates(const struct owned *o, int64_t n_users, int64_t *count) {
  int64_t longest = 0;
  for (int64_t u = 0; u < n_users; u++)
    if (o->offsets[u + 1] - o->offsets[u] > longest) longest = o->offsets[u + 1] - o->offsets[u];
  int32_t *same = qni_mem_alloc((size_t)longest * sizeof *same);
  if (!same) return QN_E_NOMEM;
  *count = 0;
  for (int64_t u = 0; u < n_users && o->time; u++)
    for (int64_t i = o->offsets[u], j; i < o->offsets[u + 1]; i = j) {
      for (j = i + 1; j < o->offsets[u + 1] && o->time[j] == o->time[i];) j++;
      size_t n = (size_t)(j - i);
      if (n == 1) continue;
      memcpy(same, o->item + i, n * sizeof *same);
      qsort(same, n, sizeof *same, rising);
      for (size_t k = 1; k < n; k++) *count += same[k] == same[k - 1];
    }
  qni_mem_free(same);
  return QN_OK;
}

static qn_status assemble(qni_inter_rows *r, int32_t rule, struct owned *o) {
  qni_interactions *x = &o->x;
  qn_status st = number_users_and_items(r, rule, x);
  if (st) return st;
  x->n_users = x->users.n;
  x->n_rows = r->n;
  /* group_by_user moves every start on by its count, so users begin one place later */
  o->offsets = qni_mem_zalloc((size_t)x->n_users + 2, sizeof *o->offsets);
  struct event *events = qni_mem_alloc((size_t)r->n * sizeof *events);
  st = o->offsets && events ? allocate(r, o) : QN_E_NOMEM;
  if (!st) {
    group_by_user(r, x->n_users, o->offsets, events);
    x->n_reordered = sort_by_time(o->offsets, x->n_users, events);
    copy_rows(r, events, o);
    st = count_duplicates(o, x->n_users, &x->n_duplicates);
  }
  qni_mem_free(events);
  x->offsets = o->offsets, x->item = o->item, x->time = o->time;
  x->rating = o->rating, x->behaviour = o->behaviour;
  snprintf(x->format, sizeof x->format, "%s", r->format.name);
  return st;
}

/* ---- Reading ---- */

static qn_status finish(qn_status st, struct owned *o, qni_interactions **x) {
  if (st && o)
    qni_interactions_free(&o->x);
  else if (!st)
    *x = &o->x;
  return st;
}

static struct owned *owned_new(void) {
  struct owned *o = qni_mem_zalloc(1, sizeof *o);
  if (o) o->x.memory = o;
  return o;
}

qn_status qni_interactions_parse(const void *data, size_t n_bytes, const char *origin,
                                 const qni_interactions_options *options, qni_interactions **x) {
  static const qni_interactions_options defaults;
  qni_inter_rows rows;
  *x = NULL;
  if (!options) options = &defaults;
  qn_status st = qni_inter_read_rows(data, n_bytes, origin, options, &rows);
  if (st) return st;
  struct owned *o = owned_new();
  st = o ? assemble(&rows, options->id_rule, o) : QN_E_NOMEM;
  qni_inter_rows_free(&rows);
  return finish(st, o, x);
}

qn_status qni_interactions_read(const char *path, const qni_interactions_options *options,
                                qni_interactions **x) {
  qni_file_map map;
  *x = NULL;
  qn_status st = qni_file_map_open(path, &map);
  if (st) return st;
  st = qni_interactions_parse(map.data, map.n_bytes, path, options, x);
  qni_file_map_close(&map);
  return st;
}

/* ---- From memory ---- */

static qn_status check_sequences(int64_t n_users, int64_t n_items, const int64_t *offsets,
                                 const int32_t *item) {
  if (n_users < 0 || n_items < 0 || n_items > INT32_MAX || offsets[0] != 0)
    return qni_fail(QN_E_ARG, "offsets must begin at 0, and there must be 0 to 2147483647 items");
  for (int64_t u = 0; u < n_users; u++)
    if (offsets[u + 1] < offsets[u])
      return qni_fail(QN_E_ARG, "offsets fall at user %" PRId64, u + 1);
  for (int64_t i = 0; i < offsets[n_users]; i++)
    if (item[i] < 1 || item[i] > n_items)
      return qni_fail(QN_E_ARG, "item id %d at position %" PRId64 " is outside 1 to %" PRId64,
                      (int)item[i], i + 1, n_items);
  return QN_OK;
}

static void *copy_of(const void *data, size_t n_bytes) {
  void *copy = qni_mem_alloc(n_bytes);
  return copy && n_bytes ? memcpy(copy, data, n_bytes) : copy;
}

static qn_status count_seen(const int32_t *item, int64_t n, int64_t n_items, int64_t *seen) {
  uint8_t *marks = qni_mem_zalloc((size_t)n_items + 1, 1);
  if (!marks) return QN_E_NOMEM;
  *seen = 0;
  for (int64_t i = 0; i < n; i++) *seen += !marks[item[i]], marks[item[i]] = 1;
  qni_mem_free(marks);
  return QN_OK;
}

qn_status qni_interactions_from(int64_t n_users, int64_t n_items, const int64_t *offsets,
                                const int32_t *item, const int64_t *time, qni_interactions **out) {
  *out = NULL;
  qn_status st = check_sequences(n_users, n_items, offsets, item);
  if (st) return st;
  struct owned *o = owned_new();
  if (!o) return QN_E_NOMEM;
  qni_interactions *x = &o->x;
  size_t n = (size_t)offsets[n_users];
  x->n_users = n_users, x->n_rows = offsets[n_users];
  x->users = (qni_ids){.kind = QNI_IDS_KEPT, .n = n_users, .seen = n_users};
  x->items = (qni_ids){.kind = QNI_IDS_KEPT, .n = n_items};
  x->offsets = o->offsets = copy_of(offsets, ((size_t)n_users + 1) * sizeof *offsets);
  x->item = o->item = copy_of(item, n * sizeof *item);
  if (time) x->time = o->time = copy_of(time, n * sizeof *time);
  snprintf(x->format, sizeof x->format, "memory");
  if (!x->offsets || !x->item || (time && !x->time)) st = QN_E_NOMEM;
  if (!st) st = count_seen(item, x->n_rows, n_items, &x->items.seen);
  return finish(st, o, out);
}

/* ---- Statistics ---- */

void qni_interactions_measure(const qni_interactions *x, qni_interactions_stats *s) {
  *s = (qni_interactions_stats){.users = x->n_users,
                                .items = x->items.n,
                                .items_seen = x->items.seen,
                                .rows = x->n_rows,
                                .duplicates = x->n_duplicates,
                                .reordered = x->n_reordered};
  for (int64_t u = 0; u < x->n_users; u++) {
    int64_t n = x->offsets[u + 1] - x->offsets[u];
    if (u == 0 || n < s->length_min) s->length_min = n;
    if (n > s->length_max) s->length_max = n;
  }
  double rating = 0;
  for (int64_t i = 0; i < x->n_rows; i++) {
    if (x->time && (i == 0 || x->time[i] < s->time_min)) s->time_min = x->time[i];
    if (x->time && (i == 0 || x->time[i] > s->time_max)) s->time_max = x->time[i];
    if (x->rating) rating += (double)x->rating[i];
  }
  double cells = (double)x->n_users * (double)x->items.seen;
  if (x->n_rows) s->rating_mean = rating / (double)x->n_rows;
  if (x->n_users) s->length_mean = (double)x->n_rows / (double)x->n_users;
  if (cells > 0) s->density = (double)x->n_rows / cells;
}
