/*
** The Dirichlet-process stream: sequences whose tastes recur, on a growing catalogue.
**
** Left open by the paper and fixed here: items are dealt to the categories evenly, in a
** random order; a record draws its number of categories from 1..categories_per_record
** and takes distinct ones that have open items; H is uniform on the simplex.
** SPDX-License-Identifier: MIT
*/
#include "io/dirichlet.h"

#include <inttypes.h>
#include <math.h>

#include "base/mem.h"
#include "io/mix.h"

enum { MAX_TASTES = 64, CATEGORIES = 1, RECORDS = 2 }; /* the last two: random streams */

struct qni_dirichlet {
  qni_dirichlet_options o;
  int32_t *category; /* [n_items + 1] */
  int32_t *members;  /* [n_items]: items by category, rising in each */
  int64_t *at;       /* [n_categories + 1] into members */
};

/* ---- Set-up ---- */

static void fill_defaults(qni_dirichlet_options *o) {
  if (!o->n_items) o->n_items = 20000;
  if (!o->n_categories) o->n_categories = 100;
  if (!o->n_records) o->n_records = 1000000;
  if (!o->length) o->length = 128;
  if (!o->categories_per_record) o->categories_per_record = 5;
  if (o->initial == 0) o->initial = 0.4;
  if (o->alpha_min == 0 && o->alpha_max == 0) o->alpha_min = 1, o->alpha_max = 500;
}

static qn_status check_options(const qni_dirichlet_options *o) {
  const char *why = NULL;
  if (o->n_items < 1 || o->n_items > INT32_MAX - 1)
    why = "n_items must be from 1 to 2147483646";
  else if (o->n_categories < 1 || o->n_categories > o->n_items)
    why = "n_categories must be from 1 to n_items";
  else if (o->n_records < 1)
    why = "n_records must be positive";
  else if (o->length < 1 || o->length > 1 << 20)
    why = "length must be from 1 to 1048576";
  else if (o->categories_per_record < 1 || o->categories_per_record > MAX_TASTES)
    why = "categories_per_record must be from 1 to 64";
  else if (!(o->initial > 0 && o->initial <= 1))
    why = "initial must be above 0 and at most 1";
  else if (!(o->alpha_min > 0 && o->alpha_max >= o->alpha_min && o->alpha_max < 1e300))
    why = "alpha_min must be positive and alpha_max not below it";
  return why ? qni_fail(QN_E_ARG, "the stream cannot be made: %s", why) : QN_OK;
}

/* A random order of the items is dealt round: item order[i] gets category i mod n. */
static qn_status deal_categories(qni_dirichlet *d) {
  int64_t n = d->o.n_items, *order = qni_mem_alloc((size_t)n * sizeof *order);
  if (!order) return QN_E_NOMEM;
  for (int64_t i = 0; i < n; i++) order[i] = i + 1;
  qni_mix mix = qni_mix_start(d->o.seed, CATEGORIES, 0);
  qni_mix_shuffle(&mix, order, n);
  for (int64_t i = 0; i < n; i++) d->category[order[i]] = (int32_t)(i % d->o.n_categories);
  qni_mem_free(order);
  return QN_OK;
}

static void list_members(qni_dirichlet *d) {
  int64_t C = d->o.n_categories;
  for (int64_t c = 0; c <= C; c++) d->at[c] = 0;
  for (int64_t i = 1; i <= d->o.n_items; i++) d->at[d->category[i] + 1]++;
  for (int64_t c = 0; c < C; c++) d->at[c + 1] += d->at[c];
  for (int64_t i = 1; i <= d->o.n_items; i++) d->members[d->at[d->category[i]]++] = (int32_t)i;
  for (int64_t c = C; c > 0; c--) d->at[c] = d->at[c - 1];
  d->at[0] = 0;
}

qn_status qni_dirichlet_new(const qni_dirichlet_options *options, qni_dirichlet **stream) {
  qni_dirichlet_options o = options ? *options : (qni_dirichlet_options){0};
  *stream = NULL;
  fill_defaults(&o);
  qn_status st = check_options(&o);
  if (st) return st;
  qni_dirichlet *d = qni_mem_zalloc(1, sizeof *d);
  if (!d) return QN_E_NOMEM;
  d->o = o;
  d->category = qni_mem_zalloc((size_t)o.n_items + 1, sizeof *d->category);
  d->members = qni_mem_alloc((size_t)o.n_items * sizeof *d->members);
  d->at = qni_mem_alloc(((size_t)o.n_categories + 1) * sizeof *d->at);
  st = d->category && d->members && d->at ? deal_categories(d) : QN_E_NOMEM;
  if (st) {
    qni_dirichlet_free(d);
    return st;
  }
  d->category[0] = -1;
  list_members(d);
  *stream = d;
  return QN_OK;
}

void qni_dirichlet_free(qni_dirichlet *d) {
  if (!d) return;
  qni_mem_free(d->category);
  qni_mem_free(d->members);
  qni_mem_free(d->at);
  qni_mem_free(d);
}

const qni_dirichlet_options *qni_dirichlet_settings(const qni_dirichlet *d) { return &d->o; }

int64_t qni_dirichlet_open(const qni_dirichlet *d, int64_t record) {
  double part = d->o.initial + (1 - d->o.initial) * (double)record / (double)d->o.n_records;
  int64_t open = (int64_t)floor(part * (double)d->o.n_items + 1e-9);
  return open < 1 ? 1 : open > d->o.n_items ? d->o.n_items : open;
}

int32_t qni_dirichlet_category(const qni_dirichlet *d, int64_t item) {
  return item >= 1 && item <= d->o.n_items ? d->category[item] : -1;
}

/* ---- Records ---- */

/* How many members of a category are open: they are those up to `open`. */
static int64_t open_members(const qni_dirichlet *d, int64_t category, int64_t open) {
  int64_t low = d->at[category], high = d->at[category + 1];
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    if (d->members[mid] <= open)
      low = mid + 1;
    else
      high = mid;
  }
  return low - d->at[category];
}

struct tastes {
  int64_t n, category[MAX_TASTES], open[MAX_TASTES];
  double upto[MAX_TASTES]; /* cumulative prior */
};

static bool has(const struct tastes *t, int64_t category) {
  for (int64_t i = 0; i < t->n; i++)
    if (t->category[i] == category) return true;
  return false;
}

/* Distinct categories with open items; tries are bounded, item 1's category the last resort. */
static void draw_tastes(const qni_dirichlet *d, qni_mix *mix, int64_t open, struct tastes *t) {
  int64_t wanted = 1 + qni_mix_below(mix, d->o.categories_per_record);
  double total = 0;
  t->n = 0;
  for (int64_t tries = 0; t->n < wanted && tries < 64 * wanted; tries++) {
    int64_t c = qni_mix_below(mix, d->o.n_categories), n = open_members(d, c, open);
    if (n == 0 || has(t, c)) continue;
    t->category[t->n] = c, t->open[t->n] = n;
    t->upto[t->n++] = total -= log(1 - qni_mix_uniform(mix));
  }
  if (t->n == 0) {
    t->category[0] = d->category[1], t->open[0] = open_members(d, d->category[1], open);
    t->upto[t->n++] = total = 1;
  }
  for (int64_t i = 0; i < t->n; i++) t->upto[i] /= total;
}

static int64_t draw_taste(const struct tastes *t, qni_mix *mix) {
  double u = qni_mix_uniform(mix);
  int64_t i = 0;
  while (i < t->n - 1 && u >= t->upto[i]) i++;
  return i;
}

void qni_dirichlet_record(const qni_dirichlet *d, int64_t record, int32_t *items) {
  qni_mix mix = qni_mix_start(d->o.seed, RECORDS, (uint64_t)record);
  struct tastes t;
  draw_tastes(d, &mix, qni_dirichlet_open(d, record), &t);
  double alpha = d->o.alpha_min + (d->o.alpha_max - d->o.alpha_min) * qni_mix_uniform(&mix);
  for (int64_t n = 0; n < d->o.length; n++) { /* n items before this one */
    int64_t taste = -1;
    if (n == 0 || qni_mix_uniform(&mix) * (alpha + (double)n) < alpha) {
      taste = draw_taste(&t, &mix);
    } else { /* a category with probability n_c: that of an item before */
      int32_t category = d->category[items[qni_mix_below(&mix, n)]];
      while (t.category[++taste] != category) continue;
    }
    int64_t member = qni_mix_below(&mix, t.open[taste]);
    items[n] = d->members[d->at[t.category[taste]] + member];
  }
}

qn_status qni_dirichlet_interactions(const qni_dirichlet *d, int64_t begin, int64_t end,
                                     qni_interactions **x) {
  *x = NULL;
  if (begin < 0 || end > d->o.n_records || begin >= end) {
    qni_fail(QN_E_ARG, "records %" PRId64 " to %" PRId64 " are not in the stream", begin + 1, end);
    qni_error_detail("it has %" PRId64, d->o.n_records);
    return QN_E_ARG;
  }
  int64_t n = end - begin, L = d->o.length;
  int64_t *offsets = qni_mem_alloc(((size_t)n + 1) * sizeof *offsets);
  int32_t *items = qni_mem_zalloc((size_t)n, (size_t)L * sizeof *items);
  qn_status st = offsets && items ? QN_OK : QN_E_NOMEM;
  for (int64_t i = 0; i <= n && !st; i++) {
    offsets[i] = i * L;
    if (i < n) qni_dirichlet_record(d, begin + i, items + i * L);
  }
  if (!st) st = qni_interactions_from(n, d->o.n_items, offsets, items, NULL, x);
  qni_mem_free(offsets);
  qni_mem_free(items);
  return st;
}
